"""`ecal25-mkl16`: `ecal25` with every filter count a multiple of 16, but for the one output.

oneDNN (MKL-DNN) keeps channels in blocks of 16 floats, one AVX-512 register. A layer of 8 or 6
channels pays for 16 and uses half of them; here every block is full (CERN openlab workshop,
January 2019).
"""

from __future__ import annotations

from functools import partial

from gan3d.models.architectures import ecal25
from gan3d.models.registry import Architecture

ARCHITECTURE = Architecture(
    name="ecal25-mkl16",
    latent_dim=ecal25.LATENT_DIM,
    image_shape=ecal25.IMAGE_SHAPE,
    build_generator=partial(ecal25.build_generator, seed_channels=16, filters=(64, 16, 16)),
    build_discriminator=partial(ecal25.build_discriminator, filters=(32, 16, 16, 16)),
)

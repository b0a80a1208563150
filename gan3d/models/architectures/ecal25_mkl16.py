"""`ecal25-mkl16`: `ecal25` with every filter count a multiple of 16, but for the one output.

oneDNN (MKL-DNN) keeps channels in blocks of 16 floats, one AVX-512 register. A layer of 8 or 6
channels pays for 16 and uses half of them; here every block is full (CERN openlab workshop,
January 2019).
"""

from __future__ import annotations

from gan3d.models.architectures.ecal25 import preset
from gan3d.models.registry import Architecture, Wanted


def design(wanted: Wanted) -> Architecture:
    """The preset, for cells of the scale that is wanted."""
    return preset(
        "ecal25-mkl16",
        seed_channels=16,
        filters=(64, 16, 16),
        discriminator_filters=(32, 16, 16, 16),
        scale=wanted.cell_scale,
    )

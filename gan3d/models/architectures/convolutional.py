"""`convolutional`: the published 3DGAN's recipe for any regular grid and any conditions.

Factors, kernels and zeros follow from the grid (`gan3d.models.convolutional`); `gan3d train
--dry-run` prints what comes of them.
"""

from __future__ import annotations

from functools import partial

from gan3d.models.convolutional import (
    LATENT_DIM,
    build_discriminator,
    build_generator,
    discriminator_plan,
    generator_plan,
)
from gan3d.models.registry import Architecture, Wanted


def design(wanted: Wanted) -> Architecture:
    """The architecture for the grid and the conditions that are wanted.

    Raises ConfigError where the grid is too small, or a turn has too few divisors.
    """
    geometry, kernel_mm = wanted.geometry, wanted.model.kernel_mm
    return Architecture(
        name="convolutional",
        latent_dim=LATENT_DIM,
        image_shape=geometry.shape,
        build_generator=partial(build_generator, plan=generator_plan(geometry, kernel_mm)),
        build_discriminator=partial(
            build_discriminator, plan=discriminator_plan(geometry, kernel_mm)
        ),
        discriminator_sees_labels=True,
        labels=None,
        cylinders=True,
    )

"""`convolutional`: the published 3DGAN's recipe for any regular grid and any conditions.

Factors, kernels and zeros follow from the grid (`gan3d.models.plans`); `gan3d train
--dry-run` prints what comes of them.
"""

from __future__ import annotations

from gan3d.models.plans import LATENT_DIM, builders, discriminator_plan, generator_plan
from gan3d.models.registry import Architecture, Wanted


def design(wanted: Wanted) -> Architecture:
    """The architecture for the grid and the conditions that are wanted.

    Raises ConfigError where the grid is too small, or a turn has too few divisors.
    """
    geometry, kernel_mm = wanted.geometry, wanted.model.kernel_mm
    build_generator, build_discriminator = builders(
        generator_plan(geometry, kernel_mm), discriminator_plan(geometry, kernel_mm)
    )
    return Architecture(
        name="convolutional",
        latent_dim=LATENT_DIM,
        image_shape=geometry.shape,
        build_generator=build_generator,
        build_discriminator=build_discriminator,
        discriminator_sees_labels=True,
        labels=None,
        cylinders=True,
    )

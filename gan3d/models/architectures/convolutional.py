"""`convolutional`: the published 3DGAN's recipe for any regular grid and any conditions.

Factors, kernels and zeros follow from the grid (`gan3d.models.plans`); `gan3d train
--dry-run` prints what comes of them. It takes several images of a shower, too.
"""

from __future__ import annotations

from dataclasses import replace

from gan3d.config import FIRST_IMAGE, Images
from gan3d.models.plans import (
    LATENT_DIM,
    builders,
    discriminator_plan,
    generator_plan,
    joint_builders,
)
from gan3d.models.registry import AUXILIARY, GENERATION, Architecture, Wanted, ecal_of, sums_of


def design(wanted: Wanted) -> Architecture:
    """The architecture for the grid and the conditions that are wanted.

    Raises ConfigError where the grid is too small, or a turn has too few divisors.
    """
    geometry, model = wanted.geometry, wanted.model
    build_generator, build_discriminator = builders(
        generator_plan(geometry, model.kernel_mm, model.generator_filters),
        discriminator_plan(geometry, model.kernel_mm, model.discriminator_filters),
        wanted.cell_scale,
    )
    single = Architecture(
        name="convolutional",
        latent_dim=LATENT_DIM,
        image_shape=geometry.shape,
        build_generator=build_generator,
        build_discriminator=build_discriminator,
        discriminator_sees_labels=True,
        outputs=(GENERATION, AUXILIARY, ecal_of(wanted.cell_scale)),
        labels=None,
        cylinders=True,
    )
    return _joint(single, wanted) if wanted.further else single


def _joint(single: Architecture, wanted: Wanted) -> Architecture:
    """The same for several images of a shower."""
    model = wanted.model
    grids = {FIRST_IMAGE: wanted.geometry, **wanted.further}
    keys = {
        name: f"data.further_images.{name}" if name in wanted.further else "data.geometry"
        for name in grids
    }
    generators = {
        name: generator_plan(grid, model.kernel_mm, model.generator_filters, keys[name])
        for name, grid in grids.items()
    }
    discriminators = {
        name: discriminator_plan(grid, model.kernel_mm, model.discriminator_filters, keys[name])
        for name, grid in grids.items()
    }
    images = Images({name: grid.shape for name, grid in grids.items()})
    build_generator, build_discriminator = joint_builders(
        generators, discriminators, wanted.cell_scale
    )
    return replace(
        single,
        image_shape=images.shape,
        build_generator=build_generator,
        build_discriminator=build_discriminator,
        outputs=(GENERATION, AUXILIARY, *sums_of(images, wanted.cell_scale)),
        images=images,
    )

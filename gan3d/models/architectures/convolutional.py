"""`convolutional`: the published 3DGAN's recipe for any regular grid and any conditions.

Factors, kernels and zeros follow from the grid (`gan3d.models.convolutional`); `gan3d train
--dry-run` prints what comes of them. It takes several images of a shower, too.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from gan3d.config import FIRST_IMAGE, Images
from gan3d.models.convolutional import (
    LATENT_DIM,
    build_discriminator,
    build_generator,
    build_joint_discriminator,
    build_joint_generator,
    discriminator_plan,
    generator_plan,
)
from gan3d.models.registry import AUXILIARY, GENERATION, Architecture, Wanted, sums_of


def design(wanted: Wanted) -> Architecture:
    """The architecture for the grid and the conditions that are wanted.

    Raises ConfigError where the grid is too small, or a turn has too few divisors.
    """
    geometry, model = wanted.geometry, wanted.model
    single = Architecture(
        name="convolutional",
        latent_dim=LATENT_DIM,
        image_shape=geometry.shape,
        build_generator=partial(
            build_generator, plan=generator_plan(geometry, model.kernel_mm, model.generator_filters)
        ),
        build_discriminator=partial(
            build_discriminator,
            plan=discriminator_plan(geometry, model.kernel_mm, model.discriminator_filters),
        ),
        discriminator_sees_labels=True,
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
    return replace(
        single,
        image_shape=images.shape,
        build_generator=partial(build_joint_generator, plans=generators),
        build_discriminator=partial(build_joint_discriminator, plans=discriminators),
        outputs=(GENERATION, AUXILIARY, *sums_of(images)),
        images=images,
    )

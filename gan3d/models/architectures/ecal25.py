"""`ecal25`: the fixed-angle 3DGAN of the 2018/2019 Stampede2 results.

Generator and discriminator as published (Vallecorsa et al., ISC 2018; CERN openlab workshop,
January 2019): 872 948 and 73 450 parameters, images of 25 x 25 x 25 cells.
"""

from __future__ import annotations

from gan3d.config import GEV, CellScale
from gan3d.models.plans import (
    LATENT_DIM,
    Convolution,
    DiscriminatorPlan,
    GeneratorPlan,
    builders,
)
from gan3d.models.presets import PRESET_GRIDS
from gan3d.models.registry import AUXILIARY, GENERATION, Architecture, Wanted, ecal_of

IMAGE_SHAPE = PRESET_GRIDS["ecal25"]


def preset(
    name: str,
    *,
    seed_channels: int = 8,
    filters: tuple[int, int, int] = (64, 6, 6),
    discriminator_filters: tuple[int, int, int, int] = (32, 8, 8, 8),
    scale: CellScale = GEV,
) -> Architecture:
    """The published networks, with these numbers of channels; the defaults are the published ones.

    Images are in `scale`. `seed_channels` are those of the 7 x 7 x 8 image that the dense layer
    makes, `filters` those of the three wide convolutions.
    """
    first, second, third = filters
    generator = GeneratorPlan(
        seed=(7, 7, 8),
        seed_channels=seed_channels,
        convolutions=(
            Convolution(first, (6, 6, 8), None),
            Convolution(second, (6, 5, 8), (2, 2, 0)),
            Convolution(third, (3, 3, 8), (1, 0, 3)),
        ),
        upsampling=((2, 2, 2), (2, 2, 3)),
    )
    build_generator, build_discriminator = builders(
        generator, DiscriminatorPlan(IMAGE_SHAPE, filters=discriminator_filters), scale
    )
    return Architecture(
        name=name,
        latent_dim=LATENT_DIM,
        image_shape=IMAGE_SHAPE,
        build_generator=build_generator,
        build_discriminator=build_discriminator,
        outputs=(GENERATION, AUXILIARY, ecal_of(scale)),
    )


def design(wanted: Wanted) -> Architecture:
    """The preset, for cells of the scale that is wanted."""
    return preset("ecal25", scale=wanted.cell_scale)

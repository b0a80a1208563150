"""The published 3DGAN's networks, told as plans: its own plan, or one for any regular grid.

Generator: a dense layer makes a small image with channels, three wide convolutions with two
upsamplings between them make it larger, a last one makes one channel of it. Discriminator: four
convolutions, average pooling, and its heads. Published for 25 x 25 x 25 cells (Vallecorsa et al.,
ISC 2018); `generator_plan` and `discriminator_plan` are the same for other grids:

* *Upsampling* goes in two steps by the smallest factors with which at most 8 cells are to be made
  by the dense layer, as published.
* *Kernels* span about `model.kernel_mm` along each axis, 3 to 7 cells. What upsampling makes too
  much is taken by kernels with fewer zeros around the image, as published: nothing is cropped.
* *Along a periodic axis* images are wrapped around before each convolution, so that turning the
  seed by a cell turns the shower. There the cells must be a whole multiple of the seed's.

For 25 x 25 x 25 cells of 5.1 mm that is the published discriminator. The published generator takes
other kernels along x than along y, and another factor along the layers, of the same cells: no rule
that looks at cells alone has that, so it is a plan of its own (`ecal25`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from gan3d.config import GEV, CellScale, Geometry, Model
from gan3d.errors import ConfigError

if TYPE_CHECKING:
    import keras

    from gan3d.models.registry import Builder

Shape = tuple[int, int, int]
Periodic = tuple[bool, bool, bool]

LATENT_DIM = 200
"""Normal draws per shower. 3DGAN: 200."""

FEWEST_CELLS = 4
"""Along each axis: the discriminator's last convolution takes one at either end, and pooling makes
one of two."""

_NOT_PERIODIC = (False, False, False)
_TAPS = (3, 5, 7)
_SEED_CELLS = 8
_MOST_SEED_CELLS = 16
"""Where a turn has few divisors; the dense layer's parameters grow with it."""
_FACTORS = ((1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 4), (4, 4))
_FACTORS_OF_A_TURN = sorted(
    ((a, b) for b in range(1, 8) for a in range(1, b + 1)), key=lambda pair: pair[0] * pair[1]
)


@dataclass(frozen=True)
class Convolution:
    """One of the wide convolutions."""

    filters: int
    kernel: Shape
    zeros: Shape | None
    """Around the image on either side, 0 along a periodic axis; None: those that keep its size."""


@dataclass(frozen=True)
class GeneratorPlan:
    """Sizes of a generator."""

    seed: Shape
    """Cells that the dense layer makes."""
    seed_channels: int
    convolutions: tuple[Convolution, Convolution, Convolution]
    upsampling: tuple[Shape, Shape]
    """Before the second and the third of them."""
    periodic: Periodic = _NOT_PERIODIC


@dataclass(frozen=True)
class DiscriminatorPlan:
    """Sizes of a discriminator."""

    image_shape: Shape
    kernel: Shape = (5, 5, 5)
    """Odd."""
    filters: tuple[int, int, int, int] = (32, 8, 8, 8)
    periodic: Periodic = _NOT_PERIODIC


def builders(
    generator: GeneratorPlan, discriminator: DiscriminatorPlan, scale: CellScale = GEV
) -> tuple[Builder, Builder]:
    """What builds the two networks, of images in `scale`; Keras is loaded when they do."""
    return (
        _later("build_generator", generator),
        _later("build_discriminator", discriminator, scale=scale),
    )


def joint_builders(
    generators: Mapping[str, GeneratorPlan],
    discriminators: Mapping[str, DiscriminatorPlan],
    scale: CellScale = GEV,
) -> tuple[Builder, Builder]:
    """As `builders`, of several images of a shower by their names."""
    return (
        _later("build_joint_generator", generators),
        _later("build_joint_discriminator", discriminators, scale=scale),
    )


def _later(name: str, plan: object, **options: object) -> Builder:
    """The function `name` of `gan3d.models.convolutional`, of which only the settings are open."""

    def build(settings: Model) -> keras.Model:
        from gan3d.models import convolutional

        network: keras.Model = getattr(convolutional, name)(settings, plan, **options)
        return network

    return build


def generator_plan(
    geometry: Geometry,
    kernel_mm: float,
    filters: tuple[int, int, int] = (64, 6, 6),
    key: str = "data.geometry",
) -> GeneratorPlan:
    """The generator's plan for a grid, called `key`. Raises ConfigError where there is none."""
    _check_cells(geometry, key)
    kernel = kernel_taps(geometry, kernel_mm)
    axes = [
        _along_turn(cells, taps) if wraps else _along_axis(cells, taps)
        for cells, taps, wraps in zip(geometry.shape, kernel, geometry.periodic, strict=True)
    ]
    x, y, z = axes
    first, second, third = (
        Convolution(
            channels,
            (x.kernels[index], y.kernels[index], z.kernels[index]),
            (x.zeros[index], y.zeros[index], z.zeros[index]),
        )
        for index, channels in enumerate(filters)
    )
    return GeneratorPlan(
        seed=(x.seed, y.seed, z.seed),
        seed_channels=8,
        convolutions=(first, second, third),
        upsampling=(
            (x.factors[0], y.factors[0], z.factors[0]),
            (x.factors[1], y.factors[1], z.factors[1]),
        ),
        periodic=geometry.periodic,
    )


def discriminator_plan(
    geometry: Geometry,
    kernel_mm: float,
    filters: tuple[int, int, int, int] = (32, 8, 8, 8),
    key: str = "data.geometry",
) -> DiscriminatorPlan:
    """The discriminator's plan for a grid, as `generator_plan`. Raises ConfigError."""
    _check_cells(geometry, key)
    taps = kernel_taps(geometry, kernel_mm)
    return DiscriminatorPlan(geometry.shape, taps, filters, geometry.periodic)


def kernel_taps(geometry: Geometry, kernel_mm: float) -> Shape:
    """Cells that kernels span along each axis: 3, 5 or 7, whichever is nearest to `kernel_mm`.

    No more than there are cells.
    """
    x, y, z = (
        min(
            (taps for taps in _TAPS if taps <= cells),
            key=lambda taps: abs(taps * extent - kernel_mm),
        )
        for cells, extent in zip(geometry.shape, geometry.extent_mm, strict=True)
    )
    return x, y, z


@dataclass(frozen=True)
class _Axis:
    """A generator's plan along one axis."""

    seed: int
    factors: tuple[int, int]
    kernels: Sequence[int]
    zeros: Sequence[int]


def _along_axis(cells: int, taps: int) -> _Axis:
    # The largest factors for whatever is larger than they are for.
    for first, second in _FACTORS:
        # The last convolution, of 2 cells without zeros, takes one.
        middle = ceil((cells + 1) / second)
        seed = ceil(middle / first)
        if seed <= _SEED_CELLS:
            break
    kernels, zeros = zip(
        (taps, taps // 2),
        _with_less(taps, seed * first - middle),
        _with_less(taps, middle * second - cells - 1),
        strict=True,
    )
    return _Axis(seed, (first, second), kernels, zeros)


def _with_less(taps: int, excess: int) -> tuple[int, int]:
    """Taps of a convolution that leaves so many cells less, one more if need be, and its zeros."""
    taps = max(taps, excess + 1)
    taps += (taps - 1 - excess) % 2
    return taps, (taps - 1 - excess) // 2


def _along_turn(cells: int, taps: int) -> _Axis:
    divided = [(cells // (a * b), a, b) for a, b in _FACTORS_OF_A_TURN if cells % (a * b) == 0]
    few = [plan for plan in divided if plan[0] <= _SEED_CELLS] or [min(divided)]
    seed, first, second = few[0]
    if seed > _MOST_SEED_CELLS:
        raise ConfigError(
            f"data.geometry.shape: the {cells} cells of the turn are {seed} at least after two "
            f"steps of upsampling by 1 to 7, and convolutional networks begin with "
            f"{_MOST_SEED_CELLS} at most: a number with more divisors, or model.architecture "
            "compact, which upsamples nothing"
        )
    return _Axis(seed, (first, second), [min(taps, 2 * seed + 1)] * 3, [0] * 3)


def _check_cells(geometry: Geometry, key: str) -> None:
    if min(geometry.shape) < FEWEST_CELLS:
        x, y, z = geometry.shape
        where = " (data.grid, if there is one)" if key == "data.geometry" else ""
        raise ConfigError(
            f"{key}.shape: convolutional networks need at least {FEWEST_CELLS} cells along "
            "each axis: the discriminator's last convolution takes one at either end, pooling "
            f"makes one of two; the networks would see {x} x {y} x {z}{where}"
        )

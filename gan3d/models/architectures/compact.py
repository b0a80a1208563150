"""`compact`: a 3D convolutional GAN for laptops, with the physics that is known built in.

For any regular grid, any numbers and one category beside the incident energy; `ecal25-compact` is
it for 25 x 25 x 25 cells.

A GAN that starts from noise needs hours to find the mean shower, let alone its fluctuations. Here
that part is measured: before training, `adapt` puts statistics of the training showers into
non-trainable weights (`gan3d.models.shower_statistics`), and the untrained generator already draws
showers with the measured response, resolution, profiles, numbers of hits and cell spectra. Coarse
to fine, as in CaloFlow (Krause and Shih 2021): shower variables from a Gaussian copula (Sklar
1959), the cells' shares of the layer energies, the cells' energies. Adversarial training then
finds what those statistics leave out, the correlations between cells:

* 3D convolutions of the noise correlate neighbouring cells, normalised so that no cell's spectrum
  changes (cell-level noise as in StyleGAN, Karras et al. 2019);
* lateral modes change the shower's width and core from shower to shower, at constant mean;
* the number of hits and its spread adapt to the correlation of the cells.

Layer energies are out of its reach, and none of these moves the mean energy of a cell but for the
sharing of its layer's energy: an unrestricted generator, trained with small batches for a few
thousand steps, lost more of the measured means than it gained in correlations.

Labels enter where the energy does: in means and spreads, in the cells' shares, in the hits; every
category has quantiles and correlations of its own. An inclined shower (a condition whose column is
`theta` or `mtheta`) is made upright and then moved layer by layer along its axis by whole cells;
the rest of the way counts as a displacement. So the correlations of neighbours follow the axis.

The discriminator sees the conditions and has two views of a shower: strided 3D convolutions of
ln(1 + cell energy), and physics summaries standardised given the incident energy, with their spread
over the batch against mode collapse (Karras et al. 2018). Its channels grow where the resolution is
low. A step costs 0.2 GFLOP per shower, one of `ecal25` 19.3.

On a cylinder convolutions and neighbours go round along the angle, and displacements are those of
the barycentre in the plane, not in angle and radius. Inclined showers are not for it: its cells
lie around the particle's direction.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gan3d.config import Geometry, Model
from gan3d.errors import ConfigError
from gan3d.models.registry import Architecture, Wanted
from gan3d.models.shower_conditions import ShowerConditions
from gan3d.models.shower_statistics.found import LAYER_GROUPS

if TYPE_CHECKING:
    import keras

Shape = tuple[int, int, int]

MODES = 8
RANK = 8
"""Lateral modes, and the lateral shapes that they are made of."""
_FEWEST_ACROSS = 4
"""Cells along x and y below which there is no lateral shape to speak of."""


def shower_noise(image_shape: Shape) -> int:
    """Normal draws for the whole shower: its variables, one for hits, modes; a multiple of 8."""
    needed = image_shape[2] + 3 + 1 + MODES
    return -(-needed // 8) * 8


def compact(name: str, geometry: Geometry, settings: Model) -> Architecture:
    """The architecture for a grid and conditions.

    Raises ConfigError where the grid is too small, and for conditions that it cannot take.
    """
    x, y, z = geometry.shape
    if min(x, y) < _FEWEST_ACROSS or z < LAYER_GROUPS:
        raise ConfigError(
            f"model.architecture: {name} needs at least {_FEWEST_ACROSS} x {_FEWEST_ACROSS} cells "
            f"and {LAYER_GROUPS} layers, the grid (data.geometry) has {x} x {y} cells and {z} "
            "layers"
        )
    conditions = ShowerConditions.of(settings.labels)
    if geometry.is_cylinder and conditions.angle is not None:
        raise ConfigError(
            f"model.conditions: {name} moves the layers of inclined showers along y, and the cells "
            "of a cylinder lie around the particle's direction: without the angle, or "
            "model.architecture convolutional"
        )

    def build_generator(settings: Model) -> keras.Model:
        from gan3d.models.compact_networks import build_generator as build

        return build(settings, geometry=geometry, conditions=conditions)

    def build_discriminator(settings: Model) -> keras.Model:
        from gan3d.models.compact_networks import build_discriminator as build

        return build(settings, geometry=geometry, conditions=conditions)

    def adapt(*networks_and_showers: Any) -> None:
        from gan3d.models.compact_networks import adapt as measure

        measure(*networks_and_showers, conditions=conditions, cylinder=geometry.is_cylinder)

    return Architecture(
        name=name,
        latent_dim=shower_noise(geometry.shape) + x * y * z,
        image_shape=geometry.shape,
        build_generator=build_generator,
        build_discriminator=build_discriminator,
        discriminator_sees_energy=True,
        discriminator_sees_labels=True,
        adapt=adapt,
        cells_in_gev=True,
        sees_batch_spread=True,
        labels=None,
        # `correction` and `kernel`.
        condition_weights=("hit_shift/1", "head/0"),
        plane_rad=_least_angle(geometry) if conditions.angle is not None else 0.0,
        cylinders=True,
    )


def _least_angle(geometry: Geometry) -> float:
    """The polar angle (rad) at which an axis crosses the image's width from a layer to the next.

    Layers are moved by cot(theta) layer pitches (`shower_conditions.slant`), which diverges towards
    the layers' plane. Nearer to it no two layers of an image hold the shower, and there is no shape
    to move.
    """
    _, pitch_y, pitch_z = geometry.pitch
    return math.atan2(pitch_z, geometry.shape[1] * pitch_y)


def design(wanted: Wanted) -> Architecture:
    """The architecture for the grid and the conditions that are wanted."""
    return compact("compact", wanted.geometry, wanted.model)

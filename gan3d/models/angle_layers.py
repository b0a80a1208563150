"""What the variable-angle 3DGAN's discriminator measures on images: angle and spectrum of cells.

Without parameters; in float32 whatever the precision policy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

BIN_EDGES_GEV = (0.003, 0.008, 0.0125, 0.02, 0.03, 0.05)
"""Edges of the published bins of cell energies (GeV): with the cells below the first and those
that are 0, eight bins."""

# Layers with less than this share of a shower's energy show no barycentre, only rounding.
_LEAST_SHARE = 1e-12
# The published distance (cells squared) below which a layer counts as in the barycentre.
_LEAST_SQUARED = 1e-7


def measure_angle(images_bxyz: Any, cell_size: Sequence[float] = (1.0, 1.0, 1.0)) -> Any:
    """Polar angle (rad) that showers (B, x, y, layer) in GeV show: (B, 1).

    The barycentre method of the published variable-angle 3DGAN: with (X, Y, Z) the energy-weighted
    barycentre of all cells and (x, y) that of the layer at z, each layer that has energy gives
    pi/2 - atan((y - Y) / d), d = sqrt((x - X)^2 + (z - Z)^2) with the sign of z - Z; the result is
    the mean over these layers, weighted by z. pi/2 is perpendicular to the layers. `cell_size` is
    the pitch along (x, y, layer), in any unit: the published cells are cubes.

    The value and its gradient are finite for all images: a shower without energy shows pi/2 and has
    no gradient, one with all of it in one layer pi/2. By cells the gradient is of the order of
    1 / (shower's energy), as that of any barycentre, and so large for showers of a few MeV.
    """
    images_bxyz = ops.cast(images_bxyz, "float32")
    _, nx, ny, nz = images_bxyz.shape
    pitch_x, pitch_y, pitch_z = cell_size
    x_x, y_y, z_z = (
        (ops.arange(count, dtype="float32") + 0.5) * pitch
        for count, pitch in ((nx, pitch_x), (ny, pitch_y), (nz, pitch_z))
    )
    # Along z, summed over one transverse axis each: small from here on.
    xz_bxz, yz_byz = ops.sum(images_bxyz, axis=2), ops.sum(images_bxyz, axis=1)
    layer_bz = ops.sum(xz_bxz, axis=1)
    total_b1 = ops.sum(layer_bz, axis=1, keepdims=True)

    # Divided by 1 where there is nothing: what `where` leaves out must not be infinite, or its
    # gradient would be 0 times infinity.
    lit_b1 = total_b1 > 0.0
    total_b1 = ops.where(lit_b1, total_b1, 1.0)
    lit_bz = ops.logical_and(layer_bz > _LEAST_SHARE * total_b1, lit_b1)
    layer_bz = ops.where(lit_bz, layer_bz, 1.0)

    x_bz = ops.sum(xz_bxz * x_x[None, :, None], axis=1)
    y_bz = ops.sum(yz_byz * y_y[None, :, None], axis=1)
    energy_bz = ops.sum(xz_bxz, axis=1)
    dx_bz = x_bz / layer_bz - ops.sum(x_bz, axis=1, keepdims=True) / total_b1
    dy_bz = y_bz / layer_bz - ops.sum(y_bz, axis=1, keepdims=True) / total_b1
    dz_bz = z_z[None, :] - ops.sum(energy_bz * z_z[None, :], axis=1, keepdims=True) / total_b1

    least = _LEAST_SQUARED * pitch_z**2
    distance_bz = ops.sqrt(ops.maximum(dx_bz**2 + dz_bz**2, least))
    slope_bz = ops.where(dz_bz < 0.0, -1.0, 1.0) * dy_bz / distance_bz
    angle_bz = math.pi / 2 - ops.arctan(slope_bz)

    weight_bz = ops.where(lit_bz, z_z[None, :], 0.0)
    weights_b1 = ops.sum(weight_bz, axis=1, keepdims=True)
    weights_b1 = ops.where(weights_b1 > 0.0, weights_b1, 1.0)
    mean_b1 = ops.sum(ops.where(lit_bz, angle_bz, 0.0) * weight_bz, axis=1, keepdims=True)
    return ops.where(lit_b1, mean_b1 / weights_b1, math.pi / 2)


def count_in_bins(images_bxyz: Any) -> Any:
    """Numbers of cells of showers (B, x, y, layer) in GeV in 8 bins of energy: (B, 8).

    From the highest energies to the lowest, published: above the last of `BIN_EDGES_GEV`, between
    them, below the first, and 0. They are steps of the energies: no gradient goes through them.
    """
    above = [
        ops.sum(ops.cast(images_bxyz > edge, "float32"), axis=(1, 2, 3))
        for edge in (0.0, *BIN_EDGES_GEV)
    ]
    cells = float(math.prod(images_bxyz.shape[1:]))
    lower = [cells - above[0]]
    lower += [below - here for below, here in itertools.pairwise(above)]
    return ops.stack([above[-1], *reversed(lower)], axis=1)


@keras.saving.register_keras_serializable(package="gan3d")
class BarycentreAngle(keras.layers.Layer):
    """`measure_angle` of images (B, x, y, layer, 1) in GeV: (B, 1), rad."""

    def __init__(self, cell_size: Sequence[float] = (1.0, 1.0, 1.0), **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.cell_size = tuple(cell_size)

    def call(self, images_bxyzc: Any) -> Any:
        """Measure the angles."""
        return measure_angle(images_bxyzc[..., 0], self.cell_size)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """(B, x, y, layer, 1) -> (B, 1)."""
        return (input_shape[0], 1)

    def get_config(self) -> dict[str, Any]:
        """What the layer is made of."""
        return {**super().get_config(), "cell_size": self.cell_size}


@keras.saving.register_keras_serializable(package="gan3d")
class CellCounts(keras.layers.Layer):
    """`count_in_bins` of images (B, x, y, layer, 1) in GeV: (B, 8)."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, images_bxyzc: Any) -> Any:
        """Count the cells."""
        return count_in_bins(images_bxyzc[..., 0])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """(B, x, y, layer, 1) -> (B, 8)."""
        return (input_shape[0], len(BIN_EDGES_GEV) + 2)

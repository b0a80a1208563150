"""The polar angle as the cells show it: the barycentre method of the 3DGAN data sets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gan3d.data.sparse import SparseShowers

Array = NDArray[np.float64]

_TINY_MM = 1e-9


def measured_theta(showers: SparseShowers, cell_size_mm: tuple[float, float, float]) -> Array:
    """Return the polar angle (rad, shape (N,)) that each shower's cells show; NaN if it has none.

    With (X, Y, Z) the energy-weighted barycentre of all cells and (x, y) that of the layer at z,
    each layer gives π/2 - atan((y - Y)/d), where d = ± sqrt((x - X)² + (z - Z)²) with the sign of
    z - Z. The result is the mean over the layers that have energy, weighted by z: `mtheta` of the
    variable-angle files of 3DGAN (its `measPython`), to a few hundredths of a degree.
    """
    nx, ny, layers = showers.image_shape
    x_h, y_h, layer_h = np.unravel_index(showers.cell_h.astype(np.int64), (nx, ny, layers))
    row_h = showers.shower_h * layers + layer_h
    deposit_h = showers.deposit_h.astype(np.float64)

    def per_layer(weight_h: Array) -> Array:
        sums = np.bincount(row_h, weight_h, minlength=len(showers) * layers)
        return sums.reshape(-1, layers).astype(np.float64)

    energy_nz = per_layer(deposit_h)
    x_sum_nz = per_layer(deposit_h * (x_h + 0.5) * cell_size_mm[0])
    y_sum_nz = per_layer(deposit_h * (y_h + 0.5) * cell_size_mm[1])
    z_z = (np.arange(layers) + 0.5) * cell_size_mm[2]
    with np.errstate(invalid="ignore", divide="ignore"):  # layers, or showers, without energy
        total_n1 = energy_nz.sum(axis=1, keepdims=True)
        dx_nz = x_sum_nz / energy_nz - x_sum_nz.sum(axis=1, keepdims=True) / total_n1
        dy_nz = y_sum_nz / energy_nz - y_sum_nz.sum(axis=1, keepdims=True) / total_n1
        dz_nz = z_z - (energy_nz * z_z).sum(axis=1, keepdims=True) / total_n1
        # A layer with the barycentre of all in it shows no angle: 0/tiny, not 0/0.
        distance_nz = np.copysign(np.maximum(np.hypot(dx_nz, dz_nz), _TINY_MM), dz_nz)
        angle_nz = np.pi / 2 - np.arctan(dy_nz / distance_nz)
        weight_nz = np.where(energy_nz > 0, z_z, 0.0)
        angle_nz = np.where(energy_nz > 0, angle_nz, 0.0)
        return np.asarray((angle_nz * weight_nz).sum(axis=1) / weight_nz.sum(axis=1))

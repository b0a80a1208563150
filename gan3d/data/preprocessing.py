"""From the showers of a file to those that the networks see.

The threshold is applied where a file is read; here follow the model's grid and the scale of the
cell energies. Both work on lists of lit cells, whole blocks at a time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import CellScale
from gan3d.data.showers import Showers
from gan3d.data.sparse import Shape, SparseShowers, cell_dtype, from_images


def to_grid(showers: SparseShowers, shape: Shape) -> SparseShowers:
    """Crop or pad the images to `shape`: around the centre in x and y, at the back in the layers.

    The middle cell of an odd number stays the middle cell of another odd number.
    """
    if showers.image_shape == shape:
        return showers
    renumbered_h = _renumbering(showers.image_shape, shape)[showers.cell_h]
    inside_h = renumbered_h >= 0
    kept = showers.where(inside_h)
    return SparseShowers(
        shape,
        kept.offset_n1,
        renumbered_h[inside_h].astype(cell_dtype(shape)),
        kept.deposit_h,
        kept.energy_n,
        kept.columns,
    )


def regrid(showers: Showers, shape: Shape) -> Showers:
    """Crop or pad images as `to_grid` does lists of cells."""
    if showers.image_shape == shape:
        return showers
    cells = from_images(showers.images_nxyz, showers.energy_n, showers.columns)
    return to_grid(cells, shape).dense()


def to_scale(showers: SparseShowers, scale: CellScale) -> SparseShowers:
    """Take the cell energies (GeV) to the scale that networks see."""
    if scale.plain:
        return showers
    return showers.with_deposits(scale.seen(showers.deposit_h))


@lru_cache(maxsize=8)
def _renumbering(shape: Shape, target: Shape) -> NDArray[np.int64]:
    """The number in `target` of each cell of `shape`; -1 where it lies outside."""
    axes: list[NDArray[Any]] = []
    for axis, (cells, wanted) in enumerate(zip(shape, target, strict=True)):
        # Half a cell that cannot be shared goes to the front when cropping and padding alike, so
        # that cropping undoes padding.
        shift = (
            0
            if axis == 2
            else -((cells - wanted) // 2)
            if cells > wanted
            else ((wanted - cells) // 2)
        )
        axes.append(np.arange(cells) + shift)
    x, y, layer = np.meshgrid(*axes, indexing="ij")
    outside = np.zeros(shape, bool)
    for index, wanted in zip((x, y, layer), target, strict=True):
        outside |= (index < 0) | (index >= wanted)
    number = (x * target[1] + y) * target[2] + layer
    return np.where(outside, -1, number).reshape(-1)

"""The Fast Calorimeter Challenge's layout.

`incident_energies` (N, 1) and `showers` (N, cells), both in MeV. The cells of a shower are those of
cylinders around the particle's direction, flattened with the radial bins running fastest, then the
angular bins, then the layers (https://calochallenge.github.io/homepage/, "Datasets"). As an image
they are (x, y, layer) = (angle, radius, layer).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gan3d.data.chunks import StoredCells
from gan3d.data.hdf5 import Hdf5File, Hdf5Output, check_rows, find_dataset
from gan3d.data.new_file import NewFile
from gan3d.data.sparse import Shape, SparseShowers
from gan3d.errors import DataError

MEV = 1e-3
"""The layout's unit, GeV."""

SHAPES: dict[int, Shape] = {6480: (16, 9, 45), 40500: (50, 18, 45)}
"""Bins in (angle, radius, layer) of the Challenge's data sets 2 and 3, by their number of cells."""

CHALLENGE_CELL_SIZES_MM: dict[Shape, tuple[None, float, float]] = {
    (16, 9, 45): (None, 4.65, 3.4),
    (50, 18, 45): (None, 2.325, 3.4),
}
"""Their pitch in radius and layer (mm): the Challenge's `binning_dataset_*.xml` for the radius; a
layer is two of 1.4 mm tungsten and 0.3 mm silicon (arXiv:2410.21611)."""


class ChallengeFile(Hdf5File):
    """A file of the Fast Calorimeter Challenge with the same bins in every layer."""

    layout = "challenge"
    unit_gev = MEV

    def __init__(self, path: Path, file: h5py.File, shape: Shape | None = None) -> None:
        """Take over the open `file` at `path`.

        `shape` is needed where `SHAPES` does not know the number of cells. Raises DataError if it
        is missing or does not fit, or the file is not sound.
        """
        cells = find_dataset(file, path, "showers")
        if cells.shape is None or len(cells.shape) != 2 or cells.shape[1] == 0:
            raise DataError(f"{path}: 'showers' has shape {cells.shape}, expected (N, cells)")
        self._energy = find_dataset(file, path, "incident_energies")
        check_rows(self._energy, path, cells)
        super().__init__(path, file, cells, own=("showers", "incident_energies"))
        image_shape = _find_shape(path, cells, shape)
        self._store(StoredCells(path, cells, image_cells(image_shape)), image_shape)

    def read_energies(self, first: int, stop: int) -> NDArray[np.float32]:
        """See `ShowerFile`."""
        return self._read_single(self._energy, first, stop)[:, 0]

    def read_columns(self, first: int, stop: int) -> dict[str, NDArray[Any]]:
        """See `ShowerFile`."""
        return self._read_further(first, stop)


def image_cells(shape: Shape) -> NDArray[np.int64]:
    """Return the number in an image of `shape` of each stored cell, shape (cells,)."""
    cell_arl = np.arange(math.prod(shape)).reshape(shape)
    return cell_arl.transpose(2, 0, 1).reshape(-1)


def stored_cells(shape: Shape) -> NDArray[np.int64]:
    """Return the stored number of each cell of an image of `shape`, shape (cells,)."""
    angles, radii, layers = shape
    cell_lar = np.arange(math.prod(shape)).reshape(layers, angles, radii)
    return cell_lar.transpose(1, 2, 0).reshape(-1)


def write_challenge(groups: Iterable[SparseShowers], new: NewFile) -> None:
    """Write `groups` of showers, in MeV, each as a chunk; see `writer.write_showers`."""
    with Hdf5Output(new) as output:
        for showers in groups:
            shape = showers.image_shape
            rows = {"incident_energies": showers.energy_n[:, None], **showers.columns}
            notes: dict[str, dict[str, Any]] = {
                "incident_energies": {"unit": "MeV"},
                "showers": {
                    "unit": "MeV",
                    "axes": "shower, layer × angle × radius",
                    "image_shape": shape,
                },
            }
            output.append("showers", showers, rows, notes, stored_cells(shape))


def _find_shape(path: Path, cells: h5py.Dataset, shape: Shape | None) -> Shape:
    count = cells.shape[1]
    noted = _noted_shape(path, cells)  # gan3d's own files say it
    # A known number of cells before what is asked for: to take one order of axes for another would
    # go unnoticed.
    found = noted or SHAPES.get(count) or shape
    if found is None:
        known = ", ".join(f"{'×'.join(map(str, known))} = {n}" for n, known in SHAPES.items())
        raise DataError(
            f"{path}: 'showers' has {count} cells, which is no known grid ({known}): set "
            "data.geometry.shape (gan3d data: --shape) to its bins in (angle, radius, layer)"
        )
    if math.prod(found) != count:
        product = "×".join(map(str, found))
        raise DataError(
            f"{path}: 'showers' has {count} cells, expected {product} = {math.prod(found)}: "
            "data.geometry.shape (gan3d data: --shape) must be its bins in (angle, radius, layer)"
        )
    return found


def _noted_shape(path: Path, cells: h5py.Dataset) -> Shape | None:
    """Return the bins that the file says it has. Raises DataError if it cannot have these."""
    noted = cells.attrs.get("image_shape")
    if noted is None:
        return None
    numbers = np.asarray(noted)
    integers = numbers.dtype.kind in "iu" and numbers.shape == (3,) and (numbers > 0).all()
    if not integers or math.prod(numbers.tolist()) != cells.shape[1]:
        raise DataError(
            f"{path}: 'showers' has {cells.shape[1]} cells, but its attribute 'image_shape' says "
            f"{noted}: the file is damaged; write it again"
        )
    angles, radii, layers = map(int, numbers.tolist())
    return angles, radii, layers

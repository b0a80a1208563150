"""Showers as lists of the cells that have energy: how they travel from file to batch.

An electromagnetic shower lights a few per cent of a calorimeter's cells, so this takes about a
fifteenth of the memory of the images, and thresholds, powers, cropping and padding touch only the
cells that there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Images
from gan3d.data.showers import Showers
from gan3d.errors import DataError

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class SparseShowers:
    """N showers with H lit cells in all; every other cell is 0.

    The cells of a shower are in ascending order and none occurs twice.
    """

    image_shape: Shape
    """Cells along (x, y, layer)."""
    offset_n1: NDArray[np.int64]
    """Shape (N + 1,): the cells of shower n are `offset_n1[n]` to `offset_n1[n + 1]` of the next
    two; `offset_n1[0]` is 0."""
    cell_h: NDArray[np.unsignedinteger[Any]]
    """Number of the cell, (x * ny + y) * nlayers + layer, shape (H,), of `cell_dtype`."""
    deposit_h: NDArray[np.float32]
    """Energy deposited in the cell, shape (H,), GeV unless said otherwise."""
    energy_n: NDArray[np.float32]
    """Energy of the incident particle, shape (N,), GeV unless said otherwise."""
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What else the file says of each shower, shape (N,) each; see `showers.COLUMNS`."""

    def __len__(self) -> int:
        return len(self.energy_n)

    @property
    def hits_n(self) -> NDArray[np.int64]:
        """Number of cells of each shower, shape (N,)."""
        return np.diff(self.offset_n1)

    @property
    def shower_h(self) -> NDArray[np.int64]:
        """The shower (from 0) that each cell belongs to, shape (H,)."""
        return np.repeat(np.arange(len(self)), self.hits_n)

    @property
    def place_h(self) -> NDArray[np.int64]:
        """Number of each cell when those of all images are numbered through, shape (H,)."""
        cells = math.prod(self.image_shape)
        place_h: NDArray[np.int64] = np.repeat(np.arange(len(self)) * cells, self.hits_n)
        place_h += self.cell_h
        return place_h

    @property
    def ecal_n(self) -> NDArray[np.float64]:
        """Sum of each shower's cells, shape (N,)."""
        sums: NDArray[np.float64] = np.bincount(
            self.shower_h, weights=self.deposit_h, minlength=len(self)
        ).astype(np.float64)
        return sums

    def take(self, rows: slice | NDArray[np.int64]) -> SparseShowers:
        """Return the showers of `rows`, in that order."""
        wanted = np.arange(len(self))[rows]
        hits_n = self.hits_n[wanted]
        offset_n1 = _offsets(hits_n)
        # Where each cell comes from: the start of its shower plus its place in the shower.
        source_h = np.arange(offset_n1[-1]) + np.repeat(
            self.offset_n1[wanted] - offset_n1[:-1], hits_n
        )
        return SparseShowers(
            self.image_shape,
            offset_n1,
            self.cell_h[source_h],
            self.deposit_h[source_h],
            self.energy_n[wanted],
            {name: values[wanted] for name, values in self.columns.items()},
        )

    def where(self, keep_h: NDArray[np.bool_]) -> SparseShowers:
        """Return the same showers with only the cells that are True in `keep_h`, shape (H,)."""
        if keep_h.all():
            return self
        kept_before = np.concatenate([[0], np.cumsum(keep_h)])
        return SparseShowers(
            self.image_shape,
            kept_before[self.offset_n1],
            self.cell_h[keep_h],
            self.deposit_h[keep_h],
            self.energy_n,
            self.columns,
        )

    def with_deposits(
        self, deposit_h: NDArray[np.float32], energy_n: NDArray[np.float32] | None = None
    ) -> SparseShowers:
        """Return the same cells with other energies (and other incident energies)."""
        energy_n = self.energy_n if energy_n is None else energy_n
        return SparseShowers(
            self.image_shape, self.offset_n1, self.cell_h, deposit_h, energy_n, self.columns
        )

    def misplaced(self) -> int | None:
        """Return the first shower with a cell outside the image, out of order or twice, or None."""
        if not len(self.cell_h):
            return None
        bad_h = self.cell_h >= math.prod(self.image_shape)
        start_n = self.offset_n1[1:-1]
        falling_h = self.cell_h[1:] <= self.cell_h[:-1]
        # From one shower to the next the numbers may fall.
        falling_h[start_n[(start_n > 0) & (start_n < len(bad_h))] - 1] = False
        bad_h[1:] |= falling_h
        if not bad_h.any():
            return None
        return int(np.searchsorted(self.offset_n1, np.argmax(bad_h), side="right")) - 1

    def fill(self, images_nxyz: NDArray[np.float32]) -> None:
        """Write the images into an array (N, x, y, layer) that is all 0."""
        flat = images_nxyz.reshape(len(self), math.prod(self.image_shape))
        for row, (start, stop) in enumerate(
            zip(self.offset_n1[:-1].tolist(), self.offset_n1[1:].tolist(), strict=True)
        ):
            flat[row][self.cell_h[start:stop]] = self.deposit_h[start:stop]

    def dense(self) -> Showers:
        """Return the showers as images."""
        images_nxyz = np.zeros((len(self), *self.image_shape), np.float32)
        self.fill(images_nxyz)
        return Showers(images_nxyz, self.energy_n, self.columns)


def cell_dtype(image_shape: Shape) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the smallest unsigned type that numbers all cells of an image."""
    return np.dtype(np.uint16 if int(np.prod(image_shape)) <= 2**16 else np.uint32)


def from_images(
    images_nxyz: NDArray[np.float32],
    energy_n: NDArray[np.float32],
    columns: Mapping[str, NDArray[Any]] | None = None,
) -> SparseShowers:
    """Return images (N, x, y, layer) as lists of their cells that are not 0 (NaN is not 0)."""
    x, y, layers = images_nxyz.shape[1:]
    flat = np.ascontiguousarray(images_nxyz).reshape(-1)
    place_h = np.flatnonzero(flat != 0)
    deposit_h = flat[place_h].astype(np.float32, copy=False)
    return from_places(place_h, deposit_h, (x, y, layers), energy_n, columns)


def from_places(
    place_h: NDArray[np.int64],
    deposit_h: NDArray[np.float32],
    image_shape: Shape,
    energy_n: NDArray[np.float32],
    columns: Mapping[str, NDArray[Any]] | None = None,
) -> SparseShowers:
    """Return the showers whose lit cells are at ascending `place_h`, shape (H,).

    The cells of all images are numbered through: a place is shower * cells of an image + cell.
    """
    first_n1 = np.arange(len(energy_n) + 1) * math.prod(image_shape)
    offset_n1 = np.searchsorted(place_h, first_n1).astype(np.int64, copy=False)
    cell_h = place_h - np.repeat(first_n1[:-1], np.diff(offset_n1))
    return SparseShowers(
        image_shape,
        offset_n1,
        cell_h.astype(cell_dtype(image_shape)),
        deposit_h,
        energy_n,
        columns or {},
    )


def join(parts: Sequence[SparseShowers]) -> SparseShowers:
    """Return the showers of all `parts` (at least one) as one.

    Columns that not all parts have are left out. Raises DataError if the image shapes differ.
    """
    shapes = {part.image_shape for part in parts}
    if len(shapes) != 1:
        raise DataError(f"showers to join have images of different shapes: {sorted(shapes)}")
    names = [name for name in parts[0].columns if all(name in part.columns for part in parts)]
    return SparseShowers(
        parts[0].image_shape,
        _offsets(np.concatenate([part.hits_n for part in parts])),
        np.concatenate([part.cell_h for part in parts]),
        np.concatenate([part.deposit_h for part in parts]),
        np.concatenate([part.energy_n for part in parts]),
        {name: np.concatenate([part.columns[name] for part in parts]) for name in names},
    )


def join_images(images: Sequence[SparseShowers]) -> SparseShowers:
    """Return several images of the same N showers as one: their cells one after the other.

    Its shape is (cells, 1, 1), see `gan3d.config.images`; energies and columns are those of the
    first.
    """
    cells = [math.prod(image.image_shape) for image in images]
    shape = sum(cells), 1, 1
    offset_n1 = np.sum([image.offset_n1 for image in images], axis=0)
    cell_h = np.empty(offset_n1[-1], cell_dtype(shape))
    deposit_h = np.empty(offset_n1[-1], np.float32)
    # Of each shower the cells of this image come after those of the images before it.
    start_n, first = offset_n1[:-1].copy(), 0
    for image, count in zip(images, cells, strict=True):
        place_h = np.arange(len(image.cell_h))
        place_h += np.repeat(start_n - image.offset_n1[:-1], image.hits_n)
        cell_h[place_h] = image.cell_h.astype(np.int64) + first
        deposit_h[place_h] = image.deposit_h
        start_n += image.hits_n
        first += count
    whole = images[0]
    return SparseShowers(shape, offset_n1, cell_h, deposit_h, whole.energy_n, whole.columns)


def split_images(showers: SparseShowers, images: Images) -> dict[str, SparseShowers]:
    """Return each image of showers that `join_images` joined, by its name."""
    if images.single:
        return dict.fromkeys(images.shapes, showers)
    found = {}
    for name, cells in images.cells.items():
        shape = images.shapes[name]
        own = showers.where((showers.cell_h >= cells.start) & (showers.cell_h < cells.stop))
        cell_h = (own.cell_h.astype(np.int64) - cells.start).astype(cell_dtype(shape))
        found[name] = replace(own, image_shape=shape, cell_h=cell_h)
    return found


def _offsets(hits_n: Iterable[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    counts = np.asarray(hits_n, np.int64)
    offset_n1 = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offset_n1[1:])
    return offset_n1

"""The cells in an HDF5 dataset, decompressed outside HDF5's lock; and into its chunks.

HDF5 lets one thread at a time into its library and decompresses there, so threads that read through
it do not run in parallel. Here only the raw chunk is taken from it. Inflating (libdeflate) and all
that follows are calls on whole chunks that let other threads run.

The byte shuffle stores a chunk as planes: the first bytes of all cells, then the second bytes, ...
A cell is lit where any plane is not 0, and only the bytes of lit cells are put together again:
images are never built. Chunks are read in this way if they hold IEEE numbers of 4 or 8 bytes,
filtered by nothing but shuffle and gzip. All else is read by HDF5, in one thread at a time, with
the same result.
"""

from __future__ import annotations

import errno
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import deflate
import h5py
import numpy as np
from numpy.typing import NDArray

from gan3d.data.sparse import SparseShowers
from gan3d.errors import DataError

Lit = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Places (see `sparse.from_places`) and energies of lit cells, shape (H,) each."""

HDF5_FAULTS = (OSError, RuntimeError, ValueError, KeyError, TypeError)
"""What h5py raises where HDF5 stumbles over a damaged file, or this node is short of something: see
`is_shortage`."""


class StoredCells:
    """A dataset (N, ...) of cell energies; several threads may read from it at once."""

    def __init__(
        self, path: Path, dataset: h5py.Dataset, image_cell_c: NDArray[np.int64] | None = None
    ) -> None:
        """Look at how `dataset` of the file `path` is stored.

        `image_cell_c` (cells,) has the number in the image of each stored cell; None: its own.
        Raises DataError for a compression that is not installed.
        """
        self._path = path
        self._dataset = dataset
        self._image_cell_c = image_cell_c
        self._shape: tuple[int, ...] = dataset.shape
        self._chunk: tuple[int, ...] = dataset.chunks or (1, *dataset.shape[1:])
        self._dtype: np.dtype[Any] = dataset.dtype
        filters = _filters(dataset)
        for code, _, name in filters:
            if not h5py.h5z.filter_avail(code):
                raise DataError(
                    f"{path}: '{dataset.name.strip('/')}' is stored with the HDF5 filter {name}, "
                    "which is not installed; rewrite the file with `h5repack -f GZIP=4`"
                )
        self._pipeline = _pipeline(dataset, [code for code, _, _ in filters])
        self.chunk_rows = self._chunk[0]
        """Showers that are stored together."""
        self.storage = _describe(dataset, filters, by_hdf5=self._pipeline is None)
        """Compression and chunks, for people."""

    def read(self, first: int, stop: int) -> Lit:
        """Return the cells that are not 0 of showers `first` to `stop`, by ascending place.

        Double precision is rounded. Raises DataError, naming file and showers, where it is damaged.
        """
        if self._pipeline is None:
            return self._read_images(first, stop)
        parts = (self._read_chunk(origin, first, stop) for origin in self._origins(first, stop))
        found = [(np.empty(0, np.int64), np.empty(0, np.float32)), *parts]
        place_h, deposit_h = (np.concatenate(each) for each in zip(*found, strict=True))
        if self._in_order:
            return place_h, deposit_h
        order_h = _ascending(place_h, self._cells)
        return place_h[order_h], deposit_h[order_h]

    @property
    def _cells(self) -> int:
        return math.prod(self._shape[1:])

    @property
    def _in_order(self) -> bool:
        """Whether chunks hold whole images, cell by cell."""
        return self._image_cell_c is None and self._chunk[1:] == self._shape[1:]

    def _read_images(self, first: int, stop: int) -> Lit:
        image_nc = np.empty((stop - first, *self._shape[1:]), np.float32)
        try:
            self._dataset.read_direct(image_nc, np.s_[first:stop])
        except HDF5_FAULTS as error:
            if is_shortage(error):
                raise
            raise self._damaged(first, stop, error) from error
        if self._image_cell_c is not None:
            stored_nc = image_nc.reshape(-1, self._cells)
            image_nc = np.empty_like(stored_nc)
            image_nc[:, self._image_cell_c] = stored_nc
        return _find_lit(image_nc.reshape(-1))

    def _corners(self) -> Iterator[tuple[int, ...]]:
        """Where chunks begin along the axes of the cells."""
        lengths = zip(self._shape[1:], self._chunk[1:], strict=True)
        return itertools.product(*(range(0, n, step) for n, step in lengths))

    def _origins(self, first: int, stop: int) -> list[tuple[int, ...]]:
        """The chunks with cells of showers `first` to `stop`; those never written hold zeros."""
        rows = range(first // self.chunk_rows * self.chunk_rows, stop, self.chunk_rows)
        origins = [(row, *corner) for row in rows for corner in self._corners()]
        return [origin for origin in origins if self._written is None or origin in self._written]

    @cached_property
    def _image_cells(self) -> dict[tuple[int, ...], NDArray[np.int64]]:
        """The number in the image of each cell of a chunk, by the chunk's corner; outside: -1."""
        number_c = np.arange(self._cells) if self._image_cell_c is None else self._image_cell_c
        number_c = number_c.reshape(self._shape[1:])
        tables = {}
        for corner in self._corners():
            lengths = zip(corner, self._chunk[1:], strict=True)
            inside = number_c[tuple(slice(start, start + step) for start, step in lengths)]
            table = np.full(self._chunk[1:], -1, np.int64)
            table[tuple(slice(n) for n in inside.shape)] = inside
            tables[corner] = table.reshape(-1)
        return tables

    @cached_property
    def _written(self) -> frozenset[tuple[int, ...]] | None:
        """The chunks that the file has; None if it has all."""
        grid = (-(-n // step) for n, step in zip(self._shape, self._chunk, strict=True))
        written: set[tuple[int, ...]] = set()
        try:
            if self._dataset.id.get_num_chunks() == math.prod(grid):
                return None
            self._dataset.id.chunk_iter(lambda info: written.add(info.chunk_offset))
        except HDF5_FAULTS as error:
            if is_shortage(error):
                raise
            raise self._damaged(0, self._shape[0], error) from error
        return frozenset(written)

    def _read_chunk(self, origin: tuple[int, ...], first: int, stop: int) -> Lit:
        """Return the lit cells of showers `first` to `stop` in the chunk at `origin`."""
        cells = math.prod(self._chunk[1:])
        low = max(first - origin[0], 0)
        high = min(stop - origin[0], self.chunk_rows)
        place_h, deposit_h = self._lit(origin, low * cells, high * cells)
        if not self._in_order:
            row_h = place_h // cells
            cell_h = self._image_cells[origin[1:]][place_h - row_h * cells]
            place_h = row_h * self._cells + cell_h
            outside_h = cell_h < 0
            if outside_h.any():
                place_h, deposit_h = place_h[~outside_h], deposit_h[~outside_h]
        start = (origin[0] + low - first) * self._cells
        return (place_h + start if start else place_h), deposit_h

    def _lit(self, origin: tuple[int, ...], low: int, high: int) -> Lit:
        """Return the lit ones of the values `low` to `high` of a chunk, counted from `low`."""
        content, shuffled = self._inflate(origin)
        size = self._dtype.itemsize
        if shuffled:
            plane_bc = np.frombuffer(content, np.uint8).reshape(size, -1)[:, low:high]
            lit_h = np.flatnonzero(np.bitwise_or.reduce(plane_bc, axis=0) != 0)
            byte_hb = np.empty((len(lit_h), size), np.uint8)
            for byte, plane_c in enumerate(plane_bc):
                byte_hb[:, byte] = plane_c[lit_h]
            value_h = byte_hb.view(self._dtype)[:, 0]
        else:
            value_c = np.frombuffer(content, self._dtype)[low:high]
            lit_h = np.flatnonzero(value_c.view(f"u{size}") != 0)
            value_h = value_c[lit_h]
        with np.errstate(over="ignore"):  # the infinity is reported with its shower
            deposit_h = value_h.astype(np.float32)
        if not deposit_h.all():  # -0.0, or a double that is 0 in single precision
            kept_h = deposit_h != 0
            lit_h, deposit_h = lit_h[kept_h], deposit_h[kept_h]
        return lit_h, deposit_h

    def _inflate(self, origin: tuple[int, ...]) -> tuple[bytes | bytearray, bool]:
        """Return the content of the chunk at `origin`, and whether its bytes are shuffled."""
        assert self._pipeline is not None
        size = math.prod(self._chunk) * self._dtype.itemsize
        rows = origin[0], min(origin[0] + self.chunk_rows, self._shape[0])
        try:
            skipped, content = self._dataset.id.read_direct_chunk(origin)
            if self._pipeline.gzip and not skipped & self._pipeline.gzip:
                content = deflate.zlib_decompress(content, size)
        except MemoryError as error:
            # It may also be the length of the chunk that is damaged.
            stored = self._dataset.id.get_chunk_info_by_coord(origin).size
            if stored <= self._path.stat().st_size:
                raise
            raise self._damaged(*rows, f"a chunk would have {stored} bytes") from error
        except (*HDF5_FAULTS, deflate.DeflateError) as error:
            if is_shortage(error):
                raise
            raise self._damaged(*rows, error) from error
        if len(content) != size:
            raise self._damaged(*rows, f"a chunk has {len(content)} bytes instead of {size}")
        return content, bool(self._pipeline.shuffle and not skipped & self._pipeline.shuffle)

    def _damaged(self, first: int, stop: int, reason: Exception | str) -> DataError:
        return DataError(
            f"{self._path}: showers {first} to {stop - 1} cannot be read, the file is damaged "
            f"({one_line(reason)})"
        )


def _find_lit(image_c: NDArray[np.float32]) -> Lit:
    place_h = np.flatnonzero(image_c != 0)
    return place_h, image_c[place_h]


def _ascending(place_h: NDArray[np.int64], cells: int) -> NDArray[np.int64]:
    """Return the order in which `place_h` ascends, for images of `cells` cells."""
    shower_h, cell_h = np.divmod(place_h, cells)
    if max(cells, int(shower_h.max(initial=0)) + 1) > 2**16:
        return np.argsort(place_h, kind="stable")
    # Twice by 16 bits, which NumPy sorts by radix: four times as fast as once by 64.
    by_cell_h = np.argsort(cell_h.astype(np.uint16), kind="stable")
    return by_cell_h[np.argsort(shower_h[by_cell_h].astype(np.uint16), kind="stable")]


def pack_chunk(
    showers: SparseShowers, rows: int, level: int, stored_cell_c: NDArray[np.int64] | None = None
) -> bytearray:
    """Return `showers` as a chunk of `rows` images, in single precision, shuffled and gzipped.

    Rows beyond the showers are 0. `level` is that of gzip, 0 to 9. `stored_cell_c` (cells,) has the
    number in the file of each cell of the image; None: its own.
    """
    cells = math.prod(showers.image_shape)
    place_h = showers.place_h
    if stored_cell_c is not None:
        place_h += stored_cell_c[showers.cell_h] - showers.cell_h
    byte_hb = showers.deposit_h.astype("<f4").view(np.uint8).reshape(-1, 4)
    plane_bc = np.zeros((4, rows * cells), np.uint8)
    for byte, plane_c in enumerate(plane_bc):
        plane_c[place_h] = byte_hb[:, byte]
    packed: bytearray = deflate.zlib_compress(plane_bc, level)
    return packed


def is_shortage(error: Exception) -> bool:
    """Whether `error` says that this node is short of memory or of files that may be open.

    No file is to blame for that: what a damaged one would bring must not come of it.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return True
    # HDF5's own words where it gets no memory; h5py raises an OSError without a number for them.
    return isinstance(error, MemoryError) or "memory allocation failed" in str(error)


def one_line(reason: Exception | str) -> str:
    """Return what `reason` says, on one line."""
    return " ".join(str(reason).split()) or type(reason).__name__


@dataclass(frozen=True)
class _Pipeline:
    """The filters of chunks that are read past HDF5: their bits in a chunk's filter mask, or 0."""

    shuffle: int
    gzip: int


def _pipeline(dataset: h5py.Dataset, codes: list[int]) -> _Pipeline | None:
    """Return the filters of `dataset` if its chunks can be read past HDF5."""
    known = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE)
    readable = (
        dataset.chunks is not None
        and codes == [code for code in known if code in codes]
        and dataset.dtype.itemsize in (4, 8)
        and dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype)
        and dataset.fillvalue == 0
    )
    if not readable:
        return None
    shuffle, gzip = (1 << codes.index(code) if code in codes else 0 for code in known)
    return _Pipeline(shuffle, gzip)


def _filters(dataset: h5py.Dataset) -> list[tuple[int, tuple[int, ...], str]]:
    """Return (code, parameters, name) of the filters of `dataset`, as they are applied."""
    creation = dataset.id.get_create_plist()
    filters = (creation.get_filter(number) for number in range(creation.get_nfilters()))
    return [
        (code, values, name.decode(errors="replace") or str(code))
        for code, _, values, name in filters
    ]


def _describe(
    dataset: h5py.Dataset, filters: list[tuple[int, tuple[int, ...], str]], *, by_hdf5: bool
) -> str:
    names = [
        f"gzip {values[0]}" if code == h5py.h5z.FILTER_DEFLATE else name
        for code, values, name in reversed(filters)
    ] or ["uncompressed"]
    if dataset.chunks is None:
        return ", ".join([*names, "contiguous"])
    whole = dataset.chunks[1:] == dataset.shape[1:]
    chunks = str(dataset.chunks[0]) if whole else "×".join(str(n) for n in dataset.chunks)
    parts = [*names, f"chunks {'of ' if whole else ''}{chunks}"]
    return ", ".join([*parts, "read by HDF5 alone"] if by_hdf5 else parts)

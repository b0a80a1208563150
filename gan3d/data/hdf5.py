"""What the HDF5 layouts have in common: a dataset of cells, and others with a number a shower."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from gan3d.data.chunks import HDF5_FAULTS, StoredCells, is_shortage, one_line, pack_chunk
from gan3d.data.new_file import NewFile, Sink, held_signals
from gan3d.data.shower_file import ShowerFile
from gan3d.data.showers import known_particles
from gan3d.data.sparse import Shape, SparseShowers, from_places
from gan3d.errors import DataError

RESERVED = ("ECAL", "target", "energy", "showers", "incident_energies", "cell", "deposit")
"""Names that the layouts have for their own, so that no further column can have them."""


def open_hdf5(path: Path) -> h5py.File:
    """Open `path` for reading. Raises DataError if HDF5 cannot."""
    try:
        return h5py.File(path, "r", locking="best-effort")
    except HDF5_FAULTS as error:
        if is_shortage(error):
            raise
        raise DataError(
            f"{path}: HDF5 cannot open it, probably truncated or damaged ({one_line(error)})"
        ) from error


@contextmanager
def faults_named(path: Path) -> Iterator[None]:
    """Turn what h5py raises on a damaged file into a DataError that names it."""
    try:
        yield
    except HDF5_FAULTS as error:
        if is_shortage(error):
            raise
        raise DataError(f"{path}: cannot be read, damaged ({one_line(error)})") from error


class Hdf5File(ShowerFile):
    """An HDF5 file of showers; compressed or not, chunked or contiguous."""

    def __init__(
        self,
        path: Path,
        file: h5py.File,
        cells: h5py.Dataset,
        *,
        own: Collection[str],
        said: Collection[str] = (),
    ) -> None:
        """Take over the open `file` at `path`, in which `cells` (N, ...) are the energies.

        Datasets with a number a shower become columns, but for the layout's `own` and for what is
        `said` by those.
        """
        self.path = path
        self._file = file
        self.count = len(cells)
        if self.count == 0:
            raise DataError(f"{path}: holds no showers ({_name(cells)} has shape {cells.shape})")
        others = {name: file.get(name) for name in file if name not in own}
        taken = {*RESERVED, *said}
        self._columns = {
            name: item
            for name, item in others.items()
            if name not in taken and _is_column(item, self.count)
        }
        self.left_out = tuple(name for name in others if name not in self._columns)
        mine = (file.get(name) for name in own)
        self.double = any(
            isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and item.dtype.itemsize > 4
            for item in mine
        )
        size = cells.attrs.get("cell_size_mm")
        if size is not None and np.shape(size) == (3,):
            self.cell_size_mm = (float(size[0]), float(size[1]), float(size[2]))

    def _store(self, cells: StoredCells, image_shape: Shape) -> None:
        self._cells = cells
        self.image_shape = image_shape
        self.chunk_rows = cells.chunk_rows
        self.storage = cells.storage

    def read_cells(self, first: int, stop: int) -> SparseShowers:
        """See `ShowerFile`."""
        energy_n = self.read_energies(first, stop)
        columns = self.read_columns(first, stop)
        place_h, deposit_h = self._cells.read(first, stop)
        return from_places(place_h, deposit_h, self.image_shape, energy_n, columns)

    @cached_property
    def attributes(self) -> Mapping[str, str | int | float]:
        """See `ShowerFile`. Raises DataError where the file is damaged."""
        with faults_named(self.path):
            return {
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in self._file.attrs.items()
                if isinstance(value, str | int | float | np.integer | np.floating)
            }

    @cached_property
    def particles(self) -> tuple[int, ...]:
        """See `ShowerFile`."""
        return known_particles(self.read_columns(0, self.count))

    def close(self) -> None:
        """See `ShowerFile`."""
        self._file.close()

    def _read_further(self, first: int, stop: int) -> dict[str, NDArray[Any]]:
        return {
            name: self._read(dataset, first, stop)[:, 0] for name, dataset in self._columns.items()
        }

    def _read_single(self, dataset: h5py.Dataset, first: int, stop: int) -> NDArray[Any]:
        """Return rows of a small dataset in single precision."""
        with np.errstate(over="ignore"):  # an infinite energy is reported with its shower
            return self._read(dataset, first, stop).astype(np.float32)

    def _read(self, dataset: h5py.Dataset, first: int, stop: int) -> NDArray[Any]:
        """Return rows of a small dataset, shape (N, numbers of a row), in this machine's order."""
        try:
            values = np.asarray(dataset[first:stop])
        except HDF5_FAULTS as error:
            if is_shortage(error):
                raise
            raise DataError(
                f"{self.path}: {_name(dataset)} cannot be read, the file is damaged "
                f"({one_line(error)})"
            ) from error
        values = values.reshape(-1, math.prod(dataset.shape[1:]))
        return values.astype(values.dtype.newbyteorder("="), copy=False)


def find_dataset(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    """Return the dataset `name`. Raises DataError if it is none, or not of floating-point."""
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{path}: '{name}' is not a dataset")
    if dataset.dtype.kind != "f":
        raise DataError(f"{path}: '{name}' holds {dataset.dtype}, expected floating-point numbers")
    return dataset


def check_rows(dataset: h5py.Dataset, path: Path, cells: h5py.Dataset, row: int = 1) -> None:
    """Raise DataError unless `dataset` has `row` numbers for each shower of `cells`."""
    allowed = ((row,), (1, row)) if row > 1 else ((), (1,))
    if dataset.shape is None or not dataset.shape or dataset.shape[1:] not in allowed:
        expected = f"(N, {row}) or (N, 1, {row})" if row > 1 else "(N,) or (N, 1)"
        raise DataError(f"{path}: {_name(dataset)} has shape {dataset.shape}, expected {expected}")
    if len(dataset) != len(cells):
        raise DataError(
            f"{path}: {_name(cells)} holds {len(cells)} showers but {_name(dataset)} {len(dataset)}"
        )


class Hdf5Output:
    """The content of a new HDF5 file, written chunk by chunk. A context manager.

    Raises DataError, naming the file, where the disk is full or fails.
    """

    def __init__(self, new: NewFile) -> None:
        """Begin the file `new`."""
        self._new = new
        self._sink = Sink(new)
        self._rows = 0
        self._file: h5py.File | None = None

    def append(
        self,
        cells: str,
        showers: SparseShowers,
        rows: Mapping[str, NDArray[Any]],
        notes: Mapping[str, Mapping[str, Any]],
        stored_cell_c: NDArray[np.int64] | None = None,
        further: Mapping[str, SparseShowers] = MappingProxyType({}),
    ) -> None:
        """Append `showers`, which fill a chunk, or are the last, to the dataset `cells`.

        `rows` holds what other datasets get, by name, and `notes` the datasets' attributes. With
        `stored_cell_c` (cells,), the number in the file of each cell of the image, a shower is
        stored as one row of its cells. `further` are other images of the same showers, by the names
        of their datasets.
        """
        with held_signals():
            self._append({cells: showers, **further}, rows, notes, stored_cell_c)
        self._sink.check()

    def _append(
        self,
        images: Mapping[str, SparseShowers],
        rows: Mapping[str, NDArray[Any]],
        notes: Mapping[str, Mapping[str, Any]],
        stored_cell_c: NDArray[np.int64] | None,
    ) -> None:
        count = len(next(iter(images.values())))
        if self._file is None:
            # Here, and so inside the context, which closes it whatever signal comes.
            self._file = h5py.File(self._sink, "w")
            self._file.attrs.update(self._new.attributes)
            for name, showers in images.items():
                shape = showers.image_shape if stored_cell_c is None else stored_cell_c.shape
                self._create_cells(self._file, name, shape, min(self._new.chunk_showers, count))
            for name, values in rows.items():
                self._create_rows(self._file, name, values)
            for name in (*images, *rows):
                self._file[name].attrs.update(notes.get(name, {}))
        end = self._rows + count
        for name, showers in images.items():
            dataset = self._file[name]
            dataset.resize(end, axis=0)
            chunk = pack_chunk(showers, dataset.chunks[0], self._new.level, stored_cell_c)
            dataset.id.write_direct_chunk((self._rows, *(0 for _ in dataset.shape[1:])), chunk)
        for name, values in rows.items():
            self._file[name].resize(end, axis=0)
            self._file[name][self._rows : end] = values
        self._rows = end

    def _create_cells(
        self, file: h5py.File, name: str, shape: tuple[int, ...], chunk_rows: int
    ) -> None:
        dataset = file.create_dataset(
            name,
            (0, *shape),
            "<f4",
            maxshape=(None, *shape),
            chunks=(chunk_rows, *shape),
            compression="gzip",
            compression_opts=self._new.level,
            shuffle=True,
        )
        size_mm = self._new.cell_size_mm
        if self._new.geometries is not None:
            size_mm = self._new.geometries[name].pitch
        if size_mm is not None:
            dataset.attrs["cell_size_mm"] = size_mm

    def _create_rows(self, file: h5py.File, name: str, values: NDArray[Any]) -> None:
        row = values.shape[1:]
        file.create_dataset(
            name, (0, *row), values.dtype, maxshape=(None, *row), chunks=(_ROWS, *row)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with held_signals():
            if self._file is not None:
                self._file.close()
            self._sink.__exit__(exception_type, exception, traceback)


def _is_column(item: object, count: int) -> bool:
    return (
        isinstance(item, h5py.Dataset)
        and item.shape in ((count,), (count, 1))
        and item.dtype.kind in "fiub"
    )


def _name(dataset: h5py.Dataset) -> str:
    return f"'{dataset.name.strip('/')}'"


_ROWS = 1024
"""Rows of a chunk of the small datasets."""

"""Parquet shards: showers as lists of lit cells, to divide any number of them among nodes.

A row is a shower: `energy` (float32), the further columns in their own types, `cell` (list of
uint16, or of uint32 for images of more than 65 536 cells: the numbers of the lit cells, ascending,
with the layer running fastest, then y, then x) and `deposit` (list of float32: their energies). The
schema's metadata say the rest, see `Metadata`.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, Field, Json, ValidationError

from gan3d.config import FIRST_IMAGE, Images
from gan3d.data.chunks import is_shortage, one_line
from gan3d.data.new_file import NewFile, Sink, held_signals
from gan3d.data.shower_file import ShowerFile
from gan3d.data.showers import known_particles
from gan3d.data.sparse import SparseShowers, cell_dtype, join, join_images, split_images
from gan3d.errors import DataError

UNITS = {"GeV": 1.0, "MeV": 1e-3}
"""Units of energy, in GeV."""

_PREFIX = "gan3d."
_OWN = {
    "energy": ("float32", (pa.float32(),)),
    "cell": ("lists of uint16 or uint32", (pa.uint16(), pa.uint32())),
    "deposit": ("lists of float32", (pa.float32(),)),
}
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
_LISTS = ("cell", "deposit")
_FAULTS = (pa.ArrowException, OSError, UnicodeDecodeError)

_Length = Annotated[float, Field(gt=0.0)]
_Number = Annotated[int, Field(gt=0)]


class Metadata(BaseModel):
    """The schema's metadata, each under its name after `gan3d.`."""

    format: Literal["1"] = "1"
    """Version of this layout."""
    image_shape: Json[tuple[_Number, _Number, _Number]]
    """Cells along (x, y, layer): a list in JSON."""
    axes: Literal["x, y, layer"]
    """The order of the axes in `image_shape` and in the numbers of the cells."""
    energy_unit: Literal["GeV", "MeV"]
    """Unit of `energy` and `deposit`. Momenta are in GeV always."""
    cell_size_mm: Json[tuple[_Length, _Length, _Length]] | None = None
    """Cell pitch along (x, y, layer) in mm: a list in JSON."""
    images: Json[dict[str, tuple[_Number, _Number, _Number]]] | None = None
    """Where a shower has several images, cells along (x, y, layer) of each by its name, in the
    order in which their cells are numbered: an object in JSON. `image_shape` is then
    [cells of all, 1, 1], and `cell_size_mm` the first one's."""
    cell_sizes_mm: Json[dict[str, tuple[_Length, _Length, _Length]]] = {}
    """Cell pitches (mm) of several images, by their names: an object in JSON."""
    attributes: Json[dict[str, str | int | float]] = {}
    """What else is known of the file: an object in JSON."""


class ParquetFile(ShowerFile):
    """A Parquet shard."""

    layout = "parquet"

    def __init__(self, path: Path, wanted: Sequence[str] = (FIRST_IMAGE,)) -> None:
        """Open and check `path`, of which the images `wanted` are read.

        Raises DataError if it is not a sound shard, or has no such images.
        """
        self.path = path
        self._spare: list[pq.ParquetFile] = []
        self._closed = False
        self._footer: pq.FileMetaData | None = None
        with self._reader() as reader:
            self._footer = footer = reader.metadata
            schema = reader.schema_arrow
        self._metadata = _parse(path, schema.metadata or {})
        self._images = _images_of(path, self._metadata)
        self._wanted = _wanted_of(path, self._images, wanted)
        self.image_shape = self._wanted.shape
        self.images = None if self._wanted.single else self._wanted
        self.unit_gev = UNITS[self._metadata.energy_unit]
        self.cell_size_mm = self._metadata.cell_sizes_mm.get(wanted[0], self._metadata.cell_size_mm)
        self._columns = _check_schema(path, schema)
        self.further_images = tuple(name for name in self._images.shapes if name not in wanted)
        self.left_out = tuple(name for name in schema.names if name not in {*self._columns, *_OWN})
        self.count = footer.num_rows
        if self.count == 0:
            raise DataError(f"{path}: holds no showers")
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        self._start_g1 = np.cumsum([0, *(group.num_rows for group in groups)]).tolist()
        self.chunk_rows = max(group.num_rows for group in groups)
        compression = groups[0].column(0).compression.lower()
        self.storage = f"{compression}, row groups of {self.chunk_rows}"

    def read_energies(self, first: int, stop: int) -> NDArray[np.float32]:
        """See `ShowerFile`."""
        return self._read_column("energy", first, stop)

    def read_cells(self, first: int, stop: int) -> SparseShowers:
        """See `ShowerFile`. Raises DataError for cells that are no cells of the image, too."""
        parts = []
        for group, rows in self._groups(first, stop):
            showers = self._read_showers(group)
            whole = rows == slice(0, len(showers))
            parts.append(showers if whole else showers.take(rows))
        return parts[0] if len(parts) == 1 else join(parts)

    def read_columns(self, first: int, stop: int) -> dict[str, NDArray[Any]]:
        """See `ShowerFile`."""
        return {name: self._read_column(name, first, stop) for name in self._columns}

    @cached_property
    def attributes(self) -> Mapping[str, str | int | float]:
        """See `ShowerFile`."""
        return self._metadata.attributes

    @cached_property
    def particles(self) -> tuple[int, ...]:
        """See `ShowerFile`."""
        if "pdg" not in self._columns:
            return ()
        return known_particles({"pdg": self._read_column("pdg", 0, self.count)})

    def close(self) -> None:
        """See `ShowerFile`."""
        self._closed = True
        while self._spare:
            self._spare.pop().close()

    @contextmanager
    def _reader(self) -> Iterator[pq.ParquetFile]:
        """Lend one of Arrow's readers, each of which is for one thread at a time."""
        if self._closed:
            raise DataError(f"{self.path}: is closed")
        try:
            reader = self._spare.pop() if self._spare else self._open()
        except IndexError:  # another thread was quicker
            reader = self._open()
        yield reader
        self._spare.append(reader)

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path, metadata=self._footer, page_checksum_verification=True)
        except _FAULTS as error:
            if is_shortage(error):
                raise
            raise DataError(
                f"{self.path}: cannot be opened as Parquet, probably truncated or damaged "
                f"({one_line(error)})"
            ) from error

    def _groups(self, first: int, stop: int) -> Iterator[tuple[int, slice]]:
        """Yield the row groups with showers `first` to `stop`, and their rows in each."""
        for group in range(bisect_right(self._start_g1, first) - 1, len(self._start_g1) - 1):
            start, end = self._start_g1[group : group + 2]
            if start >= max(stop, first + 1):
                return
            if start < end:
                yield group, slice(max(first - start, 0), min(stop, end) - start)

    def _read_group(self, group: int, names: Iterable[str]) -> dict[str, pa.Array]:
        try:
            with self._reader() as reader:
                # One thread: the threads are those of the caller.
                table = reader.read_row_group(group, list(names), use_threads=False)
            arrays = {name: table.column(name).combine_chunks() for name in names}
        except _FAULTS as error:
            if is_shortage(error):
                raise
            raise self._damaged(group, one_line(error)) from error
        for name, array in arrays.items():
            if array.null_count or (name in _LISTS and array.values.null_count):
                raise self._damaged(group, f"values of '{name}' are missing")
        return arrays

    def _read_column(self, name: str, first: int, stop: int) -> NDArray[Any]:
        parts = [
            _numbers(self._read_group(group, [name])[name])[rows]
            for group, rows in self._groups(first, stop)
        ]
        return np.concatenate(parts)

    def _read_showers(self, group: int) -> SparseShowers:
        arrays = self._read_group(group, [*_OWN, *self._columns])
        offset_n1 = _numbers(arrays["cell"].offsets)
        if not np.array_equal(offset_n1, _numbers(arrays["deposit"].offsets)):
            raise self._damaged(group, "there are not as many cells as deposits")
        showers = SparseShowers(
            self._metadata.image_shape,
            offset_n1.astype(np.int64),
            _numbers(arrays["cell"].values),
            _numbers(arrays["deposit"].values),
            _numbers(arrays["energy"]),
            {name: _numbers(arrays[name]) for name in self._columns},
        )
        row = showers.misplaced()
        if row is not None:
            raise DataError(
                f"{self.path}: shower {self._start_g1[group] + row}: the numbers of its cells are "
                f"not ascending and below {math.prod(self._metadata.image_shape)}"
            )
        if list(self._wanted.shapes) != list(self._images.shapes):
            parts = split_images(showers, self._images)
            chosen = [parts[name] for name in self._wanted.shapes]
            showers = chosen[0] if len(chosen) == 1 else join_images(chosen)
        cell_h = showers.cell_h.astype(cell_dtype(self.image_shape), copy=False)
        return replace(showers, cell_h=cell_h)

    def _damaged(self, group: int, reason: str) -> DataError:
        first, stop = self._start_g1[group : group + 2]
        return DataError(
            f"{self.path}: showers {first} to {stop - 1} cannot be read, the file is damaged "
            f"({reason})"
        )


def write_parquet(groups: Iterable[SparseShowers], new: NewFile) -> None:
    """Write `groups` of showers, each as a row group; see `writer.write_showers`.

    Cells are coded by their differences and deposits with their bytes in planes, which zstd then
    packs smallest; level 0 leaves it out.
    """
    writer = None
    with Sink(new) as sink:
        try:
            for showers in groups:
                with held_signals():
                    if writer is None:
                        schema = _schema(showers, new)
                        writer = _open_writer(sink, schema, new.level)
                    writer.write_table(_table(showers, schema), row_group_size=len(showers))
                sink.check()
        finally:
            if writer is not None:
                with held_signals():
                    writer.close()


def _open_writer(sink: Sink, schema: pa.Schema, level: int) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd" if level else "none",
        compression_level=level or None,
        use_dictionary=False,
        column_encoding={
            "cell.list.element": "DELTA_BINARY_PACKED",
            "deposit.list.element": "BYTE_STREAM_SPLIT",
        },
        write_statistics=[name for name in schema.names if name not in _LISTS],
        write_page_checksum=True,
    )


def _schema(showers: SparseShowers, new: NewFile) -> pa.Schema:
    metadata = {
        "format": "1",
        "image_shape": json.dumps(showers.image_shape),
        "axes": "x, y, layer",
        "energy_unit": next(name for name, unit in UNITS.items() if unit == new.unit_gev),
        "attributes": json.dumps(dict(new.attributes), default=lambda value: value.item()),
    }
    if new.cell_size_mm is not None:
        metadata["cell_size_mm"] = json.dumps(new.cell_size_mm)
    if new.geometries is not None:
        grids = new.geometries.items()
        metadata["images"] = json.dumps({name: each.shape for name, each in grids})
        metadata["cell_sizes_mm"] = json.dumps({name: each.pitch for name, each in grids})
    fields = [
        ("energy", pa.float32()),
        *((name, pa.from_numpy_dtype(values.dtype)) for name, values in showers.columns.items()),
        ("cell", _list_of(pa.from_numpy_dtype(cell_dtype(showers.image_shape)))),
        ("deposit", _list_of(pa.float32())),
    ]
    return pa.schema(
        [pa.field(name, kind, nullable=False) for name, kind in fields],
        {_PREFIX + name: value for name, value in metadata.items()},
    )


def _list_of(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


def _table(showers: SparseShowers, schema: pa.Schema) -> pa.Table:
    offset = pa.array(showers.offset_n1.astype(np.int32))
    arrays = {
        "energy": showers.energy_n,
        **showers.columns,
        "cell": showers.cell_h.astype(cell_dtype(showers.image_shape), copy=False),
        "deposit": showers.deposit_h,
    }
    return pa.table(
        [
            pa.ListArray.from_arrays(offset, pa.array(values), type=schema.field(name).type)
            if name in _LISTS
            else pa.array(values)
            for name, values in arrays.items()
        ],
        schema=schema,
    )


def _numbers(array: pa.Array) -> NDArray[Any]:
    numbers: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return numbers


def _parse(path: Path, metadata: Mapping[bytes, bytes]) -> Metadata:
    """Return what the metadata say. Raises DataError where they lack or hold the wrong thing."""
    said = {
        name.decode(errors="replace").removeprefix(_PREFIX): value.decode(errors="replace")
        for name, value in metadata.items()
        if name.startswith(_PREFIX.encode())
    }
    try:
        return Metadata.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        name = _PREFIX + str(first["loc"][0])
        raise DataError(
            f"{path}: not a shard of showers: {name} in the schema's metadata: {first['msg']}"
        ) from error


def _images_of(path: Path, metadata: Metadata) -> Images:
    """All images that a shard holds. Raises DataError where they are not its cells."""
    if metadata.images is None:
        return Images({FIRST_IMAGE: metadata.image_shape})
    images = Images(metadata.images)
    if not metadata.images or images.shape != metadata.image_shape:
        raise DataError(
            f"{path}: not a shard of showers: the images {metadata.images} in the schema's "
            f"metadata are not its {metadata.image_shape[0]} cells"
        )
    return images


def _wanted_of(path: Path, images: Images, wanted: Sequence[str]) -> Images:
    missing = [name for name in wanted if name not in images.shapes]
    if missing:
        raise DataError(
            f"{path}: has no image '{missing[0]}' of its showers, but {', '.join(images.shapes)} "
            "(data.further_images names those to be read)"
        )
    return Images({name: images.shapes[name] for name in wanted})


def _check_schema(path: Path, schema: pa.Schema) -> list[str]:
    """Return the names of the further columns. Raises DataError for wrong types of others."""
    for name, (expected, kinds) in _OWN.items():
        found = schema.field(name).type if schema.names.count(name) == 1 else pa.null()
        is_list = pa.types.is_list(found)
        if is_list != (name in _LISTS) or (found.value_type if is_list else found) not in kinds:
            held = "nothing" if pa.types.is_null(found) else found
            raise DataError(f"{path}: the column '{name}' must hold {expected}, it holds {held}")
    return [
        field.name
        for field in schema
        if field.name not in _OWN
        and schema.names.count(field.name) == 1
        and any(is_number(field.type) for is_number in _NUMBERS)
    ]

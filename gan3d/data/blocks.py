"""Rows of surveyed files, read in GeV on the model's grid."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Data
from gan3d.data.formats import open_shower_file
from gan3d.data.preprocessing import to_grid
from gan3d.data.shower_file import ShowerFile
from gan3d.data.sparse import SparseShowers
from gan3d.data.split import Part
from gan3d.data.survey import FileEntry
from gan3d.errors import DataError

# Files that a thread keeps open. Opening an HDF5 file costs a millisecond, an open one 0.7 MB.
_OPEN_FILES = 8


class BlockReader:
    """Reads rows of surveyed files, in GeV on the model's grid. Threads may share it."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._local = threading.local()

    def read(self, entry: FileEntry, rows: NDArray[np.int64]) -> SparseShowers:
        """The showers of ascending `rows`, which lie in one block."""
        first, stop = int(rows[0]), int(rows[-1]) + 1
        _check_same(entry, first, stop)
        file = self._open(entry)
        showers = file.read_sparse(first, stop, threshold_gev=self._data.threshold_gev)
        if len(showers) > len(rows):
            showers = showers.take(rows - first)
        return to_grid(showers, self._data.model_geometry.shape)

    def _open(self, entry: FileEntry) -> ShowerFile:
        files: OrderedDict[Any, ShowerFile] = self._local.__dict__.setdefault(
            "files", OrderedDict()
        )
        file = files.get(entry.path)
        if file is None:
            file = open_shower_file(entry.path, shape=self._data.geometry.shape, check=False)
            if len(files) >= _OPEN_FILES:
                files.popitem(last=False)[1].close()
            files[entry.path] = file
        files.move_to_end(entry.path)
        if file.count != entry.showers:
            raise DataError(
                f"{entry.path}: holds {file.count} showers, it held {entry.showers} when the run "
                "began"
            )
        return file


def _check_same(entry: FileEntry, first: int, stop: int) -> None:
    """Find a file that has gone or changed since the run began, before HDF5 reads nonsense."""
    where = f"{entry.path}: showers {first} to {stop - 1} cannot be read: the file"
    try:
        size = os.stat(entry.path).st_size  # noqa: PTH116 (called for every block)
    except OSError as error:
        raise DataError(
            f"{where} has disappeared since the run began ({error.strerror or error})"
        ) from error
    if size != entry.size_bytes:
        raise DataError(
            f"{where} has changed since the run began ({size} bytes, it had {entry.size_bytes})"
        )


def read_chosen(
    part: Part,
    chosen: Sequence[tuple[int, NDArray[np.int64]]],
    reader: BlockReader,
    data: Data,
) -> Iterator[SparseShowers]:
    """Yield the chosen showers block by block; DataError for those of a wrong unit.

    Blocks that cannot be read are left out where that is asked for.
    """
    for block, rows in chosen:
        entry = part.files[int(part.file_b[block])]
        try:
            showers = reader.read(entry, rows)
        except DataError:
            if data.on_bad_file == "error":
                raise
            continue
        _check_units(showers, entry, rows)
        yield showers


def _check_units(showers: SparseShowers, entry: FileEntry, rows: NDArray[np.int64]) -> None:
    ratio_n = showers.ecal_n / showers.energy_n
    if ratio_n.min() > 1.0:
        raise DataError(
            f"{entry.path}: every shower deposits more than its particle brought "
            f"({np.median(ratio_n):.3g} times, shower {rows[0]} onwards): "
            "cell energies in MeV? They must be in GeV, like the incident energy"
        )

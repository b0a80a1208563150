"""Rows of surveyed files, read in GeV on the model's grid."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Data
from gan3d.data.chunks import is_shortage
from gan3d.data.formats import open_for
from gan3d.data.preprocessing import to_grid
from gan3d.data.shower_file import ShowerFile
from gan3d.data.sparse import SparseShowers
from gan3d.data.split import Part
from gan3d.data.survey import FileEntry
from gan3d.errors import DataError

LARGEST_FRACTION = 1.5
"""A file whose median of ECAL sum / incident energy is above this has its energies in two units;
calibrated calorimeters scatter around 1."""

# Files that a thread keeps open. Blocks come in random order, so that with many files more of them
# would hardly spare an opening (1 ms), but cost 2 MB each: a Parquet footer and its reader.
_OPEN_FILES = 2


class BlockReader:
    """Reads rows of surveyed files, in GeV on the model's grid. Threads may share it."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._shape = data.images.shape
        self._local = threading.local()

    def read(self, entry: FileEntry, rows: NDArray[np.int64]) -> SparseShowers:
        """The showers of ascending `rows`, which lie in one block."""
        first, stop = int(rows[0]), int(rows[-1]) + 1
        _check_same(entry, first, stop)
        file = self._open(entry)
        showers = file.read_sparse(first, stop, threshold_gev=self._data.threshold_gev)
        if len(showers) > len(rows):
            showers = showers.take(rows - first)
        return to_grid(showers, self._shape)

    def _open(self, entry: FileEntry) -> ShowerFile:
        files: OrderedDict[Any, ShowerFile] = self._local.__dict__.setdefault(
            "files", OrderedDict()
        )
        file = files.get(entry.path)
        if file is None:
            file = open_for(entry.path, self._data, check=False)
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
        if is_shortage(error):
            raise
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
    data: Data,
    bad: dict[Path, str] | None = None,
) -> Iterator[SparseShowers]:
    """Yield the chosen showers block by block.

    Raises DataError for a file that cannot be read or has its energies in two units; with `bad`,
    such files are noted there with what is wrong, and what can be read of the others is yielded.
    """
    reader = BlockReader(data)
    ratios: dict[Path, list[NDArray[np.float64]]] = {}
    for block, rows in chosen:
        entry = part.files[int(part.file_b[block])]
        try:
            showers = reader.read(entry, rows)
        except DataError as error:
            if bad is None:
                raise
            bad[entry.path] = str(error)
            continue
        ratios.setdefault(entry.path, []).append(showers.ecal_n / showers.energy_n)
        yield showers
    for path, ratio in ratios.items():
        median = float(np.median(np.concatenate(ratio)))
        if median > LARGEST_FRACTION:
            wrong = (
                f"{path}: showers deposit more than their particles brought ({median:.3g} times): "
                "cell energies in MeV? They must be in GeV, like the incident energy"
            )
            if bad is None:
                raise DataError(wrong)
            bad[path] = wrong

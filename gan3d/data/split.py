"""Which showers are trained on, which are held out, and which part of them a rank owns.

Everything here is decided from the files' sizes and a seed, so every rank comes to the same result
without communication.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Data, Split
from gan3d.data.formats import expand_patterns, open_shower_file
from gan3d.errors import DataError


@dataclass(frozen=True, eq=False)
class FileRows:
    """Some showers of one file."""

    path: Path
    """The file."""
    rows: NDArray[np.int64]
    """Their row numbers, ascending."""

    def __len__(self) -> int:
        return len(self.rows)


Part = tuple[FileRows, ...]
"""Showers of several files, file by file; none of the files' rows are empty."""


@dataclass(frozen=True)
class Division:
    """Training and held-out showers; no shower is in both."""

    train: Part
    """Showers to train on."""
    validation: Part
    """Showers held out."""


def count_showers(part: Sequence[FileRows]) -> int:
    """Return how many showers `part` has."""
    return sum(len(piece) for piece in part)


def divide(files: Sequence[Path], data: Data) -> Division:
    """Divide the showers of `files` as `data` says.

    With `data.validation_files`, those are held out and `files` are all for training. Otherwise
    `data.split` decides: fractions count showers (`by: row`) or files (`by: file`); wherever
    something is to be held out it is at least one shower or file. Rows stay in the order of the
    files, so that a shard reads neighbouring ones.

    Every file is opened and checked. Raises DataError for a bad file, for a held-out file that is
    also a training file, and where too little is there for the division that is asked for.
    """
    counts = _count(files, data)
    if data.validation_files is not None:
        heldout = expand_patterns(data.validation_files)
        training = {path.resolve() for path in files}
        for path in heldout:
            if path.resolve() in training:
                raise DataError(f"{path}: named both in data.files and in data.validation_files")
        return Division(_whole(counts), _whole(_count(heldout, data)))
    by = _by_file if data.split.by == "file" else _by_row
    return by(counts, data.split)


def shard(part: Sequence[FileRows], rank: int, size: int) -> Part:
    """Return what rank `rank` of `size` owns of `part`: neighbouring showers in file order.

    The shards are disjoint, leave nothing out, and differ in size by at most one shower. Raises
    DataError if there are fewer showers than ranks.
    """
    total = count_showers(part)
    if total < size:
        raise DataError(
            f"{size} ranks but only {total} showers: start fewer ranks or name more data.files"
        )
    first, stop = rank * total // size, (rank + 1) * total // size
    pieces = []
    start = 0
    for piece in part:
        rows = piece.rows[max(0, first - start) : max(0, stop - start)]
        if len(rows):
            pieces.append(FileRows(piece.path, rows))
        start += len(piece)
    return tuple(pieces)


def _count(files: Sequence[Path], data: Data) -> dict[Path, int]:
    counts = {}
    for path in files:
        with open_shower_file(path, shape=data.geometry.shape) as file:
            counts[path] = file.count
    return counts


def _whole(counts: dict[Path, int]) -> Part:
    return tuple(FileRows(path, np.arange(count)) for path, count in counts.items())


def _by_file(counts: dict[Path, int], split: Split) -> Division:
    parts = _whole(counts)
    train, validation = _draw(len(parts), "file", split)
    return Division(tuple(parts[i] for i in train), tuple(parts[i] for i in validation))


def _by_row(counts: dict[Path, int], split: Split) -> Division:
    train, validation = _draw(sum(counts.values()), "shower", split)
    return Division(_pick(counts, train), _pick(counts, validation))


def _draw(total: int, what: str, split: Split) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw ascending indices below `total` for training and for validation."""
    held_out = max(1, round(split.validation * total)) if split.validation else 0
    trained = min(max(1, round(split.train * total)), total - held_out)
    if trained < 1:
        raise DataError(
            f"data.split (by {split.by}) leaves nothing to train on: "
            f"{total} {what}{'s' if total != 1 else ''}, {held_out} held out"
        )
    order = np.random.default_rng(split.seed).permutation(total)
    return np.sort(order[held_out : held_out + trained]), np.sort(order[:held_out])


def _pick(counts: dict[Path, int], indices: NDArray[np.int64]) -> Part:
    """Turn ascending indices into all files' showers into rows of the files."""
    pieces = []
    start = 0
    for path, count in counts.items():
        first, stop = np.searchsorted(indices, (start, start + count))
        if stop > first:
            pieces.append(FileRows(path, indices[first:stop] - start))
        start += count
    return tuple(pieces)

"""Which showers are trained on and which are held out.

Everything here is decided from the files' sizes and a seed, so every rank comes to the same result
without communication, and in memory that does not grow with the number of showers: which rows of a
block belong to a side is drawn when the block is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Data, Split
from gan3d.data.survey import FileEntry, Survey
from gan3d.errors import DataError

# Rows are divided within each run of this many neighbouring ones, in the same proportion.
_STRATUM_ROWS = 1000

Draw = Callable[[int, int], NDArray[np.int64]]
"""(first, stop) -> those of the numbers from `first` to `stop` that are on a side, ascending.
Numbers count the showers of all files, in their order."""


@dataclass(frozen=True, eq=False)
class Part:
    """The showers on one side of a division, block by block in the order of the files.

    A block is a run of neighbouring rows of one file that are read together; no block is without
    showers of this side.
    """

    files: tuple[FileEntry, ...]
    """The files; blocks number them from 0."""
    file_b: NDArray[np.int64]
    """The file of each block, shape (B,)."""
    first_b: NDArray[np.int64]
    """The block's first row in its file, shape (B,)."""
    stop_b: NDArray[np.int64]
    """The row after the block's last one, shape (B,)."""
    count_b: NDArray[np.int64]
    """Showers of the block that are on this side, shape (B,)."""
    offset_f: NDArray[np.int64]
    """Showers in the files before each file, shape (F,)."""
    draw: Draw | None = None
    """Which showers are on this side; None: all of the blocks' rows."""

    def __len__(self) -> int:
        return int(self.count_b.sum())

    def rows(self, block: int) -> NDArray[np.int64]:
        """Rows of `block` in its file that are on this side, ascending."""
        first, stop = int(self.first_b[block]), int(self.stop_b[block])
        if self.draw is None:
            return np.arange(first, stop)
        offset = int(self.offset_f[self.file_b[block]])
        return self.draw(offset + first, offset + stop) - offset

    def select(self, blocks: NDArray[np.int64] | NDArray[np.bool_]) -> Part:
        """Return the part with only these blocks."""
        return Part(
            self.files,
            self.file_b[blocks],
            self.first_b[blocks],
            self.stop_b[blocks],
            self.count_b[blocks],
            self.offset_f,
            self.draw,
        )

    def without(self, files: Sequence[int]) -> Part:
        """Return the part without the blocks of these files (by number)."""
        return self.select(~np.isin(self.file_b, np.asarray(files, np.int64)))

    def minus(self, gone_n: NDArray[np.bool_]) -> Part:
        """Return the part without some showers: `gone_n` says which, counted over all files."""

        def left(start: int, stop: int) -> NDArray[np.int64]:
            rows = np.arange(start, stop) if self.draw is None else self.draw(start, stop)
            kept: NDArray[np.int64] = rows[~gone_n[rows]]
            return kept

        offset_b = self.offset_f[self.file_b]
        count_b = np.array(
            [
                len(left(first, stop))
                for first, stop in zip(
                    (offset_b + self.first_b).tolist(),
                    (offset_b + self.stop_b).tolist(),
                    strict=True,
                )
            ],
            np.int64,
        )
        blocks = (self.files, self.file_b, self.first_b, self.stop_b)
        return Part(*blocks, count_b, self.offset_f, left).select(count_b > 0)


@dataclass(frozen=True)
class Division:
    """Training and held-out showers; no shower is in both."""

    train: Part
    """Showers to train on."""
    validation: Part
    """Showers held out."""


def divide(files: Survey, split: Split) -> Division:
    """Divide the showers of `files`.

    With `data.validation_files`, those are held out and the others are all for training. Otherwise
    fractions count showers (`by: row`) or files (`by: file`); wherever something is to be held out
    it is at least one shower or file; with `split.folds` each is in one of them. By row, each
    thousand of neighbouring showers, counted over the files in their order, is divided in that
    proportion, so the same showers in other files or another format are divided alike. Raises
    DataError where too little is there for the division that is asked for.
    """
    if files.validation_files is not None:
        return Division(whole(files.files), whole(files.validation_files))
    by = _by_file if split.by == "file" else _by_row
    return by(files.files, split)


def whole(files: Sequence[FileEntry]) -> Part:
    """Return all showers of `files` as a part."""
    firsts = [np.arange(0, entry.showers, entry.block_rows) for entry in files]
    first_b = np.concatenate(firsts)
    file_b = np.repeat(np.arange(len(files)), [len(each) for each in firsts])
    showers_f = np.array([entry.showers for entry in files], np.int64)
    block_rows_f = np.array([entry.block_rows for entry in files], np.int64)
    stop_b = np.minimum(first_b + block_rows_f[file_b], showers_f[file_b])
    offset_f = np.cumsum(showers_f) - showers_f
    return Part(tuple(files), file_b, first_b, stop_b, stop_b - first_b, offset_f)


def divided_by(data: Data) -> str:
    """Say in words how `data` divides its showers."""
    if data.validation_files is not None:
        return "data.validation_files"
    return f"data.split (by {data.split.by})"


def _by_file(files: tuple[FileEntry, ...], split: Split) -> Division:
    everything = whole(files)
    train, validation = _sizes(len(files), "file", split)
    order = np.random.default_rng(split.seed).permutation(len(files))
    if split.folds is not None:
        held_out, trained = order[split.fold :: split.folds], _but(order, split)
    else:
        held_out, trained = order[:validation], order[validation : validation + train]
    return Division(
        everything.select(np.isin(everything.file_b, trained)),
        everything.select(np.isin(everything.file_b, held_out)),
    )


def _by_row(files: tuple[FileEntry, ...], split: Split) -> Division:
    everything = whole(files)
    train, validation = _sizes(len(everything), "shower", split)
    rows = _RowDivision(len(everything), train, validation, split)
    return Division(
        _drawn(everything, rows.train, rows.count(everything, held_out=False)),
        _drawn(everything, rows.validation, rows.count(everything, held_out=True)),
    )


def _drawn(part: Part, draw: Draw, count_b: NDArray[np.int64]) -> Part:
    """Return what `draw` leaves of a part with all rows, `count_b` showers of each block."""
    kept = Part(part.files, part.file_b, part.first_b, part.stop_b, count_b, part.offset_f, draw)
    return kept.select(count_b > 0)


def _but(order: NDArray[np.int64], split: Split) -> NDArray[np.int64]:
    """What is not in the fold that is held out."""
    kept: NDArray[np.int64] = order[np.arange(len(order)) % (split.folds or 1) != split.fold]
    return kept


def _sizes(total: int, what: str, split: Split) -> tuple[int, int]:
    """How many of `total` are trained on and held out; folds count for themselves."""
    if split.folds is not None:
        if total < split.folds:
            raise DataError(
                f"data.split.folds is {split.folds}, but there are only {total} {what}s"
            )
        return total, 0
    held_out = max(1, round(split.validation * total)) if split.validation else 0
    trained = min(max(1, round(split.train * total)), total - held_out)
    if trained < 1:
        raise DataError(
            f"data.split (by {split.by}) leaves nothing to train on: "
            f"{total} {what}{'s' if total != 1 else ''}, {held_out} held out"
        )
    return trained, held_out


@dataclass(frozen=True)
class _RowDivision:
    """Division of the numbers below `total`, run by run of `_STRATUM_ROWS`."""

    total: int
    trained: int
    held_out: int
    split: Split

    def train(self, first: int, stop: int) -> NDArray[np.int64]:
        """A `Draw`."""
        return self._draw(first, stop, held_out=False)

    def validation(self, first: int, stop: int) -> NDArray[np.int64]:
        """A `Draw`."""
        return self._draw(first, stop, held_out=True)

    def count(self, part: Part, *, held_out: bool) -> NDArray[np.int64]:
        """How many showers of each block are on a side, shape (B,), for a `part` with all rows."""
        # Blocks follow one another: the differences of how many come before each end.
        stop_b = part.stop_b + part.offset_f[part.file_b]
        before_b = np.empty(len(stop_b), np.int64)
        counted = done = 0
        for number in range(-(-self.total // _STRATUM_ROWS)):
            rows = self._stratum(number, held_out=held_out)
            end = int(np.searchsorted(stop_b, (number + 1) * _STRATUM_ROWS, side="right"))
            before_b[done:end] = counted + np.searchsorted(rows, stop_b[done:end])
            counted, done = counted + len(rows), end
        return np.diff(before_b, prepend=0)

    def _draw(self, first: int, stop: int, *, held_out: bool) -> NDArray[np.int64]:
        strata = range(first // _STRATUM_ROWS, (stop - 1) // _STRATUM_ROWS + 1)
        rows = np.concatenate([self._stratum(number, held_out=held_out) for number in strata])
        return rows[np.searchsorted(rows, first) : np.searchsorted(rows, stop)]

    def _stratum(self, number: int, *, held_out: bool) -> NDArray[np.int64]:
        begin, end = number * _STRATUM_ROWS, min((number + 1) * _STRATUM_ROWS, self.total)
        order = np.random.default_rng((self.split.seed, number)).permutation(end - begin)
        if self.split.folds is not None:
            mine = (
                order[self.split.fold :: self.split.folds] if held_out else _but(order, self.split)
            )
            return begin + np.sort(mine)
        # Differences of rounded-down multiples: in proportion here, exact in all.
        held_before, held_after = (self.held_out * at // self.total for at in (begin, end))
        held = held_after - held_before
        others = self.total - self.held_out
        trained = (
            self.trained * (end - held_after) // others
            - self.trained * (begin - held_before) // others
        )
        mine = order[:held] if held_out else order[held : held + trained]
        return begin + np.sort(mine)

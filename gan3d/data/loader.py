"""The batches of one rank: read ahead by threads, shuffled in windows, in bounded memory."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Data
from gan3d.data.formats import open_shower_file
from gan3d.data.order import EpochOrder, Piece, count_steps, order_epoch, spread
from gan3d.data.preprocessing import to_grid, to_power
from gan3d.data.shower_file import ShowerFile
from gan3d.data.showers import Showers
from gan3d.data.sparse import SparseShowers, join
from gan3d.data.split import Part
from gan3d.data.survey import FileEntry
from gan3d.data.threads import ReaderThreads, Task
from gan3d.errors import DataError

# Files that a thread keeps open. Opening an HDF5 file costs a millisecond, an open one 0.7 MB.
_OPEN_FILES = 4


@dataclass
class _Window:
    """A window that is being read, or has been."""

    epoch: int
    number: int
    pieces: tuple[Piece, ...]
    tasks: list[Task[SparseShowers]]


class ShowerLoader:
    """One rank's share of the training showers, batch by batch.

    Memory: the lit cells of two windows of showers, and of one block of images for each thread.
    """

    def __init__(
        self,
        part: Part,
        data: Data,
        *,
        batch_size: int,
        rank: int = 0,
        size: int = 1,
        seed: int = 0,
        skipped: Sequence[int] = (),
        last_epoch: int | None = None,
    ) -> None:
        """Read what rank `rank` of `size` owns of `part`, as `data` says.

        `skipped` are the files (numbers in `part.files`) that are known to be bad; nothing is read
        ahead beyond `last_epoch`. Nothing is read yet. Raises DataError if an epoch has no step.
        """
        self.batch_size = batch_size
        """Showers of a batch."""
        self.passed = 0
        """Showers of this rank's share of the epoch that are behind: given out, or bad. The
        position to resume from."""
        self.waited = 0.0
        """Seconds spent waiting for data, in all."""
        self.lost: dict[int, int] = {}
        """Showers of this rank in the epoch that could not be read, by the number of their file;
        only with `data.on_bad_file: skip`."""
        self.skipped: list[int] = []
        """Files that epochs are made without."""
        self._whole, self._part = part, part
        self._data = data
        self._place = {"rank": rank, "size": size, "seed": seed, "batch_size": batch_size}
        self._reader = _BlockReader(data)
        self._threads = ReaderThreads(data.workers, stall_seconds=data.stall_seconds)
        self._ahead: _Window | None = None
        self._orders: dict[int, EpochOrder] = {}
        self._last_epoch = last_epoch
        self.steps_per_epoch = 0
        """Batches of an epoch, the same on every rank."""
        self.exclude(skipped)

    def exclude(self, files: Sequence[int]) -> None:
        """Make epochs without these files, besides those left out before.

        All ranks must exclude the same. Raises DataError if too few showers are left.
        """
        self.skipped = sorted({*self.skipped, *files})
        self._part = self._whole.without(self.skipped) if self.skipped else self._whole
        self.steps_per_epoch = count_steps(
            self._part, batch_size=self.batch_size, size=self._place["size"]
        )
        self._orders.clear()
        if files:
            self._ahead = None

    def epoch(self, epoch: int, passed: int = 0) -> Iterator[Showers]:
        """Yield the batches of `epoch`, from the one after the first `passed` showers on.

        Images are as the networks see them. The order follows from the seed, the epoch and the
        rank alone, so that a resumed run sees what an uninterrupted one would have seen. Raises
        DataError for a bad file, unless it is to be skipped, and where reading hangs or a thread
        has died.
        """
        self.passed, self.lost = passed, {}
        order = self._order(epoch)
        waiting: list[tuple[SparseShowers, int]] = []
        begin = 0
        for number, pieces in enumerate(order.windows):
            end = begin + sum(map(len, pieces))
            if end > passed:
                parts = self._read(epoch, number)
                starts = np.cumsum([0, *map(len, pieces)])
                for place in order.shuffled(number)[max(0, passed - begin) :]:
                    piece = int(np.searchsorted(starts, place, side="right")) - 1
                    self.passed += 1
                    showers = parts[piece]
                    if showers is not None:
                        waiting.append((showers, int(place - starts[piece])))
                    if len(waiting) == self.batch_size:
                        yield self._batch(waiting)
                        waiting = []
                # Before the next window is waited for and the one after it begun.
                parts.clear()
            begin = end

    def sample(self, limit: int) -> Showers:
        """Return `limit` showers of all ranks' training showers, as the networks see them.

        They are the same on every rank, in file order, at nearly equal distances.
        """
        return _all(self._part, list(self._sample(spread(self._part, limit))), self._data)

    def sample_sums(self, limit: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return this rank's share of the sums of (cells, incident energy) of `sample`.

        The images are not kept. Cells are as the networks see them; GeV, with a `cell_power` of 1.
        """
        chosen = spread(self._part, limit)[self._place["rank"] :: self._place["size"]]
        parts = list(self._sample(chosen))
        if not parts:
            return np.empty(0), np.empty(0)
        return (
            np.concatenate([part.ecal_n for part in parts]),
            np.concatenate([part.energy_n for part in parts]).astype(np.float64),
        )

    def close(self) -> None:
        """End the threads."""
        self._threads.close()

    def _sample(self, chosen: Sequence[tuple[int, NDArray[np.int64]]]) -> Iterator[SparseShowers]:
        for showers in _read_chosen(self._part, chosen, self._reader, self._data):
            yield to_power(showers, self._data.cell_power)

    def _order(self, epoch: int) -> EpochOrder:
        if epoch not in self._orders:
            self._orders = {
                number: order for number, order in self._orders.items() if number == epoch - 1
            }
            self._orders[epoch] = order_epoch(
                self._part,
                epoch=epoch,
                window=self._data.shuffle_window,
                shuffle=self._data.shuffle,
                **self._place,
            )
        return self._orders[epoch]

    def _read(self, epoch: int, number: int) -> list[SparseShowers | None]:
        """The showers of a window, None for a piece that could not be read.

        The next window, of this epoch or the next, begins to be read as soon as this one is here.
        """
        window = self._ahead
        if window is None or (window.epoch, window.number) != (epoch, number):
            window = self._begin(epoch, number)
        began = time.monotonic()
        parts: list[SparseShowers | None] = []
        for piece, task in zip(window.pieces, window.tasks, strict=True):
            try:
                parts.append(self._threads.wait(task))
            except _BadFileError:
                if self._data.on_bad_file == "error":
                    raise
                file = int(self._part.file_b[piece.block])
                self.lost[file] = self.lost.get(file, 0) + len(piece)
                parts.append(None)
        self.waited += time.monotonic() - began
        if number + 1 < len(self._order(epoch).windows):
            self._ahead = self._begin(epoch, number + 1)
        else:
            self._ahead = None if epoch == self._last_epoch else self._begin(epoch + 1, 0)
        return parts

    def _begin(self, epoch: int, number: int) -> _Window:
        pieces = self._order(epoch).windows[number]
        return _Window(epoch, number, pieces, [self._submit(piece) for piece in pieces])

    def _submit(self, piece: Piece) -> Task[SparseShowers]:
        part, block = self._part, piece.block
        entry = part.files[int(part.file_b[block])]
        what = f"{entry.path}: showers {part.first_b[block]} to {part.stop_b[block] - 1}"
        return self._threads.submit(partial(self._read_piece, part, piece, entry), what)

    def _read_piece(self, part: Part, piece: Piece, entry: FileEntry) -> SparseShowers:
        rows = part.rows(piece.block)[piece.first : piece.stop]
        try:
            return to_power(self._reader.read(entry, rows), self._data.cell_power)
        except DataError as error:
            raise _BadFileError(str(error)) from error

    def _batch(self, waiting: Sequence[tuple[SparseShowers, int]]) -> Showers:
        shape = self._data.model_geometry.shape
        images_bxyz = np.zeros((len(waiting), *shape), np.float32)
        energy_b = np.empty(len(waiting), np.float32)
        flat_bn = images_bxyz.reshape(len(waiting), -1)
        for place, (showers, row) in enumerate(waiting):
            cells = slice(showers.offset_n1[row], showers.offset_n1[row + 1])
            flat_bn[place][showers.cell_h[cells]] = showers.deposit_h[cells]
            energy_b[place] = showers.energy_n[row]
        return Showers(images_bxyz, energy_b)


def read_part(part: Part, data: Data, *, limit: int | None = None) -> Showers:
    """Return the showers of `part` in memory and in file order, in GeV on the model's grid.

    Of more than `limit`, that many are taken at nearly equal distances, so that files sorted by
    energy give all energies. Raises DataError for a bad file, unless it is to be skipped, where
    every shower of a file deposits more than its particle brought, and where no cell of any shower
    is left.
    """
    if limit is not None and limit < 1:
        raise DataError(f"no showers to read: {len(part)} are there, the limit is {limit}")
    chosen = spread(part, len(part) if limit is None else limit, blocks=64)
    return _all(part, list(_read_chosen(part, chosen, _BlockReader(data), data)), data)


class _BadFileError(DataError):
    """A file could not be read; a thread that has died or hangs is another matter."""


class _BlockReader:
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


def _read_chosen(
    part: Part,
    chosen: Sequence[tuple[int, NDArray[np.int64]]],
    reader: _BlockReader,
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


def _all(part: Part, parts: Sequence[SparseShowers], data: Data) -> Showers:
    """The showers of all `parts` as images; DataError where nothing is in them."""
    if not any(len(showers.cell_h) for showers in parts):
        count = sum(map(len, parts))
        raise DataError(
            f"{part.files[0].path}: all of {count} showers are empty: no cell reaches "
            f"data.threshold_gev = {data.threshold_gev:g} GeV; are the cells in GeV?"
        )
    return join(parts).dense()


def _check_units(showers: SparseShowers, entry: FileEntry, rows: NDArray[np.int64]) -> None:
    ratio_n = showers.ecal_n / showers.energy_n
    if ratio_n.min() > 1.0:
        raise DataError(
            f"{entry.path}: every shower deposits more than its particle brought "
            f"({np.median(ratio_n):.3g} times, shower {rows[0]} onwards): "
            "cell energies in MeV? They must be in GeV, like the incident energy"
        )

"""The batches of one rank: read ahead by threads, shuffled in a window, in bounded memory."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Condition, Data
from gan3d.data.blocks import BlockReader, read_chosen
from gan3d.data.labels import pick_columns
from gan3d.data.order import EpochOrder, Piece, count_steps, left_after, order_epoch, spread
from gan3d.data.preprocessing import to_scale
from gan3d.data.showers import Showers
from gan3d.data.sparse import SparseShowers, cell_dtype, join, split_images
from gan3d.data.split import Part
from gan3d.data.survey import FileEntry
from gan3d.data.threads import ReaderThreads, Task
from gan3d.errors import DataError


class ShowerLoader:
    """One rank's share of the training showers, batch by batch.

    Memory: the lit cells of the window and of what is read ahead, a quarter of a window or two
    blocks, and each thread's block of images while it is decompressed.
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
        labels: Sequence[Condition] = (),
    ) -> None:
        """Read what rank `rank` of `size` owns of `part`, as `data` says.

        The columns of `labels` go with the showers of a batch. `skipped` are the files (numbers in
        `part.files`) that are known to be bad; nothing is read ahead beyond `last_epoch`. Nothing
        is read yet. Raises DataError if an epoch has no step.
        """
        self.batch_size = batch_size
        """Showers of a batch."""
        self.passed = 0
        """Showers of this rank's share of the epoch that are behind: given out, or bad. The
        position to resume from."""
        self.waited = 0.0
        """Seconds spent waiting for data, in all."""
        self.lost: dict[int, int] = {}
        """Showers of this rank in the epoch, from where it was resumed, that could not be read, by
        the number of their file; only with `data.on_bad_file: skip`."""
        self.reasons: dict[int, str] = {}
        """What is wrong with these files."""
        self.skipped: list[int] = []
        """Files that epochs are made without."""
        self._whole, self._part = part, part
        self._left: _Left | None = None
        self._data = data
        self._rank, self._size, self._seed = rank, size, seed
        self._last_epoch = last_epoch
        self._labels = labels
        self._shape = data.images.shape
        self._cell_type = cell_dtype(self._shape)
        self._reader = BlockReader(data)
        self._threads = ReaderThreads(
            data.workers, stall_seconds=data.stall_seconds, niceness=data.reader_niceness
        )
        self._ahead: _Ahead | None = None
        self._orders: dict[int, EpochOrder] = {}
        self.steps_per_epoch = 0
        """Batches of an epoch, the same on every rank."""
        self.exclude(skipped)

    def exclude(self, files: Sequence[int]) -> None:
        """Make epochs without these files, besides those left out before.

        All ranks must exclude the same. Raises DataError if too few showers are left.
        """
        self.skipped = sorted({*self.skipped, *files})
        self._part = self._whole.without(self.skipped) if self.skipped else self._whole
        self._left = None
        self._count_steps()
        if files:
            self._orders.clear()
            self._ahead = None

    def join(
        self, rank: int, size: int, *, epoch: int = 0, divisions: Sequence[Sequence[int]] = ()
    ) -> None:
        """Go on as rank `rank` of `size`.

        Of `epoch`, only what is left after `divisions` will be read: for each number of ranks that
        shared it before, the `passed` of all of them, see `left_after`. All ranks must give the
        same. Raises DataError if an epoch has no step.
        """
        self._rank, self._size = rank, size
        self._orders.clear()
        self._ahead = None
        self._left = None
        self._count_steps()
        if divisions:
            part = left_after(self._part, divisions, epoch=epoch, **self._settings())
            self._left = _Left(epoch, part, len(divisions))

    @property
    def showers(self) -> int:
        """Training showers of all ranks and files, also of those that are left out."""
        return len(self._whole)

    def steps(self, epoch: int) -> int:
        """Batches of `epoch` on every rank: of what is left of it since the ranks last changed."""
        part, _ = self._part_of(epoch)
        return len(part) // (self._size * self.batch_size)

    def _count_steps(self) -> None:
        self.steps_per_epoch = count_steps(self._part, batch_size=self.batch_size, size=self._size)

    def _part_of(self, epoch: int) -> tuple[Part, int]:
        """The showers of `epoch`, and how often it was divided before."""
        if self._left is not None and self._left.epoch == epoch:
            return self._left.part, self._left.division
        return self._part, 0

    def _settings(self) -> _OrderSettings:
        return {
            "batch_size": self.batch_size,
            "window": self._data.shuffle_window,
            "seed": self._seed,
            "shuffle": self._data.shuffle,
        }

    def epoch(self, epoch: int, passed: int = 0) -> Iterator[Showers]:
        """Yield the batches of `epoch`, from the one after the first `passed` showers on.

        Images are as the networks see them. The order follows from the seed, the epoch and the
        rank alone, so that a resumed run sees what an uninterrupted one would have seen. Raises
        DataError for a bad file, unless it is to be skipped, and where reading hangs or a thread
        has died.
        """
        self.passed, self.lost, self.reasons = passed, {}, {}
        order = self._order(epoch)
        ahead = self._begin(epoch, order.first(passed) if passed else None)
        window: dict[int, _Shower | int] = {}
        batch: list[_Shower] = []
        begin = 0
        for arrived, group in order.groups():
            end = begin + len(group)
            if end > passed:
                self._receive(ahead, (epoch, arrived), window)
                for number in group[max(0, passed - begin) :].tolist():
                    self.passed += 1
                    shower = window.pop(number)
                    if isinstance(shower, int):  # the file that it could not be read from
                        self.lost[shower] = self.lost.get(shower, 0) + 1
                    else:
                        batch.append(shower)
                        ahead.held -= 1
                    if len(batch) == self.batch_size:
                        ahead.submit()
                        yield self._batch(batch)
                        batch = []
            begin = end
        ahead.position = (epoch + 1, 0)

    def sample(self, limit: int) -> Showers:
        """Return `limit` showers of all ranks' training showers, as the networks see them.

        They are the same on every rank, in file order, at nearly equal distances. Files that have
        become bad are left out where that is asked for: reading the epoch will find them, too.
        """
        bad: dict[Path, str] | None = {} if self._data.on_bad_file == "skip" else None
        parts = list(_sample(self._part, self._data, limit, bad))
        return _images(self._part, parts, self._data, bad)

    def close(self) -> None:
        """End the threads."""
        self._threads.close()

    def _order(self, epoch: int) -> EpochOrder:
        if epoch not in self._orders:
            # This one and the one before: the next epoch is read ahead while one is under way.
            self._orders = {n: order for n, order in self._orders.items() if n == epoch - 1}
            part, division = self._part_of(epoch)
            self._orders[epoch] = order_epoch(
                part,
                epoch=epoch,
                rank=self._rank,
                size=self._size,
                division=division,
                **self._settings(),
            )
        return self._orders[epoch]

    def _begin(self, epoch: int, behind_n: NDArray[np.bool_] | None) -> _Ahead:
        """What is being read ahead of `epoch` already, or a new beginning."""
        ahead = self._ahead
        if ahead is None or behind_n is not None or ahead.position != (epoch, 0):
            ahead = self._ahead = _Ahead(self._pieces(epoch, behind_n), self._submit, self._room())
        # No further, or a small data set would be read dozens of times ahead.
        ahead.last_epoch = epoch + 1
        ahead.submit()
        return ahead

    def _room(self) -> int:
        """Showers that may be in the window or on their way to it."""
        window = self._data.shuffle_window
        return window + max(window // 4, 2 * int(self._part.count_b.max()))

    def _pieces(self, epoch: int, behind_n: NDArray[np.bool_] | None) -> Iterator[_Planned]:
        """The pieces of `epoch` and the following ones, without what is True in `behind_n`."""
        while self._last_epoch is None or epoch <= self._last_epoch:
            offset = 0
            part, _ = self._part_of(epoch)
            for index, piece in enumerate(self._order(epoch).pieces):
                end = offset + len(piece)
                rows = np.arange(len(piece))
                if behind_n is not None:
                    rows = np.flatnonzero(~behind_n[offset:end])
                if len(rows):
                    yield _Planned((epoch, index), part, piece, offset, rows)
                offset = end
            epoch, behind_n = epoch + 1, None

    def _submit(self, planned: _Planned) -> Task[SparseShowers]:
        part, piece, block = planned.part, planned.piece, planned.piece.block
        entry = part.files[int(part.file_b[block])]
        what = f"{entry.path}: showers {part.first_b[block]} to {part.stop_b[block] - 1}"
        return self._threads.submit(partial(self._read, part, piece, entry), what)

    def _read(self, part: Part, piece: Piece, entry: FileEntry) -> SparseShowers:
        """A thread's work."""
        rows = part.rows(piece.block)[piece.first : piece.stop]
        try:
            return to_scale(self._reader.read(entry, rows), self._data.cell_scale)
        except DataError as error:
            raise _BadFileError(str(error)) from error

    def _receive(
        self, ahead: _Ahead, until: tuple[int, int], window: dict[int, _Shower | int]
    ) -> None:
        """Wait for the pieces before `until`, and put their showers into the window.

        For showers that cannot be read it gets the number of their file.
        """
        for planned, task in ahead.arrivals(until):
            began = time.monotonic()
            try:
                showers = self._threads.wait(task)
            except _BadFileError as error:
                if self._data.on_bad_file == "error":
                    raise
                file = int(planned.part.file_b[planned.piece.block])
                self.reasons.setdefault(file, str(error))
                window.update(dict.fromkeys((planned.offset + planned.rows).tolist(), file))
                ahead.held -= len(planned.rows)
                continue
            finally:
                self.waited += time.monotonic() - began
            # Cut out of bytes: views would keep the whole block until its last shower has left,
            # and copying thousands of small arrays would wait for the threads' work each time.
            cells = np.ascontiguousarray(showers.cell_h, self._cell_type).tobytes()
            deposits = np.ascontiguousarray(showers.deposit_h, np.float32).tobytes()
            cell_at = (showers.offset_n1 * self._cell_type.itemsize).tolist()
            deposit_at = (showers.offset_n1 * 4).tolist()
            energies = showers.energy_n.tolist()
            columns = pick_columns(showers.columns, self._labels)
            labels = list(zip(*(each.tolist() for each in columns.values()), strict=True))
            for row in planned.rows.tolist():
                window[planned.offset + row] = _Shower(
                    cells[cell_at[row] : cell_at[row + 1]],
                    deposits[deposit_at[row] : deposit_at[row + 1]],
                    energies[row],
                    labels[row] if labels else (),
                )

    def _batch(self, showers: Sequence[_Shower]) -> Showers:
        shape = self._shape
        images_bxyz = np.zeros((len(showers), *shape), np.float32)
        cell_h = np.frombuffer(b"".join([shower.cells for shower in showers]), self._cell_type)
        deposit_h = np.frombuffer(b"".join([shower.deposits for shower in showers]), np.float32)
        hits_b = np.array([len(shower.deposits) for shower in showers]) // 4
        first_b = np.arange(len(showers)) * math.prod(shape)
        images_bxyz.reshape(-1)[np.repeat(first_b, hits_b) + cell_h] = deposit_h
        energy_b = np.array([shower.energy for shower in showers], np.float32)
        columns = {
            label.column: np.array([shower.labels[place] for shower in showers])
            for place, label in enumerate(self._labels)
        }
        return Showers(images_bxyz, energy_b, pick_columns(columns, self._labels))


def read_part(
    part: Part, data: Data, *, limit: int | None = None, bad: dict[Path, str] | None = None
) -> Showers:
    """Return the showers of `part` in memory and in file order, in GeV on the model's grid.

    Of more than `limit`, that many are taken at nearly equal distances, so that files sorted by
    energy give all energies. Raises DataError for a file that cannot be read or has its energies in
    two units (with `bad` these are noted there instead), and where no cell of any shower is left.
    """
    if limit is not None and limit < 1:
        raise DataError(f"no showers to read: {len(part)} are there, the limit is {limit}")
    chosen = spread(part, len(part) if limit is None else limit)
    return _images(part, list(read_chosen(part, chosen, data, bad)), data, bad)


def stream_part(part: Part, data: Data) -> Iterator[Showers]:
    """Yield the showers of `part`, block by block, as `read_part` returns them, with columns.

    Raises DataError for a file that cannot be read or has its energies in two units.
    """
    for showers in read_chosen(part, spread(part, len(part)), data):
        yield showers.dense()


def sample_sums(
    part: Part, data: Data, limit: int, bad: dict[Path, str] | None = None
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Return the sums of cells and the incident energies of `limit` showers of `part`, GeV.

    The sums of each image are by its name. The showers are those of `ShowerLoader.sample`, but no
    images are built. Raises DataError as `read_part` does, and where an image is empty in all
    showers; not, however, where files are noted in `bad`: then what is left may be none.
    """
    images = data.images
    sums: dict[str, list[NDArray[np.float64]]] = {name: [np.empty(0)] for name in images.shapes}
    energy = [np.empty(0)]
    for showers in read_chosen(part, spread(part, limit), data, bad):
        for name, image in split_images(showers, images).items():
            sums[name].append(image.ecal_n)
        energy.append(showers.energy_n.astype(np.float64))
    sum_n = {name: np.concatenate(each) for name, each in sums.items()}
    energy_n = np.concatenate(energy)
    if not bad:
        for name, each_n in sum_n.items():
            if not each_n.any():
                raise _all_empty(part, len(each_n), data, "" if images.single else name)
    return sum_n, energy_n


def sample_layers(
    part: Part, data: Data, limit: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the energies in the layers (N, layer) and the incident energies (N,) of showers, GeV.

    Of several images the layers of one after those of the other. They are those of `sample_sums`.
    Raises DataError where a file cannot be read.
    """
    layers, energy = [], []
    for showers in read_chosen(part, spread(part, limit), data):
        parts = split_images(showers, data.images).values()
        layers.append(np.concatenate([_in_layers(image) for image in parts], axis=1))
        energy.append(showers.energy_n.astype(np.float64))
    return np.concatenate(layers), np.concatenate(energy)


def _in_layers(showers: SparseShowers) -> NDArray[np.float64]:
    """Energies in the layers, (N, layer)."""
    depth = showers.image_shape[2]
    place_h = showers.shower_h * depth + showers.cell_h.astype(np.int64) % depth
    sums = np.bincount(place_h, showers.deposit_h, minlength=len(showers) * depth)
    return sums.reshape(-1, depth).astype(np.float64)


def _sample(
    part: Part, data: Data, limit: int, bad: dict[Path, str] | None
) -> Iterator[SparseShowers]:
    for showers in read_chosen(part, spread(part, limit), data, bad):
        yield to_scale(showers, data.cell_scale)


class _OrderSettings(TypedDict):
    """What an order follows from, besides the epoch and the ranks."""

    batch_size: int
    window: int
    seed: int
    shuffle: bool


class _Left(NamedTuple):
    """What is left of an epoch that other ranks shared before."""

    epoch: int
    part: Part
    division: int
    """How often the epoch was divided before."""


class _BadFileError(DataError):
    """A file could not be read; a thread that has died or hangs is another matter."""


class _Shower(NamedTuple):
    """One shower in the window."""

    cells: bytes
    """Numbers of the lit cells, `cell_dtype` each."""
    deposits: bytes
    """Their energies, float32 each."""
    energy: float
    labels: tuple[float, ...]
    """Of each label, in their order."""


class _Planned(NamedTuple):
    """A piece that is to be read."""

    place: tuple[int, int]
    """(epoch, number of the piece in it)."""
    part: Part
    piece: Piece
    offset: int
    """Showers of the epoch in the pieces before it."""
    rows: NDArray[np.int64]
    """Showers of the piece that are wanted; the others were given out before a run was resumed."""


class _Ahead:
    """Pieces that are being read, in the order in which they arrive, epoch after epoch."""

    def __init__(
        self,
        pieces: Iterator[_Planned],
        submit: Callable[[_Planned], Task[SparseShowers]],
        room: int,
    ) -> None:
        """Have `pieces` read by `submit` while no more than `room` showers are held."""
        self.held = 0
        """Showers that are in the window or being read."""
        self._pieces = pieces
        self._submit = submit
        self._room = room
        self._next = next(pieces, None)
        self._reading: deque[tuple[_Planned, Task[SparseShowers]]] = deque()
        self.position: tuple[int, int] | None = self._next.place if self._next else None
        """The place of the next piece to arrive."""
        self.last_epoch = 0
        """The last epoch of which pieces may be read."""

    def submit(self) -> None:
        """Have more pieces read, as far as there is room."""
        while (
            self._next is not None
            and self._next.place[0] <= self.last_epoch
            and self.held + len(self._next.rows) <= self._room
        ):
            self._submit_one(self._next)

    def arrivals(self, until: tuple[int, int]) -> Iterator[tuple[_Planned, Task[SparseShowers]]]:
        """Yield the pieces before the place `until` that have not been yielded yet."""
        while True:
            if not self._reading and self._next is not None and self._next.place < until:
                # It is needed now, room or not.
                self._submit_one(self._next)
            if not self._reading or self._reading[0][0].place >= until:
                break
            yield self._reading.popleft()
            self.submit()
        self.position = until

    def _submit_one(self, planned: _Planned) -> None:
        self.held += len(planned.rows)
        self._reading.append((planned, self._submit(planned)))
        self._next = next(self._pieces, None)


def _images(
    part: Part, parts: Sequence[SparseShowers], data: Data, bad: dict[Path, str] | None
) -> Showers:
    """The showers of all `parts` as images; DataError where nothing is in them."""
    count = sum(map(len, parts))
    if bad and not count:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise DataError(f"{next(iter(bad.values()))}{more}; no showers are left to read")
    if not any(len(showers.cell_h) for showers in parts):
        raise _all_empty(part, count, data)
    return join(parts).dense()


def _all_empty(part: Part, count: int, data: Data, image: str = "") -> DataError:
    where = f" in '{image}'" if image else ""
    return DataError(
        f"{part.files[0].path}: all of {count} showers are empty{where}: no cell reaches "
        f"data.threshold_gev = {data.threshold_gev:g} GeV; are the cells in GeV?"
    )

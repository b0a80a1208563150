"""The order of an epoch: which showers a rank sees, in which batches, decided without reading any.

The blocks of all files are put into a new order every epoch and cut into equal shares, one for each
rank. A rank lets its blocks arrive one after the other in a *window* of so many showers, and draws
the next showers at random from all that are in the window. So neighbours in a file come far apart,
while no more than a window is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gan3d.data.split import Part
from gan3d.errors import DataError


@dataclass(frozen=True)
class Piece:
    """What a rank takes of a block: `first` to `stop` of the block's showers on this side."""

    block: int
    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first


@dataclass(frozen=True)
class EpochOrder:
    """One rank's share of an epoch."""

    pieces: tuple[Piece, ...]
    """What is read, in the order in which it arrives in the window."""
    window: int
    """Showers that the window holds; one piece is in it in any case."""
    _key: tuple[int, ...] | None

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def groups(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield the showers in their order, as (pieces that must have arrived, showers).

        Showers are numbered through the pieces. Of each group, the window is left with room for
        the next piece.
        """
        if self._key is None:
            stops = np.cumsum([len(piece) for piece in self.pieces])
            for number, (piece, stop) in enumerate(zip(self.pieces, stops, strict=True), start=1):
                yield number, np.arange(stop - len(piece), stop)
            return
        random = np.random.default_rng(self._key)
        waiting: NDArray[np.int64] = np.empty(0, np.int64)
        arrived = 0
        for number, piece in enumerate(self.pieces, start=1):
            waiting = np.concatenate([waiting, np.arange(arrived, arrived + len(piece))])
            arrived += len(piece)
            last = number == len(self.pieces)
            leaving = len(waiting)
            if not last:
                leaving += len(self.pieces[number]) - self.window
            if leaving > 0:
                random.shuffle(waiting)
                yield number, waiting[:leaving]
                waiting = waiting[leaving:]

    def first(self, count: int) -> NDArray[np.bool_]:
        """Which showers are among the first `count`, shape (N,)."""
        among_n = np.zeros(len(self), bool)
        for _, showers in self.groups():
            among_n[showers[:count]] = True
            count -= min(count, len(showers))
            if not count:
                break
        return among_n


def count_steps(part: Part, *, batch_size: int, size: int) -> int:
    """Return the batches that each of `size` ranks gets of `part` in an epoch.

    Raises DataError if that is none.
    """
    steps = len(part) // (size * batch_size)
    if steps == 0:
        ranks = f" on each of {size} ranks" if size > 1 else ""
        raise DataError(
            f"training.batch_size is {batch_size}{ranks} but there are only {len(part)} showers "
            f"to train on: lower it{', start fewer ranks' if size > 1 else ''} or name more "
            "data.files"
        )
    return steps


def order_epoch(
    part: Part,
    *,
    epoch: int,
    rank: int = 0,
    size: int = 1,
    batch_size: int,
    window: int,
    seed: int = 0,
    shuffle: bool = True,
    division: int = 0,
) -> EpochOrder:
    """Return what rank `rank` of `size` sees of `part` in `epoch`.

    Every rank gets the same number of whole batches, and no shower comes twice. What is left over,
    fewer than `size * batch_size` showers, sits out the epoch: with `shuffle` others every time,
    without it the last of the files. The order follows from the arguments alone; `division` counts
    how often the epoch has been divided anew, see `left_after`.
    """
    share = len(part) // (size * batch_size) * batch_size
    blocks = np.arange(len(part.count_b))
    key = (seed, epoch, 0, division, 0) if division else (seed, epoch)
    if shuffle:
        # The same on all ranks: they cut one order.
        blocks = np.random.default_rng(key).permutation(blocks)
    stop_b = np.cumsum(part.count_b[blocks])
    first_b = stop_b - part.count_b[blocks]
    begin, end = rank * share, (rank + 1) * share
    overlapping = np.arange(
        np.searchsorted(stop_b, begin, side="right"), np.searchsorted(first_b, end)
    )
    pieces = []
    for at in overlapping.tolist():
        offset = int(first_b[at])
        first, stop = max(begin, offset), min(end, int(stop_b[at]))
        pieces.append(Piece(int(blocks[at]), first - offset, stop - offset))
    drawn = (seed, epoch, rank, division) if division else (seed, epoch, rank)
    return EpochOrder(tuple(pieces), window, drawn if shuffle else None)


def left_after(
    part: Part,
    divisions: Sequence[Sequence[int]],
    *,
    epoch: int,
    batch_size: int,
    window: int,
    seed: int = 0,
    shuffle: bool = True,
) -> Part:
    """Return what is left of `part` in `epoch` for ranks that have changed in number.

    Each of `divisions`, the oldest first, holds how many showers of its share each of its ranks had
    behind it when the ranks changed. What these shares had left, and what had sat out, is left.
    """
    for number, passed_r in enumerate(divisions):
        gone_n = np.zeros(int(part.offset_f[-1]) + part.files[-1].showers, bool)
        for rank, passed in enumerate(passed_r):
            order = order_epoch(
                part,
                epoch=epoch,
                rank=rank,
                size=len(passed_r),
                batch_size=batch_size,
                window=window,
                seed=seed,
                shuffle=shuffle,
                division=number,
            )
            among_n, begin = order.first(passed), 0
            for piece in order.pieces:
                among = among_n[begin : begin + len(piece)]
                gone_n[_positions(part, piece)[among]] = True
                begin += len(piece)
        part = part.minus(gone_n)
    return part


@dataclass(frozen=True)
class ShuffleQuality:
    """How well an order mixes the showers of the files."""

    batch_variance: float
    """Variance of the batches' mean positions in the files, over that of a perfect shuffle: 1 is
    perfect, the batch size is no shuffling at all. By this factor gradients are noisier than with
    a perfect shuffle where files are sorted by what matters."""
    neighbour_correlation: float
    """Correlation of the mean positions of consecutive batches: 0 is perfect."""


def shuffle_quality(part: Part, order: EpochOrder, *, batch_size: int) -> ShuffleQuality:
    """Judge `order`, a rank's share of `part`, without reading a shower.

    A shower's position u is its number in the files over all showers, so uniform in 0..1 with
    variance 1/12; the mean of B independent ones has variance 1 / (12 B). With blocks of b showers
    and a window of C, the showers of a batch come from the same block with the probability
    q = (b/C) / (2 - b/C), so that the expected `batch_variance` is 1 + (B - 1) q.
    """
    total = int(part.offset_f[-1]) + part.files[-1].showers
    place_n = np.concatenate([_positions(part, piece) for piece in order.pieces])
    position_n = np.concatenate([place_n[showers] for _, showers in order.groups()]) / total
    mean_s = position_n[: len(position_n) // batch_size * batch_size].reshape(-1, batch_size)
    mean_s = mean_s.mean(axis=1)
    # Around the mean of this share: which blocks a rank has is another question.
    deviation_s = mean_s - mean_s.mean()
    variance = float(np.mean(deviation_s**2))
    following = float(np.mean(deviation_s[1:] * deviation_s[:-1])) if len(mean_s) > 1 else 0.0
    return ShuffleQuality(
        batch_variance=variance / float(np.var(position_n) / batch_size),
        neighbour_correlation=following / variance if variance else 0.0,
    )


def _positions(part: Part, piece: Piece) -> NDArray[np.int64]:
    rows = part.rows(piece.block)[piece.first : piece.stop]
    position_n: NDArray[np.int64] = rows + part.offset_f[part.file_b[piece.block]]
    return position_n


def spread(part: Part, limit: int, *, blocks: int = 64) -> list[tuple[int, NDArray[np.int64]]]:
    """Choose `limit` showers of `part`, or all if there are fewer, at nearly equal distances.

    Returns (block, rows of its file) pairs in file order. At most about `blocks` blocks are
    touched, if they have enough showers, so that a small sample of a large data set is quickly
    read; files sorted by energy still give all energies.
    """
    enough = int(np.ceil(2 * limit / max(1.0, float(part.count_b.mean()))))
    touched = min(len(part.count_b), max(blocks, enough))
    chosen_b = np.arange(touched) * len(part.count_b) // touched
    stop_b = np.cumsum(part.count_b[chosen_b])
    total = int(stop_b[-1])
    count = min(limit, total)
    taken = np.arange(count) * total // max(count, 1)
    sample = []
    for block, stop in zip(chosen_b.tolist(), stop_b.tolist(), strict=True):
        start = stop - int(part.count_b[block])
        first, end = np.searchsorted(taken, (start, stop))
        if end > first:
            sample.append((block, part.rows(block)[taken[first:end] - start]))
    return sample

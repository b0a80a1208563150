"""The batches of one rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gan3d.data.formats import open_shower_file
from gan3d.data.showers import Showers, apply_threshold, gather
from gan3d.data.split import FileRows, count_showers, shard
from gan3d.errors import DataError


class ShardLoader:
    """One rank's shard of the showers, held in memory, and its batches.

    Every rank takes the same number of steps: as many as the smallest shard fills with batches.
    What is left over sits out the epoch: fewer than `batch_size` showers of a rank, plus one where
    a rank's shard is one shower larger than the smallest. With `shuffle` those are others in every
    epoch; without it they are always the last of the shard.
    """

    def __init__(
        self,
        part: Sequence[FileRows],
        *,
        batch_size: int,
        rank: int = 0,
        size: int = 1,
        seed: int = 0,
        threshold_gev: float = 0.0,
        shuffle: bool = True,
    ) -> None:
        """Read this rank's shard of `part`, with cells below `threshold_gev` (GeV) set to 0.

        Raises DataError if there are fewer showers than ranks, if the smallest shard does not fill
        one batch, if a cell is negative or not finite, or if every shower that is read from a
        file deposits more than its particle brought.
        """
        own = shard(part, rank, size)
        self.batch_size = batch_size
        """Showers of a batch."""
        smallest = count_showers(part) // size
        self.steps_per_epoch = smallest // batch_size
        """Batches of one epoch, the same on every rank."""
        if self.steps_per_epoch == 0:
            raise DataError(
                f"training.batch_size is {batch_size} but a rank has only {smallest} showers "
                f"({count_showers(part)} on {size} rank{'s' if size > 1 else ''}): lower it"
                f"{' or start fewer ranks' if size > 1 else ''}"
            )
        self._order_key = (seed, rank)
        self._shuffle = shuffle
        self._showers = read_part(own, threshold_gev=threshold_gev)

    @property
    def images(self) -> NDArray[np.float32]:
        """Cell energies of the whole shard in file order, shape (N, x, y, layer), GeV."""
        return self._showers.images_nxyz

    @property
    def energies(self) -> NDArray[np.float32]:
        """Incident energies of the whole shard in file order, shape (N,), GeV."""
        return self._showers.energy_n

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Showers]:
        """Yield the batches of `epoch` from `start_step` on, each of `batch_size` showers.

        The order follows from the seed, the rank and `epoch` alone, so that a resumed run sees the
        batches that an uninterrupted one would have seen.
        """
        seed, rank = self._order_key
        order = np.arange(len(self._showers))
        if self._shuffle:
            order = np.random.default_rng((seed, epoch, rank)).permutation(order)
        for step in range(start_step, self.steps_per_epoch):
            yield self._showers.take(order[step * self.batch_size : (step + 1) * self.batch_size])


def read_part(
    part: Sequence[FileRows], *, threshold_gev: float = 0.0, limit: int | None = None
) -> Showers:
    """Return the showers of `part` in memory and in file order.

    Of more than `limit`, that many are taken at equal distances, so that files sorted by energy
    give all energies. Cells below `threshold_gev` (GeV) are set to 0. Raises DataError as
    `ShardLoader` does for what it reads, and where no cell of any shower is left.
    """
    total = count_showers(part)
    count = total if limit is None else min(limit, total)
    taken = np.arange(count) * total // max(count, 1)
    pieces, start = [], 0
    for piece in part:
        first, stop = np.searchsorted(taken, (start, start + len(piece)))
        if stop > first:
            pieces.append(FileRows(piece.path, piece.rows[taken[first:stop] - start]))
        start += len(piece)
    if not pieces:
        raise DataError(
            f"no showers to read: {count_showers(part)} are there, the limit is {limit}"
        )
    with open_shower_file(pieces[0].path) as file:
        image_shape = file.image_shape
    showers = gather(map(_read, pieces), count, image_shape)
    apply_threshold(showers, threshold_gev)
    if not showers.images_nxyz.any():
        raise DataError(
            f"{pieces[0].path}: all {count} showers are empty: no cell reaches "
            f"data.threshold_gev = {threshold_gev:g} GeV; are the cells in GeV?"
        )
    return showers


def _read(piece: FileRows) -> Showers:
    with open_shower_file(piece.path) as file:
        showers = file.read(piece.rows)
    ratio_n = showers.images_nxyz.sum(axis=(1, 2, 3), dtype=np.float64) / showers.energy_n
    if ratio_n.min() > 1.0:
        raise DataError(
            f"{piece.path}: every shower deposits more than its particle brought "
            f"({np.median(ratio_n):.3g} times, shower {piece.rows[0]} onwards): "
            "cell energies in MeV? They must be in GeV, like the incident energy"
        )
    return showers

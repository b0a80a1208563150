"""Where the time of an epoch goes, and which ranks are slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gan3d.runtime import Communicator


# Of fewer, one that a busy machine held up would name a rank.
_FEWEST_STEPS = 5


class StepTimes:
    """The times of one rank's steps in an epoch (s)."""

    def __init__(self) -> None:
        self._data_wait = 0.0
        self._compute: list[float] = []
        self._exchange: list[float] = []

    def add(self, *, compute: float, exchange: float, data_wait: float = 0.0) -> None:
        """Note a step: its work on this rank, its exchanges with all their waiting, its reading."""
        self._data_wait += data_wait
        self._compute.append(compute)
        self._exchange.append(exchange)

    def summary(
        self, communicator: Communicator, hosts: Sequence[str], *, straggler_factor: float
    ) -> dict[str, Any]:
        """What the history keeps of all ranks' times. All ranks call it, after equally many steps.

        The shortest time that any rank spends in a step's exchanges is what they take
        (`all_reduce_seconds`): the slowest rank finds the others waiting. What the others spend
        beyond that, in the mean over ranks, is waiting for slower ranks (`rank_wait_seconds`).
        Ranks whose work and waiting for data take `straggler_factor` times that of the median rank
        are `stragglers`, where there are enough steps to say so.
        """
        # Of no steps at all, as of one that took no time: an exchange of nothing is none.
        compute_s, exchange_s = np.array(self._compute or [0.0]), np.array(self._exchange or [0.0])
        shortest = float(communicator.minimum(exchange_s).sum())
        sums = [compute_s.sum(), (compute_s**2).sum(), exchange_s.sum(), self._data_wait]
        compute_r, square_r, exchange_r, data_wait_r = communicator.gather(np.array([sums])).T
        steps = len(compute_s)
        mean = float(compute_r.mean()) / steps
        variance = max(0.0, float(square_r.mean()) / steps - mean**2)
        return {
            "compute_seconds": round(float(compute_r.mean()), 4),
            "all_reduce_seconds": round(shortest, 4),
            "rank_wait_seconds": round(float(exchange_r.mean()) - shortest, 4),
            "compute_spread": round(variance**0.5 / mean, 4) if mean else 0.0,
            "stragglers": find_stragglers(
                (compute_r + data_wait_r).tolist() if steps >= _FEWEST_STEPS else [0.0],
                hosts,
                straggler_factor,
            ),
        }


def find_stragglers(
    seconds_r: Sequence[float], hosts: Sequence[str], factor: float
) -> list[dict[str, Any]]:
    """Ranks that take `factor` times as long as the median rank, the slowest first.

    The lower of two medians, so that of two ranks one can be slow.
    """
    median = sorted(seconds_r)[(len(seconds_r) - 1) // 2]
    slow = [
        {"rank": rank, "host": hosts[rank], "factor": round(seconds / median, 3)}
        for rank, seconds in enumerate(seconds_r)
        if median > 0 and seconds >= factor * median
    ]
    return sorted(slow, key=lambda straggler: -float(straggler["factor"]))

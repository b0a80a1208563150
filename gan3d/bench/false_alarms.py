"""How often a validation cries wolf: pairs of samples of the same Monte Carlo, judged.

Probabilities that a report gives are right if of many pairs as many fall below each level as the
level says. The pairs are drawn from the same showers, so they are not independent of each other.

A run's showers are made for the incident energies of the reference, and such samples are compared
otherwise than independent ones: `same_energies` draws pairs of that kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Data, Geometry, Validation
from gan3d.data import stream_showers
from gan3d.errors import DataError
from gan3d.validation import Sample, judge, summarise

LEVELS = (0.01, 0.03, 0.1, 0.3)
"""Of the probability that a perfect generator looks as bad."""


def measure_false_alarms(
    files: Sequence[str],
    sizes: tuple[int, int],
    pairs: int,
    say: Callable[[str], None],
    *,
    whole: bool = False,
    same_energies: bool = False,
) -> dict[str, Any]:
    """Judge `pairs` random pairs of disjoint samples of `sizes` from the same files.

    `same_energies`: of neighbours in incident energy, one goes to each sample; both have the first
    one of `sizes`.

    Raises:
        DataError: the files hold fewer showers than the two samples need.

    """
    threshold_gev: float = Data.model_fields["threshold_gev"].default
    settings = Validation(bootstrap_replicas=2, noise_replicas=10)
    shape, blocks = stream_showers(files, threshold_gev=threshold_gev)
    settings = settings.model_copy(update={"sample_showers": 10**9 if whole else 0})
    pool: Sample = summarise(blocks, Geometry(shape=shape), settings)
    count, other = (sizes[0], sizes[0]) if same_energies else sizes
    if len(pool.observables) < count + other:
        raise DataError(
            f"{', '.join(files)}: {len(pool.observables)} showers are too few for samples of "
            f"{count} and {other}"
        )
    found = []
    for number in range(pairs):
        rng = np.random.default_rng(number)
        rows = two_samples(
            pool.observables.energy_n, (count, other), rng, same_energies=same_energies
        )
        one, two = (pool.rows(each) for each in rows)
        found.append(judge(one, two, Geometry(shape=shape), settings).p)
        if (number + 1) % 10 == 0:
            say(f"{number + 1} of {pairs} pairs")
    p = np.array(found)
    return {
        "showers": [count, other],
        "pairs": pairs,
        "same_energies": same_energies,
        "metrics_of_whole_showers": whole,
        "share_with_p_below": {f"{level:g}": float((p < level).mean()) for level in LEVELS},
    }


def two_samples(
    energy_n: NDArray[np.floating[Any]],
    sizes: tuple[int, int],
    rng: np.random.Generator,
    *,
    same_energies: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of two disjoint random samples of N showers; `measure_false_alarms` says more.

    Args:
        energy_n: incident energies (GeV).
        sizes: showers of each; equal ones for the same energies.
        rng: where they are drawn from.
        same_energies: whether neighbours in energy are shared out between the two.

    """
    count = sizes[0]
    rows = rng.permutation(len(energy_n))[: sum(sizes)]
    if same_energies:
        ordered = rows[np.argsort(energy_n[rows], kind="stable")]
        rows = rng.permuted(ordered.reshape(count, 2), axis=1).T.ravel()
    return rows[:count], rows[count:]

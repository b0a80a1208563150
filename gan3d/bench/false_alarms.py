"""How often a validation cries wolf: pairs of samples of the same Monte Carlo, judged.

Probabilities that a report gives are right if of many pairs as many fall below each level as the
level says. The pairs are drawn from the same showers, so they are not independent of each other.

A run's showers are made for the incident energies of the reference, and somebody else's may be
spread otherwise over energy; such pairs are compared otherwise than independent ones, and can be
drawn as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Data, Geometry, Validation
from gan3d.data import stream_showers
from gan3d.errors import DataError
from gan3d.validation import Sample, judge, summarise

Energies = Literal["alike", "same", "steep", "opposite"]

LEVELS = (0.01, 0.03, 0.1, 0.3)
"""Of the probability that a perfect generator looks as bad."""


def measure_false_alarms(
    files: Sequence[str],
    sizes: tuple[int, int],
    pairs: int,
    say: Callable[[str], None],
    *,
    whole: bool = False,
    energies: Energies = "alike",
) -> dict[str, Any]:
    """Judge `pairs` random pairs of disjoint samples of `sizes` from the same files.

    `energies`: `two_samples` says how the pairs are drawn.

    Raises:
        DataError: the files hold fewer showers than the two samples need.

    """
    threshold_gev: float = Data.model_fields["threshold_gev"].default
    settings = Validation(bootstrap_replicas=2, noise_replicas=10)
    shape, blocks = stream_showers(files, threshold_gev=threshold_gev)
    settings = settings.model_copy(update={"sample_showers": 10**9 if whole else 0})
    pool: Sample = summarise(blocks, Geometry(shape=shape), settings)
    count, other = (sizes[0], sizes[0]) if energies == "same" else sizes
    if len(pool.observables) < count + other:
        raise DataError(
            f"{', '.join(files)}: {len(pool.observables)} showers are too few for samples of "
            f"{count} and {other}"
        )
    found = []
    for number in range(pairs):
        rng = np.random.default_rng(number)
        rows = two_samples(pool.observables.energy_n, (count, other), rng, energies)
        one, two = (pool.rows(each) for each in rows)
        found.append(judge(one, two, Geometry(shape=shape), settings).p)
        if (number + 1) % 10 == 0:
            say(f"{number + 1} of {pairs} pairs")
    p = np.array(found)
    return {
        "showers": [count, other],
        "pairs": pairs,
        "energies": energies,
        "metrics_of_whole_showers": whole,
        "share_with_p_below": {f"{level:g}": float((p < level).mean()) for level in LEVELS},
    }


def two_samples(
    energy_n: NDArray[np.floating[Any]],
    sizes: tuple[int, int],
    rng: np.random.Generator,
    energies: Energies,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of two disjoint random samples of N showers.

    Args:
        energy_n: incident energies (GeV).
        sizes: showers of each; equal ones for the same energies.
        rng: where they are drawn from.
        energies: `alike`: all at random. `same`: of neighbours in energy, one goes to each sample.
            `steep`: the first sample's are drawn with weights that fall with the energy's square.
            `opposite`: and the second's with weights that rise with it.

    """
    count, other = sizes
    if energies in ("steep", "opposite"):
        weight_n = energy_n.astype(np.float64) ** -2
        first = rng.choice(len(energy_n), count, replace=False, p=weight_n / weight_n.sum())
        left = np.setdiff1d(np.arange(len(energy_n)), first)
        weight_m = np.ones(len(left)) if energies == "steep" else 1.0 / weight_n[left]
        return first, rng.choice(left, other, replace=False, p=weight_m / weight_m.sum())
    rows = rng.permutation(len(energy_n))[: count + other]
    if energies == "same":
        ordered = rows[np.argsort(energy_n[rows], kind="stable")]
        rows = rng.permuted(ordered.reshape(count, 2), axis=1).T.ravel()
    return rows[:count], rows[count:]

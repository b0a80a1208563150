"""How often a validation cries wolf: pairs of samples of the same Monte Carlo, judged.

Probabilities that a report gives are right if of many pairs as many fall below each level as the
level says. The pairs are drawn from the same showers, so they are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

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
) -> dict[str, Any]:
    """Judge `pairs` random pairs of disjoint samples of `sizes` from the same files.

    Raises:
        DataError: the files hold fewer showers than the two samples need.

    """
    threshold_gev: float = Data.model_fields["threshold_gev"].default
    settings = Validation(bootstrap_replicas=2, noise_replicas=10)
    shape, blocks = stream_showers(files, threshold_gev=threshold_gev)
    settings = settings.model_copy(update={"sample_showers": 10**9 if whole else 0})
    pool: Sample = summarise(blocks, Geometry(shape=shape), settings)
    count, other = sizes
    if len(pool.observables) < count + other:
        raise DataError(
            f"{', '.join(files)}: {len(pool.observables)} showers are too few for samples of "
            f"{count} and {other}"
        )
    found = []
    for number in range(pairs):
        rows = np.random.default_rng(number).permutation(len(pool.observables))
        one, two = pool.rows(rows[:count]), pool.rows(rows[count : count + other])
        found.append(judge(one, two, Geometry(shape=shape), settings).p)
        if (number + 1) % 10 == 0:
            say(f"{number + 1} of {pairs} pairs")
    p = np.array(found)
    return {
        "showers": list(sizes),
        "pairs": pairs,
        "metrics_of_whole_showers": whole,
        "share_with_p_below": {f"{level:g}": float((p < level).mean()) for level in LEVELS},
    }

"""Trials that were trained again with fresh seeds, and what can be told apart by them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Rerun:
    """A trial that was trained again with fresh seeds."""

    trial: int
    """Its number."""
    values: Mapping[int, Sequence[float]]
    """Of each fresh seed that went well, all objectives."""

    def of(self, objective: int = 0) -> list[float]:
        """The values of an objective, in the order of the seeds."""
        return [self.values[seed][objective] for seed in sorted(self.values)]

    def mean(self, objective: int = 0) -> float:
        """Over the fresh seeds."""
        return float(np.mean(self.of(objective)))

    def spread(self, objective: int = 0) -> float:
        """Standard deviation over the fresh seeds; NaN of one."""
        return float(np.std(self.of(objective), ddof=1)) if len(self.values) > 1 else math.nan

    def error(self, objective: int = 0) -> float:
        """Standard error of the mean; NaN of one seed."""
        return self.spread(objective) / math.sqrt(len(self.values))

    def told(self, objective: int = 0) -> str:
        """Mean and standard error."""
        if len(self.values) == 1:
            return f"{self.mean(objective):.4g}"
        return f"{self.mean(objective):.4g} ± {self.error(objective):.2g}"


@dataclass(frozen=True)
class Difference:
    """How much better one trial is than another, seed by seed."""

    mean: float
    """Positive: better."""
    error: float
    """Its standard error."""
    seeds: int
    """That both have been trained with."""

    @property
    def margin(self) -> float:
        """Half of the interval that holds the true difference with 95 % (Student's t)."""
        from scipy.stats import t

        return float(t.ppf((1 + _CONFIDENCE) / 2, self.seeds - 1)) * self.error

    @property
    def is_told(self) -> bool:
        """Whether there is one, by more than chance."""
        return abs(self.mean) > self.margin

    def __str__(self) -> str:
        return f"{self.mean:.2g} ± {self.error:.2g}, the same {self.seeds} seeds"


def difference(
    one: Rerun, other: Rerun, *, maximized: bool, objective: int = 0
) -> Difference | None:
    """How much better `one` is; of seeds in pairs, what they do to both alike drops out.

    None where there are not two seeds that both were trained with.
    """
    seeds = sorted(set(one.values) & set(other.values))
    if len(seeds) < 2:
        return None
    sign = 1.0 if maximized else -1.0
    each = [sign * (one.values[s][objective] - other.values[s][objective]) for s in seeds]
    return Difference(
        float(np.mean(each)), float(np.std(each, ddof=1)) / math.sqrt(len(each)), len(each)
    )

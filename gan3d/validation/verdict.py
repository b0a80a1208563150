"""What one metric says: its value beside what a perfect generator has, in a word."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gan3d.config import Validation
from gan3d.validation.catalogue import Kind, Metric

Word = Literal["agrees", "unclear", "close", "differs", "too alike"]


_HARDLY = 2.0
_SURELY = 6.0
"""Standard deviations of a perfect generator's values: within the first a value is a usual one;
beyond the second chance is out of the question among hundreds of metrics, long tails or not."""


@dataclass(frozen=True)
class Estimate:
    """A metric, its uncertainty, and what a perfect generator has."""

    value: float
    """Of generated against reference."""
    error: float
    """Standard error: of the bootstrap, or as the metric's own documentation says."""
    noise: float
    """What a perfect generator has on average in samples of these sizes: of pairs of samples that
    are both drawn from the reference."""
    spread: float
    """Standard deviation of that."""
    p: float
    """How likely a perfect generator would have any metric of the report as far off."""
    alone: float
    """How likely it would have this one as far off."""
    detectable: float
    """The value from which on it would have been told from a perfect generator's."""
    per_shower: float
    """1/N + 1/M of the samples."""
    exchanged: tuple[float, float]
    """Mean and standard deviation after exchanges of showers between the samples, which
    probabilities come from."""


@dataclass(frozen=True)
class Verdict:
    """What one metric says."""

    name: str
    """Name in `metrics.json`."""
    metric: Metric
    """What is compared."""
    estimate: Estimate
    """The numbers."""
    word: Word
    """`agrees` with what a perfect generator has; `unclear`: within chance among so many metrics,
    but a fault that matters would be, too, or it is unlikely on its own; `close`: beyond chance,
    but small; `differs`; `too alike`: nearer to the reference than independent showers are."""

    @property
    def title(self) -> str:
        """What is compared, for a reader."""
        return self.metric.title

    @property
    def value(self) -> float:
        """Of generated against reference."""
        return self.estimate.value

    @property
    def beyond(self) -> float:
        """By how many standard deviations it is worse than after exchanges of showers.

        0 where it is better. It ranks metrics; how unlikely a value is says `p`: distributions have
        long tails, and there are hundreds of metrics.
        """
        return beyond(self.metric.kind, self.estimate)

    @property
    def faulty(self) -> bool:
        """Whether it is more than chance."""
        return self.word not in ("agrees", "unclear")


def beyond(kind: Kind, estimate: Estimate) -> float:
    """How many spreads a value is worse than after exchanges; 0 where it is not."""
    mean, spread = estimate.exchanged
    excess = estimate.value - mean
    excess = abs(excess) if kind.worse == 0 else kind.worse * excess
    if excess <= 0.0:
        return 0.0
    return excess / spread if spread > 0.0 else math.inf


def word(kind: Kind, estimate: Estimate, settings: Validation, differ: bool = False) -> Word:
    """The verdict in a word.

    Where samples are known to `differ`, exchanging their showers makes mixtures of both, whose
    values may be spread much less than a perfect generator's, or much more. So what differs must
    then be worse than a perfect generator's, too, and what is many of its standard deviations worse
    does differ.
    """
    tolerance = getattr(settings.tolerances, kind.tolerance) if kind.tolerance else None
    large = is_large(kind, estimate, settings)
    worse = estimate.value - estimate.noise
    worse = abs(worse) if kind.worse == 0 else kind.worse * worse
    by_chance = estimate.p > settings.false_alarms
    detectable = estimate.detectable
    if differ and estimate.spread > 0.0:
        if by_chance and worse > _SURELY * estimate.spread and tolerance is not None:
            by_chance = not large
        elif not by_chance and kind.alike * (estimate.value - estimate.noise) <= 0.0:
            by_chance = worse <= _HARDLY * estimate.spread
        if kind.worse > 0:
            detectable = max(detectable, estimate.noise + _SURELY * estimate.spread)
    if by_chance:
        blind = tolerance is not None and (
            large or _fault(kind, estimate, detectable) > settings.unclear_beyond * tolerance
        )
        unlikely = estimate.alone < settings.unclear_below
        return "unclear" if blind or unlikely else "agrees"
    if kind.alike * (estimate.value - estimate.noise) > 0.0:
        return "too alike"
    return "close" if tolerance is not None and not large else "differs"


def is_large(kind: Kind, estimate: Estimate, settings: Validation) -> bool:
    """Whether the value is beyond what is called close, be it by chance or not."""
    if kind.tolerance is None:
        return False
    tolerance: float = getattr(settings.tolerances, kind.tolerance)
    return _fault(kind, estimate, estimate.value) > tolerance


def _fault(kind: Kind, estimate: Estimate, value: float) -> float:
    best = estimate.noise if kind.best is None else kind.best
    return abs(value - best) * (estimate.per_shower if kind.per_shower else 1.0)

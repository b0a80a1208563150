"""How likely a perfect generator is to look as bad, when hundreds of metrics are looked at.

Showers are exchanged between the samples at random, and all metrics computed again
(`gan3d.validation.resampling.exchanges`): that is what they are like for a perfect generator, at
these sizes, however skewed and however correlated. Then of each exchange the metric that is
farthest off is taken, and a value is held against these extremes: how often would any metric be as
far off? (The largest statistic of Westfall and Young, Resampling-Based Multiple Testing, 1993;
physicists call it the look-elsewhere effect.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import stats

from gan3d.validation.catalogue import Kind
from gan3d.validation.measures import Float

_TAIL = 0.1
"""Share of the exchanges that a metric's unit is the mean of, and that its tail is taken from."""

SMALLEST_P = 1e-6
"""Probabilities are not told below this: it is far beyond what hundreds of exchanges can say."""


@dataclass(frozen=True)
class Ruler:
    """One metric's distribution over exchanges, as an origin and a unit for how far off it is.

    The samples as they are count as one of the exchanges: left out, they alone would be measured
    with a ruler that was not made from them, and come out as too far off.
    """

    kind: Kind
    centre: float
    """Mean."""
    unit: float
    """Mean of the largest tenth of the distances to it, in the worse direction: it knows about a
    long tail."""
    off_k: Float
    """How far off each exchange is, and the samples as they are, in units, ascending."""

    @classmethod
    def of(cls, kind: Kind, value: float, exchanged_k: Float) -> Self:
        """From the metric's value, and those after exchanges."""
        values_k = np.append(exchanged_k, value)
        centre = float(values_k.mean())
        off_k = np.sort(_worse(kind, values_k - centre))
        unit = float(off_k[-_tail(off_k) :].mean())
        if unit <= 1e-12 * abs(centre):  # what is left of rounding is no spread
            return cls(kind, centre, 0.0, np.zeros_like(off_k))
        return cls(kind, centre, unit, off_k / unit)

    def alone(self, value: float) -> float:
        """How likely this metric is as far off, for a perfect generator, were it the only one.

        Counted where a tenth or more of the exchanges are, by an exponential tail beyond.
        """
        off, count = float(self.off(value)), len(self.off_k)
        tail = _tail(self.off_k)
        from_here = float(self.off_k[-tail - 1]) if tail < count else float(self.off_k[0])
        if off <= from_here:
            return float((self.off_k >= off).mean())
        mean_excess = float(self.off_k[-tail:].mean()) - from_here
        return max(tail / count * float(np.exp(-(off - from_here) / mean_excess)), SMALLEST_P)

    def off(self, values_k: Float | float) -> Float:
        """How far off values are, in units; negative where they are better."""
        off_k = _worse(self.kind, np.asarray(values_k, np.float64) - self.centre)
        return off_k / self.unit if self.unit > 0.0 else np.zeros_like(off_k)

    def value(self, off: float) -> float:
        """The worse value that is so far off."""
        return self.centre + (-1.0 if self.kind.worse < 0 else 1.0) * off * self.unit


@dataclass(frozen=True)
class Family:
    """Metrics that were exchanged together, and the extremes of them all."""

    rulers: Mapping[str, Ruler]
    location: float
    scale: float
    """Of the Gumbel distribution of the extremes' squares; it is what the largest of many tends to
    (Coles, An Introduction to Statistical Modeling of Extreme Values, 2001), and reaches beyond
    what a hundred exchanges count. Squares, since those of normal numbers tend to it much faster
    than they themselves do."""

    @classmethod
    def of(cls, found: Mapping[str, tuple[Kind, float, Float]]) -> Self:
        """From each metric's kind, its value and those after the same exchanges; not empty."""
        rulers = {name: Ruler.of(*each) for name, each in found.items()}
        off = np.stack([rulers[name].off(values_k) for name, (_, _, values_k) in found.items()])
        extreme_k = _square(off.max(axis=0))
        scale = float(extreme_k.std(ddof=1)) * np.sqrt(6.0) / np.pi
        return cls(rulers, float(extreme_k.mean()) - np.euler_gamma * scale, max(scale, 1e-12))

    def p_value(self, name: str, value: float) -> float:
        """How likely any metric of the family is as far off, for a perfect generator."""
        square = float(_square(self.rulers[name].off(value)))
        # Far below the location it is 1, and the exponential overflows.
        above = max((square - self.location) / self.scale, -30.0)
        return max(float(-np.expm1(-np.exp(-above))), SMALLEST_P)

    def alone(self, name: str, value: float) -> float:
        """How likely this metric is as far off, were it the only one."""
        return self.rulers[name].alone(value)

    def detectable(self, name: str, p_value: float) -> float:
        """The value at which `p_value` is reached: a smaller fault of this metric is not seen."""
        square = float(stats.gumbel_r.isf(p_value, self.location, self.scale))
        return self.rulers[name].value(np.sqrt(max(square, 0.0)))


def at_least_one(p_value: float, tries: int) -> float:
    """How likely something of this probability happens in one of several independent tries."""
    return float(-np.expm1(tries * np.log1p(-min(p_value, 1.0 - 1e-16))))


def each_of(p_value: float, tries: int) -> float:
    """What must be as unlikely in each of several tries, so that one of them is `p_value`."""
    return float(-np.expm1(np.log1p(-p_value) / tries))


def _tail(off_k: Float) -> int:
    return max(1, round(_TAIL * len(off_k)))


def _square(off_k: Float) -> Float:
    """With the sign kept."""
    square_k: Float = off_k * np.abs(off_k)
    return square_k


def _worse(kind: Kind, excess_k: Float) -> Float:
    return np.abs(excess_k) if kind.worse == 0 else kind.worse * excess_k

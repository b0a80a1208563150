"""Showers of a kind that the reference has none of.

Two showers in a hundred with a third too much energy change no mean, width or distance by more than
chance does, and no experiment would take them. So the ends of each feature's distribution are
looked at on their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy import stats

from gan3d.validation.features import Scale, quadratic
from gan3d.validation.measures import Float
from gan3d.validation.observables import Observables
from gan3d.validation.significance import SMALLEST_P

_TAIL_SHOWERS = 20
"""Showers of the reference that each tail is known from, or a tenth of them where that is fewer;
more would not be the tail, fewer know its length to worse than a quarter."""
_FEWEST_IN_TAIL = 5
_RATES = 500
_LEAST_SPREAD = 0.3
"""Share of the mean distance to the median that a fit to it may fall to at some energy."""


@dataclass(frozen=True)
class Outliers:
    """Generated showers beyond the reference's."""

    share: float
    """Of the generated showers looked at, that are beyond all of the reference's in a feature in
    which a perfect generator would not have so many so far out."""
    showers: int
    """Generated showers looked at."""
    p: float
    """How likely a perfect generator has any as far out, in any feature."""
    count: int
    """Showers, of the feature where they are least likely."""
    title: str
    """That feature."""
    limit: float
    """The reference's outermost value on that side, from the median, over the mean distance to it
    at the shower's incident energy."""
    farthest: float
    """The generated showers' outermost value, likewise."""


def outliers(
    generated: Observables, reference: Observables, by_feature: Mapping[str, Scale], unlikely: float
) -> Outliers:
    """Look at both ends of all features, at given incident energy.

    The farthest shower, the two farthest, the four farthest and so on are looked at. Those beyond
    all of the reference's count where that is less likely than `unlikely`.

    Beyond a threshold that k of M showers of the reference exceed, the excess is taken for
    exponential, as tails are far out (Coles, An Introduction to Statistical Modeling of Extreme
    Values, 2001, with shape 0). Of N further showers then a Poisson number of mean
    N k / M exp(-x / s) exceeds it by x; k s / (its mean excess) is known from those k alone, and so
    averaged over (the Gamma distribution of order k). The smallest of the probabilities that so
    many are so far out is times the number of those looked at.
    """
    worst = Outliers(0.0, len(generated), 1.0, 0, "", np.nan, np.nan)
    if not len(generated):
        return worst
    counted = [2**power for power in range(len(generated).bit_length())]
    far_n = np.zeros(len(generated), bool)
    tests = 2 * len(by_feature) * len(counted)
    for scale in by_feature.values():
        ours_n, theirs_m = _standardised(scale, generated, reference)
        defined_n = np.isfinite(ours_n)
        theirs_m = theirs_m[np.isfinite(theirs_m)]
        for side in (1.0, -1.0):
            tail = _Tail.of(side * theirs_m)
            if tail is None or not defined_n.any():
                continue
            sides_n = np.where(defined_n, side * ours_n, -np.inf)
            farthest = np.sort(sides_n)[::-1]
            limit = tail.highest
            for count in counted:
                if farthest[count - 1] <= limit:
                    break
                likely = tail.at_least(count, float(farthest[count - 1]), len(generated))
                p = max(tests * likely, SMALLEST_P)
                if p < unlikely:
                    far_n |= sides_n > limit
                if p < worst.p:
                    beyond = int((sides_n > limit).sum())
                    title, outermost = scale.feature.title, side * float(farthest[0])
                    worst = replace(
                        worst,
                        p=p,
                        count=beyond,
                        title=title,
                        limit=side * limit,
                        farthest=outermost,
                    )
    return replace(worst, share=float(far_n.mean()))


def _standardised(
    scale: Scale, generated: Observables, reference: Observables
) -> tuple[Float, Float]:
    """The feature around the mean, over the mean distance to it at the shower's incident energy."""
    both = generated, reference
    values = [scale.compared(sample) for sample in both]
    logarithms = [np.log(sample.energy_n) for sample in both]
    logarithm_p, value_p = np.concatenate(logarithms), np.concatenate(values)
    defined_p = np.isfinite(value_p)
    if not defined_p.any():
        return values[0], values[1]
    centre = np.median(value_p[defined_p])
    distance_p = np.abs(value_p[defined_p] - centre)
    curve = quadratic(logarithm_p[defined_p], distance_p)
    least = max(_LEAST_SPREAD * float(distance_p.mean()), 1e-300)
    one, other = (
        (value_n - centre) / np.maximum(np.polyval(curve, logarithm_n), least)
        for value_n, logarithm_n in zip(values, logarithms, strict=True)
    )
    return one, other


@dataclass(frozen=True)
class _Tail:
    """The upper end of the reference's values."""

    threshold: float
    share: float
    """Of the reference's showers above it."""
    count: int
    """How many these are."""
    mean_excess: float
    highest: float

    @classmethod
    def of(cls, theirs_m: Float) -> Self | None:
        """None where there is none: too few showers, or many of one highest value."""
        count = min(_TAIL_SHOWERS, len(theirs_m) // 10)
        if count < _FEWEST_IN_TAIL:
            return None
        highest = np.sort(theirs_m)[-count - 1 :]
        mean_excess = float((highest[1:] - highest[0]).mean())
        if mean_excess <= 0.0:
            return None
        share = count / len(theirs_m)
        return cls(float(highest[0]), share, count, mean_excess, float(highest[-1]))

    def at_least(self, number: int, value: float, showers: int) -> float:
        """How likely so many of `showers` perfect ones are above `value`."""
        # k times the true rate over the measured one.
        rate_q = np.linspace(0.0, 5.0 * self.count, _RATES + 1)[1:]
        weight_q = stats.gamma.pdf(rate_q, self.count)
        excess = (value - self.threshold) / (self.count * self.mean_excess)
        mean_q = showers * self.share * np.exp(-excess * rate_q)
        return float(stats.poisson.sf(number - 1, mean_q) @ weight_q / weight_q.sum())

"""Distances of two one-dimensional distributions, of many weightings of the same showers at once.

The values are those of two samples put together. A weighting says how often each counts in the one
and how often in the other: 1 and 0, or 0 and 1, for the samples as they are, how often it was drawn
in a bootstrap replica, who plays whom after an exchange. Weights are (R, P), one row per weighting,
and every distance comes back as (R,). Values are sorted once for all weightings, which is why these
are not calls of SciPy: with weights 0 and 1 the Kolmogorov-Smirnov and the Wasserstein distance are
those of `scipy.stats.ks_2samp` and `scipy.stats.wasserstein_distance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Validation
from gan3d.validation.measures import Float

Weights = NDArray[np.floating[Any]]

DISTANCES = ("separation", "ks", "wasserstein", "chi2")

# Bins hold at least so many showers of the reference on average: emptier ones make the separation
# power of equal samples fall short of its law, (B / 4) (1/N + 1/M).
_SHOWERS_PER_BIN = 20
_FEWEST_BINS = 5

# Histograms leave this share of the reference to the underflow and as much to the overflow, so
# that a single outlier does not set the width of all bins.
_FLOW_SHARE = 0.001


def distances(
    values_p: Float, ours_rp: Weights, theirs_rp: Weights, settings: Validation
) -> dict[str, Float]:
    """All of `DISTANCES` of two samples of finite values, (R,) each.

    `separation`: see `separation_power`, in `settings.histogram_bins` bins of equal width over the
    range of theirs (fewer where they would hold less than 20). `ks`: the largest distance between
    the cumulative distributions, 0 to 1. `wasserstein`: the area between them, the mean way that a
    value must be moved, over the standard deviation of theirs (Ramdas, Garcia and Cuturi, Entropy
    19 (2017) 47, equation 7 for p = 1). `chi2`: see `reduced_chi2`, in `settings.chi2_bins` bins
    that hold equally many of theirs. So what is theirs sets the bins, in every weighting anew.
    """
    both = Cumulated.of(values_p, ours_rp, theirs_rp)
    ks_r, area_r = both.largest_and_area()
    theirs = round(float(both.theirs_qr[-1, 0]))
    bins = bins_that_fill(theirs, settings)
    spread_r = both.spread_of_theirs()
    shares = np.linspace(0.0, 1.0, settings.chi2_bins + 1)[1:-1]
    return {
        "separation": separation_power(*both.histograms(both.equal_width(bins))),
        "ks": ks_r,
        "wasserstein": area_r / np.where(spread_r > 0.0, spread_r, 1.0),
        "chi2": reduced_chi2(*both.histograms(both.quantiles_of_theirs(shares))),
    }


def bins_that_fill(showers: int, settings: Validation) -> int:
    """`settings.histogram_bins`, or fewer where so many showers would leave them too empty."""
    return int(np.clip(showers // _SHOWERS_PER_BIN, _FEWEST_BINS, settings.histogram_bins))


@dataclass(frozen=True)
class Cumulated:
    """Two samples' values put together, ascending, with their weights summed up to each."""

    values_p: Float
    """Ascending."""
    ours_qr: NDArray[np.float32]
    """Sum of weights of ours before each value, and of all of them at the end: (P + 1, R). Single
    precision is exact for numbers of showers."""
    theirs_qr: NDArray[np.float32]
    """The same of theirs."""

    @classmethod
    def of(cls, values_p: Float, ours_rp: Weights, theirs_rp: Weights) -> Cumulated:
        """Sort and sum. Fast where the weights are the transpose of arrays in C order."""
        order_p = np.argsort(values_p, kind="stable")

        def summed(weights_rp: Weights) -> NDArray[np.float32]:
            found_qr = np.zeros((len(values_p) + 1, len(weights_rp)), np.float32)
            np.cumsum(np.take(weights_rp.T, order_p, axis=0), axis=0, out=found_qr[1:])
            return found_qr

        return cls(values_p[order_p], summed(ours_rp), summed(theirs_rp))

    def largest_and_area(self) -> tuple[Float, Float]:
        """Largest distance of the cumulative distributions, and the area between them: (R,)."""
        difference_qr = _over_last(self.ours_qr)
        difference_qr -= _over_last(self.theirs_qr)
        np.abs(difference_qr, out=difference_qr)
        between_pr, gap_p = difference_qr[1:-1], np.diff(self.values_p)
        # Among equal values the distributions jump at once: only the last of them counts.
        steps = between_pr if (gap_p > 0.0).all() else between_pr[gap_p > 0.0]
        ks_r = steps.max(axis=0) if len(steps) else np.zeros(steps.shape[1])
        return ks_r.astype(np.float64), gap_p @ between_pr

    def spread_of_theirs(self) -> Float:
        """Standard deviation of theirs: (R,)."""
        # Around the median of all, so that the difference of squares keeps its digits. Summed by
        # parts: weights are the differences of their sums.
        offset_p = self.values_p - self.values_p[len(self.values_p) // 2]
        total_r = self.theirs_qr[-1].astype(np.float64)
        mean_r, square_r = (
            power_p[-1] - (np.diff(power_p) @ self.theirs_qr[1:-1]) / total_r
            for power_p in (offset_p, offset_p**2)
        )
        spread_r: Float = np.sqrt(np.maximum(square_r - mean_r**2, 0.0))
        return spread_r

    def quantiles_of_theirs(self, shares: Float) -> Float:
        """The smallest values up to which theirs hold `shares` of their weight: (R, shares)."""
        return _quantiles(self.values_p, self.theirs_qr, shares)

    def quantiles_of_ours(self, shares: Float) -> Float:
        """The same of ours."""
        return _quantiles(self.values_p, self.ours_qr, shares)

    def equal_width(self, bins: int) -> Float:
        """Edges of bins of one width over the range of theirs: (R, bins + 1)."""
        range_r2 = self.quantiles_of_theirs(np.array([_FLOW_SHARE, 1.0 - _FLOW_SHARE]))
        low_r, high_r = range_r2.T
        # One value only: bins within one per cent of it.
        half_r = np.where(low_r == high_r, np.where(low_r == 0.0, 0.5, 0.005 * np.abs(low_r)), 0.0)
        low_r, high_r = low_r - half_r, high_r + half_r
        edges_re: Float = np.linspace(low_r, high_r, bins + 1, axis=1)
        return edges_re

    def histograms(self, edges_re: Float) -> tuple[Float, Float]:
        """Weights of ours and of theirs per bin, underflow and overflow included: (R, edges + 1).

        Bins are closed below and open above, the last one closed.
        """
        at_re = np.searchsorted(self.values_p, edges_re, side="left")
        at_re[:, -1] = np.searchsorted(self.values_p, edges_re[:, -1], side="right")
        row_r1 = np.arange(len(edges_re))[:, None]
        ours_rb, theirs_rb = (
            np.diff(
                summed_qr[at_re, row_r1].astype(np.float64),
                axis=1,
                prepend=0.0,
                append=summed_qr[-1][:, None],
            )
            for summed_qr in (self.ours_qr, self.theirs_qr)
        )
        return ours_rb, theirs_rb


def _quantiles(values_p: Float, summed_qr: NDArray[np.float32], shares: Float) -> Float:
    # As many whole showers as it takes; a share of 20 of 20 is not to miss the last by rounding.
    at_rs = np.stack(
        [
            np.searchsorted(summed_p, np.ceil(shares * float(summed_p[-1]) - 1e-9))
            for summed_p in summed_qr[1:].T
        ]
    )
    found_rs: Float = values_p[np.minimum(at_rs, len(values_p) - 1)]
    return found_rs


def _over_last(summed_qr: NDArray[np.float32]) -> NDArray[np.float32]:
    last_r = summed_qr[-1]
    return np.divide(summed_qr, last_r, out=np.zeros_like(summed_qr), where=last_r > 0.0)


def separation_power(counts_rb: Float, other_rb: Float) -> Float:
    """Separation power of histograms over the same bins, from 0 (equal) to 1 (disjoint): (R,).

    0.5 * sum_i (p_i - q_i)^2 / (p_i + q_i) with p and q normalised to a sum of 1; bins that are
    empty in both do not count. It is symmetric. Source: Fast Calorimeter Challenge 2022,
    Krause et al., arXiv:2410.21611, section 5; Diefenbacher et al., arXiv:2009.03796.

    A histogram that is empty as a whole is disjoint from one that is not (1); two empty ones are
    equal (0).

    Two samples of N and M showers from the same distribution, in B bins that all hold some, score
    (B / 4) (1/N + 1/M) on average, not 0: compare with the noise level.
    """
    sum_r, other_sum_r = counts_rb.sum(axis=-1), other_rb.sum(axis=-1)
    p, q = _normalised(counts_rb), _normalised(other_rb)
    total = p + q
    terms = np.divide((p - q) ** 2, total, out=np.zeros_like(total), where=total > 0.0)
    empty = (sum_r == 0.0) | (other_sum_r == 0.0)
    power_r: Float = np.where(empty, sum_r != other_sum_r, 0.5 * terms.sum(axis=-1))
    return power_r


def reduced_chi2(counts_rb: Float, other_rb: Float) -> Float:
    """chi2 over degrees of freedom of two histograms of counts with the same bins: (R,).

    sum_i (n_i sqrt(M/N) - m_i sqrt(N/M))^2 / (n_i + m_i) over the number of bins that are not empty
    in both, less 1, N and M being the sums. 1 on average for two samples of one distribution,
    whatever their size; it grows with the sizes where they differ. Source: Gagunashvili,
    arXiv:physics/0605123, equation 3.
    """
    sum_r, other_sum_r = counts_rb.sum(axis=-1), other_rb.sum(axis=-1)
    both = (sum_r > 0.0) & (other_sum_r > 0.0)
    ratio = np.sqrt(np.divide(other_sum_r, sum_r, out=np.ones(both.shape), where=both))[..., None]
    total = counts_rb + other_rb
    terms = np.divide(
        (counts_rb * ratio - other_rb / ratio) ** 2,
        total,
        out=np.zeros_like(total),
        where=total > 0.0,
    )
    freedom = np.maximum((total > 0.0).sum(axis=-1) - 1, 1)
    chi2_r: Float = terms.sum(axis=-1) / freedom
    return chi2_r


def _normalised(weights: Float) -> Float:
    total = weights.sum(axis=-1, keepdims=True)
    return np.divide(weights, total, out=np.zeros(weights.shape), where=total > 0.0)

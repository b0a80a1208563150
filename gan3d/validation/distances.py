"""Distances of two one-dimensional distributions, of many weightings of the same showers at once.

A weighting gives every shower a weight: 1 for the sample as it is, how often a shower was drawn in
a bootstrap replica, 1 or 0 for a half. Weights are (R, N), one row per replica, and every distance
comes back as (R,). Values are sorted once for all replicas, which is why these are not calls of
SciPy: with all weights 1 the Kolmogorov-Smirnov and the Wasserstein distance are those of
`scipy.stats.ks_2samp` and `scipy.stats.wasserstein_distance`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from gan3d.validation.measures import Float


@dataclass(frozen=True)
class Edges:
    """Edges of the histograms of one quantity."""

    equal_width: Float
    """For the separation power: bins of one width over the reference's range."""
    equal_share: Float
    """For chi2: bins that hold equally many showers of the reference."""
    unit: float
    """The spread of the reference (standard deviation), which Wasserstein distances are over."""


DISTANCES = ("separation", "ks", "wasserstein", "chi2")


def distances(
    ours_n: Float, theirs_m: Float, weights_rn: Float, weights_rm: Float, edges: Edges
) -> dict[str, Float]:
    """All of `DISTANCES` of two samples of finite values, (R,) each.

    `separation` and `chi2`: see `separation_power` and `reduced_chi2`. `ks`: the largest distance
    between the cumulative distributions, 0 to 1. `wasserstein`: the area between them, the mean way
    that a value must be moved, over `edges.unit`.
    """
    ks_r, area_r = cumulative_distances(ours_n, theirs_m, weights_rn, weights_rm)
    wide, fine = (
        (histogram(ours_n, weights_rn, each), histogram(theirs_m, weights_rm, each))
        for each in (edges.equal_width, edges.equal_share)
    )
    return {
        "separation": separation_power(*wide),
        "ks": ks_r,
        "wasserstein": area_r / edges.unit,
        "chi2": reduced_chi2(*fine),
    }


def cumulative_distances(
    ours_n: Float, theirs_m: Float, weights_rn: Float, weights_rm: Float
) -> tuple[Float, Float]:
    """Kolmogorov-Smirnov distance, and Wasserstein distance in the unit of the values: (R,) each.

    Both from the difference of the cumulative distributions, its largest absolute value and the
    area under that. Ramdas, Garcia and Cuturi, Entropy 19 (2017) 47, equation 7 for p = 1.
    """
    values = np.concatenate([ours_n, theirs_m])
    order = np.argsort(values, kind="stable")
    values = values[order]
    signed = np.concatenate([_normalised(weights_rn), -_normalised(weights_rm)], axis=1)[:, order]
    difference = np.abs(np.cumsum(signed, axis=1, out=signed), out=signed)
    gaps = np.diff(values)
    # Among equal values the cumulative distributions jump at once: only the last of them counts.
    steps = difference[:, :-1][:, gaps > 0.0]
    ks_r = steps.max(axis=1) if steps.shape[1] else np.zeros(len(steps))
    return ks_r, difference[:, :-1] @ gaps


def histogram(values_n: Float, weights_rn: Float, edges: Float) -> Float:
    """Sum of weights per bin, the underflow before and the overflow after them: (R, bins + 2).

    Bins are closed below and open above, the last one closed.
    """
    bin_n = np.searchsorted(edges, values_n, side="right")
    bin_n[values_n == edges[-1]] = len(edges) - 1
    rows = np.arange(len(values_n))
    member_nb = sparse.csr_array(
        (np.ones(len(values_n)), (rows, bin_n)), shape=(len(values_n), len(edges) + 1)
    )
    counts_rb: Float = np.asarray(weights_rn @ member_nb)
    return counts_rb


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

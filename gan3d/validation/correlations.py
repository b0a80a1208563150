"""Correlation matrices: what networks get wrong when every single distribution looks right."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from gan3d.validation.measures import Float, Integer


def correlation_matrices(values_nk: Float, weights_rn: Float) -> Float:
    """Pearson correlations of K quantities in R weightings of N showers: (R, K, K).

    NaN for a quantity that is the same in all showers.
    """
    # Around the mean, so that the differences below keep their digits.
    values_nk = values_nk - values_nk.mean(axis=0)
    quantities = values_nk.shape[1]
    weights_rn = weights_rn / weights_rn.sum(axis=1, keepdims=True)
    mean_rk = weights_rn @ values_nk
    covariance_rkk = np.empty((len(weights_rn), quantities, quantities))
    for k in range(quantities):  # all weightings at once, one row of the matrices after the other
        row_rl = weights_rn @ (values_nk[:, k:] * values_nk[:, k : k + 1])
        row_rl -= mean_rk[:, k:] * mean_rk[:, k : k + 1]
        covariance_rkk[:, k, k:] = covariance_rkk[:, k:, k] = row_rl
    variance_rk = np.diagonal(covariance_rkk, axis1=1, axis2=2)
    # What is left of rounding is no spread.
    spread_rk = np.sqrt(np.where(variance_rk > 1e-12 * mean_rk**2, variance_rk, np.nan))
    found: Float = covariance_rkk / (spread_rk[:, :, None] * spread_rk[:, None, :])
    return found


def correlation_difference(ours_rkk: Float, theirs_rkk: Float) -> Float:
    """Root mean square over pairs of the difference of two correlation matrices: (R,).

    From 0, the same, to 2, all reversed. Pairs that the reference does not define are left out;
    where only the other does not, as for cells that it never lights, it counts as uncorrelated.
    """
    rows, columns = np.triu_indices(ours_rkk.shape[-1], 1)
    ours_rp, theirs_rp = ours_rkk[:, rows, columns], theirs_rkk[:, rows, columns]
    defined_rp = np.isfinite(theirs_rp)
    difference_rp = np.where(defined_rp, np.nan_to_num(ours_rp) - np.nan_to_num(theirs_rp), 0.0)
    pairs_r = np.maximum(defined_rp.sum(axis=1), 1)
    root_r: Float = np.sqrt((difference_rp**2).sum(axis=1) / pairs_r)
    return root_r


def brightest_cells(kept_kc: sparse.csr_array, count: int) -> Integer:
    """Numbers of the `count` cells with most energy in a sample's showers, most first."""
    energy_c = np.asarray(kept_kc.sum(axis=0)).reshape(-1)
    order_c: Integer = np.argsort(-energy_c, kind="stable")[:count]
    return order_c

"""The shower's variables: layer energies, their total, its displacement, and their copula."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from gan3d.models.shower_statistics.found import DEVELOPMENT_FLOOR, SCORE_KNOTS, Array
from gan3d.models.shower_statistics.regression import log_polynomial


def displacement_terms(displacement: Array) -> Array:
    """First and second powers of displacements in cells, (..., 2) -> (..., DISPLACEMENT_TERMS)."""
    x, y = displacement[..., 0], displacement[..., 1]
    return np.stack([x, y, x**2, x * y, y**2], axis=-1)


def shower_displacement(images_nxyz: NDArray[np.float32], *, cylinder: bool = False) -> Array:
    """Barycentre in (x, y) minus its mean over all showers, in cells, (N, 2).

    Of a cylinder, images (N, angle, radius, layer), in the plane all the same, in cells of the
    radius: (r cos, r sin) of the angles from -pi on.
    """
    image_nxy = images_nxyz.sum(axis=3, dtype=np.float64)
    total_n = np.maximum(image_nxy.sum(axis=(1, 2)), 1e-30)
    if cylinder:
        angles = image_nxy.shape[1]
        angle_x = (np.arange(angles) + 0.5) * (2.0 * np.pi / angles) - np.pi
        plane_x2 = np.stack([np.cos(angle_x), np.sin(angle_x)], axis=1)
        energy_nx = image_nxy @ (np.arange(image_nxy.shape[2]) + 0.5)
        barycentre_n2 = energy_nx @ plane_x2 / total_n[:, None]
        return np.asarray(barycentre_n2 - barycentre_n2.mean(axis=0))
    x_n = image_nxy.sum(axis=2) @ np.arange(image_nxy.shape[1]) / total_n
    y_n = image_nxy.sum(axis=1) @ np.arange(image_nxy.shape[2]) / total_n
    barycentre_n2 = np.stack([x_n, y_n], axis=1)
    displacement_n2: Array = barycentre_n2 - barycentre_n2.mean(axis=0)
    return displacement_n2


def shower_development(layers_nz: Array) -> Array:
    """Logit of the fraction of the energy deposited up to the middle of each layer, (N, layer)."""
    total_n1 = np.maximum(layers_nz.sum(axis=1, keepdims=True), 1e-30)
    fraction_nz = (np.cumsum(layers_nz, axis=1) - 0.5 * layers_nz) / total_n1
    fraction_nz = np.clip(fraction_nz, DEVELOPMENT_FLOOR, 1.0 - DEVELOPMENT_FLOOR)
    development_nz: Array = np.log(fraction_nz / (1.0 - fraction_nz))
    return development_nz


def means_and_spreads(
    energies_ne: Array, displacement_n2: Array, terms_nt: Array
) -> tuple[Array, Array, Array]:
    """`log_mean_et` and `log_spread_vt` of `ShowerStatistics`, standardised residuals (N, V)."""
    log_mean_et = np.stack([log_polynomial(terms_nt, column_n) for column_n in energies_ne.T])
    relative_ne = energies_ne / np.exp(terms_nt @ log_mean_et.T) - 1.0
    deviation_nv = np.concatenate([relative_ne, displacement_n2], axis=1)
    log_spread_vt = 0.5 * np.stack(
        [log_polynomial(terms_nt, column_n**2) for column_n in deviation_nv.T]
    )
    return log_mean_et, log_spread_vt, deviation_nv / np.exp(terms_nt @ log_spread_vt.T)


def knot_weights(log_energy_n: Array, log_energy_k: Array, one_hot_nc: Array) -> Array:
    """Weights of linear interpolation between knots, constant beyond them, (N, K).

    The knots of the first category, then those of the next.
    """
    unit_kk = np.eye(len(log_energy_k))
    weights_nk = np.stack(
        [np.interp(log_energy_n, log_energy_k, unit_k) for unit_k in unit_kk], axis=1
    )
    of_each_nck = one_hot_nc[:, :, None] * weights_nk[:, None, :]
    # Never quite 0, so that a knot without showers near it borrows from all.
    weights: Array = of_each_nck.reshape(len(weights_nk), -1) + 1e-6
    return weights


def quantiles(residuals_nv: Array, weights_n: Array) -> Array:
    """Weighted quantile functions at `SCORE_KNOTS`, (V, Q)."""
    probability_q = np.array([NormalDist().cdf(float(score)) for score in SCORE_KNOTS])
    columns = []
    for residuals_n in residuals_nv.T:
        order_n = np.argsort(residuals_n)
        cumulative_n = np.cumsum(weights_n[order_n]) - 0.5 * weights_n[order_n]
        columns.append(
            np.interp(probability_q, cumulative_n / weights_n.sum(), residuals_n[order_n])
        )
    return np.stack(columns)


def normal_scores(residuals_nv: Array, weights_nk: Array) -> Array:
    """Normal quantiles of the residuals' ranks among showers of similar energy, (N, V)."""
    rank_nv = np.zeros_like(residuals_nv)
    for v, residuals_n in enumerate(residuals_nv.T):
        order_n = np.argsort(residuals_n)
        sorted_nk = weights_nk[order_n]
        cumulative_nk = (np.cumsum(sorted_nk, axis=0) - 0.5 * sorted_nk) / sorted_nk.sum(axis=0)
        rank_nv[order_n, v] = (sorted_nk * cumulative_nk).sum(axis=1)
    table = np.array([NormalDist().inv_cdf((i + 0.5) / 2000) for i in range(2000)])
    scores_nv: Array = table[np.clip(rank_nv * 2000, 0, 1999).astype(int)]
    return scores_nv


def copula(scores_nv: Array, weights_n: Array) -> Array:
    """Lower Cholesky factor (V, V) of the scores' weighted correlation matrix."""
    weights_n = weights_n / weights_n.sum()
    centred_nv = scores_nv - weights_n @ scores_nv
    covariance_vv = (centred_nv * weights_n[:, None]).T @ centred_nv
    covariance_vv += 1e-4 * np.eye(len(covariance_vv))
    deviation_v = np.sqrt(np.diag(covariance_vv))
    return np.linalg.cholesky(covariance_vv / np.outer(deviation_v, deviation_v))

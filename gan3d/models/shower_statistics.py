"""Statistics of training showers that a generator can be given instead of having to learn them.

Three nested descriptions, coarse to fine, each conditioned on the one before:

1. the shower's total energy and its layer energies given the incident energy: mean and spread as
   log-polynomials in ln(Ep), the shape of the distribution as a quantile function, the correlations
   as a Gaussian copula;
2. the share that each cell has of its layer's energy, given how far the shower has developed;
3. the spectrum of a cell's energy given its expected energy, as probability of a hit and quantile
   function of the hits.

NumPy only. Images are (N, x, y, layer) in GeV, incident energies are Ep over the energy scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ENERGY_TERMS = 3
"""Terms of the polynomials in ln(Ep): mean and spread bend over a decade of energy."""
SCORE_KNOTS = np.linspace(-3.0, 3.0, 25)
"""Standard normal scores at which the quantile functions of layer energies are tabulated."""
LOGIT_KNOTS = np.linspace(-6.0, 8.0, 29)
"""Logits of the probability at which quantile functions of hit energies are tabulated."""
EXPECTED_KNOTS = 24
"""Expected cell energies, evenly spaced in the logarithm, at which spectra are tabulated."""
SHARE_CLASSES = 8
"""Classes of cells from core to halo; cells of one class share the shape of their spectra."""
MAX_SHOWERS = 4000
"""Showers used at most: more do not change the statistics visibly, but cost start-up time."""
DEVELOPMENT_FLOOR = 1e-4
"""The deposited fraction is kept this far from 0 and 1 where its logit is taken."""
_CHUNK = 100


@dataclass(frozen=True)
class ShowerStatistics:
    """What `fit_shower_statistics` finds; V = layers + 1 variables, the last being the total."""

    log_mean_vt: Array
    """Polynomial coefficients of ln(mean energy / Ep) in ln(Ep), lowest degree first."""
    log_spread_vt: Array
    """The same for ln(relative standard deviation)."""
    quantiles_vq: Array
    """Standardised residuals at `SCORE_KNOTS`."""
    copula_vv: Array
    """Lower Cholesky factor of the correlation matrix of the variables' normal scores."""
    share_xyz: Array
    """Mean share of a cell in the energy of its layer; sums to 1 over (x, y)."""
    share_class_xyz: NDArray[np.int32]
    """Class of each cell, 0 (halo) to SHARE_CLASSES - 1 (core)."""
    share_slope_zk: Array
    """d ln(share) / d(development) of each layer and class."""
    development_z: Array
    """Mean of `shower_development`, energy-weighted."""
    log_expected_range: Array
    """Natural logarithms of the first and last knot of the expected cell energy (GeV)."""
    logit_hit_ke: Array
    """Logit of the probability of a hit per class and knot."""
    log_energy_kel: Array
    """ln(energy/GeV) of a hit per class, knot and `LOGIT_KNOTS`."""


def energy_terms(energy_n1: Array) -> Array:
    """Powers of ln(Ep), (N, ENERGY_TERMS)."""
    return np.power(np.log(energy_n1), np.arange(ENERGY_TERMS))


def log_polynomial(terms_nt: Array, values_n: Array, iterations: int = 25) -> Array:
    """Fit values = exp(terms @ coefficients) by Poisson regression (Newton's method).

    The Poisson likelihood keeps the sum of the fitted values equal to that of the data, and copes
    with zeros. Returns (T,).
    """
    scale = max(float(values_n.mean()), 1e-30)
    values_n = values_n / scale
    coefficients_t = np.zeros(terms_nt.shape[1])
    ridge_tt = 1e-6 * len(values_n) * np.eye(terms_nt.shape[1])
    for _ in range(iterations):
        fitted_n = np.exp(np.clip(terms_nt @ coefficients_t, -20.0, 20.0))
        gradient_t = terms_nt.T @ (values_n - fitted_n)
        hessian_tt = (terms_nt * fitted_n[:, None]).T @ terms_nt + ridge_tt
        step_t = np.linalg.solve(hessian_tt, gradient_t)
        coefficients_t = coefficients_t + step_t / max(1.0, float(np.abs(step_t).max()))
    coefficients_t[0] += np.log(scale)
    return coefficients_t


def fit_shower_statistics(images_nxyz: NDArray[np.float32], energy_n1: Array) -> ShowerStatistics:
    """Fit all statistics to images (N, x, y, layer) in GeV and scaled energies (N, 1)."""
    if len(images_nxyz) > MAX_SHOWERS:
        rows = np.linspace(0, len(images_nxyz) - 1, MAX_SHOWERS).astype(int)
        images_nxyz, energy_n1 = images_nxyz[rows], energy_n1[rows]
    energy_n1 = np.asarray(energy_n1, dtype=np.float64)
    layers_nz = images_nxyz.sum(axis=(1, 2), dtype=np.float64)
    total_n1 = layers_nz.sum(axis=1, keepdims=True)
    variables_nv = np.concatenate([layers_nz, total_n1], axis=1) / energy_n1
    log_mean_vt, log_spread_vt, residuals_nv = _means_and_spreads(variables_nv, energy_n1)
    development_nz = shower_development(layers_nz)
    share_xyz = _shares(images_nxyz)
    class_xyz = _share_classes(share_xyz)
    slope_zk = _share_slopes(images_nxyz, layers_nz, development_nz, class_xyz)
    development_z = (layers_nz * development_nz).sum(axis=0) / layers_nz.sum(axis=0)
    partial = ShowerStatistics(
        log_mean_vt=log_mean_vt,
        log_spread_vt=log_spread_vt,
        quantiles_vq=_quantile_functions(residuals_nv),
        copula_vv=_copula(residuals_nv),
        share_xyz=share_xyz,
        share_class_xyz=class_xyz,
        share_slope_zk=slope_zk,
        development_z=development_z,
        log_expected_range=np.log(np.array([1e-8, 0.2])),
        logit_hit_ke=np.zeros((SHARE_CLASSES, EXPECTED_KNOTS)),
        log_energy_kel=np.zeros((SHARE_CLASSES, EXPECTED_KNOTS, len(LOGIT_KNOTS))),
    )
    return _with_spectra(partial, images_nxyz, layers_nz, development_nz)


def shower_development(layers_nz: Array) -> Array:
    """Logit of the fraction of the energy deposited up to the middle of each layer, (N, layer)."""
    total_n1 = np.maximum(layers_nz.sum(axis=1, keepdims=True), 1e-30)
    fraction_nz = (np.cumsum(layers_nz, axis=1) - 0.5 * layers_nz) / total_n1
    fraction_nz = np.clip(fraction_nz, DEVELOPMENT_FLOOR, 1.0 - DEVELOPMENT_FLOOR)
    development_nz: Array = np.log(fraction_nz / (1.0 - fraction_nz))
    return development_nz


def _means_and_spreads(variables_nv: Array, energy_n1: Array) -> tuple[Array, Array, Array]:
    terms_nt = energy_terms(energy_n1)
    log_mean_vt = np.stack([log_polynomial(terms_nt, column_n) for column_n in variables_nv.T])
    relative_nv = variables_nv / np.exp(terms_nt @ log_mean_vt.T) - 1.0
    log_spread_vt = 0.5 * np.stack(
        [log_polynomial(terms_nt, column_n**2) for column_n in relative_nv.T]
    )
    return log_mean_vt, log_spread_vt, relative_nv / np.exp(terms_nt @ log_spread_vt.T)


def _normal_cdf(scores: Array) -> Array:
    return np.array([NormalDist().cdf(float(score)) for score in scores])


def _quantile_functions(residuals_nv: Array) -> Array:
    return np.quantile(residuals_nv, _normal_cdf(SCORE_KNOTS), axis=0).T


def _copula(residuals_nv: Array) -> Array:
    count = len(residuals_nv)
    normal_n = np.array([NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)])
    scores_nv = normal_n[np.argsort(np.argsort(residuals_nv, axis=0), axis=0)]
    correlation_vv = np.corrcoef(scores_nv, rowvar=False) + 1e-4 * np.eye(scores_nv.shape[1])
    deviation_v = np.sqrt(np.diag(correlation_vv))
    return np.linalg.cholesky(correlation_vv / np.outer(deviation_v, deviation_v))


def _smooth_layers(values_xyz: Array, width: float) -> Array:
    """Gaussian smoothing along the last axis, normalised at its ends."""
    index_z = np.arange(values_xyz.shape[-1])
    kernel_zz = np.exp(-0.5 * ((index_z[:, None] - index_z[None, :]) / width) ** 2)
    return values_xyz @ (kernel_zz / kernel_zz.sum(axis=0, keepdims=True))


def _shares(images_nxyz: NDArray[np.float32]) -> Array:
    """Energy-weighted mean shares; a cell with few hits borrows from neighbouring layers."""
    energy_xyz = images_nxyz.sum(axis=0, dtype=np.float64)
    hits_xyz = (images_nxyz > 0.0).sum(axis=0)
    raw_xyz = energy_xyz / np.maximum(energy_xyz.sum(axis=(0, 1)), 1e-30)
    smooth_xyz = _smooth_layers(raw_xyz, width=2.0)
    trust_xyz = hits_xyz / (hits_xyz + 50.0)
    share_xyz = trust_xyz * raw_xyz + (1.0 - trust_xyz) * smooth_xyz + 1e-9
    return share_xyz / share_xyz.sum(axis=(0, 1))


def _share_classes(share_xyz: Array) -> NDArray[np.int32]:
    """Classes bounded by shares that fall by a factor of about 3 from 0.2 downwards."""
    bounds = 0.2 / 3.2 ** np.arange(SHARE_CLASSES - 2, -1, -1)
    return np.searchsorted(bounds, share_xyz).astype(np.int32)


def _class_energies(images_nxyz: NDArray[np.float32], class_xyz: NDArray[np.int32]) -> Array:
    """Energy per shower, layer and class: (N, layer, K)."""
    return np.stack(
        [
            np.einsum("nxyz,xyz->nz", images_nxyz, (class_xyz == k).astype(np.float32))
            for k in range(SHARE_CLASSES)
        ],
        axis=-1,
    ).astype(np.float64)


def _share_slopes(
    images_nxyz: NDArray[np.float32],
    layers_nz: Array,
    development_nz: Array,
    class_xyz: NDArray[np.int32],
) -> Array:
    """Energy-weighted regression of the classes' energies on the development, per layer."""
    class_nzk = _class_energies(images_nxyz, class_xyz)
    weight_nz = layers_nz / np.maximum(layers_nz.sum(axis=0), 1e-30)
    centred_nz = development_nz - (weight_nz * development_nz).sum(axis=0)
    variance_z = (weight_nz * centred_nz**2).sum(axis=0)
    covariance_zk = np.einsum("nz,nzk->zk", centred_nz, class_nzk)
    expected_zk = class_nzk.sum(axis=0) * np.maximum(variance_z, 1e-12)[:, None]
    slope_zk = covariance_zk / np.maximum(expected_zk, 1e-30)
    return np.clip(_smooth_layers(slope_zk.T, width=1.0).T, -2.0, 2.0)


def expected_cells(statistics: ShowerStatistics, layers_nz: Array, development_nz: Array) -> Array:
    """Expected energy of every cell (N, x, y, layer) in GeV given layer energies."""
    change_nz = development_nz - statistics.development_z
    slope_xyz = statistics.share_slope_zk[np.arange(layers_nz.shape[1]), statistics.share_class_xyz]
    share_nxyz = statistics.share_xyz * np.exp(slope_xyz * change_nz[:, None, None, :])
    share_nxyz /= share_nxyz.sum(axis=(1, 2), keepdims=True)
    expected_nxyz: Array = share_nxyz * layers_nz[:, None, None, :]
    return expected_nxyz


def _with_spectra(
    partial: ShowerStatistics,
    images_nxyz: NDArray[np.float32],
    layers_nz: Array,
    development_nz: Array,
) -> ShowerStatistics:
    low, high = partial.log_expected_range
    step = (high - low) / (EXPECTED_KNOTS - 1)
    cells = np.zeros(SHARE_CLASSES * EXPECTED_KNOTS)
    bins: list[NDArray[np.int64]] = []
    hits: list[Array] = []
    for start in range(0, len(images_nxyz), _CHUNK):
        part = slice(start, start + _CHUNK)
        expected_nxyz = expected_cells(partial, layers_nz[part], development_nz[part])
        knot_nxyz = np.rint((np.log(np.maximum(expected_nxyz, 1e-30)) - low) / step)
        knot_nxyz = np.clip(knot_nxyz, 0, EXPECTED_KNOTS - 1).astype(np.int64)
        bin_nxyz = partial.share_class_xyz * EXPECTED_KNOTS + knot_nxyz
        cells += np.bincount(bin_nxyz.ravel(), minlength=len(cells))
        hit_nxyz = images_nxyz[part] > 0.0
        bins.append(bin_nxyz[hit_nxyz])
        hits.append(np.log(images_nxyz[part][hit_nxyz].astype(np.float64)))
    probability_ke, log_energy_kel = _tabulate(cells, np.concatenate(bins), np.concatenate(hits))
    return ShowerStatistics(
        **{
            **partial.__dict__,
            "logit_hit_ke": np.log(probability_ke / (1.0 - probability_ke)),
            "log_energy_kel": log_energy_kel,
        }
    )


def _tabulate(cells: Array, bins: NDArray[np.int64], hits: Array) -> tuple[Array, Array]:
    """Hit probability and spectrum of every bin; a bin with too few hits takes its neighbour's."""
    order = np.argsort(bins, kind="stable")
    bounds = np.searchsorted(bins[order], np.arange(len(cells) + 1))
    probabilities = 1.0 / (1.0 + np.exp(-LOGIT_KNOTS))
    few = 30
    probability_ke = np.full((SHARE_CLASSES, EXPECTED_KNOTS), np.nan)
    log_energy_kel = np.full((SHARE_CLASSES, EXPECTED_KNOTS, len(LOGIT_KNOTS)), np.nan)
    for k in range(SHARE_CLASSES):
        for e in range(EXPECTED_KNOTS):
            b = k * EXPECTED_KNOTS + e
            values = hits[order[bounds[b] : bounds[b + 1]]]
            if len(values) >= few:
                probability_ke[k, e] = len(values) / cells[b]
                log_energy_kel[k, e] = np.quantile(values, probabilities)
    filled = np.flatnonzero(~np.isnan(probability_ke).all(axis=1))
    for k in range(SHARE_CLASSES):
        source = filled[np.argmin(np.abs(filled - k))]
        known = np.flatnonzero(~np.isnan(probability_ke[source]))
        for e in range(EXPECTED_KNOTS):
            nearest = known[np.argmin(np.abs(known - e))]
            if np.isnan(probability_ke[k, e]):
                # A halo cell's hits become rarer, not smaller, as its expectation falls.
                fall = np.exp(min(0.0, (e - nearest) * 0.73)) if e < nearest else 1.0
                probability_ke[k, e] = probability_ke[source, nearest] * fall
                log_energy_kel[k, e] = log_energy_kel[source, nearest]
    return np.clip(probability_ke, 1e-9, 1.0 - 1e-6), log_energy_kel

"""Statistics of training showers that a generator can be given instead of having to learn them.

Three nested descriptions, coarse to fine, each conditioned on the one before:

1. the shower's layer energies, their total and its displacement (barycentre) given the incident
   energy and labels: mean and spread as log-polynomials, the shape of the distributions as quantile
   functions, the correlations as a Gaussian copula, both for each category;
2. the share that each cell has of its layer's energy, given how far the shower has developed, how
   far it is displaced, and labels;
3. the spectrum of a cell's energy given its expected energy, as probability of a hit and quantile
   function of the hits, with a correction per layer for how the number of hits depends on the
   incident energy and on the layer's own fluctuation.

NumPy only. Images are (N, x, y, layer) in GeV, incident energies are Ep over the energy scale.
Inclined showers are described as upright ones (`gan3d.models.shower_conditions`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.errors import DataError
from gan3d.models.shower_conditions import ShowerConditions, condition_terms

Array = NDArray[np.float64]

DISPLACEMENT_TERMS = 5
"""First and second powers of a displacement in two dimensions."""
ENERGY_KNOTS = (0.05, 0.35, 0.95)
"""Quantiles of the incident energies at which distributions and correlations are described."""
SCORE_KNOTS = np.linspace(-3.0, 3.0, 25)
"""Standard normal scores at which the quantile functions of layer energies are tabulated."""
LOGIT_KNOTS = np.linspace(-6.0, 8.0, 57)
"""Logits of the probability at which quantile functions of hit energies are tabulated."""
EXPECTED_KNOTS = 64
"""Expected cell energies, evenly spaced in the logarithm, at which spectra are tabulated."""
FURTHER_HIT_TERMS = 3
"""The scores of the layer's and of the total energy, the development, after `condition_terms`."""
HIT_SHOWERS = 500
"""Showers from which the numbers of hits are calibrated."""
LAYER_GROUPS = 5
"""Groups of layers in which the effect of a displacement is fitted."""
SHARE_TERMS = 2
"""The shower's development and ln(Ep), before what labels add."""
SHARE_CLASSES = 8
"""Classes of cells from core to halo; cells of one class share the shape of their spectra."""
MAX_SHOWERS = 4000
MAX_CELLS = 2 * MAX_SHOWERS * 25**3
"""Showers, and cells in all of them, used at most: more do not change the statistics visibly, but
cost start-up time and memory."""
DEVELOPMENT_FLOOR = 1e-4
"""The deposited fraction is kept this far from 0 and 1 where its logit is taken."""
_CHUNK = 100


@dataclass(frozen=True)
class ShowerStatistics:
    """What `fit_shower_statistics` finds.

    The V = layers + 3 variables of a shower are its layer energies, their total, and its
    displacement along x and y.
    """

    log_mean_et: Array
    """Coefficients of `condition_terms` in ln(mean energy / Ep); for the layers and their total."""
    log_spread_vt: Array
    """The same for ln(standard deviation): relative for energies, in cells for the displacement."""
    log_energy_k: Array
    """ln(Ep) between which the next two are interpolated."""
    quantiles_kvq: Array
    """Standardised residuals at `SCORE_KNOTS`, of each category and energy."""
    copula_kvv: Array
    """Lower Cholesky factors of the correlation matrices of the variables' normal scores."""
    share_xyz: Array
    """Mean share of a cell in the energy of its layer; sums to 1 over (x, y)."""
    share_class_xyz: NDArray[np.int32]
    """Class of each cell, 0 (halo) to SHARE_CLASSES - 1 (core)."""
    share_slope_zks: Array
    """d ln(share) / d(share terms) of each layer and class."""
    displacement_xyzd: Array
    """Coefficients of `displacement_terms` in ln(share)."""
    share_mean_zs: Array
    """Energy-weighted means of development, ln(Ep) and labels in each layer."""
    log_expected_range: Array
    """Natural logarithms of the first and last knot of the expected cell energy (GeV)."""
    log_hit_energy: float
    """ln of the median energy of a hit (GeV)."""
    logit_hit_ke: Array
    """Logit of the probability of a hit per class and knot."""
    log_energy_kel: Array
    """ln(energy/GeV) of a hit per class, knot and `LOGIT_KNOTS`."""
    hit_terms_zh: Array
    """Coefficients of `hit_terms` in what is added to the logit of the probability of a hit."""
    hit_spread_zt: Array
    """Standard deviation of the shower-wide fluctuation added likewise: coefficients of
    `condition_terms`."""
    number_centre_m: Array
    """Mean of each label that is a number."""
    number_width_m: Array
    """Standard deviation of each label that is a number."""


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


def log_polynomial_offset(terms_nt: Array, values_n: Array, expected_n: Array) -> Array:
    """Fit values = expected * exp(terms @ coefficients) by Poisson regression; (T,)."""
    coefficients_t = np.zeros(terms_nt.shape[1])
    ridge_tt = np.eye(terms_nt.shape[1])
    for _ in range(5):
        fitted_n = expected_n * np.exp(np.clip(terms_nt @ coefficients_t, -4.0, 4.0))
        gradient_t = terms_nt.T @ (values_n - fitted_n) - coefficients_t
        hessian_tt = (terms_nt * fitted_n[:, None]).T @ terms_nt + ridge_tt
        coefficients_t = coefficients_t + np.clip(
            np.linalg.solve(hessian_tt, gradient_t), -0.5, 0.5
        )
    return coefficients_t


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


def some_rows(count: int, cells: int) -> NDArray[np.int64]:
    """At most `MAX_SHOWERS` of so many showers, evenly spread, of so many cells each."""
    most = min(count, MAX_SHOWERS, max(1, MAX_CELLS // cells))
    return np.linspace(0, count - 1, most).astype(np.int64)


def fit_shower_statistics(
    images_nxyz: NDArray[np.float32],
    energy_n1: Array,
    conditions: ShowerConditions | None = None,
    labels_nc: Array | None = None,
    fraction_nz: Array | None = None,
    *,
    cylinder: bool = False,
) -> ShowerStatistics:
    """Fit all statistics to images (N, x, y, layer) in GeV and scaled energies (N, 1).

    Args:
        images_nxyz: of inclined showers, those made `upright`.
        energy_n1: Ep over the energy scale.
        conditions: how statistics depend on labels; None: there are none.
        labels_nc: the labels.
        fraction_nz: fractions of cells along y by which `upright` did not move the layers.
        cylinder: whether the first axis of the images is an angle, and the second a radius.

    Raises DataError if the showers hold no energy at all.

    """
    if not np.any(images_nxyz > 0.0):
        raise DataError("the training showers are empty: no cell of any of them holds energy")
    conditions = conditions or ShowerConditions()
    energy_n1 = np.asarray(energy_n1, dtype=np.float64)
    labels_nc = np.zeros((len(energy_n1), 0)) if labels_nc is None else labels_nc
    centre_m, width_m = conditions.measured(labels_nc)
    numbers_nm = conditions.standardised(labels_nc, centre_m, width_m)
    one_hot_nc = conditions.one_hot(labels_nc)
    terms_nt = condition_terms(energy_n1, numbers_nm, one_hot_nc)
    layers_nz = images_nxyz.sum(axis=(1, 2), dtype=np.float64)
    total_n1 = layers_nz.sum(axis=1, keepdims=True)
    energies_ne = np.concatenate([layers_nz, total_n1], axis=1) / energy_n1
    displacement_n2 = shower_displacement(images_nxyz, cylinder=cylinder)
    displacement = displacement_n2
    if fraction_nz is not None:
        # Of the barycentre that part is known beforehand.
        known_n = (layers_nz * fraction_nz).sum(axis=1) / np.maximum(total_n1[:, 0], 1e-30)
        displacement_n2[:, 1] -= known_n - known_n.mean()
        in_layers_nz2 = np.stack([np.zeros_like(fraction_nz), fraction_nz], axis=-1)
        displacement = displacement_n2[:, None, :] + in_layers_nz2
    log_mean_et, log_spread_vt, residuals_nv = _means_and_spreads(
        energies_ne, displacement_n2, terms_nt
    )
    # Kept apart, for showers that all have the same energy.
    log_energy_k = np.quantile(np.log(energy_n1), ENERGY_KNOTS)
    log_energy_k = log_energy_k + 1e-3 * np.arange(len(log_energy_k))
    weights_nk = knot_weights(np.log(energy_n1[:, 0]), log_energy_k, one_hot_nc)
    scores_nv = _normal_scores(residuals_nv, weights_nk)
    development_nz = shower_development(layers_nz)
    share_xyz = _shares(images_nxyz)
    class_xyz = _share_classes(share_xyz)
    extra_ne = np.concatenate([numbers_nm, one_hot_nc[:, 1:]], axis=1)
    raw_nzs = _share_terms(development_nz, energy_n1, extra_ne)
    mean_zs = np.einsum("nz,nzs->zs", layers_nz / np.maximum(layers_nz.sum(axis=0), 1e-30), raw_nzs)
    terms_nzs = raw_nzs - mean_zs
    # 0.2 GeV is beyond what electrons of 100 GeV leave in a cell of a silicon-tungsten calorimeter.
    highest = max(0.2, float((share_xyz.max(axis=(0, 1)) * layers_nz.max(axis=0)).max()))
    found = ShowerStatistics(
        log_mean_et=log_mean_et,
        log_spread_vt=log_spread_vt,
        log_energy_k=log_energy_k,
        quantiles_kvq=np.stack([_quantiles(residuals_nv, w_n) for w_n in weights_nk.T]),
        copula_kvv=np.stack([_copula(scores_nv, w_n) for w_n in weights_nk.T]),
        share_xyz=share_xyz,
        share_class_xyz=class_xyz,
        share_slope_zks=_share_slopes(images_nxyz, layers_nz, terms_nzs, class_xyz),
        displacement_xyzd=np.zeros((*share_xyz.shape, DISPLACEMENT_TERMS)),
        share_mean_zs=mean_zs,
        log_expected_range=np.log(np.array([1e-8, highest])),
        log_hit_energy=float(np.log(np.median(images_nxyz[images_nxyz > 0.0]))),
        logit_hit_ke=np.zeros((SHARE_CLASSES, EXPECTED_KNOTS)),
        log_energy_kel=np.zeros((SHARE_CLASSES, EXPECTED_KNOTS, len(LOGIT_KNOTS))),
        hit_terms_zh=np.zeros((layers_nz.shape[1], terms_nt.shape[1] + FURTHER_HIT_TERMS)),
        hit_spread_zt=np.zeros((layers_nz.shape[1], terms_nt.shape[1])),
        number_centre_m=centre_m,
        number_width_m=width_m,
    )
    found = _with_displacement(found, images_nxyz, layers_nz, terms_nzs, displacement)
    found = _with_spectra(found, images_nxyz, layers_nz, terms_nzs, displacement)
    some = np.linspace(0, len(images_nxyz) - 1, min(len(images_nxyz), HIT_SHOWERS)).astype(int)
    return _with_hits(
        found,
        images_nxyz[some],
        expected_cells(found, layers_nz[some], terms_nzs[some], displacement[some]),
        terms_nt[some],
        scores_nv[some],
        terms_nzs[some, :, 0],
    )


def shower_development(layers_nz: Array) -> Array:
    """Logit of the fraction of the energy deposited up to the middle of each layer, (N, layer)."""
    total_n1 = np.maximum(layers_nz.sum(axis=1, keepdims=True), 1e-30)
    fraction_nz = (np.cumsum(layers_nz, axis=1) - 0.5 * layers_nz) / total_n1
    fraction_nz = np.clip(fraction_nz, DEVELOPMENT_FLOOR, 1.0 - DEVELOPMENT_FLOOR)
    development_nz: Array = np.log(fraction_nz / (1.0 - fraction_nz))
    return development_nz


def _means_and_spreads(
    energies_ne: Array, displacement_n2: Array, terms_nt: Array
) -> tuple[Array, Array, Array]:
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


def _quantiles(residuals_nv: Array, weights_n: Array) -> Array:
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


def _normal_scores(residuals_nv: Array, weights_nk: Array) -> Array:
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


def _copula(scores_nv: Array, weights_n: Array) -> Array:
    weights_n = weights_n / weights_n.sum()
    centred_nv = scores_nv - weights_n @ scores_nv
    covariance_vv = (centred_nv * weights_n[:, None]).T @ centred_nv
    covariance_vv += 1e-4 * np.eye(len(covariance_vv))
    deviation_v = np.sqrt(np.diag(covariance_vv))
    return np.linalg.cholesky(covariance_vv / np.outer(deviation_v, deviation_v))


def _smooth_layers(values_xyz: Array, width: float) -> Array:
    """Gaussian smoothing along the last axis, normalised at its ends."""
    index_z = np.arange(values_xyz.shape[-1])
    kernel_zz = np.exp(-0.5 * ((index_z[:, None] - index_z[None, :]) / width) ** 2)
    smooth_xyz: Array = values_xyz @ (kernel_zz / kernel_zz.sum(axis=0, keepdims=True))
    return smooth_xyz


def _shares(images_nxyz: NDArray[np.float32]) -> Array:
    """Energy-weighted mean shares; a cell with few hits borrows from neighbouring layers."""
    energy_xyz = images_nxyz.sum(axis=0, dtype=np.float64)
    hits_xyz = (images_nxyz > 0.0).sum(axis=0)
    raw_xyz = energy_xyz / np.maximum(energy_xyz.sum(axis=(0, 1)), 1e-30)
    smooth_xyz = _smooth_layers(raw_xyz, width=2.0)
    trust_xyz = hits_xyz / (hits_xyz + 50.0)
    share_xyz: Array = trust_xyz * raw_xyz + (1.0 - trust_xyz) * smooth_xyz + 1e-9
    share_xyz /= share_xyz.sum(axis=(0, 1))
    return share_xyz


def _share_classes(share_xyz: Array) -> NDArray[np.int32]:
    """Classes bounded by shares that fall by a factor of about 3 from 0.2 downwards."""
    bounds = 0.2 / 3.2 ** np.arange(SHARE_CLASSES - 2, -1, -1)
    return np.searchsorted(bounds, share_xyz).astype(np.int32)


def _class_energies(images_nxyz: NDArray[np.float32], class_xyz: NDArray[np.int32]) -> Array:
    """Energy per shower, layer and class: (N, layer, K)."""
    columns = [
        np.einsum("nxyz,xyz->nz", images_nxyz, (class_xyz == k).astype(np.float32))
        for k in range(SHARE_CLASSES)
    ]
    class_nzk: Array = np.stack(columns, axis=-1).astype(np.float64)
    return class_nzk


def _share_slopes(
    images_nxyz: NDArray[np.float32],
    layers_nz: Array,
    terms_nzs: Array,
    class_xyz: NDArray[np.int32],
) -> Array:
    """Poisson regression of the classes' energies on the share terms, (layer, K, SHARE_TERMS)."""
    class_nzk = _class_energies(images_nxyz, class_xyz)
    share_zk = class_nzk.sum(axis=0) / np.maximum(layers_nz.sum(axis=0), 1e-30)[:, None]
    unit = _mean_hit_energy(images_nxyz)
    slope_zks = np.zeros((*share_zk.shape, terms_nzs.shape[2]))
    for z, k in np.argwhere(share_zk > 0.0):
        expected_n = layers_nz[:, z] * share_zk[z, k] / unit
        terms_ns = np.insert(terms_nzs[:, z], 0, 1.0, axis=1)
        slope_zks[z, k] = log_polynomial_offset(terms_ns, class_nzk[:, z, k] / unit, expected_n)[1:]
    return np.clip(slope_zks, -2.0, 2.0)


def _mean_hit_energy(images_nxyz: NDArray[np.float32]) -> float:
    """Unit in which energies count like hits, GeV."""
    return float(images_nxyz.sum(dtype=np.float64)) / max(1, np.count_nonzero(images_nxyz))


def _share_terms(development_nz: Array, energy_n1: Array, extra_ne: Array) -> Array:
    """What the shares depend on: development, ln(Ep) and labels; (N, layer, S)."""
    of_shower_ns = np.concatenate([np.log(energy_n1), extra_ne], axis=1)
    layers = development_nz.shape[1]
    in_layers_nzs = np.repeat(of_shower_ns[:, None, :], layers, axis=1)
    return np.concatenate([development_nz[..., None], in_layers_nzs], axis=-1)


def expected_cells(
    statistics: ShowerStatistics, layers_nz: Array, terms_nzs: Array, displacement: Array
) -> Array:
    """Expect (N, x, y, layer) in GeV given layer energies, share terms and displacement.

    The displacement is that of the showers, (N, 2), or of their layers, (N, layer, 2), in cells.
    """
    slope_xyzs = statistics.share_slope_zks[
        np.arange(layers_nz.shape[1]), statistics.share_class_xyz
    ]
    slope_nxyz = np.einsum("nzs,xyzs->nxyz", terms_nzs, slope_xyzs, optimize=True)
    moved = displacement_terms(displacement)
    if moved.ndim == 2:
        shift_nxyz = np.tensordot(moved, statistics.displacement_xyzd, axes=(1, 3))
    else:
        shift_nxyz = np.einsum("nzd,xyzd->nxyz", moved, statistics.displacement_xyzd, optimize=True)
    share_nxyz = statistics.share_xyz * np.exp(slope_nxyz + shift_nxyz)
    share_nxyz /= share_nxyz.sum(axis=(1, 2), keepdims=True)
    expected_nxyz: Array = share_nxyz * layers_nz[:, None, None, :]
    return expected_nxyz


def _with_displacement(
    partial: ShowerStatistics,
    images_nxyz: NDArray[np.float32],
    layers_nz: Array,
    terms_nzs: Array,
    displacement: Array,
) -> ShowerStatistics:
    """Poisson regression of the cells' energies, in groups of layers, on the displacement.

    Energies are counted in units of the mean hit energy, so that the ridge penalty, which holds
    rarely hit cells at no dependence, is in units of hits.
    """
    groups = np.array_split(np.arange(layers_nz.shape[1]), LAYER_GROUPS)
    hit_energy = _mean_hit_energy(images_nxyz)
    terms = displacement_terms(displacement)

    def of_group(values_nxyz: NDArray[Any], group: NDArray[np.int64]) -> NDArray[Any]:
        chosen = values_nxyz[..., group]
        # Layers that depend on the same may be added up beforehand.
        rows = chosen.sum(axis=3)[:, None] if terms.ndim == 2 else np.moveaxis(chosen, 3, 1)
        return rows.reshape(rows.shape[0] * rows.shape[1], -1)

    terms_gnd = [
        terms if terms.ndim == 2 else terms[:, group].reshape(-1, DISPLACEMENT_TERMS)
        for group in groups
    ]
    energy_gnc = [of_group(images_nxyz, group) for group in groups]
    expected_gnc = [np.zeros_like(energy_nc, dtype=np.float64) for energy_nc in energy_gnc]
    for start in range(0, len(images_nxyz), _CHUNK):
        part = slice(start, start + _CHUNK)
        expected_nxyz = expected_cells(
            partial, layers_nz[part], terms_nzs[part], displacement[part]
        )
        for expected_nc, group in zip(expected_gnc, groups, strict=True):
            rows = len(expected_nc) // len(images_nxyz)
            expected_nc[rows * start : rows * (start + _CHUNK)] = of_group(expected_nxyz, group)
    coefficients_gcd = np.stack(
        [
            _log_linear(terms_nd, energy_nc / hit_energy, expected_nc / hit_energy)
            for terms_nd, energy_nc, expected_nc in zip(
                terms_gnd, energy_gnc, expected_gnc, strict=True
            )
        ]
    )
    x, y, z = partial.share_xyz.shape
    centre_g = np.array([group.mean() for group in groups])
    flat_zf = np.stack(
        [
            np.interp(np.arange(z), centre_g, column_g)
            for column_g in coefficients_gcd.reshape(len(groups), -1).T
        ],
        axis=1,
    )
    displacement_xyzd = flat_zf.reshape(z, x, y, -1).transpose(1, 2, 0, 3)
    return replace(partial, displacement_xyzd=displacement_xyzd)


def _log_linear(terms_nd: Array, counts_nc: Array, expected_nc: Array) -> Array:
    """Fit counts = expected * exp(terms @ coefficients) per column, (C, D)."""
    terms = terms_nd.shape[1]
    scale_d = terms_nd.std(axis=0) + 1e-6
    unit_nd = (terms_nd - terms_nd.mean(axis=0)) / scale_d
    products_nf = np.einsum("nd,nf->ndf", unit_nd, unit_nd).reshape(len(unit_nd), -1)
    ridge = 5.0
    coefficients_cd = np.zeros((counts_nc.shape[1], terms))
    for _ in range(8):
        fitted_nc = expected_nc * np.exp(np.clip(unit_nd @ coefficients_cd.T, -4.0, 4.0))
        gradient_cd = (counts_nc - fitted_nc).T @ unit_nd - ridge * coefficients_cd
        hessian_cdf = (fitted_nc.T @ products_nf).reshape(-1, terms, terms)
        hessian_cdf += ridge * np.eye(terms)
        step_cd = np.linalg.solve(hessian_cdf, gradient_cd[..., None])[..., 0]
        coefficients_cd = coefficients_cd + np.clip(step_cd, -0.5, 0.5)
    unscaled_cd: Array = coefficients_cd / scale_d
    return unscaled_cd


def _with_spectra(
    partial: ShowerStatistics,
    images_nxyz: NDArray[np.float32],
    layers_nz: Array,
    terms_nzs: Array,
    displacement: Array,
) -> ShowerStatistics:
    low, high = partial.log_expected_range
    step = (high - low) / (EXPECTED_KNOTS - 1)
    cells = np.zeros(SHARE_CLASSES * EXPECTED_KNOTS)
    bins: list[NDArray[np.int64]] = []
    hits: list[Array] = []
    for start in range(0, len(images_nxyz), _CHUNK):
        part = slice(start, start + _CHUNK)
        expected_nxyz = expected_cells(
            partial, layers_nz[part], terms_nzs[part], displacement[part]
        )
        knot_nxyz = np.rint((np.log(np.maximum(expected_nxyz, 1e-30)) - low) / step)
        knot_nxyz = np.clip(knot_nxyz, 0, EXPECTED_KNOTS - 1).astype(np.int64)
        bin_nxyz = partial.share_class_xyz * EXPECTED_KNOTS + knot_nxyz
        cells += np.bincount(bin_nxyz.ravel(), minlength=len(cells))
        hit_nxyz = images_nxyz[part] > 0.0
        bins.append(bin_nxyz[hit_nxyz])
        hits.append(np.log(images_nxyz[part][hit_nxyz].astype(np.float64)))
    probability_ke, log_energy_kel = _tabulate(cells, np.concatenate(bins), np.concatenate(hits))
    logit_hit_ke = np.log(probability_ke / (1.0 - probability_ke))
    return replace(partial, logit_hit_ke=logit_hit_ke, log_energy_kel=log_energy_kel)


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


def hit_terms(terms_nt: Array, scores_nv: Array, development_nz: Array) -> Array:
    """What the number of hits in a layer depends on, (N, layer, T + FURTHER_HIT_TERMS)."""
    layers = scores_nv.shape[1] - 3
    own_nz1 = scores_nv[:, :layers, None]
    total_nz1 = np.repeat(scores_nv[:, layers : layers + 1], layers, axis=1)[..., None]
    shower_nzt = np.repeat(terms_nt[:, None, :], layers, axis=1)
    return np.concatenate([shower_nzt, own_nz1, total_nz1, development_nz[..., None]], axis=-1)


def _hit_logits(partial: ShowerStatistics, expected_nxyz: Array) -> NDArray[np.float32]:
    """Logit of the probability of a hit, linear between the knots of the expected energy."""
    low, high = partial.log_expected_range
    position = (np.log(np.maximum(expected_nxyz, 1e-30)) - low) * (
        (EXPECTED_KNOTS - 1) / (high - low)
    )
    position = np.clip(position, 0.0, EXPECTED_KNOTS - 1.0)
    left = np.minimum(position.astype(np.int64), EXPECTED_KNOTS - 2)
    index = partial.share_class_xyz * EXPECTED_KNOTS + left
    table = partial.logit_hit_ke.ravel()
    logits = table[index] + (position - left) * (table[index + 1] - table[index])
    logits_nxyz: NDArray[np.float32] = logits.astype(np.float32)
    return logits_nxyz


def _with_hits(
    partial: ShowerStatistics,
    images_nxyz: NDArray[np.float32],
    expected_nxyz: Array,
    terms_nt: Array,
    scores_nv: Array,
    development_nz: Array,
) -> ShowerStatistics:
    """Regress the layers' numbers of hits; what is left beyond chance is a shower-wide spread."""
    logits_nxyz = _hit_logits(partial, expected_nxyz)
    counts_nz = (images_nxyz > 0.0).sum(axis=(1, 2)).astype(np.float64)
    terms_nzh = hit_terms(terms_nt, scores_nv, development_nz)
    layers = counts_nz.shape[1]
    coefficients_zh = np.zeros((layers, terms_nzh.shape[2]))
    for _ in range(3):
        shift_nz = np.einsum("nzh,zh->nz", terms_nzh, coefficients_zh)
        expected_nz, chance_nz = _hit_counts(logits_nxyz, shift_nz)
        # d(ln hits)/d(logit) is the mean of 1 - p over the hits.
        gain_z = chance_nz.sum(axis=0) / expected_nz.sum(axis=0)
        for z in range(layers):
            step_h = log_polynomial_offset(terms_nzh[:, z], counts_nz[:, z], expected_nz[:, z])
            coefficients_zh[z] += step_h / gain_z[z]
    shift_nz = np.einsum("nzh,zh->nz", terms_nzh, coefficients_zh)
    expected_nz, chance_nz = _hit_counts(logits_nxyz, shift_nz)
    total_n = expected_nz.sum(axis=1)
    residual_n = counts_nz.sum(axis=1) / total_n - 1.0
    excess_n = residual_n**2 - chance_nz.sum(axis=1) / total_n**2
    weights_t, *_ = np.linalg.lstsq(terms_nt, excess_n, rcond=None)
    spread_n = np.sqrt(np.maximum(terms_nt @ weights_t, 0.0))
    spread_t, *_ = np.linalg.lstsq(terms_nt, spread_n, rcond=None)
    return replace(
        partial, hit_terms_zh=coefficients_zh, hit_spread_zt=spread_t[None, :] / gain_z[:, None]
    )


def _hit_counts(logits_nxyz: NDArray[np.float32], shift_nz: Array) -> tuple[Array, Array]:
    """Expected number of hits per layer, and its variance if cells were independent."""
    expected_nz, chance_nz = np.empty_like(shift_nz), np.empty_like(shift_nz)
    for n, (logits_xyz, shift_z) in enumerate(zip(logits_nxyz, shift_nz, strict=True)):
        hit_xyz = 1.0 / (1.0 + np.exp(-(logits_xyz + shift_z.astype(np.float32))))
        expected_nz[n] = hit_xyz.sum(axis=(0, 1))
        chance_nz[n] = (hit_xyz * (1.0 - hit_xyz)).sum(axis=(0, 1))
    return expected_nz, chance_nz

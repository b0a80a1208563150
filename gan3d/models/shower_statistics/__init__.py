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

import numpy as np
from numpy.typing import NDArray

from gan3d.errors import DataError
from gan3d.models.shower_conditions import ShowerConditions, condition_terms
from gan3d.models.shower_statistics.found import (
    DISPLACEMENT_TERMS,
    ENERGY_KNOTS,
    EXPECTED_KNOTS,
    FURTHER_HIT_TERMS,
    LOGIT_KNOTS,
    SHARE_CLASSES,
    Array,
    ShowerStatistics,
)
from gan3d.models.shower_statistics.shares import (
    expected_cells,
    mean_shares,
    share_classes,
    share_slopes,
    share_terms,
    with_displacement,
)
from gan3d.models.shower_statistics.spectra import with_hits, with_spectra
from gan3d.models.shower_statistics.variables import (
    copula,
    knot_weights,
    means_and_spreads,
    normal_scores,
    quantiles,
    shower_development,
    shower_displacement,
)

HIT_SHOWERS = 500
"""Showers from which the numbers of hits are calibrated."""
MAX_SHOWERS = 4000
MAX_CELLS = 2 * MAX_SHOWERS * 25**3
"""Showers, and cells in all of them, used at most: more do not change the statistics visibly, but
cost start-up time and memory."""


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
    log_mean_et, log_spread_vt, residuals_nv = means_and_spreads(
        energies_ne, displacement_n2, terms_nt
    )
    # Kept apart, for showers that all have the same energy.
    log_energy_k = np.quantile(np.log(energy_n1), ENERGY_KNOTS)
    log_energy_k = log_energy_k + 1e-3 * np.arange(len(log_energy_k))
    weights_nk = knot_weights(np.log(energy_n1[:, 0]), log_energy_k, one_hot_nc)
    scores_nv = normal_scores(residuals_nv, weights_nk)
    development_nz = shower_development(layers_nz)
    share_xyz = mean_shares(images_nxyz)
    class_xyz = share_classes(share_xyz)
    extra_ne = np.concatenate([numbers_nm, one_hot_nc[:, 1:]], axis=1)
    raw_nzs = share_terms(development_nz, energy_n1, extra_ne)
    mean_zs = np.einsum("nz,nzs->zs", layers_nz / np.maximum(layers_nz.sum(axis=0), 1e-30), raw_nzs)
    terms_nzs = raw_nzs - mean_zs
    # 0.2 GeV is beyond what electrons of 100 GeV leave in a cell of a silicon-tungsten calorimeter.
    highest = max(0.2, float((share_xyz.max(axis=(0, 1)) * layers_nz.max(axis=0)).max()))
    found = ShowerStatistics(
        log_mean_et=log_mean_et,
        log_spread_vt=log_spread_vt,
        log_energy_k=log_energy_k,
        quantiles_kvq=np.stack([quantiles(residuals_nv, w_n) for w_n in weights_nk.T]),
        copula_kvv=np.stack([copula(scores_nv, w_n) for w_n in weights_nk.T]),
        share_xyz=share_xyz,
        share_class_xyz=class_xyz,
        share_slope_zks=share_slopes(images_nxyz, layers_nz, terms_nzs, class_xyz),
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
    found = with_displacement(found, images_nxyz, layers_nz, terms_nzs, displacement)
    found = with_spectra(found, images_nxyz, layers_nz, terms_nzs, displacement)
    some = np.linspace(0, len(images_nxyz) - 1, min(len(images_nxyz), HIT_SHOWERS)).astype(int)
    return with_hits(
        found,
        images_nxyz[some],
        expected_cells(found, layers_nz[some], terms_nzs[some], displacement[some]),
        terms_nt[some],
        scores_nv[some],
        terms_nzs[some, :, 0],
    )

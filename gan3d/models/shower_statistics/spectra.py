"""The spectrum of a cell's energy given the expected one, and the number of hits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gan3d.models.shower_statistics.found import (
    CHUNK,
    EXPECTED_KNOTS,
    LOGIT_KNOTS,
    SHARE_CLASSES,
    Array,
    ShowerStatistics,
)
from gan3d.models.shower_statistics.regression import log_polynomial_offset
from gan3d.models.shower_statistics.shares import expected_cells


def with_spectra(
    partial: ShowerStatistics,
    images_nxyz: NDArray[np.float32],
    layers_nz: Array,
    terms_nzs: Array,
    displacement: Array,
) -> ShowerStatistics:
    """Tabulate the probability of a hit and its spectrum in bins of class and expected energy."""
    low, high = partial.log_expected_range
    step = (high - low) / (EXPECTED_KNOTS - 1)
    cells = np.zeros(SHARE_CLASSES * EXPECTED_KNOTS)
    bins: list[NDArray[np.int64]] = []
    hits: list[Array] = []
    for start in range(0, len(images_nxyz), CHUNK):
        part = slice(start, start + CHUNK)
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


def with_hits(
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


def _hit_counts(logits_nxyz: NDArray[np.float32], shift_nz: Array) -> tuple[Array, Array]:
    """Expected number of hits per layer, and its variance if cells were independent."""
    expected_nz, chance_nz = np.empty_like(shift_nz), np.empty_like(shift_nz)
    for n, (logits_xyz, shift_z) in enumerate(zip(logits_nxyz, shift_nz, strict=True)):
        hit_xyz = 1.0 / (1.0 + np.exp(-(logits_xyz + shift_z.astype(np.float32))))
        expected_nz[n] = hit_xyz.sum(axis=(0, 1))
        chance_nz[n] = (hit_xyz * (1.0 - hit_xyz)).sum(axis=(0, 1))
    return expected_nz, chance_nz

"""The share that each cell has of its layer's energy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.models.shower_statistics.found import (
    CHUNK,
    DISPLACEMENT_TERMS,
    LAYER_GROUPS,
    SHARE_CLASSES,
    Array,
    ShowerStatistics,
)
from gan3d.models.shower_statistics.regression import log_linear, log_polynomial_offset
from gan3d.models.shower_statistics.variables import displacement_terms


def mean_shares(images_nxyz: NDArray[np.float32]) -> Array:
    """Energy-weighted mean shares; a cell with few hits borrows from neighbouring layers."""
    energy_xyz = images_nxyz.sum(axis=0, dtype=np.float64)
    hits_xyz = (images_nxyz > 0.0).sum(axis=0)
    raw_xyz = energy_xyz / np.maximum(energy_xyz.sum(axis=(0, 1)), 1e-30)
    smooth_xyz = _smooth_layers(raw_xyz, width=2.0)
    trust_xyz = hits_xyz / (hits_xyz + 50.0)
    share_xyz: Array = trust_xyz * raw_xyz + (1.0 - trust_xyz) * smooth_xyz + 1e-9
    share_xyz /= share_xyz.sum(axis=(0, 1))
    return share_xyz


def share_classes(share_xyz: Array) -> NDArray[np.int32]:
    """Classes bounded by shares that fall by a factor of about 3 from 0.2 downwards."""
    bounds = 0.2 / 3.2 ** np.arange(SHARE_CLASSES - 2, -1, -1)
    return np.searchsorted(bounds, share_xyz).astype(np.int32)


def share_terms(development_nz: Array, energy_n1: Array, extra_ne: Array) -> Array:
    """What the shares depend on: development, ln(Ep) and labels; (N, layer, S)."""
    of_shower_ns = np.concatenate([np.log(energy_n1), extra_ne], axis=1)
    layers = development_nz.shape[1]
    in_layers_nzs = np.repeat(of_shower_ns[:, None, :], layers, axis=1)
    return np.concatenate([development_nz[..., None], in_layers_nzs], axis=-1)


def share_slopes(
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


def with_displacement(
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
    for start in range(0, len(images_nxyz), CHUNK):
        part = slice(start, start + CHUNK)
        expected_nxyz = expected_cells(
            partial, layers_nz[part], terms_nzs[part], displacement[part]
        )
        for expected_nc, group in zip(expected_gnc, groups, strict=True):
            rows = len(expected_nc) // len(images_nxyz)
            expected_nc[rows * start : rows * (start + CHUNK)] = of_group(expected_nxyz, group)
    coefficients_gcd = np.stack(
        [
            log_linear(terms_nd, energy_nc / hit_energy, expected_nc / hit_energy)
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


def _smooth_layers(values_xyz: Array, width: float) -> Array:
    """Gaussian smoothing along the last axis, normalised at its ends."""
    index_z = np.arange(values_xyz.shape[-1])
    kernel_zz = np.exp(-0.5 * ((index_z[:, None] - index_z[None, :]) / width) ** 2)
    smooth_xyz: Array = values_xyz @ (kernel_zz / kernel_zz.sum(axis=0, keepdims=True))
    return smooth_xyz


def _class_energies(images_nxyz: NDArray[np.float32], class_xyz: NDArray[np.int32]) -> Array:
    """Energy per shower, layer and class: (N, layer, K)."""
    columns = [
        np.einsum("nxyz,xyz->nz", images_nxyz, (class_xyz == k).astype(np.float32))
        for k in range(SHARE_CLASSES)
    ]
    class_nzk: Array = np.stack(columns, axis=-1).astype(np.float64)
    return class_nzk


def _mean_hit_energy(images_nxyz: NDArray[np.float32]) -> float:
    """Unit in which energies count like hits, GeV."""
    return float(images_nxyz.sum(dtype=np.float64)) / max(1, np.count_nonzero(images_nxyz))

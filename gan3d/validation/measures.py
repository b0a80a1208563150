"""What is computed from images: per-shower values, one function each.

Images are (N, x, y, layer) in GeV. Positions, widths and radii are in mm, measured from the low
edge of the image (x, y) and from the front face of the first layer; cells are taken to sit at their
centres (`gan3d.validation.positions`). A shower without energy has NaN where a value is undefined.

The 3DGAN papers (Vallecorsa et al., EPJ Web Conf. 214 (2019) 02010) look at the profiles, moments,
layer fractions and hits, the Fast Calorimeter Challenge 2022 (Krause et al., arXiv:2410.21611) at
the widths and the spectrum of cell energies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Validation

Float = NDArray[np.float64]
Integer = NDArray[np.int64]

MOMENT_ORDERS = 4
"""Moments are computed from the first to this order."""


@dataclass(frozen=True)
class Projections:
    """Energies (GeV) summed over one axis each; all that positions are computed from."""

    xy_nxy: Float
    xz_nxz: Float
    yz_nyz: Float

    @classmethod
    def of(cls, images_nxyz: NDArray[np.float32]) -> Projections:
        """Sum the cells, in float64."""
        return cls(
            images_nxyz.sum(axis=3, dtype=np.float64),
            images_nxyz.sum(axis=2, dtype=np.float64),
            images_nxyz.sum(axis=1, dtype=np.float64),
        )

    @property
    def profiles(self) -> tuple[Float, Float, Float]:
        """Energy (GeV) in the slices along x, y and layer: (N, x), (N, y), (N, layer)."""
        return self.xy_nxy.sum(axis=2), self.xy_nxy.sum(axis=1), self.yz_nyz.sum(axis=1)


def moments(profile_ni: Float, position_i: Float) -> Float:
    """Energy-weighted moments of a profile along its axis: (N, order).

    Order 1 is the barycentre, sum(E_i s_i) / sum(E_i), in mm; order k > 1 is the central moment
    sum(E_i (s_i - barycentre)^k) / sum(E_i), in mm^k. These are the moments of 3DGAN's validation.
    A shower without energy has NaN.

    Args:
        profile_ni: energies (GeV) of the slices, or of cells, (N, slices).
        position_i: s_i, where they are along the axis (mm).

    """
    weight_ni = profile_ni / _or_nan(profile_ni.sum(axis=1))[:, None]
    barycentre_n = weight_ni @ position_i
    offset_ni = position_i - barycentre_n[:, None]
    central = [(weight_ni * offset_ni**k).sum(axis=1) for k in range(2, MOMENT_ORDERS + 1)]
    moments_no: Float = np.stack([barycentre_n, *central], axis=1)
    return moments_no


def maximum_layer(longitudinal_nz: Float) -> Float:
    """Index of the layer with most energy (the first of equals); NaN for an empty shower."""
    index_n: Float = longitudinal_nz.argmax(axis=1).astype(np.float64)
    index_n[longitudinal_nz.sum(axis=1) == 0.0] = np.nan
    return index_n


def layer_fractions(longitudinal_nz: Float) -> Float:
    """Energy in the first, middle and last third of the layers over the total: (N, 3).

    With 25 layers: 0 to 7, 8 to 16, 17 to 24. NaN for an empty shower.
    """
    layers = longitudinal_nz.shape[1]
    cuts = [round(layers / 3), round(2 * layers / 3)]
    parts_n3 = np.stack([p.sum(axis=1) for p in np.split(longitudinal_nz, cuts, axis=1)], axis=1)
    fractions_n3: Float = parts_n3 / _or_nan(longitudinal_nz.sum(axis=1))[:, None]
    return fractions_n3


def energy_depth(longitudinal_nz: Float, share: float, pitch_mm: float) -> Float:
    """Depth (mm) by which the shower has left `share` of its energy: (N,).

    The energy of a layer is taken as spread evenly over its depth, so that of a ring over its
    width. With a small share it is where
    the shower starts: later for photons, which first have to convert, than for electrons.
    """
    layers = longitudinal_nz.shape[1]
    total_n = _or_nan(longitudinal_nz.sum(axis=1))
    before_nz = np.cumsum(longitudinal_nz, axis=1) / total_n[:, None]
    # The first layer by whose end the share is reached; rounding must not leave the last out.
    index_n = np.minimum((before_nz < share).sum(axis=1), layers - 1)
    rows = np.arange(len(longitudinal_nz))
    own_n = longitudinal_nz[rows, index_n] / total_n
    missing_n = share - (before_nz[rows, index_n] - own_n)
    depth_n: Float = (index_n + missing_n / np.where(own_n > 0.0, own_n, 1.0)) * pitch_mm
    return depth_n


def containment_radii(
    image_nxy: Float, positions_mm: tuple[Float, Float], shares: Sequence[float]
) -> Float:
    """Radii (mm) around the shower's barycentre that hold `shares` of its energy: (N, shares).

    Of cells projected along the layers: cells are taken in the order of the distance of their
    centres, and the radius is interpolated between them; a shower in one cell has 0. 0.9 is the
    Moliere radius, as a shower's own.

    Args:
        image_nxy: energies (GeV) summed over the layers.
        positions_mm: where the cells are along x and y, (x, y) each.
        shares: of the energy.

    """
    count = len(image_nxy)
    x_i, y_i = (position_xy.reshape(-1) for position_xy in positions_mm)
    energy_ni = image_nxy.reshape(count, -1)
    weight_ni = energy_ni / _or_nan(energy_ni.sum(axis=1))[:, None]
    centre_x_n, centre_y_n = weight_ni @ x_i, weight_ni @ y_i
    radius_ni = np.hypot(x_i - centre_x_n[:, None], y_i - centre_y_n[:, None])
    order_ni = np.argsort(radius_ni, axis=1)
    radius_ni = np.take_along_axis(radius_ni, order_ni, axis=1)
    inside_ni = np.cumsum(np.take_along_axis(weight_ni, order_ni, axis=1), axis=1)
    rows, radii = np.arange(count), []
    for share in shares:
        index_n = np.minimum((inside_ni < share).sum(axis=1), inside_ni.shape[1] - 1)
        outer_n, inner_n = radius_ni[rows, index_n], radius_ni[rows, np.maximum(index_n - 1, 0)]
        upper_n = inside_ni[rows, index_n]
        lower_n = np.where(index_n > 0, inside_ni[rows, np.maximum(index_n - 1, 0)], 0.0)
        inner_n = np.where(index_n > 0, inner_n, 0.0)
        part_n = (share - lower_n) / np.where(upper_n > lower_n, upper_n - lower_n, 1.0)
        radii.append(inner_n + np.clip(part_n, 0.0, 1.0) * (outer_n - inner_n))
    return np.stack(radii, axis=1)


def barycentre_angle(image_nsz: Float, position_s: Float, layer_pitch_mm: float) -> Float:
    """Angle (rad) of the shower's axis to the normal of the layers, in one plane: (N,).

    The slope of the straight line through the barycentres of the layers, each weighted with its
    energy, which is cov(s, z) / var(z). The data sets' `mtheta`, and the loss of `angle51`, is
    another mean of the same barycentres (`gan3d.models.angle_layers.measure_angle`).
    NaN where all energy is in one layer.

    Args:
        image_nsz: energies (GeV) summed over the other transverse axis, or of all cells of a
            layer, (N, s, layer).
        position_s: where they are in the plane (mm).
        layer_pitch_mm: of the layers.

    """
    z_i = (np.arange(image_nsz.shape[2]) + 0.5) * layer_pitch_mm
    total_n = _or_nan(image_nsz.sum(axis=(1, 2)))
    layer_nz = image_nsz.sum(axis=1) / total_n[:, None]
    mean_z_n = layer_nz @ z_i
    offset_nz = z_i - mean_z_n[:, None]
    variance_n = (layer_nz * offset_nz**2).sum(axis=1)
    # sum over s first: the barycentre of each layer times its energy.
    moment_nz = np.einsum("nsz,s->nz", image_nsz, position_s) / total_n[:, None]
    covariance_n = (moment_nz * offset_nz).sum(axis=1)
    angle_n: Float = np.arctan(covariance_n / np.where(variance_n > 0.0, variance_n, np.nan))
    return angle_n


def layer_moments(image_nsz: Float, position_s: Float) -> tuple[Float, Float]:
    """Barycentre and width (rms) of each layer along an axis (mm): (N, layer) each.

    The Challenge's centres of energy and their widths. NaN for a layer without energy.

    Args:
        image_nsz: as for `barycentre_angle`.
        position_s: where they are along the axis (mm).

    """
    energy_nz = image_nsz.sum(axis=1)
    sums_noz = np.stack([position_s, position_s**2]) @ image_nsz
    barycentre_nz, square_nz = (sums_noz / _or_nan(energy_nz)[:, None]).transpose(1, 0, 2)
    width_nz: Float = np.sqrt(np.maximum(square_nz - barycentre_nz**2, 0.0))
    return barycentre_nz, width_nz


def count_layer_hits(images_nxyz: NDArray[np.float32], thresholds_gev: Sequence[float]) -> Integer:
    """Cells of each layer above each of `thresholds_gev`: (N, thresholds, layer)."""
    hits_ntz: Integer = np.stack(
        [np.count_nonzero(images_nxyz > each, axis=(1, 2)) for each in thresholds_gev], axis=1
    )
    return hits_ntz


def count_hits(images_nxyz: NDArray[np.float32], threshold_gev: float) -> Integer:
    """Number of cells with more than `threshold_gev`: (N,)."""
    hits_n: Integer = np.count_nonzero(images_nxyz > threshold_gev, axis=(1, 2, 3))
    return hits_n


def cell_energy_edges(settings: Validation) -> Float:
    """Logarithmic bin edges (GeV) of the cell-energy spectrum."""
    low, high = np.log10(settings.cell_energy_range_gev)
    bins = max(1, round((high - low) * settings.cell_energy_bins_per_decade))
    return np.logspace(low, high, bins + 1)


def count_cells(images_nxyz: NDArray[np.float32], edges_gev: Float) -> Integer:
    """Cells with energy per bin of energy: (N, bins + 2), underflow first and overflow last."""
    count = len(images_nxyz)
    flat = images_nxyz.reshape(count, -1)
    row, column = np.nonzero(flat)
    bin_index = np.searchsorted(edges_gev, flat[row, column], side="right")
    width = len(edges_gev) + 1
    counts = np.bincount(row * width + bin_index, minlength=count * width)
    return counts.reshape(count, width).astype(np.int64)


def hash_images(images_nxyz: NDArray[np.float32]) -> NDArray[np.uint64]:
    """64 bits of a digest (BLAKE2b) of each image: (N,). Equal for equal cells, bit for bit."""
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images_nxyz]
    return np.frombuffer(b"".join(digests), np.uint64)


def _or_nan(total_n: Float) -> Float:
    return np.where(total_n > 0.0, total_n, np.nan)

"""What is measured on a shower: per-shower values from images and the geometry.

Showers are taken in chunks, so that memory stays bounded by the per-shower results and not by the
images. Positions and widths are in mm, measured from the low edge of the image (x, y) and from the
front face of the first layer; cell i is taken to sit at its centre, (i + 1/2) times the pitch.

The observables are those the 3DGAN papers look at (Vallecorsa et al., EPJ Web Conf. 214 (2019)
02010) and those of the Fast Calorimeter Challenge 2022 (Krause et al., arXiv:2410.21611).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.errors import DataError

Float = NDArray[np.float64]
Integer = NDArray[np.int64]

AXES = ("x", "y", "layer")
"""The axes of an image, in order."""
MOMENT_ORDERS = 2
"""Moments are computed from the first to this order."""

_CHUNK_CELLS = 2**22  # cells per chunk: 16 MiB of float32 images


@dataclass(frozen=True)
class Observables:
    """Per-shower values of one sample of N showers.

    A shower without energy has NaN moments, shower maximum and layer fractions; all else is 0.
    """

    label: str
    """What the sample is called in figures and messages."""
    geometry: Geometry
    """The grid of cells."""
    settings: Validation
    """Thresholds and ranges that were used."""
    energy_n: Float
    """Incident energy (GeV)."""
    total_energy_n: Float
    """Energy in all cells, ECAL (GeV)."""
    transverse_x_nx: Float
    """Energy in each x row of cells, summed over y and layers (GeV)."""
    transverse_y_ny: Float
    """Energy in each y row of cells, summed over x and layers (GeV)."""
    longitudinal_nz: Float
    """Energy in each layer (GeV)."""
    moments_nao: Float
    """Moments along (x, y, layer), orders 1 and 2: barycentre (mm) and variance (mm²)."""
    maximum_layer_n: Float
    """Index of the layer with most energy."""
    layer_fractions_n3: Float
    """Energy in the first, middle and last third of the layers over the total."""
    hits_n: Integer
    """Cells above `settings.hit_threshold_gev`."""
    cell_counts_nb: Integer
    """Cells with energy, in the bins of `cell_energy_edges` with an underflow bin before and an
    overflow bin after them."""

    def __len__(self) -> int:
        return len(self.energy_n)

    @property
    def sampling_fraction_n(self) -> Float:
        """Energy in the cells over incident energy, ECAL/Ep."""
        return self.total_energy_n / self.energy_n

    @property
    def empty_n(self) -> NDArray[np.bool_]:
        """Which showers have no energy in any cell."""
        empty_n: NDArray[np.bool_] = self.total_energy_n == 0.0
        return empty_n

    @property
    def profiles(self) -> dict[str, Float]:
        """The energies (GeV) in the slices along each axis, (N, slices), by the axis' name."""
        return dict(
            zip(
                AXES,
                (self.transverse_x_nx, self.transverse_y_ny, self.longitudinal_nz),
                strict=True,
            )
        )

    def select(self, rows: Integer | NDArray[np.bool_]) -> Self:
        """The same observables for some of the showers (indices or a mask)."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _array_fields()})

    def in_energy_bin(self, low_gev: float, high_gev: float) -> Self:
        """The showers with low <= Ep < high (the upper bound included where it is the largest)."""
        inside = (self.energy_n >= low_gev) & (self.energy_n < high_gev)
        if high_gev == max(high for _, high in self.settings.energy_bins_gev):
            inside |= self.energy_n == high_gev
        return self.select(inside)


def _array_fields() -> list[str]:
    return [f.name for f in fields(Observables) if f.name not in ("label", "geometry", "settings")]


def concatenate(parts: Sequence[Observables]) -> Observables:
    """Join samples that were observed with the same geometry and settings."""
    return replace(
        parts[0],
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in _array_fields()
        },
    )


def observe(
    showers: Showers | Iterable[Showers],
    geometry: Geometry,
    settings: Validation,
    *,
    label: str = "showers",
) -> Observables:
    """Measure all observables of a sample, given whole or as blocks.

    Args:
        showers: images_nxyz (N, x, y, layer) in GeV and energy_n (N,) in GeV.
        geometry: the grid; its shape must be that of the images.
        settings: the hit threshold and the range of the cell-energy spectrum.
        label: what messages and figures call the sample.

    Raises:
        DataError: there is no shower, the shape of the images is not the geometry's, a cell is
            negative or not finite, or an incident energy is not a positive number.

    """
    parts = [
        observe_chunk(chunk, geometry, settings, label=label)
        for chunk in checked_chunks(showers, geometry, label)
    ]
    if not parts:
        raise DataError(f"{label}: no showers")
    return concatenate(parts)


def checked_chunks(
    showers: Showers | Iterable[Showers], geometry: Geometry, label: str
) -> Iterator[Showers]:
    """Showers in chunks of bounded size, each checked as `observe` describes."""
    size = max(1, _CHUNK_CELLS // int(np.prod(geometry.shape)))
    first = 0
    for block in [showers] if isinstance(showers, Showers) else showers:
        for start in range(0, len(block), size):
            chunk = Showers(
                block.images_nxyz[start : start + size], block.energy_n[start : start + size]
            )
            _check(chunk, geometry, label, first)
            yield chunk
            first += len(chunk)


def _check(chunk: Showers, geometry: Geometry, label: str, first: int) -> None:
    shape = chunk.images_nxyz.shape[1:]
    if shape != geometry.shape:
        raise DataError(
            f"{label}: images have {'x'.join(map(str, shape))} cells, the geometry has "
            f"{'x'.join(map(str, geometry.shape))} (data.geometry.shape)"
        )
    lowest_n = chunk.images_nxyz.min(axis=(1, 2, 3))
    highest_n = chunk.images_nxyz.max(axis=(1, 2, 3))
    for wrong_n, what in (
        (~np.isfinite(highest_n) | ~np.isfinite(lowest_n), "a cell energy is not a finite number"),
        (lowest_n < 0.0, "a cell energy is negative"),
        (~np.isfinite(chunk.energy_n), "the incident energy is not a finite number"),
        (chunk.energy_n <= 0.0, "the incident energy is not above 0"),
    ):
        if wrong_n.any():
            raise DataError(f"{label}: shower {first + int(np.argmax(wrong_n))}: {what}")


def observe_chunk(
    chunk: Showers, geometry: Geometry, settings: Validation, *, label: str
) -> Observables:
    """All observables of showers that have been checked and fit into memory."""
    images_nxyz = chunk.images_nxyz
    profiles = slice_energies(images_nxyz)
    longitudinal_nz = profiles[2]
    return Observables(
        label=label,
        geometry=geometry,
        settings=settings,
        energy_n=chunk.energy_n.astype(np.float64),
        total_energy_n=longitudinal_nz.sum(axis=1),
        transverse_x_nx=profiles[0],
        transverse_y_ny=profiles[1],
        longitudinal_nz=longitudinal_nz,
        moments_nao=np.stack(
            [
                moments(profile, pitch_mm)
                for profile, pitch_mm in zip(profiles, geometry.cell_size_mm, strict=True)
            ],
            axis=1,
        ),
        maximum_layer_n=maximum_layer(longitudinal_nz),
        layer_fractions_n3=layer_fractions(longitudinal_nz),
        hits_n=count_hits(images_nxyz, settings.hit_threshold_gev),
        cell_counts_nb=count_cells(images_nxyz, cell_energy_edges(settings)),
    )


def slice_energies(images_nxyz: NDArray[np.float32]) -> tuple[Float, Float, Float]:
    """Energy (GeV) in the slices along x, y and layer: (N, x), (N, y), (N, layer)."""
    yz = images_nxyz.sum(axis=1, dtype=np.float64)
    return (
        images_nxyz.sum(axis=(2, 3), dtype=np.float64),
        yz.sum(axis=2),
        yz.sum(axis=1),
    )


def moments(profile_ni: Float, pitch_mm: float) -> Float:
    """Energy-weighted moments of a profile along its axis: (N, order).

    Order 1 is the barycentre, sum(E_i s_i) / sum(E_i) with s_i = (i + 1/2) pitch, in mm; order
    k > 1 is the central moment sum(E_i (s_i - barycentre)^k) / sum(E_i), in mm^k. These are the
    moments of 3DGAN's validation. A shower without energy has NaN.

    Args:
        profile_ni: energies (GeV) of the slices, (N, slices).
        pitch_mm: distance between slices (mm).

    """
    position_i = (np.arange(profile_ni.shape[1]) + 0.5) * pitch_mm
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


def _or_nan(total_n: Float) -> Float:
    return np.where(total_n > 0.0, total_n, np.nan)

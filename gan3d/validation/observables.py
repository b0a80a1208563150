"""What is measured on a sample of showers: `gan3d.validation.measures` of all of them, in one pass.

Showers are taken in chunks, so that memory stays bounded by the per-shower results and not by the
images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gan3d.config import FIRST_IMAGE, Geometry, Validation
from gan3d.data import Showers
from gan3d.data.showers import UNKNOWN_PARTICLE
from gan3d.errors import DataError
from gan3d.validation.measures import (
    Float,
    Integer,
    Projections,
    barycentre_angle,
    cell_energy_edges,
    containment_radii,
    count_cells,
    count_hits,
    count_layer_hits,
    energy_depth,
    hash_images,
    layer_fractions,
    layer_moments,
    maximum_layer,
    moments,
)
from gan3d.validation.positions import cell_positions, middle_mm

AXES = ("x", "y", "layer")
"""The axes of an image, in order; of a cylinder's, x is the angle and y the radius."""
_CHUNK_CELLS = 2**22  # cells per chunk: 16 MiB of float32 images


@dataclass(frozen=True)
class Observables:
    """Per-shower values of one sample of N showers.

    A shower without energy has NaN moments, start, radii, angle, maximum and layer fractions; all
    else is 0.
    """

    label: str
    """What the sample is called in figures and messages."""
    geometry: Geometry
    """The grid of cells."""
    settings: Validation
    """Thresholds and ranges that were used."""
    energy_n: Float
    """Incident energy (GeV)."""
    theta_n: Float
    """Polar angle of the incident particle (rad, pi/2 is perpendicular to the layers); NaN where it
    is not known."""
    pdg_n: Float
    """PDG code of the incident particle; NaN where it is not known."""
    total_energy_n: Float
    """Energy in all cells, ECAL (GeV)."""
    transverse_x_nx: Float
    """Energy in each x row of cells, summed over y and layers (GeV); of a cylinder, at each
    angle."""
    transverse_y_ny: Float
    """Energy in each y row of cells, summed over x and layers (GeV); of a cylinder, at each
    radius."""
    longitudinal_nz: Float
    """Energy in each layer (GeV)."""
    moments_nao: Float
    """Moments along (x, y, layer), orders 1 to 4: barycentre (mm), then central ones (mm^order).
    x and y are those of the plane for a cylinder, too (`gan3d.validation.positions`)."""
    start_mm_n: Float
    """Depth by which the shower has left `settings.start_share` of its energy (mm)."""
    radii_mm_ns: Float
    """Radii around the barycentre that hold `settings.containment_shares` of the energy (mm); of a
    cylinder around its axis, the energy of a ring taken as spread evenly over its width."""
    angle_n2: Float
    """Angles of the axis to the normal of the layers in the planes (x, layer) and (y, layer), by
    the barycentre method (rad); as the moments."""
    layer_barycentre_mm_naz: Float
    """Barycentre of each layer along x and y from the middle of the image (mm), (N, axis, layer);
    NaN where the layer is empty; as the moments."""
    layer_width_mm_naz: Float
    """Width (rms) of each layer along x and y (mm), the same."""
    maximum_layer_n: Float
    """Index of the layer with most energy."""
    layer_fractions_n3: Float
    """Energy in the first, middle and last third of the layers over the total."""
    hits_n: Integer
    """Cells above `settings.hit_threshold_gev`."""
    layer_hits_ntz: Integer
    """Cells of each layer above each of `settings.occupancy_thresholds_gev`."""
    image_hash_n: NDArray[np.uint64]
    """64 bits of a digest of the image: the same for the same cells alone."""
    cell_counts_nb: Integer
    """Cells with energy, in the bins of `cell_energy_edges` with an underflow bin before and an
    overflow bin after them."""
    others_energy_no: Float
    """Energy (GeV) in each of `others`."""
    image: str = FIRST_IMAGE
    """What is observed: the name of the image, where showers have several, and of its energy."""
    others: tuple[str, ...] = ()
    """Further images of the same showers, whose energies are known, too."""

    def __len__(self) -> int:
        return len(self.energy_n)

    @property
    def sampling_fraction_n(self) -> Float:
        """Energy in the cells over incident energy, ECAL/Ep."""
        return self.total_energy_n / self.energy_n

    @property
    def all_energy_n(self) -> Float:
        """Energy in this image and in `others` (GeV)."""
        total_n: Float = self.total_energy_n + self.others_energy_no.sum(axis=1)
        return total_n

    @property
    def share_n(self) -> Float:
        """Share of this image in the energy of all; NaN where nothing is in any."""
        total_n = self.all_energy_n
        share_n: Float = np.where(total_n > 0.0, self.total_energy_n, np.nan) / np.where(
            total_n > 0.0, total_n, 1.0
        )
        return share_n

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
    whole = ("label", "geometry", "settings", "image", "others")
    return [f.name for f in fields(Observables) if f.name not in whole]


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
            chunk = block.take(slice(start, start + size))
            check_chunk(chunk, geometry, label, first)
            yield chunk
            first += len(chunk)


def check_chunk(chunk: Showers, geometry: Geometry, label: str, first: int) -> None:
    """Raise DataError as `observe` does; `first` is the number of the chunk's first shower."""
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


def _particles(code_n: NDArray[Any]) -> Float:
    """PDG codes (N,), NaN where it is not known."""
    return np.where(np.equal(code_n, UNKNOWN_PARTICLE), np.nan, code_n).astype(np.float64)


def observe_chunk(
    chunk: Showers, geometry: Geometry, settings: Validation, *, label: str
) -> Observables:
    """All observables of showers that have been checked and fit into memory."""
    images_nxyz = chunk.images_nxyz
    projections = Projections.of(images_nxyz)
    profiles = projections.profiles
    longitudinal_nz = profiles[2]
    pitch_z_mm = geometry.pitch[2]
    planes = _planes(images_nxyz, projections, geometry)
    of_layers = [
        layer_moments(plane, at_s - middle)
        for (plane, at_s), middle in zip(planes, middle_mm(geometry), strict=True)
    ]
    unknown_n = np.full(len(chunk), np.nan)
    return Observables(
        label=label,
        geometry=geometry,
        settings=settings,
        energy_n=chunk.energy_n.astype(np.float64),
        theta_n=np.asarray(chunk.columns.get("theta", unknown_n), np.float64),
        pdg_n=_particles(chunk.columns.get("pdg", unknown_n)),
        total_energy_n=longitudinal_nz.sum(axis=1),
        transverse_x_nx=profiles[0],
        transverse_y_ny=profiles[1],
        longitudinal_nz=longitudinal_nz,
        moments_nao=_moments(planes, projections, geometry),
        start_mm_n=energy_depth(longitudinal_nz, settings.start_share, pitch_z_mm),
        radii_mm_ns=_radii(projections, geometry, settings.containment_shares),
        angle_n2=np.stack(
            [barycentre_angle(plane, at_s, pitch_z_mm) for plane, at_s in planes], axis=1
        ),
        layer_barycentre_mm_naz=np.stack([barycentre for barycentre, _ in of_layers], axis=1),
        layer_width_mm_naz=np.stack([width for _, width in of_layers], axis=1),
        maximum_layer_n=maximum_layer(longitudinal_nz),
        layer_fractions_n3=layer_fractions(longitudinal_nz),
        hits_n=count_hits(images_nxyz, settings.hit_threshold_gev),
        layer_hits_ntz=count_layer_hits(images_nxyz, settings.occupancy_thresholds_gev),
        image_hash_n=hash_images(images_nxyz),
        cell_counts_nb=count_cells(images_nxyz, cell_energy_edges(settings)),
        others_energy_no=np.empty((len(chunk), 0)),
    )


def _radii(projections: Projections, geometry: Geometry, shares: Sequence[float]) -> Float:
    """`Observables.radii_mm_ns`."""
    if geometry.is_cylinder:
        # All cells of a ring are as far out: by their centres, radii would be those of rings.
        rings_nr, pitch_mm = projections.profiles[1], geometry.pitch[1]
        return np.stack([energy_depth(rings_nr, share, pitch_mm) for share in shares], axis=1)
    return containment_radii(projections.xy_nxy, cell_positions(geometry), shares)


_Plane = tuple[Float, Float]
"""Energies (GeV) by place and layer, (N, s, layer), and where these places are along an axis of the
plane (mm from the low edge), (s,)."""


def _planes(
    images_nxyz: NDArray[np.float32], projections: Projections, geometry: Geometry
) -> list[_Plane]:
    """For x and for y."""
    x_xy, y_xy = cell_positions(geometry)
    if not geometry.is_cylinder:
        return [(projections.xz_nxz, x_xy[:, 0]), (projections.yz_nyz, y_xy[0])]
    # No axis of the image is one of the plane: from all cells.
    count, layers = len(images_nxyz), geometry.shape[2]
    cells_ncz = images_nxyz.reshape(count, -1, layers).astype(np.float64)
    return [(cells_ncz, x_xy.reshape(-1)), (cells_ncz, y_xy.reshape(-1))]


def _moments(planes: Sequence[_Plane], projections: Projections, geometry: Geometry) -> Float:
    """`Observables.moments_nao`."""
    along_x, along_y, along_z = projections.profiles
    if geometry.is_cylinder:
        along_x = along_y = projections.xy_nxy.reshape(len(along_z), -1)
    z_z = (np.arange(geometry.shape[2]) + 0.5) * geometry.pitch[2]
    along = [(along_x, planes[0][1]), (along_y, planes[1][1]), (along_z, z_z)]
    return np.stack([moments(energies, positions) for energies, positions in along], axis=1)

"""Pictures of showers: projections of mean and single showers, and a 3D event display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gan3d.config import Geometry
from gan3d.validation.plots._style import WIDE_INCHES, reference_first, shorten, styled
from gan3d.validation.positions import axis_edges, axis_title, cell_positions, middle_mm
from gan3d.validation.sample import Sample

Generated = Sample | Sequence[Sample]
"""One generated sample, or several to be compared side by side."""

_MEV = 1e3  # per GeV
_DECADES = 5  # of the colour scales below the largest value
_LONGEST_TITLE = 46


@styled
def mean_projections(generated: Generated, reference: Sample) -> Figure:
    """The mean shower summed along y, x and layer: reference above generated, one colour scale.

    Of a cylinder along the radius, the angle and the layers; the last is drawn in the plane.

    Args:
        generated: one or several generated samples, a row for each.
        reference: the reference sample.

    """
    samples = reference_first(generated, reference)
    return _projections(
        [(shorten(sample.observables.label), sample.mean_image_xyz) for sample in samples],
        reference.observables.geometry,
        "Mean energy per shower [MeV]",
    )


@styled
def shower_projections(generated: Generated, reference: Sample, example: int = 0) -> Figure:
    """One shower of each sample, of similar incident energy, summed along y, x and layer.

    Args:
        generated: one or several generated samples, a row for each.
        reference: the reference sample.
        example: which of the samples' example showers, in order of incident energy.

    """
    return _projections(
        [
            (f"{shorten(label)}, {energy}", image_xyz)
            for label, energy, image_xyz in _examples(generated, reference, example)
        ],
        reference.observables.geometry,
        "Energy [MeV]",
    )


@styled
def event_display(generated: Generated, reference: Sample, example: int = 0) -> Figure:
    """One shower of each sample in 3D: a point for every hit, by the logarithm of its energy.

    Cells above the hit threshold are shown. Arguments as `shower_projections`.
    """
    showers = _examples(generated, reference, example)
    geometry = reference.observables.geometry
    x_xy, y_xy = cell_positions(geometry)
    middle = middle_mm(geometry)
    threshold_mev = _MEV * reference.observables.settings.hit_threshold_gev
    highest_mev = max(float(image_xyz.max()) for *_, image_xyz in showers) * _MEV
    norm = LogNorm(threshold_mev, max(highest_mev, 10 * threshold_mev))
    colours = _colours()
    rows = -(-len(showers) // 2)
    figure = Figure(figsize=(WIDE_INCHES, 0.9 + 4.1 * rows), layout="constrained")
    all_axes = []
    for place, (label, energy, image_xyz) in enumerate(showers, 1):
        axes: Any = figure.add_subplot(rows, 2, place, projection="3d")
        x, y, layer = np.nonzero(image_xyz * _MEV > threshold_mev)
        energy_mev = image_xyz[x, y, layer] * _MEV
        axes.scatter(
            layer,
            x_xy[x, y] - middle[0],
            y_xy[x, y] - middle[1],
            c=energy_mev,
            s=4.0 + 90.0 * np.asarray(norm(energy_mev)) ** 3,
            cmap=colours,
            norm=norm,
            alpha=0.8,
            linewidths=0,
        )
        axes.set_xlim(0, geometry.shape[2] - 1)
        for set_limits, index in ((axes.set_ylim, 0), (axes.set_zlim, 1)):
            set_limits(-middle[index], middle[index])
        axes.set_xlabel("Layer", labelpad=4, loc="center")
        axes.set_ylabel("x [mm]", labelpad=4, loc="center")
        axes.set_zlabel("y [mm]", labelpad=2)
        axes.minorticks_off()
        axes.locator_params(nbins=5)
        axes.tick_params(pad=0)
        title = f"{shorten(label, _LONGEST_TITLE)}\n{energy}"
        axes.set_title(title, y=0.93)  # nearer than the empty corner of the box
        axes.set_box_aspect((1.6, 1.0, 1.0), zoom=0.98)
        axes.view_init(elev=20, azim=-60)
        all_axes.append(axes)
    figure.colorbar(
        ScalarMappable(norm, colours),
        ax=all_axes,
        orientation="horizontal",
        label="Energy of the cell [MeV]",
        shrink=0.6,
        aspect=40,
    )
    return figure


def _examples(
    generated: Generated, reference: Sample, example: int
) -> list[tuple[str, str, NDArray[np.float32]]]:
    """Label, incident energy as text, and image of one shower of each sample."""
    return [
        (
            sample.observables.label,
            f"Ep = {sample.examples.energy_n[example]:.1f} GeV",
            sample.examples.images_nxyz[example],
        )
        for sample in reference_first(generated, reference)
    ]


def _projections(
    rows: Sequence[tuple[str, NDArray[Any]]], geometry: Geometry, quantity: str
) -> Figure:
    """Rows of projections (layer, x), (layer, y), (x, y) with one logarithmic colour scale."""
    images_mev = [_MEV * image_xyz.astype(np.float64) for _, image_xyz in rows]
    highest = max(max(float(image.sum(axis).max()) for axis in range(3)) for image in images_mev)
    highest = highest or 1.0  # showers without energy
    norm = LogNorm(highest / 10**_DECADES, highest)
    figure = Figure(figsize=(WIDE_INCHES, 3.3 * len(rows)), layout="constrained")
    grid: Any = figure.subplots(len(rows), 3, squeeze=False)
    for (title, _), image, line in zip(rows, images_mev, grid, strict=True):
        _draw_map(line[0], image.sum(axis=1), geometry, (2, 0), norm)
        _draw_map(line[1], image.sum(axis=0), geometry, (2, 1), norm)
        if geometry.is_cylinder:
            _draw_plane(line[2], image.sum(axis=2), geometry, norm)
        else:
            _draw_map(line[2], image.sum(axis=2).T, geometry, (0, 1), norm)
        line[0].set_title(title)
    figure.colorbar(
        ScalarMappable(norm, _colours()), ax=grid, label=quantity, extend="min", aspect=35, pad=0.02
    )
    return figure


def _draw_map(
    axes: Axes,
    values: NDArray[np.float64],
    geometry: Geometry,
    horizontal_vertical: tuple[int, int],
    norm: LogNorm,
) -> None:
    """A map with its second index along the horizontal axis; cells without energy stay white."""
    across, up = (axis_edges(geometry, axis) for axis in horizontal_vertical)
    _draw_cells(axes, across, up, values, norm)
    across_title, up_title = (axis_title(geometry, axis) for axis in horizontal_vertical)
    axes.set_xlabel(across_title)
    axes.set_ylabel(up_title)


def _draw_plane(
    axes: Axes, values_ar: NDArray[np.float64], geometry: Geometry, norm: LogNorm
) -> None:
    """A map of (angle, radius) as it lies in the plane."""
    # Each cell in several parts, so that it is round.
    parts = -(-72 // geometry.shape[0])
    angles = geometry.shape[0] * parts
    angle = np.linspace(-np.pi, np.pi, angles + 1)[:, None]
    radius = axis_edges(geometry, 1)[None, :]
    _draw_cells(
        axes,
        radius * np.cos(angle),
        radius * np.sin(angle),
        np.repeat(values_ar, parts, axis=0),
        norm,
    )
    axes.set_aspect("equal")
    axes.set_xlabel("x [mm]")
    axes.set_ylabel("y [mm]")


def _draw_cells(
    axes: Axes,
    across: NDArray[np.float64],
    up: NDArray[np.float64],
    values: NDArray[np.float64],
    norm: LogNorm,
) -> None:
    axes.pcolormesh(
        across,
        up,
        np.where(values > 0.0, values, np.nan),
        cmap=_colours(),
        norm=norm,
        rasterized=True,
    )


def _colours() -> Colormap:
    return mpl.colormaps["viridis"]

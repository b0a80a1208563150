"""How samples are drawn into panels: steps, points, histograms, and ratios to the reference.

Everywhere the reference comes first and the generated samples follow, in the order of `LOOKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gan3d.validation.measures import Float
from gan3d.validation.observables import Observables
from gan3d.validation.plots._style import (
    LOOKS,
    REFERENCE_FILL,
    Look,
    Panel,
    add_legend,
    figure_with_panels,
    reference_first,
    shorten,
)
from gan3d.validation.resolution import energy_edges, split_by_energy

Generated = Observables | Sequence[Observables]
"""One generated sample, or several to be compared side by side."""
EnergyBins = Sequence[tuple[float, float]]

_MOST_HISTOGRAM_BINS = 40
_MOST_HISTOGRAM_BINS_OF_SEVERAL = 24  # or their error bars would hide each other


@dataclass(frozen=True)
class Points:
    """Values with standard errors, one per bin or point; NaN where there is none."""

    values: Float
    errors: Float


# --------------------------------------------------------------------------------- into a panel


def draw_steps(panel: Panel, edges: Float, points: Sequence[Points], *, log: bool = False) -> None:
    """All samples as steps over the same bins, with bands of one standard error."""
    axes = panel.main
    opacity = 0.7 / len(points)  # bands of several lie upon each other
    axes.stairs(points[0].values, edges, fill=True, color=REFERENCE_FILL, alpha=0.55)
    for drawn, look in zip(points, LOOKS, strict=False):
        axes.stairs(drawn.values, edges, color=look.colour, linestyle=look.line, linewidth=1.7)
        axes.stairs(
            drawn.values + drawn.errors,
            edges,
            baseline=np.maximum(drawn.values - drawn.errors, 0.0),
            fill=True,
            color=look.colour,
            alpha=opacity,
            linewidth=0,
        )
    axes.set_xlim(edges[0], edges[-1])
    _limit_values(axes, points, log)
    relative = _relative(points[0])
    panel.ratio.stairs(
        1.0 + relative, edges, baseline=1.0 - relative, fill=True, color=REFERENCE_FILL, linewidth=0
    )
    draw_ratio(panel.ratio, side_by_side(edges, len(points), axes.get_xscale() == "log"), points)


def draw_points(
    panel: Panel, at: Sequence[Float], points: Sequence[Points], *, joined: bool = True
) -> None:
    """All samples as points with error bars, each at its own positions."""
    for place, drawn, look in zip(at, points, LOOKS, strict=False):
        panel.main.errorbar(
            place,
            drawn.values,
            drawn.errors,
            color=look.colour,
            markerfacecolor=look.fill,
            marker=look.marker,
            markersize=5.5,
            linestyle=look.line if joined else "none",
            linewidth=1.4,
        )
    relative = _relative(points[0])
    panel.ratio.fill_between(at[0], 1.0 - relative, 1.0 + relative, color=REFERENCE_FILL, lw=0)
    draw_ratio(panel.ratio, at, points)


def draw_ratio(axes: Axes, at: Sequence[Float], points: Sequence[Points]) -> None:
    """Each generated sample over the reference, with its own error; the band is the reference's.

    Points beyond the panel are triangles at its edge.
    """
    reference = points[0].values
    scale = np.where(reference > 0.0, reference, np.nan)
    ratios = [Points(drawn.values / scale, drawn.errors / scale) for drawn in points[1:]]
    reach = _reach(ratios)
    low, high = max(0.0, 1.0 - reach), 1.0 + reach
    for place, ratio, look in zip(at[1:], ratios, LOOKS[1:], strict=False):
        inside = (ratio.values >= low) & (ratio.values <= high)
        axes.errorbar(
            place[inside],
            ratio.values[inside],
            ratio.errors[inside],
            color=look.colour,
            marker=look.marker,
            markersize=3.5,
            linestyle="none",
            linewidth=1.2,
        )
        for outside, edge, marker in (
            (ratio.values > high, high, "^"),
            (ratio.values < low, low, "v"),
        ):
            _mark_edge(axes, place[outside], edge, marker, look)
    axes.set_ylim(low, high)
    axes.set_yticks([1.0 - reach / 2, 1.0, 1.0 + reach / 2])
    axes.yaxis.minorticks_off()
    axes.set_ylabel("Ratio", loc="center")


def _mark_edge(axes: Axes, at: Float, edge: float, marker: str, look: Look) -> None:
    if not len(at):  # an empty unclipped line has no extent and upsets the layout
        return
    axes.plot(
        at,
        np.full(len(at), edge),
        linestyle="none",
        marker=marker,
        markersize=6.5,
        color=look.colour,
        clip_on=False,
        zorder=5,
    )


def draw_histogram(panel: Panel, values: Sequence[Float], title: str) -> None:
    """Histogram of all samples over the range that holds 98 % of each, and a margin."""
    filled = [each[np.isfinite(each)] for each in values if np.isfinite(each).any()]
    low, high = 0.0, 1.0
    if filled:
        low = min(float(np.quantile(each, 0.01)) for each in filled)
        high = max(float(np.quantile(each, 0.99)) for each in filled)
    margin = 0.1 * (high - low) or 0.05 * abs(high) or 0.5
    # As many bins as sqrt(N) allows, so that the Poisson errors stay legible in small samples.
    smallest = min((len(each) for each in filled), default=0)
    most = _MOST_HISTOGRAM_BINS if len(values) <= 2 else _MOST_HISTOGRAM_BINS_OF_SEVERAL
    bins = int(np.clip(1.5 * np.sqrt(smallest), 10, most))
    edges = np.linspace(low - margin, high + margin, bins + 1)
    draw_steps(panel, edges, [histogram_points(each, edges) for each in values])
    panel.main.set_ylabel("Showers [% per bin]")
    panel.ratio.set_xlabel(title)


def draw_curve(
    panel: Panel,
    samples: Sequence[Observables],
    measure: Callable[[Observables], Float],
    title: str,
) -> None:
    """Mean of a value per shower against Ep, with its standard error."""
    edges = energy_edges(samples)
    draw_points(
        panel,
        side_by_side(edges, len(samples)),
        [_means(split_by_energy(measure(sample), sample.energy_n, edges)) for sample in samples],
    )
    panel.main.set_ylabel(title)
    panel.ratio.set_xlabel("Incident energy Ep [GeV]")


# --------------------------------------------------------------------------------------- figures


def distribution_and_curve(
    samples: Sequence[Observables],
    measures: Sequence[tuple[str, Callable[[Observables], Float]]],
    *,
    height_inches: float = 4.8,
) -> Figure:
    """For each (title, value per shower) a row: its distribution, and its mean against Ep."""
    figure, panels = figure_with_panels(2 * len(measures), 2, height_inches=height_inches)
    for row, (title, measure) in enumerate(measures):
        draw_histogram(panels[2 * row], [measure(sample) for sample in samples], title)
        draw_curve(panels[2 * row + 1], samples, measure, f"Mean {lower_first(title)}")
    add_legend(figure, labels_of(samples))
    return figure


def in_energy_bins(
    generated: Generated,
    reference: Observables,
    energy_bins_gev: EnergyBins,
    draw: Callable[[Sequence[Observables], Panel], None],
) -> Figure:
    """A panel for each bin of incident energy, into which `draw` draws the samples' part."""
    samples = reference_first(generated, reference)
    figure, panels = figure_with_panels(
        len(energy_bins_gev), min(2, len(energy_bins_gev)), height_inches=4.2
    )
    for (low, high), panel in zip(energy_bins_gev, panels, strict=True):
        parts = [sample.in_energy_bin(low, high) for sample in samples]
        draw(parts, panel)
        panel.main.set_title(f"Ep {low:g} to {high:g} GeV: {counts(parts)}")
    add_legend(figure, labels_of(samples))
    return figure


def counts(samples: Sequence[Observables]) -> str:
    """How many showers the samples have, for a title."""
    numbers = [len(sample) for sample in samples]
    if len(numbers) > 2:
        return f"{min(numbers)} to {max(numbers)} showers each"
    return f"{' and '.join(map(str, numbers))} showers"


def labels_of(samples: Sequence[Observables]) -> list[str]:
    """What a legend calls the samples."""
    return [shorten(sample.label) for sample in samples]


def lower_first(title: str) -> str:
    """A title as it continues a sentence; names such as R50 and ECAL keep their capitals."""
    return title[0].lower() + title[1:] if title[1:2].islower() else title


# --------------------------------------------------------------------------------------- numbers


def mean_points(values_ni: Float) -> Points:
    """Mean over showers with its standard error, std / sqrt(N), per column."""
    count = len(values_ni)
    if count == 0:
        nothing = np.full(values_ni.shape[1], np.nan)
        return Points(nothing, nothing)
    spread = values_ni.std(axis=0, ddof=1) if count > 1 else np.zeros(values_ni.shape[1])
    return Points(values_ni.mean(axis=0), spread / np.sqrt(count))


def histogram_points(values_n: Float, edges: Float) -> Points:
    """Share of the showers per bin, in %, with its Poisson error. NaN count in no bin."""
    counts, _ = np.histogram(values_n[np.isfinite(values_n)], edges)
    scale = 100.0 / max(1, len(values_n))
    return Points(scale * counts, scale * np.sqrt(counts))


def side_by_side(edges: Float, count: int, log: bool = False) -> list[Float]:
    """Positions in each interval for `count` samples: the reference in the middle.

    Generated samples stand beside one another, so that error bars do not hide each other; a single
    one stands in the middle too.
    """
    at = np.log(edges) if log else edges
    centres, widths = (at[1:] + at[:-1]) / 2, np.diff(at)
    generated = count - 1
    step = min(0.2, 0.8 / max(1, generated))
    offsets = step * (np.arange(generated) - (generated - 1) / 2)
    places = [centres, *(centres + offset * widths for offset in offsets)]
    return [np.exp(place) for place in places] if log else places


def _means(parts: Sequence[Float]) -> Points:
    means = [part.mean() if len(part) else np.nan for part in parts]
    errors = [part.std(ddof=1) / np.sqrt(len(part)) if len(part) > 1 else np.nan for part in parts]
    return Points(np.array(means), np.array(errors))


def _reach(ratios: Sequence[Points]) -> float:
    """Half height of the ratio panel: most of the points, between 5 % and 100 %."""
    values = np.concatenate([np.zeros(0), *(ratio.values for ratio in ratios)])
    errors = np.concatenate([np.zeros(0), *(ratio.errors for ratio in ratios)])
    significant = np.isfinite(values) & (errors < 0.5)
    if not significant.any():
        return 1.0
    distance = np.abs(values[significant] - 1.0) + errors[significant]
    wanted = float(np.quantile(distance, 0.9)) * 1.25
    return next((step for step in (0.05, 0.1, 0.2, 0.3, 0.5) if wanted <= step), 1.0)


def _relative(points: Points) -> Float:
    return np.divide(
        points.errors, points.values, out=np.zeros(len(points.values)), where=points.values > 0.0
    )


def _limit_values(axes: Axes, points: Sequence[Points], log: bool) -> None:
    tops = np.concatenate([each.values + each.errors for each in points])  # the bands must fit too
    top = float(np.nanmax(tops, initial=0.0)) or 1.0
    if not log:
        axes.set_ylim(0.0, 1.08 * top)
        return
    filled = points[0].values[points[0].values > 0.0]
    axes.set_ylim(0.4 * float(filled.min()) if len(filled) else 1e-5 * top, 2.5 * top)
    axes.set_yscale("log")  # after its limits: it would look for its own, and there may be none

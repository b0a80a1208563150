"""What all figures share: the field's style at readable sizes, panels, and how samples are drawn.

Figures are made without pyplot: no global state, no window, nothing to close. The reference is
black with a grey band, generated showers are orange; the legend stands outside the axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine

from gan3d.validation.measures import Float
from gan3d.validation.observables import Observables

REFERENCE_COLOUR = "#111111"
REFERENCE_FILL = "#c9ccd1"
GENERATED_COLOUR = "#d55e00"  # vermilion of Okabe and Ito: told from black and grey by everybody
TEXT_SIZE = 12.5
WIDE_INCHES = 10.0

_SIZES: dict[Any, Any] = {
    # By name and not as "sans-serif", which would be looked up only when the figure is saved.
    "font.family": ["TeX Gyre Heros", "DejaVu Sans"],
    "font.size": TEXT_SIZE,
    "axes.labelsize": TEXT_SIZE,
    "axes.titlesize": TEXT_SIZE,
    "axes.titlelocation": "left",
    "axes.linewidth": 1.1,
    "xtick.labelsize": TEXT_SIZE - 1.5,
    "ytick.labelsize": TEXT_SIZE - 1.5,
    "legend.fontsize": TEXT_SIZE,
    "mathtext.fontset": "dejavusans",
    "figure.figsize": (WIDE_INCHES, 4.8),
} | {
    f"{axis}tick.{which}.{what}": value
    for axis in "xy"
    for which, what, value in (
        ("major", "size", 6.0),
        ("minor", "size", 3.0),
        ("major", "pad", 5.0),
    )
}

_Arguments = ParamSpec("_Arguments")


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for figures of this package; restored on leaving."""
    with mpl.rc_context({**mplhep.style.ROOT, **_SIZES}):
        yield


def styled(draw: Callable[_Arguments, Figure]) -> Callable[_Arguments, Figure]:
    """Decorator: the figure is drawn in this package's style, whatever is set outside."""

    @wraps(draw)
    def wrapped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Figure:
        with style():
            return draw(*args, **kwargs)

    return wrapped


@dataclass(frozen=True)
class Points:
    """Values with standard errors, one per bin or point."""

    values: Float
    errors: Float


Pair = tuple[Points, Points]
"""Of generated and of reference showers."""


@dataclass(frozen=True)
class Panel:
    """Axes with a ratio panel beneath."""

    main: Axes
    ratio: Axes


def figure_with_panels(
    columns: int, rows: int = 1, *, height_inches: float = 4.8
) -> tuple[Figure, list[Panel]]:
    """A wide figure of rows x columns panels, each with a ratio panel beneath, row by row."""
    figure = Figure(
        figsize=(WIDE_INCHES, height_inches * rows),
        layout=ConstrainedLayoutEngine(h_pad=0.03, hspace=0.0),
    )
    grid = GridSpec(rows, columns, figure=figure)
    panels = []
    for row, column in np.ndindex(rows, columns):
        inner = grid[row, column].subgridspec(2, 1, height_ratios=[3, 1], hspace=0.0)
        main = figure.add_subplot(inner[0])
        ratio = figure.add_subplot(inner[1], sharex=main)
        main.tick_params(labelbottom=False)
        ratio.axhline(1.0, color=REFERENCE_COLOUR, linewidth=1.0)
        panels.append(Panel(main, ratio))
    return figure, panels


def draw_steps(
    panel: Panel,
    edges: Float,
    points: Pair,
    labels: tuple[str, str],
    *,
    log: bool = False,
) -> None:
    """Both samples as steps over the same bins, with bands of one standard error."""
    generated, reference = points
    axes = panel.main
    axes.stairs(reference.values, edges, fill=True, color=REFERENCE_FILL, alpha=0.55)
    axes.stairs(reference.values, edges, color=REFERENCE_COLOUR, linewidth=1.6, label=labels[1])
    axes.stairs(generated.values, edges, color=GENERATED_COLOUR, linewidth=1.8, label=labels[0])
    for drawn, colour in ((reference, REFERENCE_COLOUR), (generated, GENERATED_COLOUR)):
        axes.stairs(
            drawn.values + drawn.errors,
            edges,
            baseline=np.maximum(drawn.values - drawn.errors, 0.0),
            fill=True,
            color=colour,
            alpha=0.35,
            linewidth=0,
        )
    axes.set_xlim(edges[0], edges[-1])
    _limit_values(axes, generated, reference, log)
    centres = (
        np.sqrt(edges[1:] * edges[:-1])
        if axes.get_xscale() == "log"
        else (edges[1:] + edges[:-1]) / 2
    )
    panel.ratio.stairs(
        1.0 + _relative(reference),
        edges,
        baseline=1.0 - _relative(reference),
        fill=True,
        color=REFERENCE_FILL,
        linewidth=0,
    )
    _draw_ratio(panel, centres, generated, reference)


def draw_points(panel: Panel, at: Float, points: Pair, labels: tuple[str, str]) -> None:
    """Both samples as points with error bars at the same positions."""
    generated, reference = points
    for drawn, label, colour, fill, marker in (
        (reference, labels[1], REFERENCE_COLOUR, "white", "o"),
        (generated, labels[0], GENERATED_COLOUR, GENERATED_COLOUR, "s"),
    ):
        panel.main.errorbar(
            at,
            drawn.values,
            drawn.errors,
            label=label,
            color=colour,
            markerfacecolor=fill,
            marker=marker,
            markersize=5.5,
            linewidth=1.4,
        )
    panel.ratio.fill_between(
        at, 1.0 - _relative(reference), 1.0 + _relative(reference), color=REFERENCE_FILL, lw=0
    )
    _draw_ratio(panel, at, generated, reference)


def _draw_ratio(panel: Panel, at: Float, generated: Points, reference: Points) -> None:
    defined = reference.values > 0.0
    ratio = np.divide(
        generated.values, reference.values, out=np.full(len(at), np.nan), where=defined
    )
    error = np.divide(
        generated.errors, reference.values, out=np.full(len(at), np.nan), where=defined
    )
    reach = _reach(ratio, error)
    low, high = max(0.0, 1.0 - reach), 1.0 + reach
    axes = panel.ratio
    inside = (ratio >= low) & (ratio <= high)
    axes.errorbar(
        at[inside],
        ratio[inside],
        error[inside],
        color=GENERATED_COLOUR,
        marker="s",
        markersize=3.5,
        linestyle="none",
        linewidth=1.2,
    )
    for outside, edge, marker in ((ratio > high, high, "^"), (ratio < low, low, "v")):
        if not outside.any():  # an empty unclipped line has no extent and upsets the layout
            continue
        axes.plot(
            at[outside],
            np.full(outside.sum(), edge),
            linestyle="none",
            marker=marker,
            markersize=6.5,
            color=GENERATED_COLOUR,
            clip_on=False,
            zorder=5,
        )
    axes.set_ylim(low, high)
    axes.set_yticks([1.0 - reach / 2, 1.0, 1.0 + reach / 2])
    axes.yaxis.minorticks_off()
    axes.set_ylabel("Ratio", loc="center")


def _reach(ratio: Float, error: Float) -> float:
    """Half height of the ratio panel: most of the points, between 5 % and 100 %."""
    significant = np.isfinite(ratio) & (error < 0.5)
    if not significant.any():
        return 1.0
    distance = np.abs(ratio[significant] - 1.0) + error[significant]
    wanted = float(np.quantile(distance, 0.9)) * 1.25
    return next((step for step in (0.05, 0.1, 0.2, 0.3, 0.5) if wanted <= step), 1.0)


def _relative(points: Points) -> Float:
    return np.divide(
        points.errors, points.values, out=np.zeros(len(points.values)), where=points.values > 0.0
    )


def _limit_values(axes: Axes, generated: Points, reference: Points, log: bool) -> None:
    both = np.concatenate(
        [p.values + p.errors for p in (generated, reference)]
    )  # the band must fit too
    if not log:
        axes.set_ylim(0.0, 1.08 * float(both.max()) or 1.0)
        return
    filled = reference.values[reference.values > 0.0]
    axes.set_yscale("log")
    axes.set_ylim(0.4 * float(filled.min()), 2.5 * float(both.max()))


def add_legend(figure: Figure, axes: Axes) -> None:
    """One legend for the figure, above all panels, where it cannot hide data."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))


def both(
    measure: Callable[[Observables], Points], generated: Observables, reference: Observables
) -> Pair:
    """The same measure of generated and of reference showers."""
    return measure(generated), measure(reference)


def mean_points(values_ni: Float) -> Points:
    """Mean over showers with its standard error, std / sqrt(N), per column."""
    count = len(values_ni)
    spread = values_ni.std(axis=0, ddof=1) if count > 1 else np.zeros(values_ni.shape[1])
    return Points(values_ni.mean(axis=0), spread / np.sqrt(count))


def histogram_points(values_n: Float, edges: Float) -> Points:
    """Share of the showers per bin, in %, with its Poisson error. NaN count in no bin."""
    counts, _ = np.histogram(values_n[np.isfinite(values_n)], edges)
    scale = 100.0 / len(values_n)
    return Points(scale * counts, scale * np.sqrt(counts))

"""The figure of a selection: how good the checkpoints of a run are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from gan3d.validation.measures import Float
from gan3d.validation.plots._style import (
    LOOKS,
    REFERENCE_COLOUR,
    REFERENCE_FILL,
    WIDE_INCHES,
    styled,
)

if TYPE_CHECKING:
    from gan3d.validation.selection import Selection

_NOTED = "validation.optimisation_metric"
_LOOK, _NOTED_LOOK = LOOKS[1:3]


@styled
def selection_curve(selection: Selection, history: Sequence[Mapping[str, Any]] = ()) -> Figure:
    """The optimisation metric of each checkpoint against the epoch, in %, the best one marked.

    Bars are one standard error; much of it is common to all checkpoints. Open markers are those
    that are worse than the best by more than chance. The band reaches up to the noise level, the
    metric of a perfect generator, drawn from the reference.

    Args:
        selection: what `gan3d.validation.select_checkpoint` returned.
        history: one mapping per epoch of the training; what it noted is a thin second curve.

    """
    figure = Figure(figsize=(WIDE_INCHES, 5.4), layout="constrained")
    axes = figure.add_subplot()
    candidates, best = selection.candidates, selection.best
    # Before the end of the first epoch all checkpoints are at epoch 0.
    in_epochs = any(each.epoch for each in candidates)
    at = np.array([each.epoch if in_epochs else each.step for each in candidates])
    percent = 100.0 * np.array([each.metric for each in candidates])
    error = 100.0 * np.array([each.error for each in candidates])
    noise = 100.0 * selection.noise["optimisation_metric"]
    noted = [row for row in history if in_epochs and row.get(_NOTED) is not None]
    noted_percent = np.array([100.0 * row[_NOTED] for row in noted])

    drawn = axes.errorbar(
        at, percent, error, color=_LOOK.colour, marker=_LOOK.marker, markersize=5.5, linewidth=1.8,
        elinewidth=1.2, label=f"Checkpoints, {selection.generated_showers} showers each",
    )  # fmt: skip
    legend: list[Any] = [drawn]
    worse = np.array([not each.as_good for each in candidates])
    if worse.any():
        limit = selection.settings.alike_within_errors
        legend += axes.plot(
            at[worse], percent[worse], _LOOK.marker, markersize=5.5, markerfacecolor="white",
            color=_LOOK.colour, zorder=4,
            label=f"Worse than the best by more than {limit:g} std. errors",
        )  # fmt: skip
    where = candidates.index(best)
    legend += axes.plot(
        at[where], percent[where], "o", markersize=15, markerfacecolor="none", zorder=5,
        color=REFERENCE_COLOUR, markeredgewidth=1.6,
        label=f"Best: epoch {best.epoch:.4g}, step {best.step}",
    )  # fmt: skip
    if noted:
        legend += axes.plot(
            [row["epoch"] for row in noted], noted_percent, color=_NOTED_LOOK.colour, linewidth=1.0,
            label="Noted during training",
        )  # fmt: skip
    band = axes.axhspan(0.0, noise, color=REFERENCE_FILL, alpha=0.55, linewidth=0)
    band.set_label("Noise: a perfect generator")
    legend.append(band)
    _limit(axes, np.concatenate([percent, noted_percent]), percent + error, noise)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("Epoch" if in_epochs else "Step")
    axes.set_ylabel("Optimisation metric [%]")
    figure.legend(handles=legend, loc="outside upper left", ncols=2, fontsize="small")
    return figure


def _limit(axes: Axes, values: Float, upper: Float, noise: float) -> None:
    """From 0, or logarithmic where the first epochs would press the others together."""
    low, high = min(values.min(), noise), max(values.max(), upper.max(), noise)
    if low <= 0.0 or high < 8.0 * low:
        axes.set_ylim(0.0, 1.1 * high)
        return
    axes.set_yscale("log")
    axes.set_ylim(0.6 * low, 1.3 * high)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())

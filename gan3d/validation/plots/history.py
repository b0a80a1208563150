"""Figures of trainings: losses, and metrics on held-out showers, against epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from gan3d.validation.measures import Float
from gan3d.validation.plots._style import (
    LOOKS,
    TEXT_SIZE,
    WIDE_INCHES,
    Look,
    add_legend,
    check_count,
    shorten,
    styled,
)

History = Sequence[Mapping[str, Any]]
"""One mapping per epoch, as a line of `history.jsonl`: `epoch` counts them."""

_PREFIX = "validation."
_OPTIMISATION_METRIC = f"{_PREFIX}optimisation_metric"
_MOST_COLUMNS = 3


def loss_names(history: History) -> list[str]:
    """Keys of the rows that have `loss` as one of their dotted parts, in order of appearance."""
    return [
        name for name in _number_names(history) if any("loss" in part for part in name.split("."))
    ]


def metric_names(history: History) -> list[str]:
    """Keys of the rows that begin with `validation.`, in order of appearance."""
    return [name for name in _number_names(history) if name.startswith(_PREFIX)]


@styled
def losses(history: History | Mapping[str, History]) -> Figure:
    """Losses against the epoch: of one run, or of several side by side.

    One run has a panel for each network (the first part of the key), several runs have one for
    each loss.

    Args:
        history: one mapping per epoch, of which keys with `loss` are drawn; or such histories by
            the runs' labels.

    Raises:
        DataError: there are more than six runs.

    """
    if isinstance(history, Mapping):
        return _losses_of_runs(history)
    names = loss_names(history)
    networks = list(dict.fromkeys(name.split(".")[0] for name in names))
    figure = Figure(figsize=(WIDE_INCHES, 4.6), layout="constrained")
    panels: Any = figure.subplots(1, max(1, len(networks)), squeeze=False)[0]
    for network, axes in zip(networks, panels, strict=False):
        mine = [name for name in names if name.split(".")[0] == network]
        # A network may have more losses than there are looks.
        for index, name in enumerate(mine):
            _draw(axes, history, name, LOOKS[1 + index % (len(LOOKS) - 1)], label=name)
        _finish(axes, "Loss")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=1, fontsize="small")
    return figure


@styled
def metric_history(history: History | Mapping[str, History]) -> Figure:
    """Metrics on held-out showers against the epoch, the optimisation metric first.

    A star marks the epoch with the smallest optimisation metric of each run, in all panels.

    Args:
        history: one mapping per epoch, of which keys with `validation.` are drawn; or such
            histories by the runs' labels.

    Raises:
        DataError: there are more than six runs.

    """
    runs = history if isinstance(history, Mapping) else {"": history}
    names = _names_in(runs.values(), metric_names)
    others = [name for name in names if name != _OPTIMISATION_METRIC]
    rows = -(-len(others) // _MOST_COLUMNS)
    figure = Figure(figsize=(WIDE_INCHES, 4.0 + 2.7 * rows), layout="constrained")
    grid = GridSpec(rows + 1, _MOST_COLUMNS, figure=figure, height_ratios=[1.5, *([1.0] * rows)])
    panels = {_OPTIMISATION_METRIC: figure.add_subplot(grid[0, :])}
    for index, name in enumerate(others):
        panels[name] = figure.add_subplot(grid[1 + index // _MOST_COLUMNS, index % _MOST_COLUMNS])
    for name, axes in panels.items():
        for rows_of_run, look in _with_looks(runs):
            _draw(axes, rows_of_run, name, look)
            _mark_best(axes, rows_of_run, name, look)
        axes.margins(x=0.08, y=0.2)  # for the stars and what is written beside them
        _finish(axes, _kind_of(name))
        axes.set_title(name.removeprefix(_PREFIX))
    if isinstance(history, Mapping):
        add_legend(figure, [shorten(label) for label in runs], LOOKS[1:])
    return figure


def _losses_of_runs(runs: Mapping[str, History]) -> Figure:
    names = _names_in(runs.values(), loss_names)
    columns = max(1, min(_MOST_COLUMNS, len(names)))
    rows = max(1, -(-len(names) // columns))
    figure = Figure(figsize=(WIDE_INCHES, 0.8 + 3.2 * rows), layout="constrained")
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, index + 1)
        for history, look in _with_looks(runs):
            _draw(axes, history, name, look)
        _finish(axes, "Loss")
        axes.set_title(name)
    add_legend(figure, [shorten(label) for label in runs], LOOKS[1:])
    return figure


def _draw(axes: Axes, history: History, name: str, look: Look, *, label: str = "") -> None:
    axes.plot(
        _column(history, "epoch"),
        _column(history, name),
        color=look.colour,
        linestyle=look.line,
        linewidth=1.5,
        marker=look.marker,
        markersize=3.5,
        label=label,
    )


def _mark_best(axes: Axes, history: History, name: str, look: Look) -> None:
    metric = _column(history, _OPTIMISATION_METRIC)
    if not np.isfinite(metric).any():
        return
    best = int(np.nanargmin(metric))
    epoch, value = _column(history, "epoch")[best], _column(history, name)[best]
    axes.plot(
        epoch,
        value,
        marker="*",
        markersize=15,
        color=look.colour,
        markeredgecolor="black",
        zorder=5,
    )
    if name == _OPTIMISATION_METRIC:
        # Towards the middle, or the text would be cut off at the edge.
        position = best / max(1, len(metric) - 1)
        axes.annotate(
            f"best epoch {epoch:g}: {value:.4f}",
            (epoch, value),
            xytext=(0.0, 10.0),
            textcoords="offset points",
            ha="left" if position < 0.2 else "right" if position > 0.8 else "center",
            va="bottom",
            fontsize=TEXT_SIZE - 2.5,
        )


def _finish(axes: Axes, title: str) -> None:
    drawn = np.concatenate([np.zeros(0), *(np.asarray(line.get_ydata()) for line in axes.lines)])
    finite = drawn[np.isfinite(drawn)]
    if len(finite) and finite.min() > 0.0 and finite.max() > 20.0 * finite.min():
        axes.set_yscale("log")
        # Losses span one or two decades, in which powers of ten alone are too few numbers.
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.minorticks_off()
    axes.set_xlabel("Epoch")
    axes.set_ylabel(title)


def _kind_of(name: str) -> str:
    return "Separation power" if name.endswith("separation") else "Relative error"


def _with_looks(runs: Mapping[str, History]) -> Iterable[tuple[History, Look]]:
    check_count(len(runs))
    return zip(runs.values(), LOOKS[1:], strict=False)


def _names_in(histories: Iterable[History], names_of: Any) -> list[str]:
    return list(dict.fromkeys(name for history in histories for name in names_of(history)))


def _number_names(history: History) -> list[str]:
    return list(
        dict.fromkeys(
            key for row in history for key, value in row.items() if isinstance(value, int | float)
        )
    )


def _column(history: History, name: str) -> Float:
    """Values of a key; NaN where it is missing or null. Rows without `epoch` are counted from 0."""
    values = [
        row.get(name, index if name == "epoch" else None) for index, row in enumerate(history)
    ]
    return np.array([np.nan if value is None else float(value) for value in values])

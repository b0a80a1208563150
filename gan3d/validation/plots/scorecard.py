"""The scorecard: all metrics in one figure, ranked by what agrees least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from gan3d.validation.plots._style import (
    REFERENCE_FILL,
    TEXT_SIZE,
    WIDE_INCHES,
    check_count,
    styled,
    wrap,
)
from gan3d.validation.verdict import Word

_MARKS = {
    "agrees": ("o", "#009e73"),
    "unclear": ("o", "#ffffff"),
    "close": ("D", "#e69f00"),
    "differs": ("X", "#d55e00"),
    "too alike": ("s", "#cc79a7"),
}
"""Marker and colour (Okabe and Ito) of each verdict."""
_ROW_INCHES = 0.34
_LONGEST_TITLE = 42
_LINEAR = 5.0
"""Up to here the axis is linear: most of what is chance lies below."""
_AXIS = "Standard deviations beyond a perfect generator"


@dataclass(frozen=True)
class Score:
    """What one metric says of one generated sample."""

    label: str
    """Of the generated sample."""
    beyond: float
    """Standard deviations beyond what a perfect generator has; NaN: undefined."""
    word: Word
    """The verdict."""


@dataclass(frozen=True)
class ScoreRow:
    """One metric."""

    title: str
    """What is compared."""
    scores: Sequence[Score]
    """One for each generated sample, in the same order in all rows."""


@styled
def scorecard(rows: Sequence[ScoreRow]) -> Figure:
    """How far every metric is off, the worst on top, a column for each generated sample.

    The axis is linear up to 5, logarithmic beyond. A value that is off without any noise stands at
    the right edge; an undefined one has no mark and comes last.

    Args:
        rows: one for each metric.

    Raises:
        DataError: there are more than six generated samples.

    """
    ranked = sorted(rows, key=_rank, reverse=True)
    labels = [score.label for score in ranked[0].scores] if ranked else []
    check_count(len(labels))
    figure = Figure(figsize=(WIDE_INCHES, 1.9 + _ROW_INCHES * len(ranked)), layout="constrained")
    columns: Any = figure.subplots(1, max(1, len(labels)), sharex=True, sharey=True, squeeze=False)
    high = _end(ranked)
    for column, axes in enumerate(columns[0]):
        axes.set_xscale("symlog", linthresh=_LINEAR, linscale=1.0)
        axes.set_xlim(-0.06 * _LINEAR, high)
        for line, row in enumerate(ranked):
            _draw_score(axes, line, row.scores[column], high)
        axes.grid(axis="y", linewidth=0.6, color=REFERENCE_FILL)
        axes.set_axisbelow(True)
        decades = [10.0**power for power in range(1, 7) if 10.0**power < high]
        axes.set_xticks([0.0, _LINEAR, *decades])
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(_AXIS if len(labels) < 2 else "Standard deviations", loc="center")
        if labels:
            axes.set_title(wrap(labels[column], 60 // len(labels)), fontsize=TEXT_SIZE - 1)
    first = columns[0, 0]
    first.set_ylim(max(1, len(ranked)) - 0.5, -0.5)
    first.set_yticks(range(len(ranked)), [wrap(row.title, _LONGEST_TITLE) for row in ranked])
    for axes in columns[0]:
        axes.tick_params(axis="y", which="both", length=0)
    _add_key(figure, ranked)
    return figure


def _rank(row: ScoreRow) -> float:
    defined = [s.beyond for s in row.scores if not math.isnan(s.beyond)]
    return max(defined, default=-math.inf)


def _end(rows: Sequence[ScoreRow]) -> float:
    """The end of the axis: room for a number beside the largest."""
    found = [score.beyond for row in rows for score in row.scores]
    finite = [value for value in found if math.isfinite(value)]
    return 4.0 * max([*finite, _LINEAR])


def _draw_score(axes: Axes, line: int, score: Score, high: float) -> None:
    small: dict[str, Any] = {"fontsize": TEXT_SIZE - 3.5, "va": "center_baseline"}
    if math.isnan(score.beyond):
        axes.text(
            0.5, line, "undefined", transform=axes.get_yaxis_transform(), ha="center", **small
        )
        return
    marker, colour = _MARKS[score.word]
    at = min(score.beyond, high)
    to_the_left = at == high
    axes.annotate(
        _number(score.beyond),
        (at, line),
        xytext=(-9.0 if to_the_left else 9.0, 0.0),
        textcoords="offset points",
        ha="right" if to_the_left else "left",
        **small,
    )
    axes.plot(
        at, line, marker=marker, markersize=9, color=colour, markeredgecolor="black", clip_on=False
    )


def _number(significance: float) -> str:
    if not math.isfinite(significance):
        return "∞"
    return f"{significance:.1f}" if significance < 10.0 else f"{significance:.0f}"


def _add_key(figure: Figure, rows: Sequence[ScoreRow]) -> None:
    said = {score.word for row in rows for score in row.scores}
    shown = {word: mark for word, mark in _MARKS.items() if word in said}
    marks = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=marker,
            markersize=9,
            color=colour,
            markeredgecolor="black",
        )
        for marker, colour in shown.values()
    ]
    figure.legend(marks, list(shown), loc="outside upper center", ncols=max(1, len(shown)))

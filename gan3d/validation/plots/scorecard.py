"""The scorecard: all metrics in one figure, ranked by what agrees least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gan3d.validation.plots._style import (
    REFERENCE_FILL,
    TEXT_SIZE,
    WIDE_INCHES,
    check_count,
    styled,
    wrap,
)

_MARKS = {"agrees": ("o", "#009e73"), "close": ("D", "#e69f00"), "differs": ("X", "#d55e00")}
"""Marker and colour (Okabe and Ito) of each verdict."""
_ROW_INCHES = 0.34
_LONGEST_TITLE = 42


@dataclass(frozen=True)
class Score:
    """What one metric says of one generated sample."""

    label: str
    """Of the generated sample."""
    ratio: float
    """The metric's value over its noise, what it is for showers of the reference themselves."""
    significance: float
    """Value less noise, over the spread of the noise: by this rows are ranked."""
    word: Literal["agrees", "close", "differs"]
    """The verdict."""


@dataclass(frozen=True)
class ScoreRow:
    """One metric."""

    title: str
    """What is compared."""
    scores: Sequence[Score]
    """One for each generated sample, in the same order in all rows."""


@styled
def scorecard(
    rows: Sequence[ScoreRow], *, as_good_as_possible: tuple[float, float] = (0.5, 2.0)
) -> Figure:
    """Every metric's value over its noise, the worst on top, a column for each generated sample.

    Rows are ranked by their largest significance. A value without noise stands at the right edge,
    a value that is 0 at the left one; an undefined value has no mark and comes last.

    Args:
        rows: one for each metric.
        as_good_as_possible: values over noise that a perfect generator has, drawn as a band.

    Raises:
        DataError: there are more than six generated samples.

    """
    ranked = sorted(rows, key=_rank, reverse=True)
    labels = [score.label for score in ranked[0].scores] if ranked else []
    check_count(len(labels))
    figure = Figure(figsize=(WIDE_INCHES, 1.9 + _ROW_INCHES * len(ranked)), layout="constrained")
    columns: Any = figure.subplots(1, max(1, len(labels)), sharex=True, sharey=True, squeeze=False)
    low, high = _limits(ranked, as_good_as_possible)
    for column, axes in enumerate(columns[0]):
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.axvspan(*as_good_as_possible, color=REFERENCE_FILL, alpha=0.6, linewidth=0)
        for line, row in enumerate(ranked):
            _draw_score(axes, line, row.scores[column], low, high)
        axes.grid(axis="y", linewidth=0.6, color=REFERENCE_FILL)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("Value / noise", loc="center")
        if labels:
            axes.set_title(wrap(labels[column], 60 // len(labels)), fontsize=TEXT_SIZE - 1)
    first = columns[0, 0]
    first.set_ylim(max(1, len(ranked)) - 0.5, -0.5)
    first.set_yticks(range(len(ranked)), [wrap(row.title, _LONGEST_TITLE) for row in ranked])
    for axes in columns[0]:
        axes.tick_params(axis="y", which="both", length=0)
    _add_key(figure)
    return figure


def _rank(row: ScoreRow) -> float:
    defined = [s.significance for s in row.scores if not math.isnan(s.significance)]
    return max(defined, default=-math.inf)


def _limits(rows: Sequence[ScoreRow], band: tuple[float, float]) -> tuple[float, float]:
    ratios = [score.ratio for row in rows for score in row.scores]
    finite = [ratio for ratio in ratios if math.isfinite(ratio) and ratio > 0.0]
    return 0.6 * min([*finite, band[0]]), 4.0 * max([*finite, band[1]])


def _draw_score(axes: Axes, line: int, score: Score, low: float, high: float) -> None:
    small: dict[str, Any] = {"fontsize": TEXT_SIZE - 3.5, "va": "center_baseline"}
    if math.isnan(score.ratio):
        axes.text(
            0.5, line, "undefined", transform=axes.get_yaxis_transform(), ha="center", **small
        )
        return
    marker, colour = _MARKS[score.word]
    at = float(np.clip(score.ratio, low, high))
    text = f"{score.ratio:.2g}" if math.isfinite(score.ratio) else "∞"
    to_the_left = at == high
    axes.annotate(
        text,
        (at, line),
        xytext=(-9.0 if to_the_left else 9.0, 0.0),
        textcoords="offset points",
        ha="right" if to_the_left else "left",
        **small,
    )
    axes.plot(
        at, line, marker=marker, markersize=9, color=colour, markeredgecolor="black", clip_on=False
    )


def _add_key(figure: Figure) -> None:
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
        for marker, colour in _MARKS.values()
    ]
    figure.legend(
        [*marks, Patch(color=REFERENCE_FILL, alpha=0.6, linewidth=0)],
        [*_MARKS, "as good as possible"],
        loc="outside upper center",
        ncols=len(_MARKS) + 1,
    )

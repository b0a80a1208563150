"""What all figures share: the field's style at readable sizes, looks of samples, panels, legend.

Figures are made without pyplot: no global state, no window, nothing to close. The reference is
black with a grey band; generated samples have a colour, a marker and a line style each, so that
they can be told apart by everybody and in print; the legend stands outside the axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from textwrap import fill
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import mplhep
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.gridspec import GridSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from matplotlib.typing import LineStyleType

from gan3d.errors import DataError

REFERENCE_COLOUR = "#111111"
REFERENCE_FILL = "#c9ccd1"
MISSING_COLOUR = "#c9ccd1"
TEXT_SIZE = 12.5
WIDE_INCHES = 10.0
POINTS_PER_INCH = 72.0
_LONGEST_LABEL = 70
_LEGEND_ROW_INCHES = 0.28
_LEGEND_HANDLE_INCHES = 1.0  # a handle with the space around it

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
    # Without these a PDF holds fonts of Type 3, which journals refuse and nobody can edit.
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
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
class Look:
    """How a sample is drawn, in all figures alike."""

    colour: str
    marker: str
    line: LineStyleType

    @property
    def fill(self) -> str:
        """Inside of the markers: the reference's are open."""
        return "white" if self.colour == REFERENCE_COLOUR else self.colour


LOOKS = (
    Look(REFERENCE_COLOUR, "o", "-"),
    # Okabe and Ito's colours (Color Universal Design, 2008), without black, the reference's, and
    # without yellow, which is lost on white.
    Look("#d55e00", "s", "-"),
    Look("#0072b2", "D", (0, (5.0, 1.5))),
    Look("#009e73", "^", (0, (1.5, 1.2))),
    Look("#cc79a7", "v", (0, (6.0, 1.5, 1.5, 1.5))),
    Look("#e69f00", "P", (0, (3.0, 1.0, 1.0, 1.0, 1.0, 1.0))),
    Look("#56b4e9", "X", (0, (9.0, 3.0))),
)
"""Of the reference, and of the generated samples in their order."""

MOST_GENERATED = len(LOOKS) - 1

_Sample = TypeVar("_Sample")


def check_count(generated: int) -> None:
    """Raise DataError if there are more generated samples than can be told apart."""
    if generated > MOST_GENERATED:
        raise DataError(
            f"{generated} are too many to compare in one figure: at most {MOST_GENERATED} can be "
            "told apart; choose some of them"
        )


def one_or_several(generated: _Sample | Sequence[_Sample]) -> list[_Sample]:
    """The generated samples, whether one or several are given.

    Raises:
        DataError: as `check_count`.

    """
    several = list(generated) if isinstance(generated, Sequence) else [generated]
    check_count(len(several))
    return several


def reference_first(generated: _Sample | Sequence[_Sample], reference: _Sample) -> list[_Sample]:
    """The reference, then one or several generated samples: the order of `LOOKS`.

    Raises:
        DataError: as `one_or_several`.

    """
    return [reference, *one_or_several(generated)]


@dataclass(frozen=True)
class Panel:
    """Axes with a ratio panel beneath."""

    main: Axes
    ratio: Axes


def figure_with_panels(
    count: int,
    columns: int | None = None,
    *,
    height_inches: float = 4.8,
    level: float | None = 1.0,
) -> tuple[Figure, list[Panel]]:
    """A wide figure of `count` panels in rows of `columns`, each with a ratio panel beneath.

    `level` is that of a line in the ratio panels.
    """
    columns = columns or count
    rows = -(-count // columns)
    figure = Figure(
        figsize=(WIDE_INCHES, height_inches * rows),
        layout=ConstrainedLayoutEngine(h_pad=0.03, hspace=0.0),
    )
    grid = GridSpec(rows, columns, figure=figure)
    panels = []
    for index in range(count):
        inner = grid[divmod(index, columns)].subgridspec(2, 1, height_ratios=[3, 1], hspace=0.0)
        main = figure.add_subplot(inner[0])
        ratio = figure.add_subplot(inner[1], sharex=main)
        main.tick_params(labelbottom=False)
        if level is not None:
            ratio.axhline(level, color=REFERENCE_COLOUR, linewidth=1.0)
        panels.append(Panel(main, ratio))
    return figure, panels


def add_legend(figure: Figure, labels: Sequence[str], looks: Sequence[Look] = LOOKS) -> None:
    """One legend for the figure, above all panels, where it cannot hide data.

    Args:
        figure: a figure whose artists are drawn in these looks.
        labels: of the samples, in the order of `looks`, short enough for the figure.
        looks: how they are drawn.

    """
    if not labels:
        return
    handles = [
        Line2D(
            [],
            [],
            color=look.colour,
            linestyle=look.line,
            linewidth=1.8,
            marker=look.marker,
            markersize=5.5,
            markerfacecolor=look.fill,
        )
        for look, _ in zip(looks, labels, strict=False)
    ]
    columns = _columns_that_fit(labels, figure.get_figwidth())
    further_rows = -(-len(handles) // columns) - 1
    # The panels keep their size: the figure grows.
    figure.set_figheight(figure.get_figheight() + further_rows * _LEGEND_ROW_INCHES)
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=columns,
        handlelength=3.2,  # inches of a long dash are needed to tell line styles
        columnspacing=1.6,
    )


def _columns_that_fit(names: Sequence[str], width_inches: float) -> int:
    """Most columns of a legend that are no wider than the figure together."""
    font = FontProperties(family=mpl.rcParams["font.family"])
    widths = [
        TextPath((0.0, 0.0), name, size=TEXT_SIZE, prop=font).get_extents().width / POINTS_PER_INCH
        for name in names
    ]
    column_inches = max(widths) + _LEGEND_HANDLE_INCHES
    return max(1, min(len(names), int(width_inches / column_inches)))


def shorten(text: str, longest: int = _LONGEST_LABEL) -> str:
    """Leave the middle of a text out where it is longer than `longest` characters."""
    if len(text) <= longest:
        return text
    head = (longest - 1) // 2
    return f"{text[:head]}…{text[-(longest - 1 - head) :]}"


def wrap(text: str, width: int) -> str:
    """Break a text into at most two lines of `width` characters, without its middle if longer."""
    short = shorten(text, 2 * width)
    return fill(short, width, break_on_hyphens=False, max_lines=2, placeholder="…")

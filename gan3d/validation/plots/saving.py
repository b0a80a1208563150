"""Figures as files."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from gan3d.data import written_aside
from gan3d.validation.plots._style import style

_UNDATED = {"CreationDate": None}
_UNNAMED = {"Software": None}
"""The same figure gives the same bytes."""

_DOTS_PER_INCH = 120
"""1200 pixels wide: sharp on a phone, about 100 kB. Maps within a PDF have as many."""


def save_figure(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write a figure as PDF, with fonts embedded as TrueType, and as PNG; returns both paths.

    Each file is written aside and renamed, so that it is whole or not there. The same figure gives
    the same bytes.

    Args:
        figure: as the functions of this package return it.
        path: of the files, without suffix; the folder must exist.

    Raises:
        DataError: the folder does not exist or cannot be written to.

    """
    engine, dots_per_inch, canvas = figure.get_layout_engine(), figure.dpi, figure.canvas
    pdf, png = (path.with_name(path.name + suffix) for suffix in (".pdf", ".png"))
    try:
        if engine is not None:
            # Once for both files: laying out takes as long as drawing.
            with style():
                engine.execute(figure)
            figure.set_layout_engine("none")
        figure.dpi = _DOTS_PER_INCH
        # Not by `savefig`, which draws all once more before, for figures cut to their content.
        with written_aside(pdf) as aside, style():
            FigureCanvasPdf(figure).print_pdf(aside, metadata=_UNDATED)  # type: ignore[no-untyped-call]
        figure.dpi = _DOTS_PER_INCH  # The PDF has left its own.
        with written_aside(png) as aside, style():
            FigureCanvasAgg(figure).print_png(aside, metadata=_UNNAMED)  # type: ignore[no-untyped-call]
    finally:
        figure.set_layout_engine(engine)
        figure.dpi = dots_per_inch
        figure.set_canvas(canvas)
    return pdf, png

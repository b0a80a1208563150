"""Figures as files."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from gan3d.data import written_aside
from gan3d.validation.plots._style import style

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
    written = []
    engine = figure.get_layout_engine()
    if engine is not None:
        # Once for both files: laying out takes as long as drawing.
        with style():
            engine.execute(figure)
        figure.set_layout_engine("none")
    for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
        target = path.with_name(path.name + suffix)  # a name may hold dots: profile.layer
        with written_aside(target) as aside, style():
            figure.savefig(aside, format=suffix[1:], dpi=_DOTS_PER_INCH, metadata=metadata)
        written.append(target)
    figure.set_layout_engine(engine)
    pdf, png = written
    return pdf, png

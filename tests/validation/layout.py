"""What a reader of a figure would see at once: texts that are cut off or lie upon each other."""

from itertools import combinations

from matplotlib.text import Text
from matplotlib.transforms import Bbox

from gan3d.validation import plots

_SLACK = 2.0  # pixels: boxes of texts have room for accents


def flaws(figure):
    """Texts outside the figure, and pairs of texts that overlap, after drawing it."""
    with plots.style():
        figure.draw_without_rendering()
    boxes = [
        (text.get_text(), box)
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and (box := _box(text)) is not None
    ]
    x0, y0, x1, y1 = figure.bbox.padded(_SLACK).extents
    outside = [
        f"outside: {name!r} {box.extents.round()}"
        for name, box in boxes
        if box.x0 < x0 or box.y0 < y0 or box.x1 > x1 or box.y1 > y1
    ]
    overlaps = [
        f"overlap: {one!r} and {other!r}"
        for (one, box), (other, another) in combinations(boxes, 2)
        if box.padded(-_SLACK).overlaps(another.padded(-_SLACK))
    ]
    return outside + overlaps


def _box(text):
    box = text.get_window_extent()
    axes = text.axes
    if axes is None:
        return box
    if not axes.get_visible() or not axes.axison:
        return None
    if axes.name == "3d":  # tick labels beyond the limits are in the tree as well
        return box if text is axes.title else None
    for axis, span in ((axes.xaxis, "intervalx"), (axes.yaxis, "intervaly")):
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        if any(text in (tick.label1, tick.label2) for tick in ticks):
            low, high = getattr(axes.bbox, span)
            middle = sum(getattr(box, span)) / 2
            # Labels of ticks beyond the axis are in the tree, but are not drawn.
            return box if low - 1 <= middle <= high + 1 else None
    return box if isinstance(box, Bbox) else None

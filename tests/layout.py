"""What a reader of a figure would see at once: texts that are cut off or lie upon each other."""

from itertools import combinations

from gan3d.validation import plots

_SLACK = 2.0  # pixels: boxes of texts have room for accents


def flaws(figure):
    """Texts outside the figure, and pairs of texts that overlap, after drawing it."""
    with plots.style():
        figure.draw_without_rendering()
        boxes = [
            (text.get_text(), text.get_window_extent())
            for text in _texts(figure)
            if text.get_visible() and text.get_text().strip()
        ]
    x0, y0, x1, y1 = figure.bbox.padded(_SLACK).extents
    outside = [
        f"outside: {name!r}"
        for name, box in boxes
        if box.x0 < x0 or box.y0 < y0 or box.x1 > x1 or box.y1 > y1
    ]
    overlaps = [
        f"overlap: {one!r} and {other!r}"
        for (one, box), (other, another) in combinations(boxes, 2)
        if box.padded(-_SLACK).overlaps(another.padded(-_SLACK))
    ]
    return outside + overlaps


def _texts(figure):
    yield from figure.texts  # with the figure's title
    for legend in figure.legends:
        yield from legend.get_texts()
    for axes in figure.axes:
        if not axes.axison:
            continue
        yield from (axes.title, axes._left_title, *axes.texts)
        if axes.legend_ is not None:
            yield from axes.legend_.get_texts()
        if axes.name == "3d":  # its labels are placed when it is rendered
            continue
        for axis, span in ((axes.xaxis, "intervalx"), (axes.yaxis, "intervaly")):
            yield axis.label
            low, high = getattr(axes.bbox, span)
            for label in axis.get_ticklabels(which="both"):
                # Labels of ticks beyond the axis are there too, but are not drawn.
                if low - 1 <= sum(getattr(label.get_window_extent(), span)) / 2 <= high + 1:
                    yield label

"""Correlation matrices of generated samples and of the reference, and what they differ by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gan3d.validation.correlations import correlation_difference
from gan3d.validation.measures import Float
from gan3d.validation.plots._style import (
    MISSING_COLOUR,
    POINTS_PER_INCH,
    TEXT_SIZE,
    WIDE_INCHES,
    reference_first,
    styled,
    wrap,
)

Labelled = tuple[str, Float]
"""What a sample is called, and its correlation matrix (features, features)."""

_SMALLEST_SCALE = 0.05  # of the differences: below it they would be noise in full colours
_CHARACTERS_PER_INCH = 10


@styled
def correlations(
    generated: Mapping[str, Float] | Sequence[Labelled],
    reference: Labelled,
    *,
    names: Sequence[str] = (),
    axis_title: str = "",
    title: str = "",
) -> Figure:
    """Correlation matrices side by side, and beneath each the difference to the reference's.

    All matrices share one scale from -1 to 1, all differences one of their own. Above a difference
    is its root mean square over pairs (`correlation_difference`). An undefined correlation, of a
    feature that does not vary, is grey.

    Args:
        generated: (features, features) matrices by the samples' labels.
        reference: label and matrix of the reference.
        names: of the features, written along the axes; without them features are numbered.
        axis_title: what the numbers count, such as Layer; without names and title there are none.
        title: of the figure.

    Raises:
        DataError: there are more than six generated samples.

    """
    several = list(generated.items()) if isinstance(generated, Mapping) else list(generated)
    samples = reference_first(several, reference)
    differences = [matrix - reference[1] for _, matrix in samples[1:]]
    reach = max([_SMALLEST_SCALE, *(_largest(each) for each in differences)])
    scales = (Normalize(-1.0, 1.0), Normalize(-reach, reach))

    side_inches = 0.84 * WIDE_INCHES / max(3, len(samples))
    figure = Figure(figsize=(WIDE_INCHES, 2.0 * side_inches + 2.2), layout="compressed")
    grid: Any = figure.subplots(2, len(samples), squeeze=False)
    longest = int(_CHARACTERS_PER_INCH * side_inches)
    for axes, (label, matrix) in zip(grid[0], samples, strict=True):
        _draw_matrix(axes, matrix, scales[0], wrap(label, longest))
    for axes, (_, matrix), difference in zip(grid[1, 1:], samples[1:], differences, strict=True):
        (rms,) = correlation_difference(matrix[None], reference[1][None])
        _draw_matrix(axes, difference, scales[1], wrap(f"Difference, rms {rms:.3f}", longest))
    grid[1, 0].set_axis_off()

    # Rows and columns hold the same features everywhere, so the outermost matrices name them.
    name_size = min(TEXT_SIZE - 4.0, 0.9 * POINTS_PER_INCH * side_inches / max(1, len(names)))
    outermost = [grid[0, 0].yaxis]
    outermost += [axes.xaxis for axes in (grid[1, 1:] if differences else grid[0])]
    outermost += [axes.yaxis for axes in grid[1, 1:2]]
    for axis in outermost:
        _name_features(axis, names, axis_title, name_size)
    if names and differences:
        # They reach into the empty place beside, which the layout would not let them.
        for label in grid[1, 1].get_yticklabels():
            label.set_in_layout(False)
    for row, scale, text in zip(
        grid, scales, ("Correlation", f"Difference to {reference[0]}"), strict=True
    ):
        mappable = ScalarMappable(scale, _colours())
        bar = figure.colorbar(mappable, ax=list(row), aspect=18, pad=0.01, shrink=0.9)
        bar.set_label(wrap(text, longest), loc="center")
    figure.suptitle(title, fontsize=TEXT_SIZE + 1)
    return figure


def _draw_matrix(axes: Axes, matrix: Float, scale: Normalize, title: str) -> None:
    axes.imshow(matrix, cmap=_colours(), norm=scale, interpolation="nearest")
    axes.set_title(title, fontsize=TEXT_SIZE - 1.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.minorticks_off()


def _name_features(axis: Axis, names: Sequence[str], axis_title: str, size: float) -> None:
    if names:
        turned = 90.0 if isinstance(axis, XAxis) else 0.0
        axis.set_ticks(range(len(names)), names, fontsize=size, rotation=turned)
    elif axis_title:
        axis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_label_text(axis_title)
    axis.set_tick_params(length=0)


def _largest(difference: Float) -> float:
    return float(np.nanmax(np.abs(difference), initial=0.0))


def _colours() -> Colormap:
    return mpl.colormaps["RdBu_r"].with_extremes(bad=MISSING_COLOUR)

"""The Fast Calorimeter Challenge's quantities of the layers, in small multiples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gan3d.validation.layers import LAYER_QUANTITIES
from gan3d.validation.measures import Float
from gan3d.validation.observables import Observables
from gan3d.validation.plots._drawing import Generated, labels_of
from gan3d.validation.plots._style import (
    LOOKS,
    REFERENCE_FILL,
    add_legend,
    figure_with_panels,
    reference_first,
    styled,
)
from gan3d.validation.positions import axis_edges

_CENTRAL = (0.16, 0.5, 0.84)
"""Quantiles that are drawn: the median, and what the central 68 % lie between."""
_FEWEST = 5
"""Showers that must have a quantity in a layer."""

Separations = Mapping[str, Float]
"""Separation power of each quantity in each layer, (layer,), by its name."""


@styled
def layers(
    generated: Generated,
    reference: Observables,
    separations: Sequence[Separations],
    noise: Separations,
) -> Figure:
    """Median and central 68 % of each quantity in each layer, and its separation power beneath.

    Args:
        generated: one or several samples.
        reference: what they are held against.
        separations: of each generated sample.
        noise: what a perfect generator has.

    """
    samples = reference_first(generated, reference)
    count = len(LAYER_QUANTITIES)
    figure, panels = figure_with_panels(count, 3, height_inches=4.0, level=None)
    edges = axis_edges(reference.geometry, 2)
    for (name, quantity), panel in zip(LAYER_QUANTITIES.items(), panels, strict=True):
        quantiles = [_quantiles(quantity.values(sample)) for sample in samples]
        _draw_quantiles(panel.main, edges, quantiles, logarithmic=quantity.logarithmic)
        unit = f" [{quantity.unit}]" if quantity.unit else ""
        panel.main.set_title(f"{quantity.title}{unit}")
        _draw_separations(panel.ratio, edges, [each[name] for each in separations], noise[name])
        panel.ratio.set_xlabel("Layer")
    add_legend(figure, labels_of(samples))
    return figure


def _quantiles(values_nz: Float) -> Float:
    """(3, layer); NaN where too few showers have it."""
    enough_z = np.isfinite(values_nz).sum(axis=0) >= _FEWEST
    found_qz = np.full((len(_CENTRAL), values_nz.shape[1]), np.nan)
    if enough_z.any():
        found_qz[:, enough_z] = np.nanquantile(values_nz[:, enough_z], _CENTRAL, axis=0)
    return found_qz


def _draw_quantiles(
    axes: Axes, edges: Float, quantiles: Sequence[Float], *, logarithmic: bool
) -> None:
    low_z, _, high_z = quantiles[0]
    axes.stairs(high_z, edges, baseline=low_z, fill=True, color=REFERENCE_FILL, linewidth=0)
    for (below_z, middle_z, above_z), look in zip(quantiles, LOOKS, strict=False):
        drawn: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "baseline": None}
        axes.stairs(middle_z, edges, linewidth=1.7, **drawn)
        for end_z in (below_z, above_z) if look is not LOOKS[0] else ():
            axes.stairs(end_z, edges, linewidth=0.7, **drawn)
    axes.set_xlim(edges[0], edges[-1])
    if logarithmic:
        axes.set_yscale("log")


def _draw_separations(
    axes: Axes, edges: Float, separations: Sequence[Float], noise_z: Float
) -> None:
    axes.stairs(noise_z, edges, fill=True, color=REFERENCE_FILL, linewidth=0)
    for each_z, look in zip(separations, LOOKS[1:], strict=False):
        axes.stairs(
            each_z, edges, color=look.colour, linestyle=look.line, linewidth=1.4, baseline=None
        )
    axes.set_ylim(0.0, 1.15 * max(1e-3, *(float(each.max()) for each in (*separations, noise_z))))
    axes.set_ylabel("Separation", loc="center")

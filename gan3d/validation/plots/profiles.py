"""Figures of profiles: mean energy, and mean number of cells, in the slices along each axis.

Every function takes what `gan3d.validation.observe` measured on one or several generated samples
and on the reference, and returns a matplotlib Figure. Bands are one standard error of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from gan3d.validation.bins import Bin
from gan3d.validation.measures import Float
from gan3d.validation.observables import AXES, Observables
from gan3d.validation.plots._drawing import (
    EnergyBins,
    Generated,
    counts,
    draw_steps,
    in_energy_bins,
    labels_of,
    mean_points,
)
from gan3d.validation.plots._style import (
    Panel,
    add_legend,
    figure_with_panels,
    reference_first,
    styled,
)
from gan3d.validation.positions import axis_edges, axis_title


@styled
def longitudinal_profile(generated: Generated, reference: Observables) -> Figure:
    """Mean energy per layer over incident energy, on a linear and a logarithmic axis."""
    return _linear_and_log(generated, reference, "layer")


@styled
def transverse_profile(generated: Generated, reference: Observables, axis: str) -> Figure:
    """Mean energy per slice in x or y over incident energy, linear and logarithmic.

    Of a cylinder x is the angle and y the radius.
    """
    return _linear_and_log(generated, reference, axis)


@styled
def longitudinal_profile_in_bins(
    generated: Generated, reference: Observables, energy_bins_gev: EnergyBins
) -> Figure:
    """The longitudinal profile in each bin of incident energy."""
    return in_energy_bins(
        generated,
        reference,
        energy_bins_gev,
        lambda samples, panel: _draw_profile(samples, "layer", panel),
    )


@styled
def profiles_in_bins(
    generated: Generated, reference: Observables, bins: Sequence[Bin], axis: str
) -> Figure:
    """The profile along `axis` (x, y or layer) in each bin of angle or kind of particle."""
    samples = reference_first(generated, reference)
    figure, panels = figure_with_panels(len(bins), min(3, len(bins)), height_inches=4.6)
    for each, panel in zip(bins, panels, strict=True):
        parts = [sample.select(each.rows(sample)) for sample in samples]
        _draw_profile(parts, axis, panel)
        panel.main.set_title(f"{each.title}: {counts(parts)}")
    add_legend(figure, labels_of(samples))
    return figure


@styled
def occupancy(generated: Generated, reference: Observables) -> Figure:
    """Mean number of cells per layer above each of `occupancy_thresholds_gev`."""
    samples = reference_first(generated, reference)
    thresholds_gev = reference.settings.occupancy_thresholds_gev
    figure, panels = figure_with_panels(
        len(thresholds_gev), min(3, len(thresholds_gev)), height_inches=4.6
    )
    edges, title = _profile_axis(reference, "layer")
    for index, (threshold_gev, panel) in enumerate(zip(thresholds_gev, panels, strict=True)):
        draw_steps(
            panel,
            edges,
            [mean_points(s.layer_hits_ntz[:, index].astype(np.float64)) for s in samples],
        )
        panel.main.set_title(f"Above {_in_fitting_unit(threshold_gev)}")
        panel.main.set_ylabel("Mean cells per layer")
        panel.ratio.set_xlabel(title)
    add_legend(figure, labels_of(samples))
    return figure


def _in_fitting_unit(energy_gev: float) -> str:
    scale, unit = next(
        (each for each in ((1.0, "GeV"), (1e3, "MeV")) if energy_gev * each[0] >= 0.1),
        (1e6, "keV"),
    )
    return f"{energy_gev * scale:g} {unit}"


def _linear_and_log(generated: Generated, reference: Observables, axis: str) -> Figure:
    samples = reference_first(generated, reference)
    figure, panels = figure_with_panels(2)
    for panel, log in zip(panels, (False, True), strict=True):
        _draw_profile(samples, axis, panel, log=log)
    add_legend(figure, labels_of(samples))
    return figure


def _draw_profile(
    samples: Sequence[Observables], axis: str, panel: Panel, *, log: bool = False
) -> None:
    edges, title = _profile_axis(samples[0], axis)
    draw_steps(
        panel,
        edges,
        [mean_points(100.0 * s.profiles[axis] / s.energy_n[:, None]) for s in samples],
        log=log,
    )
    panel.main.set_ylabel(f"Energy / Ep [% per {'layer' if axis == 'layer' else 'slice'}]")
    panel.ratio.set_xlabel(title)


def _profile_axis(sample: Observables, axis: str) -> tuple[Float, str]:
    """Edges and title of the axis of a profile: layer index, mm from the centre, or rad."""
    geometry, index = sample.geometry, AXES.index(axis)
    title = axis_title(geometry, index)
    if axis == "layer":
        title += f" ({geometry.pitch[2]:g} mm each)"
    return axis_edges(geometry, index), title

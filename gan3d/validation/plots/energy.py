"""Figures of energies: response, resolution, numbers of hits, spectrum of cell energies.

Every function takes what `gan3d.validation.observe` measured on one or several generated samples
and on the reference, and returns a matplotlib Figure. Bars and bands are one standard error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from gan3d.validation.measures import Float, cell_energy_edges
from gan3d.validation.observables import Observables
from gan3d.validation.plots._drawing import (
    EnergyBins,
    Generated,
    Points,
    draw_curve,
    draw_histogram,
    draw_points,
    draw_steps,
    in_energy_bins,
    labels_of,
    mean_points,
    side_by_side,
)
from gan3d.validation.plots._style import (
    LOOKS,
    Panel,
    add_legend,
    figure_with_panels,
    reference_first,
    shorten,
    styled,
)
from gan3d.validation.resolution import (
    Curve,
    ResolutionFit,
    can_be_fitted,
    central_interval,
    energy_edges,
    fit_resolution,
    resolution_curve,
    response_curve,
    split_by_energy,
)

_INCIDENT_ENERGY = "Incident energy Ep [GeV]"
_RESOLUTION = "Relative spread of {image}/Ep [%]"
_LONGEST_LABEL_WITH_FIT = 40


@styled
def response_against_energy(generated: Generated, reference: Observables) -> Figure:
    """Mean of ECAL/Ep against Ep, and its relative spread: the resolution."""
    samples = reference_first(generated, reference)
    figure, (mean, spread) = figure_with_panels(2)
    edges = energy_edges(samples)
    at = side_by_side(edges, len(samples))
    draw_points(mean, at, [_in_per_cent(response_curve(s, edges)) for s in samples])
    for sample, place, look in zip(samples, at, LOOKS, strict=False):
        parts = split_by_energy(100.0 * sample.sampling_fraction_n, sample.energy_n, edges)
        low_high = np.array([central_interval(part) for part in parts])
        mean.main.fill_between(place, *low_high.T, color=look.colour, alpha=0.12, linewidth=0)
    mean.main.set_ylabel(f"Sampling fraction {reference.image}/Ep [%]")
    draw_points(spread, at, [_in_per_cent(resolution_curve(s, edges)) for s in samples])
    spread.main.set_ylabel(_RESOLUTION.format(image=reference.image))
    spread.main.set_ylim(bottom=0.0)
    for panel in (mean, spread):
        panel.ratio.set_xlabel(_INCIDENT_ENERGY)
    add_legend(figure, labels_of(samples))
    return figure


@styled
def resolution(generated: Generated, reference: Observables) -> Figure:
    """Relative spread of ECAL/Ep against Ep with fits of a / sqrt(E) (+) c; a and c in the legend.

    See `gan3d.validation.resolution`. A sample with too few points has no fit.
    """
    samples = reference_first(generated, reference)
    figure, (panel,) = figure_with_panels(1, height_inches=5.6)
    edges = energy_edges(samples)
    curves = [resolution_curve(sample, edges) for sample in samples]
    fits = [_fit_if_possible(curve) for curve in curves]
    draw_points(
        panel,
        [curve.energy_i for curve in curves],
        [_in_per_cent(curve) for curve in curves],
        joined=False,
    )
    _draw_fits(panel, fits, np.linspace(edges[0], edges[-1], 200))
    panel.main.set_ylabel(_RESOLUTION.format(image=reference.image))
    panel.main.set_ylim(bottom=0.0)
    panel.main.set_xlim(edges[0], edges[-1])
    panel.ratio.set_xlabel(_INCIDENT_ENERGY)
    add_legend(
        figure,
        [_with_parameters(s.label, fit) for s, fit in zip(samples, fits, strict=True)],
    )
    return figure


def _fit_if_possible(curve: Curve) -> ResolutionFit | None:
    return fit_resolution(curve) if can_be_fitted(curve) else None


def _draw_fits(panel: Panel, fits: Sequence[ResolutionFit | None], energy_gev: Float) -> None:
    for fit, look in zip(fits, LOOKS, strict=False):
        if fit is None:
            continue
        panel.main.plot(
            energy_gev, 100.0 * fit.at(energy_gev), color=look.colour, linestyle=look.line, lw=1.6
        )
        if fits[0] is not None and fit is not fits[0]:
            ratio = fit.at(energy_gev) / fits[0].at(energy_gev)
            panel.ratio.plot(energy_gev, ratio, color=look.colour, linestyle=look.line, lw=1.2)


def _with_parameters(label: str, fit: ResolutionFit | None) -> str:
    name = shorten(label, _LONGEST_LABEL_WITH_FIT)
    if fit is None:
        return f"{name}: too few points for a fit"
    stochastic, constant = (
        f"({100.0 * value:.2f} ± {100.0 * error:.2f}) %"
        for value, error in (
            (fit.stochastic, fit.stochastic_error),
            (fit.constant, fit.constant_error),
        )
    )
    return (
        rf"{name}: {stochastic} / $\sqrt{{E/\mathrm{{GeV}}}}$ $\oplus$ {constant},  "
        rf"$\chi^2$/ndf = {fit.chi2:.1f}/{fit.ndf}"
    )


def _in_per_cent(curve: Curve) -> Points:
    return Points(100.0 * curve.value_i, 100.0 * curve.error_i)


@styled
def response_histogram(
    generated: Generated, reference: Observables, energy_bins_gev: EnergyBins
) -> Figure:
    """Distribution of ECAL/Ep in each bin of incident energy."""

    def draw(samples: Sequence[Observables], panel: Panel) -> None:
        values = [100.0 * sample.sampling_fraction_n for sample in samples]
        draw_histogram(panel, values, f"Sampling fraction {reference.image}/Ep [%]")

    return in_energy_bins(generated, reference, energy_bins_gev, draw)


@styled
def hits(generated: Generated, reference: Observables) -> Figure:
    """Number of cells above the hit threshold: against Ep, and its distribution."""
    samples = reference_first(generated, reference)
    figure, (curve, histogram) = figure_with_panels(2)
    threshold = f"above {1e6 * reference.settings.hit_threshold_gev:g} keV"
    draw_curve(
        curve, samples, lambda s: s.hits_n.astype(np.float64), f"Mean number of cells {threshold}"
    )
    draw_histogram(histogram, [s.hits_n.astype(np.float64) for s in samples], f"Cells {threshold}")
    add_legend(figure, labels_of(samples))
    return figure


@styled
def cell_energy_spectrum(generated: Generated, reference: Observables) -> Figure:
    """Cells per shower against the energy of the cell, both axes logarithmic."""
    samples = reference_first(generated, reference)
    figure, (panel,) = figure_with_panels(1, height_inches=5.6)
    panel.main.set_xscale("log")
    draw_steps(
        panel,
        cell_energy_edges(reference.settings),
        [mean_points(s.cell_counts_nb[:, 1:-1].astype(np.float64)) for s in samples],
        log=True,
    )
    per_decade = reference.settings.cell_energy_bins_per_decade
    panel.main.set_ylabel(f"Cells per shower and 1/{per_decade} decade")
    panel.ratio.set_xlabel("Energy of the cell [GeV]")
    add_legend(figure, labels_of(samples))
    return figure

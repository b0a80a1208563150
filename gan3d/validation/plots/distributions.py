"""Figures of observables: profiles, response, hits, cell energies, moments, shower maximum.

Every function takes what `gan3d.validation.observe` measured on generated and reference showers
and returns a matplotlib Figure. Bands and bars are one standard error of the mean (profiles,
curves) or the Poisson error (histograms).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from gan3d.validation.measures import Float, cell_energy_edges
from gan3d.validation.observables import AXES, Observables
from gan3d.validation.plots._style import (
    GENERATED_COLOUR,
    REFERENCE_COLOUR,
    Panel,
    Points,
    add_legend,
    both,
    draw_points,
    draw_steps,
    figure_with_panels,
    histogram_points,
    mean_points,
    styled,
)

EnergyBins = Sequence[tuple[float, float]]

_MOST_HISTOGRAM_BINS = 40
_CURVE_POINTS = 9


# ------------------------------------------------------------------------------------- profiles


@styled
def longitudinal_profile(generated: Observables, reference: Observables) -> Figure:
    """Mean energy per layer over incident energy, on a linear and a logarithmic axis."""
    return _profile_figure(generated, reference, "layer")


@styled
def transverse_profile(generated: Observables, reference: Observables, axis: str) -> Figure:
    """Mean energy per slice in x or y over incident energy, linear and logarithmic."""
    return _profile_figure(generated, reference, axis)


@styled
def longitudinal_profile_in_bins(
    generated: Observables, reference: Observables, energy_bins_gev: EnergyBins
) -> Figure:
    """The longitudinal profile in each bin of incident energy."""
    return _in_bins(
        generated,
        reference,
        energy_bins_gev,
        lambda ours, theirs, panel: _draw_profile(ours, theirs, "layer", panel),
    )


def _profile_figure(generated: Observables, reference: Observables, axis: str) -> Figure:
    figure, panels = figure_with_panels(2)
    for panel, log in zip(panels, (False, True), strict=True):
        _draw_profile(generated, reference, axis, panel, log=log)
    add_legend(figure, panels[0].main)
    return figure


def _draw_profile(
    generated: Observables, reference: Observables, axis: str, panel: Panel, *, log: bool = False
) -> None:
    edges, what = _profile_axis(reference, axis)
    draw_steps(
        panel,
        edges,
        both(
            lambda s: mean_points(100.0 * s.profiles[axis] / s.energy_n[:, None]),
            generated,
            reference,
        ),
        (generated.label, reference.label),
        log=log,
    )
    panel.main.set_ylabel(f"Energy / Ep [% per {'layer' if axis == 'layer' else 'slice'}]")
    panel.ratio.set_xlabel(what)


def _profile_axis(sample: Observables, axis: str) -> tuple[Float, str]:
    """Edges and title of the axis of a profile: layer index, or mm from the image's centre."""
    index = AXES.index(axis)
    slices = sample.geometry.shape[index]
    pitch_mm = sample.geometry.cell_size_mm[index]
    if axis == "layer":
        return np.arange(slices + 1) - 0.5, f"Layer ({pitch_mm:g} mm each)"
    return (np.arange(slices + 1) - slices / 2) * pitch_mm, f"{axis} [mm]"


# ------------------------------------------------------------------- response, hits, cell energy


@styled
def response_against_energy(generated: Observables, reference: Observables) -> Figure:
    """Mean of ECAL/Ep against Ep, and its relative spread: the resolution."""
    figure, (mean, spread) = figure_with_panels(2)
    edges = _energy_edges(generated, reference)
    centres = (edges[1:] + edges[:-1]) / 2
    labels = (generated.label, reference.label)
    parts = (_per_energy(generated, edges), _per_energy(reference, edges))
    draw_points(mean, centres, (_means(parts[0], 100.0), _means(parts[1], 100.0)), labels)
    for intervals, colour in zip(parts, (GENERATED_COLOUR, REFERENCE_COLOUR), strict=True):
        low, high = (
            np.array([100.0 * _quantile(part, q) for part in intervals]) for q in (0.16, 0.84)
        )
        mean.main.fill_between(centres, low, high, color=colour, alpha=0.15, linewidth=0)
    mean.main.set_ylabel("Sampling fraction ECAL/Ep [%]")
    draw_points(spread, centres, (_spreads(parts[0]), _spreads(parts[1])), labels)
    spread.main.set_ylabel("Relative spread of ECAL/Ep [%]")
    spread.main.set_ylim(bottom=0.0)
    for panel in (mean, spread):
        panel.ratio.set_xlabel("Incident energy Ep [GeV]")
    add_legend(figure, mean.main)
    return figure


@styled
def response_histogram(
    generated: Observables, reference: Observables, energy_bins_gev: EnergyBins
) -> Figure:
    """Distribution of ECAL/Ep in each bin of incident energy."""

    def draw(ours: Observables, theirs: Observables, panel: Panel) -> None:
        values = [100.0 * sample.sampling_fraction_n for sample in (ours, theirs)]
        _draw_histogram(panel, values, (ours, theirs), "Sampling fraction ECAL/Ep [%]")

    return _in_bins(generated, reference, energy_bins_gev, draw)


@styled
def hits(generated: Observables, reference: Observables) -> Figure:
    """Number of cells above the hit threshold: against Ep, and its distribution."""
    figure, (curve, histogram) = figure_with_panels(2)
    edges = _energy_edges(generated, reference)
    labels = (generated.label, reference.label)
    threshold_kev = 1e6 * reference.settings.hit_threshold_gev
    draw_points(
        curve,
        (edges[1:] + edges[:-1]) / 2,
        both(lambda s: _mean_curve(s, s.hits_n.astype(np.float64), edges), generated, reference),
        labels,
    )
    curve.main.set_ylabel(f"Mean number of cells above {threshold_kev:g} keV")
    curve.ratio.set_xlabel("Incident energy Ep [GeV]")
    _draw_histogram(
        histogram,
        [sample.hits_n.astype(np.float64) for sample in (generated, reference)],
        (generated, reference),
        f"Cells above {threshold_kev:g} keV",
    )
    add_legend(figure, curve.main)
    return figure


@styled
def cell_energy_spectrum(generated: Observables, reference: Observables) -> Figure:
    """Cells per shower against the energy of the cell, both axes logarithmic."""
    figure, (panel,) = figure_with_panels(1, height_inches=5.6)
    edges = cell_energy_edges(reference.settings)
    panel.main.set_xscale("log")
    draw_steps(
        panel,
        edges,
        both(
            lambda s: mean_points(s.cell_counts_nb[:, 1:-1].astype(np.float64)),
            generated,
            reference,
        ),
        (generated.label, reference.label),
        log=True,
    )
    per_decade = reference.settings.cell_energy_bins_per_decade
    panel.main.set_ylabel(f"Cells per shower and 1/{per_decade} decade")
    panel.ratio.set_xlabel("Energy of the cell [GeV]")
    add_legend(figure, panel.main)
    return figure


# --------------------------------------------------------------------- moments, shower maximum


@styled
def moments(generated: Observables, reference: Observables) -> Figure:
    """Distributions of the barycentres and of the widths along x, y and depth."""
    figure, panels = figure_with_panels(3, 2, height_inches=4.2)
    samples = (generated, reference)
    half_mm = [
        0.5 * cells * pitch
        for cells, pitch in zip(
            reference.geometry.shape, reference.geometry.cell_size_mm, strict=True
        )
    ]
    for axis, name in enumerate(("x", "y", "depth")):
        centre_mm = half_mm[axis] if name != "depth" else 0.0
        _draw_histogram(
            panels[axis],
            [sample.moments_nao[:, axis, 0] - centre_mm for sample in samples],
            samples,
            f"Barycentre in {name} [mm]",
        )
        _draw_histogram(
            panels[3 + axis],
            [np.sqrt(sample.moments_nao[:, axis, 1]) for sample in samples],
            samples,
            f"Width (rms) in {name} [mm]",
        )
    add_legend(figure, panels[0].main)
    return figure


@styled
def shower_maximum(generated: Observables, reference: Observables) -> Figure:
    """The layer with most energy: its distribution, and its mean against Ep."""
    figure, (histogram, curve) = figure_with_panels(2)
    labels = (generated.label, reference.label)
    layer_edges = np.arange(reference.geometry.shape[2] + 1) - 0.5
    draw_steps(
        histogram,
        layer_edges,
        both(lambda s: histogram_points(s.maximum_layer_n, layer_edges), generated, reference),
        labels,
    )
    histogram.main.set_ylabel("Showers [%]")
    histogram.ratio.set_xlabel("Layer with most energy")
    edges = _energy_edges(generated, reference)
    draw_points(
        curve,
        (edges[1:] + edges[:-1]) / 2,
        both(lambda s: _mean_curve(s, s.maximum_layer_n, edges), generated, reference),
        labels,
    )
    curve.main.set_ylabel("Mean layer with most energy")
    curve.ratio.set_xlabel("Incident energy Ep [GeV]")
    add_legend(figure, histogram.main)
    return figure


@styled
def layer_fractions(generated: Observables, reference: Observables) -> Figure:
    """Distributions of the energy share of the first, middle and last third of the layers."""
    figure, panels = figure_with_panels(3, height_inches=4.4)
    samples = (generated, reference)
    for part, (name, panel) in enumerate(zip(("First", "Middle", "Last"), panels, strict=True)):
        _draw_histogram(
            panel,
            [100.0 * sample.layer_fractions_n3[:, part] for sample in samples],
            samples,
            f"{name} third of layers / ECAL [%]",
        )
    add_legend(figure, panels[0].main)
    return figure


# -------------------------------------------------------------------------------------- helpers


def _in_bins(
    generated: Observables,
    reference: Observables,
    energy_bins_gev: EnergyBins,
    draw: Callable[[Observables, Observables, Panel], None],
) -> Figure:
    columns = min(2, len(energy_bins_gev))
    rows = -(-len(energy_bins_gev) // columns)
    figure, panels = figure_with_panels(columns, rows, height_inches=4.2)
    for (low, high), panel in zip(energy_bins_gev, panels, strict=False):
        ours, theirs = generated.in_energy_bin(low, high), reference.in_energy_bin(low, high)
        draw(ours, theirs, panel)
        panel.main.set_title(f"Ep {low:g} to {high:g} GeV: {len(ours)} and {len(theirs)} showers")
    for panel in panels[len(energy_bins_gev) :]:
        panel.main.remove()
        panel.ratio.remove()
    add_legend(figure, panels[0].main)
    return figure


def _draw_histogram(
    panel: Panel,
    values: Sequence[Float],
    samples: tuple[Observables, Observables],
    title: str,
) -> None:
    """Histogram of (generated, reference) over the range that holds 98 % of each, and a margin."""
    finite = [v[np.isfinite(v)] for v in values]
    low = min(float(np.quantile(v, 0.01)) for v in finite if len(v))
    high = max(float(np.quantile(v, 0.99)) for v in finite if len(v))
    margin = 0.1 * (high - low) or 0.05 * abs(high) or 0.5
    # As many bins as sqrt(N) allows, so that the Poisson errors stay legible in small samples.
    bins = int(np.clip(1.5 * np.sqrt(min(len(v) for v in values)), 10, _MOST_HISTOGRAM_BINS))
    edges = np.linspace(low - margin, high + margin, bins + 1)
    draw_steps(
        panel,
        edges,
        (histogram_points(values[0], edges), histogram_points(values[1], edges)),
        (samples[0].label, samples[1].label),
    )
    panel.main.set_ylabel("Showers [% per bin]")
    panel.ratio.set_xlabel(title)


def _energy_edges(generated: Observables, reference: Observables) -> Float:
    """Equal intervals over the incident energies that both samples have."""
    low = max(float(sample.energy_n.min()) for sample in (generated, reference))
    high = min(float(sample.energy_n.max()) for sample in (generated, reference))
    if low >= high:  # one energy only, or no common range
        low, high = 0.95 * float(reference.energy_n.min()), 1.05 * float(reference.energy_n.max())
    edges: Float = np.linspace(low, high, _CURVE_POINTS + 1)
    return edges


def _split(values_n: Float, energy_n: Float, edges: Float) -> list[Float]:
    """Finite values grouped by the interval of incident energy."""
    finite = np.isfinite(values_n)
    interval_n = np.searchsorted(edges, energy_n, side="right") - 1
    interval_n[energy_n == edges[-1]] = len(edges) - 2
    return [values_n[(interval_n == i) & finite] for i in range(len(edges) - 1)]


def _per_energy(sample: Observables, edges: Float) -> list[Float]:
    return _split(sample.sampling_fraction_n, sample.energy_n, edges)


def _mean_curve(sample: Observables, values_n: Float, edges: Float) -> Points:
    return _means(_split(values_n, sample.energy_n, edges), 1.0)


def _means(parts: Sequence[Float], scale: float) -> Points:
    means = [scale * part.mean() if len(part) else np.nan for part in parts]
    errors = [
        scale * part.std(ddof=1) / np.sqrt(len(part)) if len(part) > 1 else np.nan for part in parts
    ]
    return Points(np.array(means), np.array(errors))


def _spreads(parts: Sequence[Float]) -> Points:
    """Half the width of the central 68 % over the median, in %: robust against tails.

    Its standard error for a Gaussian is 0.96 / sqrt(N) of it (variance of sample quantiles,
    p (1 - p) / (N f^2); Kendall's Advanced Theory of Statistics, vol. 1, 10.10).
    """
    widths = np.array(
        [
            50.0 * (_quantile(part, 0.84) - _quantile(part, 0.16)) / _quantile(part, 0.5)
            if len(part) and _quantile(part, 0.5) > 0.0
            else np.nan
            for part in parts
        ]
    )
    counts = np.array([max(1, len(part)) for part in parts])
    return Points(widths, 0.96 * widths / np.sqrt(counts))


def _quantile(values: Float, probability: float) -> float:
    return float(np.quantile(values, probability)) if len(values) else float("nan")

"""Figures of a shower's position and shape: moments, maximum, start, containment, angle.

Every function takes what `gan3d.validation.observe` measured on one or several generated samples
and on the reference, and returns a matplotlib Figure. Bars and bands are one standard error.
Showers for which a value is undefined count in no bin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from gan3d.validation.measures import Float
from gan3d.validation.observables import Observables
from gan3d.validation.plots._drawing import (
    Generated,
    distribution_and_curve,
    draw_curve,
    draw_histogram,
    draw_steps,
    histogram_points,
    labels_of,
)
from gan3d.validation.plots._style import add_legend, figure_with_panels, reference_first, styled
from gan3d.validation.positions import middle_mm

_AXIS_NAMES = ("x", "y", "depth")
_Measures = Sequence[tuple[str, Callable[[Observables], Float]]]


@styled
def moments(generated: Generated, reference: Observables) -> Figure:
    """Distributions of the barycentres and of the widths along x, y and depth.

    In x and y the barycentre is measured from the centre of the image, in depth from its front; of
    a cylinder in the plane all the same, from its axis.
    """

    def barycentre(axis: int) -> Callable[[Observables], Float]:
        centre_mm = (*middle_mm(reference.geometry), 0.0)[axis]
        return lambda sample: sample.moments_nao[:, axis, 0] - centre_mm

    def width(axis: int) -> Callable[[Observables], Float]:
        return lambda sample: np.sqrt(sample.moments_nao[:, axis, 1])

    return _histograms(
        generated,
        reference,
        [(f"Barycentre in {name} [mm]", barycentre(axis)) for axis, name in enumerate(_AXIS_NAMES)]
        + [(f"Width (rms) in {name} [mm]", width(axis)) for axis, name in enumerate(_AXIS_NAMES)],
    )


@styled
def higher_moments(generated: Generated, reference: Observables) -> Figure:
    """Distributions of skewness and kurtosis of the energy along x, y and depth.

    The central moments of orders 3 and 4 over the variance to the power of 3/2 and of 2; a Gaussian
    has 0 and 3. A shower whose energy lies in one slice has neither.
    """

    def standardised(axis: int, order: int) -> Callable[[Observables], Float]:
        def measure(sample: Observables) -> Float:
            variance_n = sample.moments_nao[:, axis, 1]
            scale_n = np.where(variance_n > 0.0, variance_n, np.nan) ** (order / 2)
            moment_n: Float = sample.moments_nao[:, axis, order - 1] / scale_n
            return moment_n

        return measure

    return _histograms(
        generated,
        reference,
        [
            (f"{title} in {name}", standardised(axis, order))
            for title, order in (("Skewness", 3), ("Kurtosis", 4))
            for axis, name in enumerate(_AXIS_NAMES)
        ],
    )


@styled
def layer_fractions(generated: Generated, reference: Observables) -> Figure:
    """Distributions of the energy share of the first, middle and last third of the layers."""

    def fraction(part: int) -> Callable[[Observables], Float]:
        return lambda sample: 100.0 * sample.layer_fractions_n3[:, part]

    return _histograms(
        generated,
        reference,
        [
            (f"{name} third of layers / {reference.image} [%]", fraction(part))
            for part, name in enumerate(("First", "Middle", "Last"))
        ],
    )


@styled
def image_shares(generated: Generated, reference: Observables) -> Figure:
    """Share of the first image in the energy of all, and that energy over Ep, and against Ep."""
    everything = " + ".join((reference.image, *reference.others))
    return distribution_and_curve(
        reference_first(generated, reference),
        [
            (f"{reference.image}/({everything}) [%]", lambda s: 100.0 * s.share_n),
            (f"({everything})/Ep [%]", lambda s: 100.0 * s.all_energy_n / s.energy_n),
        ],
        height_inches=4.2,
    )


@styled
def angles(generated: Generated, reference: Observables) -> Figure:
    """Distributions of the angle of the shower's axis to the normal of the layers.

    By the barycentre method, in the planes of x and y with the depth.
    """

    def angle(plane: int) -> Callable[[Observables], Float]:
        return lambda sample: np.degrees(sample.angle_n2[:, plane])

    return _histograms(
        generated,
        reference,
        [(f"Angle in {axis} and depth [degrees]", angle(p)) for p, axis in enumerate("xy")],
    )


@styled
def containment(generated: Generated, reference: Observables) -> Figure:
    """Radii around the barycentre that hold `containment_shares` of the energy: R50, R90, ...

    For each its distribution, and its mean against Ep.
    """

    def radius(index: int) -> Callable[[Observables], Float]:
        return lambda sample: sample.radii_mm_ns[:, index]

    shares = reference.settings.containment_shares
    return distribution_and_curve(
        reference_first(generated, reference),
        [(f"R{100.0 * share:g} [mm]", radius(index)) for index, share in enumerate(shares)],
        height_inches=4.2,
    )


@styled
def shower_start(generated: Generated, reference: Observables) -> Figure:
    """Depth by which showers have left `start_share` of their energy, and its mean against Ep."""
    share = f"{100.0 * reference.settings.start_share:g} %"
    return distribution_and_curve(
        reference_first(generated, reference),
        [(f"Start ({share} of {reference.image}) [mm]", lambda s: s.start_mm_n)],
    )


@styled
def shower_maximum(generated: Generated, reference: Observables) -> Figure:
    """The layer with most energy: its distribution, and its mean against Ep."""
    samples = reference_first(generated, reference)
    figure, (histogram, curve) = figure_with_panels(2)
    # One bin for each layer, where `distribution_and_curve` would choose bins of its own.
    edges = np.arange(reference.geometry.shape[2] + 1) - 0.5
    draw_steps(histogram, edges, [histogram_points(s.maximum_layer_n, edges) for s in samples])
    histogram.main.set_ylabel("Showers [%]")
    histogram.ratio.set_xlabel("Layer with most energy")
    draw_curve(curve, samples, lambda s: s.maximum_layer_n, "Mean layer with most energy")
    add_legend(figure, labels_of(samples))
    return figure


def _histograms(generated: Generated, reference: Observables, measures: _Measures) -> Figure:
    """A panel for each (title, value per shower), at most three in a row."""
    samples = reference_first(generated, reference)
    figure, panels = figure_with_panels(len(measures), min(3, len(measures)), height_inches=4.2)
    for (title, measure), panel in zip(measures, panels, strict=True):
        draw_histogram(panel, [measure(sample) for sample in samples], title)
    add_legend(figure, labels_of(samples))
    return figure

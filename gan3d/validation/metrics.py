"""The numbers that say how far generated showers are from the reference. 0 is perfect.

Two kinds. A *relative error* compares means over showers: it is dimensionless and 0.03 is 3 %. A
*separation power* compares distributions: 0 for equal ones, 1 for disjoint ones.

Everything that depends on the incident energy Ep is divided by Ep, or by what the reference has at
that Ep, before showers of different Ep are put together. So two samples need not hold the same
incident energies, and a wide range of energies does not hide a wrong response.

Relative errors are computed in each bin of incident energy and then averaged over the bins, so
that too much at low energy does not make up for too little at high energy. Separation powers are
computed over all showers, since a histogram needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from gan3d.validation.measures import Float, Integer
from gan3d.validation.observables import AXES, Observables

_COMPARED_ORDERS = 2
"""3DGAN compares barycentres and variances; odd central moments are near 0, and have no relative
error."""

Kind = Literal["relative error", "separation power"]


@dataclass(frozen=True)
class Binning:
    """Histogram edges that a comparison uses throughout, made from the whole reference."""

    response_edges: Float
    """Edges of ECAL/Ep."""
    relative_hits_edges: Float
    """Edges of hits over the reference's mean number of hits at that Ep."""
    hits_curve: Float
    """Coefficients (highest first) of that mean as a polynomial in ln(Ep / GeV)."""
    energy_range_gev: tuple[float, float]
    """Incident energies of the reference; the curve is held constant outside."""

    @classmethod
    def from_reference(cls, reference: Observables) -> Self:
        """Edges from the smallest to the largest value that the reference has."""
        energy_n = reference.energy_n
        energy_range = (float(energy_n.min()), float(energy_n.max()))
        curve = _least_squares(np.log(energy_n), reference.hits_n)
        relative_hits_n = reference.hits_n / _hits_at(energy_n, curve, energy_range)
        bins = reference.settings.histogram_bins
        return cls(
            response_edges=_edges(reference.sampling_fraction_n, bins),
            relative_hits_edges=_edges(relative_hits_n, bins),
            hits_curve=curve,
            energy_range_gev=energy_range,
        )

    def relative_hits(self, sample: Observables) -> Float:
        """Hits of each shower over the reference's mean number at its incident energy: (N,)."""
        expected_n = _hits_at(sample.energy_n, self.hits_curve, self.energy_range_gev)
        return sample.hits_n / expected_n


def _least_squares(x_n: Float, y_n: Float | Integer) -> Float:
    """Quadratic fit, coefficients highest first; also defined when all x are equal."""
    coefficients: Float = np.linalg.lstsq(np.vander(x_n, 3), y_n, rcond=None)[0]
    return coefficients


def _hits_at(energy_n: Float, curve: Float, energy_range: tuple[float, float]) -> Float:
    inside_n = np.clip(energy_n, *energy_range)
    return np.maximum(np.polyval(curve, np.log(inside_n)), 1.0)


def _edges(values_n: Float, bins: int) -> Float:
    low, high = float(values_n.min()), float(values_n.max())
    if low == high:  # one value only: a bin of one per cent around it
        half_width = 0.005 * abs(low) or 0.5
        return np.linspace(low - half_width, high + half_width, bins + 1)
    return np.linspace(low, high, bins + 1)


# ---------------------------------------------------------------------------- building blocks


def separation_power(counts_p: Float, counts_q: Float) -> float:
    """Separation power of two histograms over the same bins, from 0 (equal) to 1 (disjoint).

    0.5 * sum_i (p_i - q_i)^2 / (p_i + q_i) with p and q normalised to a sum of 1; bins that are
    empty in both do not count. It is symmetric. Source: Fast Calorimeter Challenge 2022,
    Krause et al., arXiv:2410.21611, section 5; Diefenbacher et al., arXiv:2009.03796.

    A histogram that is empty as a whole is disjoint from one that is not (1); two empty ones are
    equal (0).

    Two samples of N and M showers from the same distribution, in B bins that all hold some, score
    (B / 4) (1/N + 1/M) on average, not 0: compare with the noise level.
    """
    sum_p, sum_q = float(counts_p.sum()), float(counts_q.sum())
    if sum_p == 0.0 or sum_q == 0.0:
        return float(sum_p != sum_q)
    p, q = counts_p / sum_p, counts_q / sum_q
    filled = (p + q) > 0.0
    return float(0.5 * np.sum((p - q)[filled] ** 2 / (p + q)[filled]))


def histogram_with_flows(values_n: Float, edges: Float) -> Float:
    """Counts per bin with the underflow before and the overflow after them: (bins + 2,).

    A value at the highest edge belongs to the last bin, as in NumPy. NaN must not be given.
    """
    inside, _ = np.histogram(values_n, edges)
    below = np.count_nonzero(values_n < edges[0])
    above = np.count_nonzero(values_n > edges[-1])
    return np.concatenate([[below], inside, [above]]).astype(np.float64)


def relative_error(value: Float, reference: Float) -> Float:
    """|value - reference| / |reference|, elementwise.

    Where the reference is 0, or the value is NaN (no shower had energy): 0 if both are the same,
    1 (100 % off) otherwise.
    """
    same = (value == reference) | (np.isnan(value) & np.isnan(reference))
    defined = (reference != 0.0) & ~np.isnan(value) & ~np.isnan(reference)
    safe_reference = np.where(defined, reference, 1.0)
    error = np.where(defined, np.abs(value - reference) / np.abs(safe_reference), 1.0)
    return np.where(same, 0.0, error)


def mean_profile(sample: Observables, axis: str) -> Float:
    """Mean over showers of the energy in each slice over the incident energy: (slices,).

    Args:
        sample: the showers.
        axis: `x`, `y` or `layer`.

    """
    mean_i: Float = (sample.profiles[axis] / sample.energy_n[:, None]).mean(axis=0)
    return mean_i


def mean_moments(sample: Observables) -> Float:
    """Mean over the showers with energy of moments 1 and 2, (axis, order); NaN if none has."""
    filled = ~sample.empty_n
    if not filled.any():
        return np.full((len(AXES), _COMPARED_ORDERS), np.nan)
    mean_ao: Float = sample.moments_nao[filled, :, :_COMPARED_ORDERS].mean(axis=0)
    return mean_ao


# -------------------------------------------------------------------------------- the metrics


def sampling_fraction_error(
    generated: Observables, reference: Observables, _binning: Binning
) -> float:
    """|<ECAL/Ep>_g - <ECAL/Ep>_r| / <ECAL/Ep>_r, means over all showers, empty ones included."""
    return float(
        relative_error(
            generated.sampling_fraction_n.mean(),
            reference.sampling_fraction_n.mean(),
        )
    )


def profile_error(axis: str) -> Callable[[Observables, Observables, Binning], float]:
    """The metric sum_i |g_i - r_i| / sum_i r_i of the mean profiles g and r along an axis.

    A profile is the mean over showers of E_i/Ep in slice i. The sum equals the mean of
    |g_i/r_i - 1| over slices weighted by their share of the reference's energy: outer slices,
    with almost none of the energy, count for what they hold. It includes an error of the total.
    """

    def error(generated: Observables, reference: Observables, _binning: Binning) -> float:
        generated_i = mean_profile(generated, axis)
        reference_i = mean_profile(reference, axis)
        difference = np.abs(generated_i - reference_i).sum()
        total = reference_i.sum()
        return float(difference / total) if total > 0.0 else float(difference > 0.0)

    return error


def moments_error(generated: Observables, reference: Observables, _binning: Binning) -> float:
    """Mean over axes and orders of |m_g - m_r| / m_r, m being the mean moment over showers.

    First moments are barycentres from the image's low edge (mm), second ones are variances (mm²).
    Source: the position part of 3DGAN's optimisation metric.
    """
    return float(relative_error(mean_moments(generated), mean_moments(reference)).mean())


def unweighted_profile_error(generated: Observables, reference: Observables) -> float:
    """Mean over axes of the plain mean over slices of |g_i - r_i| / r_i, as 3DGAN has it.

    Slices that hold less than `profile_minimum_share` of the reference's energy are left out. All
    others count alike, so that the tails of the profiles matter here, unlike in `profile_error`.
    """
    errors = []
    for axis in AXES:
        reference_i = mean_profile(reference, axis)
        used = reference_i >= reference.settings.profile_minimum_share * reference_i.sum()
        errors.append(relative_error(mean_profile(generated, axis), reference_i)[used].mean())
    return float(np.mean(errors))


def optimisation_metric(generated: Observables, reference: Observables, binning: Binning) -> float:
    """3DGAN's: mean |relative error| of the moments + mean |relative error| of the profiles.

    `moments_error` plus `unweighted_profile_error`; the average over energy bins follows outside.
    Profiles are per unit of incident energy, where 3DGAN has GeV in narrow bins.
    """
    return moments_error(generated, reference, binning) + unweighted_profile_error(
        generated, reference
    )


def total_energy_separation(
    generated: Observables, reference: Observables, binning: Binning
) -> float:
    """Separation power of the histograms of ECAL/Ep: sensitive to response and to resolution.

    The Challenge's E_dep/E_inc. A histogram of ECAL itself would show the incident energies.
    """
    return separation_power(
        histogram_with_flows(generated.sampling_fraction_n, binning.response_edges),
        histogram_with_flows(reference.sampling_fraction_n, binning.response_edges),
    )


def hits_separation(generated: Observables, reference: Observables, binning: Binning) -> float:
    """Separation power of the histograms of hits over the reference's mean hits at that Ep.

    The mean is a quadratic fit in ln Ep. Without the division the histogram would mostly show the
    incident energies.
    """
    return separation_power(
        histogram_with_flows(binning.relative_hits(generated), binning.relative_hits_edges),
        histogram_with_flows(binning.relative_hits(reference), binning.relative_hits_edges),
    )


def cell_energy_separation(
    generated: Observables, reference: Observables, _binning: Binning
) -> float:
    """Separation power of the spectra of cell energies, in logarithmic bins, cells of all showers.

    Its shape alone: how many cells there are is for the hits. Cells of one shower vary together,
    so the noise level is not that of as many independent entries.
    """
    return separation_power(
        generated.cell_counts_nb.sum(axis=0).astype(np.float64),
        reference.cell_counts_nb.sum(axis=0).astype(np.float64),
    )


@dataclass(frozen=True)
class Metric:
    """One named metric."""

    title: str
    """What it compares, for a reader."""
    kind: Kind
    """A relative error is averaged over the energy bins, a separation power is over all showers."""
    compute: Callable[[Observables, Observables, Binning], float]
    """(generated, reference, binning) -> value."""


METRICS: Mapping[str, Metric] = {
    "sampling_fraction.rel_error": Metric(
        "Sampling fraction ECAL/Ep", "relative error", sampling_fraction_error
    ),
    "profile.longitudinal.rel_error": Metric(
        "Longitudinal profile", "relative error", profile_error("layer")
    ),
    "profile.transverse_x.rel_error": Metric(
        "Transverse profile in x", "relative error", profile_error("x")
    ),
    "profile.transverse_y.rel_error": Metric(
        "Transverse profile in y", "relative error", profile_error("y")
    ),
    "moments.rel_error": Metric("Moments in x, y and layer", "relative error", moments_error),
    "total_energy.separation": Metric(
        "Distribution of ECAL/Ep", "separation power", total_energy_separation
    ),
    "hits.separation": Metric("Number of hits at given Ep", "separation power", hits_separation),
    "cell_energy.separation": Metric(
        "Spectrum of cell energies", "separation power", cell_energy_separation
    ),
    "optimisation_metric": Metric(
        "3DGAN's optimisation metric", "relative error", optimisation_metric
    ),
}
"""All metrics by their name in `metrics.json`."""


def compare(
    generated: Observables,
    reference: Observables,
    binning: Binning,
    energy_bins_gev: list[tuple[float, float]],
) -> dict[str, float]:
    """All metrics, inclusive and as `bin.LOW-HIGHGeV.NAME` for each of the given energy bins.

    Every bin must hold showers of both samples. Inclusive relative errors are the mean over the
    bins, inclusive separation powers are over all showers.
    """
    in_bins = {
        bin_name(low, high): _compute_all(
            generated.in_energy_bin(low, high), reference.in_energy_bin(low, high), binning
        )
        for low, high in energy_bins_gev
    }
    inclusive = {
        name: (
            float(np.mean([values[name] for values in in_bins.values()]))
            if metric.kind == "relative error"
            else metric.compute(generated, reference, binning)
        )
        for name, metric in METRICS.items()
    }
    return inclusive | {
        f"bin.{label}.{name}": value
        for label, values in in_bins.items()
        for name, value in values.items()
    }


def _compute_all(
    generated: Observables, reference: Observables, binning: Binning
) -> dict[str, float]:
    return {name: metric.compute(generated, reference, binning) for name, metric in METRICS.items()}


def bin_name(low_gev: float, high_gev: float) -> str:
    """An energy bin as it is written in names and figures: `10-40GeV`."""
    return f"{low_gev:g}-{high_gev:g}GeV"

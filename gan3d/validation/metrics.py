"""The numbers that say how far generated showers are from the reference, from per-shower values.

Three kinds. A *relative error* compares means over showers: it is dimensionless and 0.03 is 3 %. A
*distance* compares distributions (`gan3d.validation.distances`). A *chi2* of a profile compares its
mean in all slices, with their covariance: what is small in every slice but points one way is seen.

Everything that depends on the incident energy Ep is divided by Ep, or compared with what the
reference has at that Ep, before showers of different Ep are put together. So two samples need not
hold the same incident energies, and a wide range of energies does not hide a wrong response.

Relative errors are computed in each bin of incident energy and then averaged over the bins, so
that too much at low energy does not make up for too little at high energy. Distances are computed
over all showers, since a histogram needs them.

Everything is computed for R weightings of the showers at once (`gan3d.validation.resampling`), from
both samples put together: a weighting says how often each shower counts in either of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from gan3d.config import Validation
from gan3d.validation.bins import Bin
from gan3d.validation.distances import DISTANCES, Cumulated, distances, separation_power
from gan3d.validation.features import Scale, angle_to_track, features, quadratic
from gan3d.validation.measures import Float
from gan3d.validation.observables import AXES, Observables, concatenate

_COMPARED_ORDERS = 2
"""3DGAN compares barycentres and variances; odd central moments are near 0, and have no relative
error."""

# Of the components of a profile; more of them are noise.
_SMALLEST_EIGENVALUE = 1e-3
_SHOWERS_PER_COMPONENT = 10

_FARTHEST_PULL = 5.0
_ROUNDING = 1e-6
"""Relative; images are of 32-bit numbers."""

_CENTRAL = np.array([0.158655, 0.5, 0.841345])
"""Probabilities at -1, 0 and +1 standard deviation of a Gaussian."""

Scales = Mapping[str, Scale]


def scales(together: Observables) -> Scales:
    """How each feature is compared, from both samples together; without what no shower has."""
    found = {
        name: Scale.fitted(feature, together)
        for name, feature in features(together.settings, together.image, together.others).items()
    }
    return {name: scale for name, scale in found.items() if scale is not None}


# ------------------------------------------------------------------------------ means over showers


@dataclass(frozen=True)
class Means:
    """Weighted means over the showers of a sample, in R weightings."""

    settings: Validation
    sampling_fraction_r: Float
    """ECAL/Ep, empty showers included."""
    profiles: Mapping[str, Float]
    """Energy in each slice along x, y and layer over Ep: (R, slices) each."""
    moments_rao: Float
    """Moments 1 and 2 (mm, mm²) of the showers with energy, (R, axis, order); NaN if none has."""
    occupancy_rtz: Float
    """Cells of each layer above each of the occupancy thresholds."""
    cell_counts_rb: Float
    """Cells per bin of energy, underflow and overflow included."""
    off_track_r: Float
    """Mean of the absolute angle (rad) between shower and incident particle; NaN if none has it."""
    theta_r: Float
    """Mean polar angle (rad) of those."""

    @classmethod
    def of(cls, sample: Observables, weights_rn: Float) -> Self:
        """Means in the weightings `weights_rn` (R, N)."""
        total_r = weights_rn.sum(axis=1)

        def mean(values_nk: Float) -> Float:
            flat = values_nk.reshape(len(values_nk), -1)
            summed: Float = (weights_rn @ flat) / total_r[:, None]
            return summed.reshape(-1, *values_nk.shape[1:])

        filled_n = ~sample.empty_n
        moments_nao = np.where(
            filled_n[:, None, None], sample.moments_nao[:, :, :_COMPARED_ORDERS], 0.0
        )
        filled_r = mean(filled_n.astype(np.float64))[:, None, None]
        off_track_n = np.abs(angle_to_track(sample))
        tracked_n = np.isfinite(off_track_n)
        tracked_r = mean(tracked_n.astype(np.float64))
        tracked_r = np.where(tracked_r > 0.0, tracked_r, np.nan)
        return cls(
            settings=sample.settings,
            sampling_fraction_r=mean(sample.sampling_fraction_n),
            profiles={
                axis: mean(profile / sample.energy_n[:, None])
                for axis, profile in sample.profiles.items()
            },
            moments_rao=mean(moments_nao) / np.where(filled_r > 0.0, filled_r, np.nan),
            occupancy_rtz=mean(sample.layer_hits_ntz.astype(np.float64)),
            cell_counts_rb=mean(sample.cell_counts_nb.astype(np.float64)),
            off_track_r=mean(np.where(tracked_n, off_track_n, 0.0)) / tracked_r,
            theta_r=mean(np.where(tracked_n, sample.theta_n, 0.0)) / tracked_r,
        )


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


def profile_error(generated_ri: Float, reference_ri: Float) -> Float:
    """sum_i |g_i - r_i| / sum_i r_i of mean profiles: (R,).

    The sum equals the mean of |g_i/r_i - 1| over slices weighted by their share of the reference:
    outer slices, with almost nothing in them, count for what they hold. It includes an error of the
    total.
    """
    difference_r = np.abs(generated_ri - reference_ri).sum(axis=-1)
    total_r = reference_ri.sum(axis=-1)
    error_r: Float = np.where(
        total_r > 0.0, difference_r / np.where(total_r > 0.0, total_r, 1.0), difference_r > 0.0
    )
    return error_r


def profile_chi2(values_pk: Float, energy_p: Float, ours_rp: Float, theirs_rp: Float) -> Float:
    """Hotelling's T² of two mean profiles over its degrees of freedom: (R,).

    About 1 for two samples of one distribution, whatever their size. T² = N M / (N + M) d' C^-1 d
    with d the difference of the means and C the covariance between slices (Hotelling, Ann. Math.
    Stat. 2 (1931) 360). C is of both samples together, so that exchanging showers leaves it as it
    is. Slices are taken at their incident energy, by a quadratic fit in ln Ep. Of the correlations'
    eigenvectors those are used whose eigenvalue is above a thousandth of the largest, and at most
    one for ten showers: the others are noise.

    Args:
        values_pk: a profile of each shower, over its incident energy or not: (P, slices).
        energy_p: incident energies (GeV).
        ours_rp: weights of the one sample.
        theirs_rp: weights of the other.

    """
    logarithm_p = np.log(energy_p)
    left_pk = values_pk - np.vander(logarithm_p, 3) @ quadratic(logarithm_p, values_pk)
    spread_k = left_pk.std(axis=0)
    varied_k = spread_k > 1e-9 * np.abs(values_pk).max(axis=0, initial=0.0)
    if not varied_k.any():
        return np.zeros(len(ours_rp))
    left_pk = left_pk[:, varied_k] / spread_k[varied_k]
    value_c, vector_kc = np.linalg.eigh(left_pk.T @ left_pk / len(left_pk))
    first = max(
        int(np.searchsorted(value_c, _SMALLEST_EIGENVALUE * value_c[-1])),
        len(value_c) - max(1, len(left_pk) // _SHOWERS_PER_COMPONENT),
    )
    part_pc = left_pk @ (vector_kc[:, first:] / np.sqrt(value_c[first:]))
    sums_r, other_r = ours_rp.sum(axis=1), theirs_rp.sum(axis=1)
    difference_rc = (ours_rp @ part_pc) / sums_r[:, None] - (theirs_rp @ part_pc) / other_r[:, None]
    scale_r = sums_r * other_r / (sums_r + other_r)
    chi2_r: Float = scale_r * (difference_rc**2).mean(axis=1)
    return chi2_r


def moments_error(generated: Means, reference: Means) -> Float:
    """Mean over axes and orders of |m_g - m_r| / m_r, m being the mean moment over showers: (R,).

    First moments are barycentres from the image's low edge (mm), second ones are variances (mm²).
    Source: the position part of 3DGAN's optimisation metric.
    """
    error_r: Float = relative_error(generated.moments_rao, reference.moments_rao).mean(axis=(1, 2))
    return error_r


def unweighted_profile_error(generated: Means, reference: Means) -> Float:
    """Mean over axes of the plain mean over slices of |g_i - r_i| / r_i, as 3DGAN has it: (R,).

    Slices that hold less than `profile_minimum_share` of the reference's energy are left out. All
    others count alike, so that the tails of the profiles matter here, unlike in `profile_error`.
    """
    errors = []
    for axis in AXES:
        reference_ri = reference.profiles[axis]
        share = reference.settings.profile_minimum_share
        used_ri = reference_ri >= share * reference_ri.sum(axis=1, keepdims=True)
        error_ri = relative_error(generated.profiles[axis], reference_ri)
        errors.append(np.mean(error_ri, axis=1, where=used_ri))
    error_r: Float = np.mean(errors, axis=0)
    return error_r


def angle_error(generated: Means, reference: Means) -> Float:
    """|a_g - a_r| / mean theta, a being the mean absolute angle to the incident particle: (R,).

    Showers at wrong angles are far from their particles whichever way they point. 0 where the
    angles of either sample are not known.
    """
    both_r = np.isfinite(generated.off_track_r) & np.isfinite(reference.off_track_r)
    difference_r = np.abs(generated.off_track_r - reference.off_track_r)
    error_r: Float = np.where(both_r, difference_r / reference.theta_r, 0.0)
    return error_r


def optimisation_metric(generated: Means, reference: Means) -> Float:
    """3DGAN's: mean |relative error| of moments + of profiles (+ of angles, if known): (R,).

    `moments_error` + `unweighted_profile_error` + `angle_error`; the average over energy bins
    follows outside. Profiles are per unit of incident energy, where 3DGAN has GeV in narrow bins.
    """
    return (
        moments_error(generated, reference)
        + unweighted_profile_error(generated, reference)
        + angle_error(generated, reference)
    )


def _of_profile(axis: str) -> Callable[[Means, Means], Float]:
    return lambda ours, theirs: profile_error(ours.profiles[axis], theirs.profiles[axis])


RELATIVE_ERRORS: Mapping[str, Callable[[Means, Means], Float]] = {
    # |<ECAL/Ep>_g - <ECAL/Ep>_r| / <ECAL/Ep>_r, over all showers, empty ones included.
    "sampling_fraction.rel_error": lambda ours, theirs: relative_error(
        ours.sampling_fraction_r, theirs.sampling_fraction_r
    ),
    "profile.longitudinal.rel_error": _of_profile("layer"),
    "profile.transverse_x.rel_error": _of_profile("x"),
    "profile.transverse_y.rel_error": _of_profile("y"),
    "moments.rel_error": moments_error,
    # Mean over the thresholds of what `profile_error` is for energies.
    "occupancy.rel_error": lambda ours, theirs: profile_error(
        ours.occupancy_rtz, theirs.occupancy_rtz
    ).mean(axis=-1),
    "optimisation_metric": optimisation_metric,
}
"""By their name in `metrics.json`; averaged over the energy bins."""


# ---------------------------------------------------------------------------------- all together

Values = dict[str, Float]

Weights = tuple[Float, Float]
"""How often the showers of both samples count in the one and in the other, in R weightings: (R, P)
each."""


def put_together(generated: Observables, reference: Observables) -> tuple[Observables, Weights]:
    """Both samples as one, generated showers first, and the weights that take them as they are."""
    together = concatenate([generated, reference])
    ours_1p = (np.arange(len(together)) < len(generated)).astype(np.float64)[None, :]
    return together, (ours_1p, 1.0 - ours_1p)


def filled(together: Observables, weights: Weights, bins: Sequence[Bin]) -> Weights:
    """The weightings in which both samples have showers in each of the bins.

    Of some four showers in a bin, the fewest that may be asked for, random weightings take none now
    and then, and nothing can be said of it.
    """
    inside = [each.rows(together) for each in bins]
    kept_r = np.all(
        [each_rp[:, rows].sum(axis=1) > 0.0 for each_rp in weights for rows in inside], axis=0
    )
    return weights[0][kept_r], weights[1][kept_r]


def compare(
    together: Observables, weights: Weights, bins: Sequence[Bin], by_feature: Scales
) -> Values:
    """All metrics of means and distances of features, for R weightings: (R,) each.

    Inclusive, and as `bin.NAME.METRIC` for each of the given bins, which must hold showers of both.
    Inclusive relative errors are the mean over the energy bins, all else is over all showers. A
    distance is missing where no shower of one of them has the feature; which they are says the
    first weighting. NaN in weightings without showers of both in a bin, see `filled`.
    """
    found: Values = {}
    # One row per shower: sorting showers then moves rows, which is several times faster.
    by_shower = [np.ascontiguousarray(each_rp.T) for each_rp in weights]
    for each in bins:
        rows = np.flatnonzero(each.rows(together))
        ours_rp, theirs_rp = (each_pr[rows].T for each_pr in by_shower)
        values = _of_showers(together.select(rows), (ours_rp, theirs_rp), by_feature)
        found |= {f"bin.{each.name}.{name}": value for name, value in values.items()}
    energy_bins = [each for each in bins if each.quantity == "energy"]
    inclusive: Values = {
        name: np.mean([found[f"bin.{each.name}.{name}"] for each in energy_bins], axis=0)
        for name in (*RELATIVE_ERRORS, "resolution.rel_error")
    }
    whole = next((each for each in energy_bins if each.rows(together).all()), None)
    if whole is not None:
        names = [name for name in found if name.startswith(f"bin.{whole.name}.")]
        over_all = {name.removeprefix(f"bin.{whole.name}."): found[name] for name in names}
    else:
        over_all = _of_showers(together, (by_shower[0].T, by_shower[1].T), by_feature)
    return over_all | inclusive | found


def _of_showers(together: Observables, weights: Weights, by_feature: Scales) -> Values:
    ours_rp, theirs_rp = weights
    ours, theirs = Means.of(together, ours_rp), Means.of(together, theirs_rp)
    found = {name: compute(ours, theirs) for name, compute in RELATIVE_ERRORS.items()}
    # The shape of the spectrum alone: how many cells there are is for the hits. Cells of one
    # shower vary together, so the noise is not that of as many independent entries.
    found["cell_energy.separation"] = separation_power(ours.cell_counts_rb, theirs.cell_counts_rb)
    found |= {
        name: profile_chi2(values_pk, together.energy_n, ours_rp, theirs_rp)
        for name, values_pk in profile_values(together).items()
    }
    counted = ours_rp.T.astype(np.float32).T, theirs_rp.T.astype(np.float32).T
    both = Cumulated.of(together.sampling_fraction_n, *counted)
    found["resolution.rel_error"] = relative_error(
        *(
            _robust_width(each(_CENTRAL))
            for each in (both.quantiles_of_ours, both.quantiles_of_theirs)
        )
    )
    found["fluctuations.rel_error"] = fluctuations_error(together, weights)
    for name, scale in by_feature.items():
        values_p = scale.compared(together)
        rows = np.isfinite(values_p)
        if not (ours_rp[0, rows].any() and theirs_rp[0, rows].any()):
            continue
        one, other = (each_rp.T if rows.all() else each_rp.T[rows] for each_rp in counted)
        values = distances(values_p[rows], one.T, other.T, together.settings)
        found |= {f"{name}.{distance}": values[distance] for distance in DISTANCES}
    return found


def profile_values(sample: Observables) -> dict[str, Float]:
    """What `profile_chi2` compares, of each shower, by the metric's name: (N, slices)."""
    energy_n1 = sample.energy_n[:, None]
    return {
        "profile.longitudinal.chi2": sample.longitudinal_nz / energy_n1,
        "profile.transverse_x.chi2": sample.transverse_x_nx / energy_n1,
        "profile.transverse_y.chi2": sample.transverse_y_ny / energy_n1,
        "occupancy.chi2": sample.layer_hits_ntz.reshape(len(sample), -1).astype(np.float64),
        "cell_energy.chi2": sample.cell_counts_nb.astype(np.float64),
    }


def fluctuations_error(together: Observables, weights: Weights) -> Float:
    """|w_g / w_r - 1|, w being the relative width of ECAL/Ep at given incident energy: (R,).

    In units of what it is at that energy, by quadratic fits in ln Ep to both samples together, so
    that all showers tell of one number. Deviations count up to five of these units, so that a few
    wild showers do not. Levene's test in another form (Levene 1960).
    """
    logarithm_p = np.log(together.energy_n)
    # Over the mean of its own sample, as the first weighting has them: one curve is to fit both,
    # whatever their responses.
    ours_p, theirs_p = (each_rp[0] for each_rp in weights)
    means = [each_p @ together.sampling_fraction_n / each_p.sum() for each_p in (ours_p, theirs_p)]
    counted_p = np.maximum(ours_p + theirs_p, 1.0)
    own_p = (ours_p * means[0] + theirs_p * means[1]) / counted_p
    own_p = np.where(own_p > 0.0, own_p, max(means))
    fraction_p = together.sampling_fraction_n / np.where(own_p > 0.0, own_p, 1.0)
    expected_p = np.polyval(quadratic(logarithm_p, fraction_p), logarithm_p)
    expected_p = np.maximum(expected_p, 1e-3 * fraction_p.mean())
    relative_p = fraction_p / expected_p - 1.0
    distance_p = np.abs(relative_p)
    spread_p = np.polyval(quadratic(logarithm_p, distance_p), logarithm_p)
    spread_p = np.maximum(spread_p, 0.3 * distance_p.mean())
    if distance_p.mean() < _ROUNDING:  # No shower fluctuates but by its rounding.
        return np.zeros(len(weights[0]))
    farthest_p = _FARTHEST_PULL * spread_p
    response_p = 1.0 + np.clip(relative_p, -farthest_p, farthest_p)
    weight_p = spread_p**-2
    widths = []
    for each_rp in weights:
        total_r = each_rp.sum(axis=1)
        mean_r = each_rp @ response_p / total_r
        # The mean of ((response - mean) / spread)^2, of each sample around its own mean: a wrong
        # response would else be a width, too.
        squares_r = (
            each_rp @ (weight_p * response_p**2)
            - 2.0 * mean_r * (each_rp @ (weight_p * response_p))
            + mean_r**2 * (each_rp @ weight_p)
        ) / total_r
        widths.append(np.sqrt(np.maximum(squares_r, 0.0)) / np.maximum(mean_r, 1e-12))
    return relative_error(widths[0], widths[1])


def _robust_width(quantiles_r3: Float) -> Float:
    """Half the central 68 % over the median, as `gan3d.validation.resolution` has it: (R,)."""
    low_r, median_r, high_r = quantiles_r3.T
    width_r: Float = np.divide(
        high_r - low_r, 2.0 * median_r, out=np.full(len(median_r), np.nan), where=median_r > 0.0
    )
    return width_r

"""Generated showers against a reference: all metrics, their noise level, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy import stats

from gan3d.config import Geometry, Validation
from gan3d.data import LARGEST_FRACTION, Showers
from gan3d.errors import DataError
from gan3d.validation.bins import Bin, bins_of, particle_bins, split_name
from gan3d.validation.catalogue import (
    IMAGES_METRICS,
    METRICS,
    WHOLE_METRICS,
    Kind,
    Metric,
    all_metrics,
    main_metrics,
)
from gan3d.validation.classifier import told_apart
from gan3d.validation.layers import layer_metrics, layer_separations, of_each_layer
from gan3d.validation.measures import Float, cell_energy_edges
from gan3d.validation.metrics import Scales, compare, filled, put_together, scales
from gan3d.validation.observables import Observables, observe
from gan3d.validation.outliers import Outliers, outliers
from gan3d.validation.resampling import (
    at_common_angles,
    at_common_energies,
    enough_exchanges,
    exchanges,
    pairs,
    spread_alike,
    with_bootstrap,
)
from gan3d.validation.resolution import (
    can_be_fitted,
    energy_edges,
    fit_resolution,
    resolution_curve,
)
from gan3d.validation.sample import Sample, summarise
from gan3d.validation.significance import SMALLEST_P, Family, at_least_one, each_of
from gan3d.validation.whole import FEWEST_SHOWERS, WholeComparison, WholeShowers, copies

_HARDLY = 2.0
_SURELY = 6.0
"""Standard deviations of a perfect generator's values: within the first a value is a usual one;
beyond the second chance is out of the question among hundreds of metrics, long tails or not."""
_THRESHOLD_SHARE = 0.01
"""Cells below all of the other sample's; there are a few in any sample of another size."""

Word = Literal["agrees", "unclear", "close", "differs", "too alike"]
WORDS: tuple[Word, ...] = ("agrees", "unclear", "close", "differs", "too alike")


@dataclass(frozen=True)
class Estimate:
    """A metric, its uncertainty, and what a perfect generator has."""

    value: float
    """Of generated against reference."""
    error: float
    """Standard error: of the bootstrap, or as the metric's own documentation says."""
    noise: float
    """What a perfect generator has on average in samples of these sizes: of pairs of samples that
    are both drawn from the reference."""
    spread: float
    """Standard deviation of that."""
    p: float
    """How likely a perfect generator would have any metric of the report as far off."""
    alone: float
    """How likely it would have this one as far off."""
    detectable: float
    """The value from which on it would have been told from a perfect generator's."""
    per_shower: float
    """1/N + 1/M of the samples."""
    exchanged: tuple[float, float]
    """Mean and standard deviation after exchanges of showers between the samples, which
    probabilities come from."""


@dataclass(frozen=True)
class Verdict:
    """What one metric says."""

    name: str
    """Name in `metrics.json`."""
    metric: Metric
    """What is compared."""
    estimate: Estimate
    """The numbers."""
    word: Word
    """`agrees` with what a perfect generator has; `unclear`: within chance among so many metrics,
    but a fault that matters would be, too, or it is unlikely on its own; `close`: beyond chance,
    but small; `differs`; `too alike`: nearer to the reference than independent showers are."""

    @property
    def title(self) -> str:
        """What is compared, for a reader."""
        return self.metric.title

    @property
    def value(self) -> float:
        """Of generated against reference."""
        return self.estimate.value

    @property
    def beyond(self) -> float:
        """By how many standard deviations it is worse than after exchanges of showers.

        0 where it is better. It ranks metrics; how unlikely a value is says `p`: distributions have
        long tails, and there are hundreds of metrics.
        """
        return beyond(self.metric.kind, self.estimate)

    @property
    def faulty(self) -> bool:
        """Whether it is more than chance."""
        return self.word not in ("agrees", "unclear")


@dataclass(frozen=True)
class Judgement:
    """The result of `judge`: everything that a report shows."""

    metrics: dict[str, float]
    """Flat, dotted name -> number. Beside each NAME `error.NAME`, `noise.NAME`, `spread.NAME`,
    `p.NAME` and `alone.NAME` (see `Estimate`), `p` of all of them, the numbers of showers, and for
    `generated` and `reference` the terms of the energy resolution, `resolution.stochastic`
    (sqrt(GeV)), `resolution.constant` and their `_error`s, where there are energies enough for a
    fit. `layer.NUMBER.NAME.separation` and `noise.layer...` say what `layers.NAME.separation` is
    the mean of."""
    verdicts: list[Verdict]
    """One for each of `METRICS` and `LAYER_METRICS`, and of `WHOLE_METRICS` where there are enough
    showers."""
    feature_verdicts: list[Verdict]
    """One for each distance of each feature's distributions."""
    bin_verdicts: list[Verdict]
    """The same in each bin, named `bin.NAME.METRIC`."""
    remarks: list[str]
    """What a reader must know before trusting the numbers: bins left out, empty showers, ..."""
    generated: Sample
    """What was judged."""
    reference: Sample
    """What it was judged against."""
    bins: list[Bin]
    """The bins that held enough showers."""
    whole: WholeComparison
    """Correlation matrices and classifiers."""
    further: Mapping[str, Judgement] = field(default_factory=dict)
    """Of further images of the same showers, by their names (`gan3d.validation.several`)."""

    @property
    def p(self) -> float:
        """How likely a perfect generator would have anything in the report as far off."""
        return self.metrics["p"]

    @property
    def settings(self) -> Validation:
        """The settings in force."""
        return self.reference.observables.settings

    @property
    def label(self) -> str:
        """What was judged, in a word."""
        return self.generated.label

    @property
    def image(self) -> str:
        """The image that was judged, or the first of several with all together."""
        return self.reference.observables.image

    @property
    def energy_bins_gev(self) -> list[tuple[float, float]]:
        """The energy bins that held enough showers."""
        return [(each.low, each.high) for each in self.bins if each.quantity == "energy"]


def judge(
    generated: Showers | Iterable[Showers] | Sample,
    reference: Showers | Iterable[Showers] | Sample,
    geometry: Geometry,
    settings: Validation,
    *,
    labels: tuple[str, str] = ("Generated", "Geant4"),
    scores: tuple[Float, Float] | None = None,
    part: bool = False,
) -> Judgement:
    """Compare generated showers with reference ones, given whole, as blocks or already measured.

    Every metric NAME has companions. `error.NAME` is its standard error, as a rule the standard
    deviation over `settings.bootstrap_replicas` bootstrap replicas of both samples. `noise.NAME`
    and `spread.NAME` are mean and standard deviation of what a perfect generator has, in samples of
    these sizes. `p.NAME` is how likely it would have any metric of the report as far off
    (`gan3d.validation.significance`), from `settings.exchanges` exchanges of showers between the
    samples, among neighbours in incident energy.

    Args:
        generated: images_nxyz (N, x, y, layer) in GeV and energy_n (N,) in GeV.
        reference: the same of the Monte Carlo.
        geometry: the grid of cells of both.
        settings: bins, thresholds and sample sizes.
        labels: what generated and reference are called.
        scores: what the run's own discriminator gives generated and reference showers that it was
            not trained on, (n,) and (m,): the higher, the more like Monte Carlo.
        part: whether the images are but a part of the showers, in which two may well be nearly
            alike, or one far from all others for its few cells: neither copies nor outliers are
            looked for then.

    Raises:
        DataError: either is not fit to be judged (see `observe`), holds fewer than
            `settings.minimum_showers`, is empty of energy or in other units than the other, no
            energy bin holds enough showers of both, or angles are to be binned and not known.

    """
    ours_sample, theirs_sample = (
        side if isinstance(side, Sample) else summarise(side, geometry, settings, label=label)
        for side, label in zip((generated, reference), labels, strict=True)
    )
    everything = ours_sample.observables, theirs_sample.observables
    _check_comparable(*everything)
    bins, remarks = _usable_bins([*bins_of(settings), *particle_bins(*everything)], *everything)
    remarks += _sample_remarks(*everything)
    unlike = _spread_differently(*everything)
    if unlike:
        ours_sample, theirs_sample = _at_common_conditions(ours_sample, theirs_sample, unlike)
        remarks.append(
            f"Generated and reference showers are spread differently over incident {unlike}: "
            f"compared are {len(ours_sample.observables)} of both, at about the same."
        )
        bins, left_out = _usable_bins(bins, ours_sample.observables, theirs_sample.observables)
        remarks += left_out
    ours, theirs = ours_sample.observables, theirs_sample.observables

    names_of_images = theirs.image, theirs.others
    catalogue = all_metrics(settings, geometry, *names_of_images)
    by_feature = scales(put_together(ours, theirs)[0])
    groups, of_layers = _from_values(ours, theirs, bins, by_feature, catalogue)
    names = {name for group in groups for name in group.found}
    remarks += [
        f"{scale.feature.title}: in {ours.label} undefined for all showers, unlike in "
        f"{theirs.label}: not compared."
        for name, scale in by_feature.items()
        if f"{name}.ks" not in names and np.isfinite(scale.feature.values(theirs)).any()
    ]
    showers = WholeShowers(ours_sample, theirs_sample, by_feature)
    whole = showers.compare()
    if not whole.metrics and settings.sample_showers:
        remarks.append(
            f"{whole.showers} showers of both are too few for correlations, classifiers and "
            f"distances in all features together, which need {FEWEST_SHOWERS}."
        )
    if scores is not None:
        # High scores are those of Monte Carlo; a classifier here looks for generated showers.
        found = told_apart(-scores[0], -scores[1])
        whole = replace(whole, classifiers={**whole.classifiers, "discriminator": found})
    groups += _of_whole(whole, "", catalogue)
    of_all = [each for each in bins if each.rows(ours).all() and each.rows(theirs).all()]
    for each in bins:
        if each not in of_all:
            groups += _of_whole(showers.compare(each), f"bin.{each.name}.", catalogue)
    groups = [group for group in groups if group.found]
    estimates = _estimates(groups, settings)
    estimates |= {
        f"bin.{each.name}.{name}": estimates[name]
        for each in of_all
        for name in (*WHOLE_METRICS, *IMAGES_METRICS)
        if name in estimates and f"bin.{each.name}.{name}" not in estimates
    }
    per_shower = 1.0 / len(ours) + 1.0 / len(theirs)
    copied = {} if part else {**copies(*everything), **showers.near_copies()}
    for name, (share, error) in copied.items():
        # No two showers of a Monte Carlo are the same in all cells.
        p = SMALLEST_P if share else 1.0
        estimates[name] = Estimate(share, error, 0.0, 0.0, p, p, 0.0, per_shower, (0.0, 0.0))
    if not part:
        unlikely = each_of(settings.false_alarms, len(groups) + 1)
        beyond_all = outliers(ours, theirs, by_feature, unlikely)
        error = math.sqrt(beyond_all.share * (1.0 - beyond_all.share) / max(beyond_all.showers, 1))
        estimates["outliers"] = Estimate(
            beyond_all.share,
            error,
            0.0,
            0.0,
            at_least_one(beyond_all.p, len(groups) + 1),
            beyond_all.p,
            0.0,
            per_shower,
            (0.0, 0.0),
        )
        remarks += _outlier_remarks(beyond_all, estimates["outliers"], ours, theirs)
        remarks += _copy_remarks(estimates, *everything)

    differ = min(each.p for each in estimates.values()) <= settings.false_alarms

    def verdicts_of(prefix: str) -> list[Verdict]:
        return [
            Verdict(
                prefix + name,
                metric,
                estimates[prefix + name],
                word(metric.kind, estimates[prefix + name], settings, differ),
            )
            for name, metric in catalogue.items()
            if prefix + name in estimates
        ]

    verdicts = verdicts_of("")
    main = main_metrics(geometry, *names_of_images)
    sizes = {
        "p": min(each.p for each in estimates.values()),
        **{
            f"{side}.{name}": value
            for side, given, compared in zip(
                ("generated", "reference"), everything, (ours, theirs), strict=True
            )
            for name, value in {
                "showers": len(given),
                "compared_showers": len(compared),
                "empty_showers": int(given.empty_n.sum()),
            }.items()
        },
    }
    return Judgement(
        metrics=_flat(estimates) | of_layers | sizes | _resolutions(ours, theirs),
        verdicts=[verdict for verdict in verdicts if verdict.name in main],
        feature_verdicts=[verdict for verdict in verdicts if verdict.name not in main],
        bin_verdicts=[v for each in bins for v in verdicts_of(f"bin.{each.name}.")],
        remarks=remarks,
        generated=ours_sample,
        reference=theirs_sample,
        bins=bins,
        whole=whole,
    )


def compare_showers(
    generated: Showers, reference: Showers, geometry: Geometry, settings: Validation
) -> dict[str, float]:
    """The inclusive `METRICS` alone, without noise and verdict: quick, for epochs of a training.

    Unlike `judge` it takes showers as bad as an untrained network makes them (empty ones, any
    response). It returns nothing where no energy bin holds `settings.minimum_showers` of both.

    Raises:
        DataError: as `observe`.

    """
    ours = observe(generated, geometry, settings, label="generated showers")
    theirs = observe(reference, geometry, settings, label="reference showers")
    energy_bins = [
        each
        for each in bins_of(settings)
        if each.quantity == "energy"
        and min(each.rows(ours).sum(), each.rows(theirs).sum()) >= settings.minimum_showers
    ]
    if not energy_bins:
        return {}
    together, weights = put_together(ours, theirs)
    main = {
        name: scale for name, scale in scales(together).items() if f"{name}.separation" in METRICS
    }
    metrics = compare(together, weights, energy_bins, main)
    return {name: float(metrics[name][0]) for name in METRICS if name in metrics}


# ----------------------------------------------------------------------- values, noise, verdicts


@dataclass(frozen=True)
class _Value:
    """A metric before its verdict."""

    value: float
    error: float
    tested: float
    """What is tested: as a rule the value."""
    noise: float
    spread: float
    exchanged: tuple[float, float]


@dataclass(frozen=True)
class _Group:
    """Metrics of one look at the samples, and how unlikely each is among them."""

    found: Mapping[str, _Value]
    tests: Family | _Normal
    per_shower: Mapping[str, float]


@dataclass(frozen=True)
class _Normal:
    """Classifiers' areas, each normal for equal samples; `Family` is for all else."""

    spreads: Mapping[str, float]

    def p_value(self, name: str, value: float) -> float:
        """How likely any of them is as far from 0.5, either way."""
        one = float(2.0 * stats.norm.sf(abs(value - 0.5) / self.spreads[name]))
        return max(at_least_one(one, len(self.spreads)), SMALLEST_P)

    def alone(self, name: str, value: float) -> float:
        """How likely this one is as far from 0.5, either way."""
        one = float(2.0 * stats.norm.sf(abs(value - 0.5) / self.spreads[name]))
        return max(one, SMALLEST_P)

    def detectable(self, name: str, p_value: float) -> float:
        """The area above 0.5 at which `p_value` is reached."""
        one = each_of(p_value, len(self.spreads))
        return float(0.5 + stats.norm.isf(one / 2.0) * self.spreads[name])


def _from_values(
    ours: Observables,
    theirs: Observables,
    bins: Sequence[Bin],
    by_feature: Scales,
    catalogue: Mapping[str, Metric],
) -> tuple[list[_Group], dict[str, float]]:
    """All metrics that come from per-shower values, inclusive and in bins, and those of layers."""
    settings = theirs.settings
    rng = np.random.default_rng(settings.seed)
    count, other = len(ours), len(theirs)
    together, weights = put_together(ours, theirs)
    drawn = [with_bootstrap(size, settings.bootstrap_replicas, rng)[1:] for size in (count, other)]
    tries = enough_exchanges(settings.exchanges, count + other)
    shuffled = exchanges(ours.energy_n, theirs.energy_n, tries, rng)
    shuffled_rp = shuffled.astype(np.float64)
    replicas = np.pad(drawn[0], ((0, 0), (0, other))), np.pad(drawn[1], ((0, 0), (count, 0)))
    taken = [
        weights,
        filled(together, replicas, bins),
        filled(together, (shuffled_rp, 1.0 - shuffled_rp), bins),
    ]
    one, two = (np.concatenate([pair[side] for pair in taken]) for side in (0, 1))
    of_layers = layer_separations(together, one, two)
    values = compare(together, (one, two), bins, by_feature) | layer_metrics(of_layers)
    first = 1 + len(taken[1][0])
    likely = pairs(ours.energy_n, theirs.energy_n, settings.noise_replicas, rng)
    likely = filled(theirs, likely, bins)
    layer_noise = layer_separations(theirs, *likely)
    noise = compare(theirs, likely, bins, by_feature) | layer_metrics(layer_noise)
    groups = []
    # Families of their own: the main metrics do not pay for the look at hundreds of others.
    families: dict[str, dict[str, Float]] = {"main": {}, "features": {}, "bins": {}}
    for name, each in values.items():
        is_main = name in METRICS or name in IMAGES_METRICS
        family = "main" if is_main else "bins" if name.startswith("bin.") else "features"
        families[family][name] = each
    for chosen in families.values():
        found, tested = {}, {}
        for name, values_r in chosen.items():
            if name not in noise:
                continue
            kind, value = catalogue[split_name(name)[1]].kind, float(values_r[0])
            exchanged_k = values_r[first:]
            tested[name] = kind, value, exchanged_k
            found[name] = _Value(
                value=value,
                error=float(values_r[1:first].std(ddof=1)),
                tested=value,
                noise=float(noise[name].mean()),
                spread=float(noise[name].std(ddof=1)),
                exchanged=(float(exchanged_k.mean()), float(exchanged_k.std(ddof=1))),
            )
        sizes = {
            f"bin.{each.name}.": 1.0 / each.rows(ours).sum() + 1.0 / each.rows(theirs).sum()
            for each in bins
        }
        per_shower = {
            name: next(
                (size for prefix, size in sizes.items() if name.startswith(prefix)),
                1.0 / count + 1.0 / other,
            )
            for name in found
        }
        groups.append(_Group(found, Family.of(tested), per_shower))
    as_they_are = {name: each_rz[:1] for name, each_rz in of_layers.items()}
    return groups, of_each_layer(as_they_are) | of_each_layer(layer_noise, "noise.")


def _of_whole(whole: WholeComparison, prefix: str, catalogue: Mapping[str, Metric]) -> list[_Group]:
    """The metrics of whole showers, without and with classifiers."""
    groups = []
    if whole.metrics:
        found = {
            prefix + name: _Value(
                each.value,
                each.error,
                each.value if each.tested is None else each.tested,
                *each.perfect,
                _mean_and_spread(each.exchanged_k),
            )
            for name, each in whole.metrics.items()
        }
        tested = {
            prefix + name: (catalogue[name].kind, found[prefix + name].tested, each.exchanged_k)
            for name, each in whole.metrics.items()
        }
        sizes = dict.fromkeys(found, 2.0 / whole.showers)
        groups.append(_Group(found, Family.of(tested), sizes))
    if whole.classifiers:
        by_name = {
            f"{prefix}classifier.{name}.auc": each for name, each in whole.classifiers.items()
        }
        areas = {
            name: _Value(
                each.auc, each.error, each.auc, 0.5, each.error_of_equal, (0.5, each.error_of_equal)
            )
            for name, each in by_name.items()
        }
        sizes = {
            name: 1.0 / each.showers[0] + 1.0 / each.showers[1] for name, each in by_name.items()
        }
        spreads = {name: each.error_of_equal for name, each in by_name.items()}
        groups.append(_Group(areas, _Normal(spreads), sizes))
    return groups


def _mean_and_spread(values_k: Float) -> tuple[float, float]:
    return float(values_k.mean()), float(values_k.std(ddof=1))


def _estimates(groups: Sequence[_Group], settings: Validation) -> dict[str, Estimate]:
    """All metrics with their probabilities, in which all groups' tries are reckoned with.

    And one more, that of outliers.
    """
    tries = len(groups) + 1
    limit = each_of(settings.false_alarms, tries)
    return {
        name: Estimate(
            each.value,
            each.error,
            each.noise,
            each.spread,
            at_least_one(group.tests.p_value(name, each.tested), tries),
            group.tests.alone(name, each.tested),
            group.tests.detectable(name, limit),
            group.per_shower[name],
            each.exchanged,
        )
        for group in groups
        for name, each in group.found.items()
    }


def beyond(kind: Kind, estimate: Estimate) -> float:
    """How many spreads a value is worse than after exchanges; 0 where it is not."""
    mean, spread = estimate.exchanged
    excess = estimate.value - mean
    excess = abs(excess) if kind.worse == 0 else kind.worse * excess
    if excess <= 0.0:
        return 0.0
    return excess / spread if spread > 0.0 else math.inf


def word(kind: Kind, estimate: Estimate, settings: Validation, differ: bool = False) -> Word:
    """The verdict in a word.

    Where samples are known to `differ`, exchanging their showers makes mixtures of both, whose
    values may be spread much less than a perfect generator's, or much more. So what differs must
    then be worse than a perfect generator's, too, and what is many of its standard deviations worse
    does differ.
    """
    tolerance = getattr(settings.tolerances, kind.tolerance) if kind.tolerance else None
    large = is_large(kind, estimate, settings)
    worse = estimate.value - estimate.noise
    worse = abs(worse) if kind.worse == 0 else kind.worse * worse
    by_chance = estimate.p > settings.false_alarms
    detectable = estimate.detectable
    if differ and estimate.spread > 0.0:
        if by_chance and worse > _SURELY * estimate.spread and tolerance is not None:
            by_chance = not large
        elif not by_chance and kind.alike * (estimate.value - estimate.noise) <= 0.0:
            by_chance = worse <= _HARDLY * estimate.spread
        if kind.worse > 0:
            detectable = max(detectable, estimate.noise + _SURELY * estimate.spread)
    if by_chance:
        blind = tolerance is not None and (
            large or _fault(kind, estimate, detectable) > settings.unclear_beyond * tolerance
        )
        unlikely = estimate.alone < settings.unclear_below
        return "unclear" if blind or unlikely else "agrees"
    if kind.alike * (estimate.value - estimate.noise) > 0.0:
        return "too alike"
    return "close" if tolerance is not None and not large else "differs"


def is_large(kind: Kind, estimate: Estimate, settings: Validation) -> bool:
    """Whether the value is beyond what is called close, be it by chance or not."""
    if kind.tolerance is None:
        return False
    tolerance: float = getattr(settings.tolerances, kind.tolerance)
    return _fault(kind, estimate, estimate.value) > tolerance


def _fault(kind: Kind, estimate: Estimate, value: float) -> float:
    best = estimate.noise if kind.best is None else kind.best
    return abs(value - best) * (estimate.per_shower if kind.per_shower else 1.0)


def _resolutions(generated: Observables, reference: Observables) -> dict[str, float]:
    """Stochastic and constant term of both samples; without those that cannot be fitted."""
    edges, found = energy_edges([generated, reference]), {}
    for side, sample in (("generated", generated), ("reference", reference)):
        curve = resolution_curve(sample, edges)
        if not can_be_fitted(curve):
            continue
        fit = fit_resolution(curve)
        for term in ("stochastic", "constant"):
            found[f"{side}.resolution.{term}"] = getattr(fit, term)
            found[f"{side}.resolution.{term}_error"] = getattr(fit, f"{term}_error")
    return found


def _flat(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    flat = {name: estimate.value for name, estimate in estimates.items()}
    for part in ("error", "noise", "spread", "p", "alone"):
        flat |= {f"{part}.{name}": getattr(each, part) for name, each in estimates.items()}
    return flat


# ----------------------------------------------------------------- what can and cannot be judged


def _check_comparable(generated: Observables, reference: Observables) -> None:
    minimum = reference.settings.minimum_showers
    for sample in (generated, reference):
        if len(sample) < minimum:
            raise DataError(
                f"{sample.label}: {len(sample)} showers are too few to judge, at least {minimum} "
                "are needed (validation.minimum_showers)"
            )
        if sample.empty_n.all():
            raise DataError(f"{sample.label}: all {len(sample)} showers are empty (no energy)")
        response = float(sample.sampling_fraction_n.mean())
        if response > LARGEST_FRACTION:
            raise DataError(
                f"{sample.label}: the cells hold {response:.3g} times the incident energy: "
                "are cells in MeV, or incident energies in TeV? Both must be in GeV"
            )
    ratio = float(generated.sampling_fraction_n.mean() / reference.sampling_fraction_n.mean())
    if 500.0 < ratio < 2000.0 or 500.0 < 1.0 / ratio < 2000.0:
        raise DataError(
            f"{generated.label}: {reference.image}/Ep is {ratio:.3g} times that of "
            f"{reference.label}: one of them has cells or incident energies in other units. All "
            "must be in GeV"
        )
    for sample in (generated, reference):
        if reference.settings.angle_bins_deg and np.isnan(sample.theta_n).all():
            raise DataError(
                f"{sample.label}: validation.angle_bins_deg asks for bins of angle, but the "
                "showers' file says no angle (theta); remove the bins, or take other files"
            )
        # float32 of pi is above pi.
        largest = float(np.nanmax(np.abs(sample.theta_n), initial=0.0))
        if reference.settings.angle_bins_deg and largest > math.pi + 1e-6:
            raise DataError(
                f"{sample.label}: angles (theta) up to {largest:.4g}, expected rad, between -pi "
                "and pi; are they in degrees?"
            )


def _spread_differently(generated: Observables, reference: Observables) -> str:
    """Over which incident conditions; empty where over none."""
    unlike = []
    if not spread_alike(generated.energy_n, reference.energy_n):
        unlike.append("energy")
    angles = generated.theta_n, reference.theta_n
    if not any(np.isnan(each).any() for each in angles) and not spread_alike(*angles):
        unlike.append("angle")
    return " and ".join(unlike)


def _at_common_conditions(
    generated: Sample, reference: Sample, unlike: str
) -> tuple[Sample, Sample]:
    """As many showers of both at each incident energy and, if these are unlike, at each angle.

    Raises DataError where they are too few.
    """
    ours, theirs = generated.observables, reference.observables
    rng = np.random.default_rng([theirs.settings.seed, 3])
    if "angle" in unlike:
        rows_n, rows_m = at_common_angles(
            (ours.energy_n, ours.theta_n), (theirs.energy_n, theirs.theta_n), rng
        )
    else:
        rows_n, rows_m = at_common_energies(ours.energy_n, theirs.energy_n, rng)
    minimum = theirs.settings.minimum_showers
    if len(rows_n) < minimum:
        raise DataError(
            f"{ours.label} and {theirs.label} are spread differently over incident {unlike}: only "
            f"{len(rows_n)} showers of both are at about the same, at least {minimum} are needed "
            "(validation.minimum_showers); generate showers at the reference's conditions (gan3d "
            "generate --like)"
        )
    return generated.rows(rows_n), reference.rows(rows_m)


def _usable_bins(
    bins: Iterable[Bin], generated: Observables, reference: Observables
) -> tuple[list[Bin], list[str]]:
    usable, remarks, counts = [], [], []
    minimum = reference.settings.minimum_showers
    for each in bins:
        ours, theirs = int(each.rows(generated).sum()), int(each.rows(reference).sum())
        if each.quantity == "energy":
            counts.append(f"{each.name} {ours} and {theirs}")
        if min(ours, theirs) >= minimum:
            usable.append(each)
        else:
            remarks.append(
                f"{each.quantity.capitalize()} bin {each.name} is left out: {ours} generated and "
                f"{theirs} reference showers, at least {minimum} of each are needed."
            )
    if not any(each.quantity == "energy" for each in usable):
        ranges = " and ".join(
            f"{each.energy_n.min():g} to {each.energy_n.max():g}" for each in (generated, reference)
        )
        raise DataError(
            f"no energy bin holds {minimum} showers of both {generated.label} and "
            f"{reference.label} ({', '.join(counts)}), whose incident energies are {ranges}, taken "
            "for GeV: generate others, set validation.energy_bins_gev, or convert from MeV"
        )
    return usable, remarks


def _sample_remarks(generated: Observables, reference: Observables) -> Iterator[str]:
    for sample in (generated, reference):
        empty = int(sample.empty_n.sum())
        if empty:
            yield (
                f"{sample.label}: {empty} of {len(sample)} showers are empty. They count in "
                "energies, profiles and hits, and have no moments."
            )
    for each in bins_of(reference.settings):
        for sample in (generated, reference):
            empty_n = sample.empty_n[each.rows(sample)]
            if len(empty_n) and empty_n.all():
                yield (
                    f"{sample.label}: all showers in {each.name} are empty; their moments count "
                    "as 100 % off."
                )
    energy_bins = [each for each in bins_of(reference.settings) if each.quantity == "energy"]
    for sample in (generated, reference):
        inside_n = np.any([each.rows(sample) for each in energy_bins], axis=0)
        outside = int((~inside_n).sum())
        if outside:
            yield (
                f"{sample.label}: {outside} of {len(sample)} showers lie outside of all energy "
                "bins: means, profiles and moments leave them out (validation.energy_bins_gev)."
            )
    ours, theirs = (set(sample.pdg_n[~np.isnan(sample.pdg_n)]) for sample in (generated, reference))
    if ours and theirs and ours != theirs:
        codes = [", ".join(f"{code:g}" for code in sorted(each)) for each in (ours, theirs)]
        yield (
            f"Not of the same particles: {generated.label} has PDG code {codes[0]}, "
            f"{reference.label} {codes[1]}."
        )
    yield from _threshold_remarks(generated, reference)


def _threshold_remarks(generated: Observables, reference: Observables) -> Iterator[str]:
    """Whether cells of one sample begin far below those of the other."""
    edges = cell_energy_edges(reference.settings)
    for low, high in ((generated, reference), (reference, generated)):
        counts, others = low.cell_counts_nb.sum(axis=0), high.cell_counts_nb.sum(axis=0)
        if not (counts.any() and others.any()):
            continue
        first = int(np.flatnonzero(others)[0])
        share = counts[:first].sum() / counts.sum()
        if share > _THRESHOLD_SHARE:
            yield (
                f"{low.label}: {100 * share:.0f} % of the cells with energy hold less than any of "
                f"{high.label}, which begin at {edges[max(first - 1, 0)]:.1g} GeV. Unless that is "
                "physics, set cells below the same threshold to 0 in both."
            )


def _outlier_remarks(
    found: Outliers, estimate: Estimate, generated: Observables, reference: Observables
) -> Iterator[str]:
    if estimate.p <= reference.settings.false_alarms:
        yield (
            f"{generated.label}: {found.count} of {found.showers} showers are beyond all of "
            f'{reference.label} in "{found.title}" at given Ep: up to {abs(found.farthest):.2g} '
            f"mean deviations away, {reference.label}'s up to {abs(found.limit):.2g}."
        )


def _copy_remarks(
    estimates: Mapping[str, Estimate], generated: Observables, reference: Observables
) -> Iterator[str]:
    within = round(estimates["copies.within"].value * len(generated))
    if within:
        yield (
            f"{generated.label}: {within} of {len(generated)} showers are copies of others, so "
            "there are fewer independent ones than the uncertainties take them for."
        )
    for name, other in (("within", "others"), ("of_reference", reference.label)):
        nearly = estimates.get(f"near_copies.{name}")
        exact = estimates[f"copies.{name}"]
        if nearly is not None and nearly.value > exact.value:
            yield (
                f"{generated.label}: {100 * nearly.value:.2g} % of the showers are nearly the same "
                f"as {'others' if name == 'within' else f'showers of {other}'}, nearer than "
                "independent ones ever are."
            )
    shared = round(estimates["copies.of_reference"].value * len(generated))
    if shared:
        yield (
            f"{generated.label}: {shared} of {len(generated)} showers are also in "
            f"{reference.label}: the samples are not independent."
        )

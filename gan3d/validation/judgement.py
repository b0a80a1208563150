"""Generated showers against a reference: all metrics, their noise level, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gan3d.config import Geometry, Validation
from gan3d.data import LARGEST_FRACTION, Showers
from gan3d.errors import DataError
from gan3d.validation.bins import Bin, bins_of
from gan3d.validation.catalogue import METRICS, WHOLE_METRICS, Kind, Metric, all_metrics
from gan3d.validation.measures import cell_energy_edges
from gan3d.validation.metrics import Scales, compare, scales
from gan3d.validation.observables import Observables, observe
from gan3d.validation.resampling import (
    as_it_is,
    energy_distance,
    halvings,
    same_energies,
    with_bootstrap,
)
from gan3d.validation.resolution import (
    can_be_fitted,
    energy_edges,
    fit_resolution,
    resolution_curve,
)
from gan3d.validation.sample import Sample, summarise
from gan3d.validation.whole import (
    FEWEST_SHOWERS,
    Found,
    WholeComparison,
    compare_whole,
    copies,
)

_THRESHOLD_SHARE = 0.01
"""Cells below all of the other sample's; there are a few in any sample of another size."""

Word = Literal["agrees", "close", "differs"]


@dataclass(frozen=True)
class Estimate:
    """A metric, its uncertainty, and what the reference against itself gives."""

    value: float
    """Of generated against reference."""
    error: float
    """Standard error: of the bootstrap, or as the metric's own documentation says."""
    noise: float
    """Of one half of the reference against the other, mean over random halvings."""
    expected: float
    """What a perfect generator would have on average in samples of these sizes."""
    spread: float
    """Standard deviation of that."""


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
    """`agrees` with what the reference has against itself, `close` beyond it but small, or
    `differs`."""

    @property
    def title(self) -> str:
        """What is compared, for a reader."""
        return self.metric.title

    @property
    def value(self) -> float:
        """Of generated against reference."""
        return self.estimate.value

    @property
    def significance(self) -> float:
        """How many standard deviations the value is worse than expected; 0 where it is better."""
        return significance(self.metric.kind, self.estimate)


@dataclass(frozen=True)
class Judgement:
    """The result of `judge`: everything that a report shows."""

    metrics: dict[str, float]
    """Flat, dotted name -> number. Beside each NAME `noise.NAME`, `error.NAME`, `expected.NAME`
    and `spread.NAME` (see `Estimate`), the numbers of showers, and for `generated` and `reference`
    the terms of the energy resolution, `resolution.stochastic` (sqrt(GeV)), `resolution.constant`
    and their `_error`s, where there are energies enough for a fit."""
    verdicts: list[Verdict]
    """One for each of `METRICS`, and of `WHOLE_METRICS` where there are enough showers."""
    feature_verdicts: list[Verdict]
    """One for each distance of each feature's distributions."""
    bin_verdicts: list[Verdict]
    """The same and those of `METRICS` in each bin, named `bin.NAME.METRIC`."""
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

    @property
    def settings(self) -> Validation:
        """The settings in force."""
        return self.reference.observables.settings

    @property
    def label(self) -> str:
        """What was judged, in a word."""
        return self.generated.label

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
) -> Judgement:
    """Compare generated showers with reference ones, given whole, as blocks or already measured.

    Every metric NAME has companions. `error.NAME` is its standard error, as a rule the standard
    deviation over `settings.bootstrap_replicas` bootstrap replicas of both samples. `noise.NAME` is
    the same metric of one random half of the reference against the other, averaged over
    `settings.noise_splits` halvings. Where both samples hold the same incident energies, neighbours
    in energy go to different halves.

    Halves of N showers hold N/2 each. What a perfect generator would score in samples as large as
    those at hand, `expected.NAME` with the standard deviation `spread.NAME`, follows from the
    halvings by the power of the sample size that such a metric goes with.

    Args:
        generated: images_nxyz (N, x, y, layer) in GeV and energy_n (N,) in GeV.
        reference: the same of the Monte Carlo.
        geometry: the grid of cells of both.
        settings: bins, thresholds and sample sizes.
        labels: what generated and reference are called.

    Raises:
        DataError: either is not fit to be judged (see `observe`), holds fewer than
            `settings.minimum_showers`, is empty of energy or in other units than the other, no
            energy bin holds enough showers of both, or angles are to be binned and not known.

    """
    ours_sample, theirs_sample = (
        side if isinstance(side, Sample) else summarise(side, geometry, settings, label=label)
        for side, label in zip((generated, reference), labels, strict=True)
    )
    ours, theirs = ours_sample.observables, theirs_sample.observables
    _check_comparable(ours, theirs)
    bins, remarks = _usable_bins(ours, theirs)
    remarks += _sample_remarks(ours, theirs)

    by_feature, catalogue = scales(theirs), all_metrics(settings)
    estimates = _estimates(ours, theirs, bins, by_feature, catalogue)
    remarks += [
        f"{ours.label}: no shower has a {scale.feature.title.lower()}, as those of {theirs.label} "
        "have: it is not compared."
        for name, scale in by_feature.items()
        if f"{name}.ks" not in estimates
    ]
    whole = compare_whole(ours_sample, theirs_sample, by_feature)
    if not whole.metrics and settings.sample_showers:
        remarks.append(
            f"{whole.showers} showers of both are too few for correlations, classifiers and "
            f"distances in all features together, which need {FEWEST_SHOWERS}."
        )
    shrink = _shrink(whole.showers, whole.showers, whole.showers) if whole.metrics else 1.0
    estimates |= {
        name: _estimate(found, catalogue[name].kind, shrink)
        for name, found in {**whole.metrics, **copies(ours, theirs)}.items()
    }
    remarks += _copy_remarks(estimates, ours, theirs)

    def verdicts_of(prefix: str) -> list[Verdict]:
        return [
            Verdict(
                prefix + name,
                metric,
                estimates[prefix + name],
                word(metric.kind, estimates[prefix + name], settings),
            )
            for name, metric in catalogue.items()
            if prefix + name in estimates
        ]

    verdicts = verdicts_of("")
    main = {**METRICS, **WHOLE_METRICS}
    sizes = {
        "generated.showers": len(ours),
        "generated.empty_showers": int(ours.empty_n.sum()),
        "reference.showers": len(theirs),
        "reference.empty_showers": int(theirs.empty_n.sum()),
    }
    return Judgement(
        metrics=_flat(estimates) | sizes | _resolutions(ours, theirs),
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
    main = {
        name: scale for name, scale in scales(theirs).items() if f"{name}.separation" in METRICS
    }
    weights = as_it_is(len(ours)), as_it_is(len(theirs))
    metrics = compare(ours, theirs, weights, energy_bins, main)
    return {name: float(metrics[name][0]) for name in METRICS}


# ----------------------------------------------------------------------- values, noise, verdicts


def _estimates(
    ours: Observables,
    theirs: Observables,
    bins: Sequence[Bin],
    by_feature: Scales,
    catalogue: Mapping[str, Metric],
) -> dict[str, Estimate]:
    """Of all metrics that come from per-shower values, inclusive and in bins."""
    settings = theirs.settings
    rng = np.random.default_rng(settings.seed)
    count = settings.bootstrap_replicas
    replicas = with_bootstrap(len(ours), count, rng), with_bootstrap(len(theirs), count, rng)
    values = compare(ours, theirs, replicas, bins, by_feature)
    matched = same_energies(ours.energy_n, theirs.energy_n)
    halved = halvings(theirs.energy_n, settings.noise_splits, rng, matched=matched)
    noise = compare(theirs, theirs, halved, bins, by_feature)
    sizes = {"": (len(ours), len(theirs))} | {
        f"bin.{each.name}.": (int(each.rows(ours).sum()), int(each.rows(theirs).sum()))
        for each in bins
    }
    estimates = {}
    for prefix, (count, reference_count) in sizes.items():
        shrink = _shrink(count, reference_count, reference_count)
        for metric_name, metric in catalogue.items():
            name = prefix + metric_name
            if name in values and name in noise:
                value_r = values[name]
                found = Found(float(value_r[0]), float(value_r[1:].std(ddof=1)), noise[name])
                estimates[name] = _estimate(found, metric.kind, shrink)
    return estimates


def _shrink(count: int, reference_count: int, halved_count: int) -> float:
    """1/N + 1/M of the samples over the same of the halves of the reference."""
    return (1.0 / count + 1.0 / reference_count) / (4.0 / halved_count)


def _estimate(found: Found, kind: Kind, shrink: float) -> Estimate:
    noise = float(found.noise_s.mean())
    if found.null is not None:
        expected, spread = found.null
    else:
        expected = noise * shrink**kind.noise_power
        spread = float(found.noise_s.std(ddof=1)) * shrink**kind.spread_power
    return Estimate(found.value, found.error, noise, expected, spread)


def significance(kind: Kind, estimate: Estimate) -> float:
    """How many standard deviations a value is worse than expected; 0 where it is not."""
    excess = estimate.value - estimate.expected
    excess = abs(excess) if kind.worse == 0 else kind.worse * excess
    if excess <= 0.0:
        return 0.0
    return excess / estimate.spread if estimate.spread > 0.0 else math.inf


def word(kind: Kind, estimate: Estimate, settings: Validation) -> Word:
    """The verdict in a word."""
    if significance(kind, estimate) <= settings.agrees_within_sigma:
        return "agrees"
    level = estimate.expected if kind.best else 0.0
    close = kind.has_close and abs(estimate.value - level) <= settings.close_below
    return "close" if close else "differs"


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
    for part in ("noise", "error", "expected", "spread"):
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
            f"{generated.label}: ECAL/Ep is {ratio:.3g} times that of {reference.label}: one of "
            "them has cells or incident energies in other units. All must be in GeV"
        )
    for sample in (generated, reference):
        if reference.settings.angle_bins_deg and np.isnan(sample.theta_n).all():
            raise DataError(
                f"{sample.label}: validation.angle_bins_deg asks for bins of angle, but the "
                "showers' file says no angle (theta); remove the bins, or take other files"
            )


def _usable_bins(generated: Observables, reference: Observables) -> tuple[list[Bin], list[str]]:
    usable, remarks, counts = [], [], []
    minimum = reference.settings.minimum_showers
    for each in bins_of(reference.settings):
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
        raise DataError(
            f"no energy bin holds {minimum} showers of both {generated.label} and "
            f"{reference.label} ({', '.join(counts)}): generate other incident energies or set "
            "validation.energy_bins_gev (all energies in GeV)"
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
    yield from _threshold_remarks(generated, reference)
    count, other = len(generated), len(reference)
    distance = energy_distance(generated.energy_n, reference.energy_n)
    # Above for 1 in 1000 pairs of samples of one distribution (Kolmogorov).
    if distance * math.sqrt(count * other / (count + other)) > 1.95:
        yield (
            "Generated and reference showers are spread differently over incident energy. The "
            "metrics are per unit of incident energy, but what depends on it more subtly (depth, "
            "resolution) differs for that reason too: prefer the energy bins."
        )


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


def _copy_remarks(
    estimates: Mapping[str, Estimate], generated: Observables, reference: Observables
) -> Iterator[str]:
    within = round(estimates["copies.within"].value * len(generated))
    if within:
        yield (
            f"{generated.label}: {within} of {len(generated)} showers are copies of others, so "
            "there are fewer independent ones than the uncertainties take them for."
        )
    shared = round(estimates["copies.of_reference"].value * len(generated))
    if shared:
        yield (
            f"{generated.label}: {shared} of {len(generated)} showers are also in "
            f"{reference.label}: the samples are not independent."
        )

"""Generated showers against a reference: all metrics, their noise level, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.validation.bins import Bin, bins_of, particle_bins
from gan3d.validation.catalogue import (
    IMAGES_METRICS,
    METRICS,
    WHOLE_METRICS,
    all_metrics,
    main_metrics,
)
from gan3d.validation.classifier import told_apart
from gan3d.validation.comparable import (
    at_common_conditions,
    check_comparable,
    spread_differently,
    usable_bins,
)
from gan3d.validation.estimates import estimates_of, from_values, of_whole
from gan3d.validation.measures import Float
from gan3d.validation.metrics import compare, put_together, scales
from gan3d.validation.observables import Observables, observe
from gan3d.validation.outliers import outliers
from gan3d.validation.remarks import copy_remarks, outlier_remarks, sample_remarks
from gan3d.validation.resolution import (
    can_be_fitted,
    energy_edges,
    fit_resolution,
    resolution_curve,
)
from gan3d.validation.sample import Sample, summarise
from gan3d.validation.significance import SMALLEST_P, at_least_one, each_of
from gan3d.validation.verdict import Estimate, Verdict, word
from gan3d.validation.whole import FEWEST_SHOWERS, WholeComparison, WholeShowers, copies


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
    check_comparable(*everything)
    bins, remarks = usable_bins([*bins_of(settings), *particle_bins(*everything)], *everything)
    remarks += sample_remarks(*everything)
    unlike = spread_differently(*everything)
    if unlike:
        ours_sample, theirs_sample = at_common_conditions(ours_sample, theirs_sample, unlike)
        remarks.append(
            f"Generated and reference showers are spread differently over incident {unlike}: "
            f"compared are {len(ours_sample.observables)} of both, at about the same."
        )
        bins, left_out = usable_bins(bins, ours_sample.observables, theirs_sample.observables)
        remarks += left_out
    ours, theirs = ours_sample.observables, theirs_sample.observables

    names_of_images = theirs.image, theirs.others
    catalogue = all_metrics(settings, geometry, *names_of_images)
    by_feature = scales(put_together(ours, theirs)[0])
    groups, of_layers = from_values(ours, theirs, bins, by_feature, catalogue)
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
    groups += of_whole(whole, "", catalogue)
    of_all = [each for each in bins if each.rows(ours).all() and each.rows(theirs).all()]
    for each in bins:
        if each not in of_all:
            groups += of_whole(showers.compare(each), f"bin.{each.name}.", catalogue)
    groups = [group for group in groups if group.found]
    estimates = estimates_of(groups, settings)
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
        remarks += outlier_remarks(beyond_all, estimates["outliers"], ours, theirs)
        remarks += copy_remarks(estimates, *everything)

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

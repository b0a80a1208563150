"""Metrics that look at whole showers, and so at a limited number of them.

Correlations, distances in all features together, classifiers: at most `settings.sample_showers` of
each sample, chosen at random, and equally many of both. Showers with an undefined feature, as are
empty ones, are left out of correlations of features and of what needs distances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gan3d.config import Validation
from gan3d.validation import multivariate
from gan3d.validation.classifier import Classified, auc_error, classify
from gan3d.validation.correlations import (
    brightest_cells,
    correlation_difference,
    correlation_matrices,
)
from gan3d.validation.measures import Float, Integer
from gan3d.validation.metrics import Scales
from gan3d.validation.multivariate import Estimate
from gan3d.validation.observables import Observables
from gan3d.validation.resampling import halves, halvings, same_energies, with_bootstrap
from gan3d.validation.sample import Sample

FEWEST_SHOWERS = 100
"""With fewer showers of both, correlations, neighbours and classifiers say nothing."""

_FARTHEST = 5.0
"""Distances in all features take no feature for farther than this many standard deviations from
the mean: else the tails of kurtosis would be all that they see."""


@dataclass(frozen=True)
class Found:
    """A metric of two samples."""

    value: float
    error: float
    """Its standard error."""
    noise_s: Float
    """The metric of halves of the reference, one against the other, in several halvings."""
    null: tuple[float, float] | None = None
    """Mean and standard deviation for equal samples of these sizes, where halves do not give
    them."""


@dataclass(frozen=True)
class Matrices:
    """Correlation matrices of the same quantities in both samples, (K, K)."""

    names: list[str]
    """Of the quantities."""
    generated: Float
    reference: Float


@dataclass(frozen=True)
class WholeComparison:
    """What comes of looking at whole showers."""

    showers: int
    """How many of each sample were looked at."""
    metrics: Mapping[str, Found]
    """By their name in `metrics.json`."""
    correlations: Mapping[str, Matrices]
    """Of `layers`, `features` and `cells`."""
    classifiers: Mapping[str, Classified]
    """`high_level` and `low_level`."""


@dataclass(frozen=True)
class _Side:
    """Showers of one sample, row by row the same ones in all arrays."""

    energy_n: Float
    layers_nz: Float
    """Energy in the layers over Ep."""
    features_nf: Float
    """Around the reference's mean and over its spread; NaN where undefined."""
    hits_nz: Float
    """Hits in the layers."""
    cells_nc: Float
    """Energy in the brightest cells over Ep, by the number of the cell."""
    correlated_c: Integer
    """Which of them correlations are computed for."""

    def rows(self, rows: Integer) -> _Side:
        return _Side(
            self.energy_n[rows],
            self.layers_nz[rows],
            self.features_nf[rows],
            self.hits_nz[rows],
            self.cells_nc[rows],
            self.correlated_c,
        )

    def complete(self) -> _Side:
        """The showers that have all features."""
        return self.rows(np.flatnonzero(np.isfinite(self.features_nf).all(axis=1)))

    def high_level(self) -> Float:
        """What a high-level classifier is told: Ep, features, energies and hits of layers."""
        return np.column_stack(
            [np.log10(self.energy_n), self.features_nf, self.layers_nz, self.hits_nz]
        )

    def low_level(self) -> Float:
        """What a low-level classifier is told: Ep and cells."""
        return np.column_stack([np.log10(self.energy_n), self.cells_nc])


def compare_whole(generated: Sample, reference: Sample, by_feature: Scales) -> WholeComparison:
    """All metrics of this module; none where there are fewer than `FEWEST_SHOWERS` of both."""
    settings = reference.observables.settings
    rng = np.random.default_rng([settings.seed, 1])
    count = min(len(generated.kept_rows_k), len(reference.kept_rows_k))
    if count < FEWEST_SHOWERS:
        return WholeComparison(count, {}, {}, {})
    ours, theirs = _sides(generated, reference, count, by_feature, rng)
    names = [scale.feature.title for scale in by_feature.values()]
    metrics, correlations = _correlations(ours, theirs, names, settings, rng)
    metrics |= _distances(ours.complete(), theirs.complete(), settings, rng)
    one, other = halves(theirs.energy_n, rng, matched=_matched(ours, theirs))
    classifiers = {}
    for name, told in (("high_level", _Side.high_level), ("low_level", _Side.low_level)):
        found, null = (
            classify(told(a), told(b), settings.classifier_folds, settings.seed)
            for a, b in ((ours, theirs), (theirs.rows(one), theirs.rows(other)))
        )
        classifiers[name] = found
        metrics[f"classifier.{name}.auc"] = Found(
            found.auc, found.error, np.array([null.auc]), (0.5, auc_error(0.5, count, count))
        )
    return WholeComparison(count, metrics, correlations, classifiers)


def _sides(
    generated: Sample,
    reference: Sample,
    count: int,
    by_feature: Scales,
    rng: np.random.Generator,
) -> tuple[_Side, _Side]:
    settings = reference.observables.settings
    samples = generated, reference
    cells_c = np.union1d(*(brightest_cells(s.kept_kc, settings.classifier_cells) for s in samples))
    brightest = brightest_cells(reference.kept_kc, settings.correlation_cells)
    correlated_c = np.flatnonzero(np.isin(cells_c, brightest))
    scale = {
        name: (np.nanmean(values_n), np.nanstd(values_n) or 1.0)
        for name, values_n in (
            (name, each.compared(reference.observables)) for name, each in by_feature.items()
        )
    }

    def side(sample: Sample) -> _Side:
        chosen_k = np.sort(rng.permutation(len(sample.kept_rows_k))[:count])
        rows = sample.kept_rows_k[chosen_k]
        seen = sample.observables.select(rows)
        features = [
            (each.compared(seen) - scale[name][0]) / scale[name][1]
            for name, each in by_feature.items()
        ]
        energy_n = seen.energy_n
        return _Side(
            energy_n,
            seen.longitudinal_nz / energy_n[:, None],
            np.stack(features, axis=1),
            seen.layer_hits_ntz[:, 0].astype(np.float64),
            sample.kept_kc[chosen_k][:, cells_c].toarray() / energy_n[:, None],
            correlated_c,
        )

    return side(generated), side(reference)


def _matched(ours: _Side, theirs: _Side) -> bool:
    return same_energies(ours.energy_n, theirs.energy_n)


def _correlations(
    ours: _Side, theirs: _Side, names: list[str], settings: Validation, rng: np.random.Generator
) -> tuple[dict[str, Found], dict[str, Matrices]]:
    metrics, matrices = {}, {}
    layers = [str(layer) for layer in range(ours.layers_nz.shape[1])]
    cells = [str(number) for number in range(len(ours.correlated_c))]
    quantities: list[tuple[str, list[str], tuple[_Side, _Side], Callable[[_Side], Float]]] = [
        ("layers", layers, (ours, theirs), lambda side: side.layers_nz),
        ("features", names, (ours.complete(), theirs.complete()), lambda side: side.features_nf),
        ("cells", cells, (ours, theirs), lambda side: side.cells_nc[:, side.correlated_c]),
    ]
    for name, labels, (left, right), values in quantities:
        if _too_few(left, right):
            continue
        one, other = (
            correlation_matrices(
                values(side),
                with_bootstrap(len(side.energy_n), settings.bootstrap_replicas, rng),
            )
            for side in (left, right)
        )
        value_r = correlation_difference(one, other)
        parts = halvings(right.energy_n, settings.noise_splits, rng, matched=_matched(left, right))
        noise_s = correlation_difference(*(correlation_matrices(values(right), w) for w in parts))
        metrics[f"correlation.{name}"] = Found(
            float(value_r[0]), float(value_r[1:].std(ddof=1)), noise_s
        )
        matrices[name] = Matrices(labels, one[0], other[0])
    return metrics, matrices


def _distances(
    ours: _Side, theirs: _Side, settings: Validation, rng: np.random.Generator
) -> dict[str, Found]:
    if _too_few(ours, theirs):
        return {}

    def measure(a: _Side, b: _Side) -> dict[str, Estimate]:
        one, other = (np.clip(x.features_nf, -_FARTHEST, _FARTHEST) for x in (a, b))
        # Between -1 and 1 for the kernel, as in JetNet: its fourth power sees outliers alone else.
        small, smaller = one / _FARTHEST, other / _FARTHEST
        return {
            "frechet_physics_distance": multivariate.frechet_physics_distance(one, other, rng),
            "kernel_physics_distance": multivariate.kernel_physics_distance(small, smaller, rng),
            **multivariate.neighbourhoods(one, other, settings.neighbours),
        }

    found, noise = measure(ours, theirs), []
    for _ in range(settings.sample_splits):
        one, other = halves(theirs.energy_n, rng, matched=_matched(ours, theirs))
        noise.append(measure(theirs.rows(one), theirs.rows(other)))
    metrics = {
        name: Found(value, error, np.array([split[name][0] for split in noise]))
        for name, (value, error) in found.items()
    }
    for name, each in metrics.items():
        # From halves to whole samples; the mean of shares does not depend on the size.
        mean, shrink = (1.0, 0.5**0.5) if name in multivariate.NEIGHBOURHOODS else (0.5, 0.5)
        # Halves of one sample have showers in common from split to split, and splits are few, so
        # that their spread alone may come out far too small.
        spread = max(each.error, shrink * float(each.noise_s.std(ddof=1)))
        metrics[name] = replace(each, null=(mean * float(each.noise_s.mean()), spread))
    return metrics


def _too_few(*sides: _Side) -> bool:
    return min(len(side.energy_n) for side in sides) < FEWEST_SHOWERS


def copies(generated: Observables, reference: Observables) -> dict[str, Found]:
    """Shares of the generated showers whose image is, cell by cell, that of another.

    `copies.within`: of an earlier generated shower. `copies.of_reference`: of a reference shower.
    Empty showers, all alike, are not counted.
    """
    ours, theirs = (sample.image_hash_n[~sample.empty_n] for sample in (generated, reference))
    count = len(generated)
    shares = {
        "copies.within": (len(ours) - len(np.unique(ours))) / count,
        "copies.of_reference": np.isin(ours, theirs).sum() / count,
    }
    return {
        name: Found(share, float(np.sqrt(share * (1.0 - share) / count)), np.zeros(1), (0.0, 0.0))
        for name, share in shares.items()
    }

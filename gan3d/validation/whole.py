"""Metrics that look at whole showers, and so at a limited number of them.

Correlations, distances in all features together, neighbours, classifiers: at most
`settings.sample_showers` of each sample, chosen at random, and equally many of both. Showers with
an undefined feature, as are empty ones, are left out of correlations of features and of what needs
distances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from gan3d.config import Validation
from gan3d.validation import multivariate
from gan3d.validation.bins import Bin
from gan3d.validation.classifier import Classified, classify
from gan3d.validation.correlations import (
    brightest_cells,
    correlation_difference,
    correlation_matrices,
)
from gan3d.validation.measures import Float, Integer
from gan3d.validation.metrics import Scales
from gan3d.validation.observables import Observables
from gan3d.validation.resampling import (
    exchanges,
    pairs,
    same_energies,
    with_bootstrap,
)
from gan3d.validation.sample import Sample
from gan3d.validation.texture import textures

FEWEST_SHOWERS = 100
"""With fewer showers of both, correlations, neighbours and classifiers say nothing."""

_FEWEST_HITS = 10
"""Showers that must hit a cell, or miss it, before its occupancy is compared."""

_NEARLY = 0.5
"""Share of the distance to a nearest shower below which two are nearly the same."""

_FARTHEST = 5.0
"""Distances in all features take no feature for farther than this many standard deviations from
the mean: else the tails of kurtosis would be all that they see."""


@dataclass(frozen=True)
class Found:
    """A metric of two samples."""

    value: float
    error: float
    """Its standard error."""
    exchanged_k: Float
    """What is tested, after exchanges of showers between the samples."""
    perfect: tuple[float, float]
    """Mean and standard deviation of pairs of samples that are both of the reference's showers."""
    tested: float | None = None
    """What is tested, before; None: the value."""


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
    metrics: Mapping[str, Found] = field(default_factory=dict)
    """By their name in `metrics.json`, without those of classifiers."""
    correlations: Mapping[str, Matrices] = field(default_factory=dict)
    """Of `layers`, `features`, `cells` and, where there are several, `images`."""
    classifiers: Mapping[str, Classified] = field(default_factory=dict)
    """`high_level`, `low_level`, `texture` and, where there is one, `discriminator`."""


@dataclass(frozen=True)
class _Side:
    """Showers of one sample, row by row the same ones in all arrays."""

    energy_n: Float
    theta_n: Float
    pdg_n: Float
    layers_nz: Float
    """Energy in the layers over Ep; of several images in those of all."""
    images_ni: Float
    """Energy in each image over Ep."""
    features_nf: Float
    """Around the reference's mean and over its spread; NaN where undefined."""
    hits_nz: Float
    """Hits in the layers; of several images in those of all."""
    cells_nc: Float
    """Energy in the brightest cells over Ep, by the number of the cell."""
    correlated_nc: Float
    """Those of them that correlations are computed for."""
    lit_nc: sparse.csr_array
    """1 in all cells that are hit."""
    texture_nt: Float
    """Of the first showers only; NaN for the others."""

    def __len__(self) -> int:
        return len(self.energy_n)

    def rows(self, rows: Integer | slice) -> _Side:
        return _Side(**{name: values[rows] for name, values in vars(self).items()})

    def complete(self) -> _Side:
        """The showers that have all features."""
        return self.rows(np.flatnonzero(np.isfinite(self.features_nf).all(axis=1)))

    def with_texture(self) -> _Side:
        return self.rows(np.flatnonzero(np.isfinite(self.texture_nt).all(axis=1)))

    def high_level(self) -> Float:
        """What a high-level classifier is told: Ep, features, energies and hits of layers."""
        return np.column_stack(
            [np.log10(self.energy_n), self.features_nf, self.layers_nz, self.hits_nz]
        )

    def low_level(self) -> Float:
        """What a low-level classifier is told: Ep and cells."""
        return np.column_stack([np.log10(self.energy_n), self.cells_nc])


class WholeShowers:
    """The showers of two samples that are looked at as a whole, all or those of a bin."""

    def __init__(self, generated: Sample, reference: Sample, by_feature: Scales) -> None:
        """Take out of the samples what is looked at, in an order at random."""
        self._settings = reference.observables.settings
        by_feature = {
            name: scale
            for name, scale in by_feature.items()
            if np.isfinite(scale.compared(reference.observables)).any()
        }
        self._names = [scale.feature.title for scale in by_feature.values()]
        self._sides: tuple[_Side, _Side] | None = None
        if min(len(generated.kept_rows_k), len(reference.kept_rows_k)) >= FEWEST_SHOWERS:
            self._sides = _sides(generated, reference, by_feature)

    def compare(self, each: Bin | None = None) -> WholeComparison:
        """All metrics of this module; none where there are fewer than `FEWEST_SHOWERS` of both."""
        if self._sides is None:
            return WholeComparison(0)
        ours, theirs = (_inside(side, each) for side in self._sides)
        count = min(len(ours), len(theirs))
        if count < FEWEST_SHOWERS:
            return WholeComparison(count)
        ours, theirs = ours.rows(slice(count)), theirs.rows(slice(count))
        rng = np.random.default_rng([self._settings.seed, 1])
        metrics, correlations = _correlations(ours, theirs, self._names, self._settings, rng)
        metrics["cells.pull"] = _occupancy_of_cells(ours, theirs, self._settings, rng)
        metrics |= _distances(ours.complete(), theirs.complete(), self._settings, rng)
        return WholeComparison(
            count, metrics, correlations, _classified(ours, theirs, self._settings)
        )

    def near_copies(self) -> dict[str, tuple[float, float]]:
        """Shares of generated showers that are nearly the same as another one, with errors.

        `near_copies.within`: as another generated one; `near_copies.of_reference`: as one of the
        reference. Nearly the same is what is nearer, in its brightest cells over Ep, than half of
        what one in twenty of the reference's showers is from its nearest: no two independent
        showers are.
        """
        if self._sides is None:
            return {}
        few = slice(self._settings.pairwise_showers)
        count = min(len(side) for side in self._sides)
        if count < FEWEST_SHOWERS:
            return {}
        ours, theirs = (side.rows(slice(count)).rows(few).cells_nc for side in self._sides)
        limit = _NEARLY * float(np.quantile(multivariate.nearest_distances(theirs), 0.05))
        shares = {
            "near_copies.within": (multivariate.nearest_distances(ours) < limit).mean(),
            "near_copies.of_reference": (
                multivariate.nearest_distances(ours, theirs) < limit
            ).mean(),
        }
        return {
            name: (float(share), float(np.sqrt(share * (1.0 - share) / len(ours))))
            for name, share in shares.items()
        }


def _sides(generated: Sample, reference: Sample, by_feature: Scales) -> tuple[_Side, _Side]:
    settings = reference.observables.settings
    samples = generated, reference
    chosen = [
        np.random.default_rng([settings.seed, 2, number]).permutation(len(sample.kept_rows_k))
        for number, sample in enumerate(samples)
    ]
    joint = [sample.joint_kc for sample in samples]
    cells_c = np.union1d(*(brightest_cells(each, settings.classifier_cells) for each in joint))
    correlated_c = brightest_cells(joint[1], settings.correlation_cells)
    scale = {
        name: (np.nanmean(values_n), np.nanstd(values_n) or 1.0)
        for name, values_n in (
            (name, each.compared(reference.observables)) for name, each in by_feature.items()
        )
    }

    def side(sample: Sample, joint_kc: sparse.csr_array, chosen_k: Integer) -> _Side:
        rows = sample.kept_rows_k[chosen_k]
        seen = sample.observables.select(rows)
        of_images = [seen, *(each.observables.select(rows) for each in sample.further.values())]
        cells_kc, energy_n1 = joint_kc[chosen_k], seen.energy_n[:, None]
        features = [
            (each.compared(seen) - scale[name][0]) / scale[name][1]
            for name, each in by_feature.items()
        ]
        looked_at = sample.kept_kc[chosen_k][: settings.pairwise_showers]
        geometry = sample.observables.geometry
        texture_nt = textures(looked_at, geometry.shape, geometry.periodic)
        missing = np.full((len(seen) - len(texture_nt), texture_nt.shape[1]), np.nan)
        return _Side(
            seen.energy_n,
            seen.theta_n,
            seen.pdg_n,
            np.concatenate([each.longitudinal_nz for each in of_images], axis=1) / energy_n1,
            np.stack([each.total_energy_n for each in of_images], axis=1) / energy_n1,
            np.stack(features, axis=1),
            np.concatenate([each.layer_hits_ntz[:, 0] for each in of_images], axis=1).astype(
                np.float64
            ),
            cells_kc[:, cells_c].toarray() / energy_n1,
            cells_kc[:, correlated_c].toarray() / energy_n1,
            (cells_kc > settings.hit_threshold_gev).astype(np.float32),
            np.concatenate([texture_nt, missing]),
        )

    return side(generated, joint[0], chosen[0]), side(reference, joint[1], chosen[1])


def _inside(side: _Side, each: Bin | None) -> _Side:
    if each is None:
        return side
    return side.rows(np.flatnonzero(each.inside(side.energy_n, side.theta_n, side.pdg_n)))


def _exchanges(ours: _Side, theirs: _Side, settings: Validation, rng: np.random.Generator) -> Float:
    shuffled = exchanges(ours.energy_n, theirs.energy_n, settings.exchanges, rng)
    return shuffled.astype(np.float64)


def _halves(count: int, settings: Validation, rng: np.random.Generator) -> Float:
    """Who is in the one half of a sample, at random, `settings.noise_replicas` times: (R, M)."""
    first_m = np.arange(count) < count // 2
    return np.stack([1.0 * rng.permutation(first_m) for _ in range(settings.noise_replicas)])


def _correlations(
    ours: _Side, theirs: _Side, names: list[str], settings: Validation, rng: np.random.Generator
) -> tuple[dict[str, Found], dict[str, Matrices]]:
    metrics, matrices = {}, {}
    layers = [str(layer) for layer in range(ours.layers_nz.shape[1])]
    cells = [str(number) for number in range(ours.correlated_nc.shape[1])]
    quantities: list[tuple[str, list[str], tuple[_Side, _Side], Callable[[_Side], Float]]] = [
        ("layers", layers, (ours, theirs), lambda side: side.layers_nz),
        ("features", names, (ours.complete(), theirs.complete()), lambda side: side.features_nf),
        ("cells", cells, (ours, theirs), lambda side: side.correlated_nc),
    ]
    images = [str(number) for number in range(ours.images_ni.shape[1])]
    if len(images) > 1:
        quantities.append(("images", images, (ours, theirs), lambda side: side.images_ni))
    for name, labels, (left, right), values in quantities:
        if _too_few(left, right):
            continue
        one, other = (
            correlation_matrices(
                values(side), with_bootstrap(len(side), settings.bootstrap_replicas, rng)
            )
            for side in (left, right)
        )
        value_r = correlation_difference(one, other)
        together = np.concatenate([values(left), values(right)])
        exchanged = _exchanges(left, right, settings, rng)
        exchanged_k = correlation_difference(
            correlation_matrices(together, exchanged), correlation_matrices(together, 1 - exchanged)
        )
        drawn = pairs(left.energy_n, right.energy_n, settings.noise_replicas, rng)
        noise_k = correlation_difference(
            *(correlation_matrices(values(right), weights) for weights in drawn)
        )
        metrics[f"correlation.{name}"] = Found(
            float(value_r[0]),
            float(value_r[1:].std(ddof=1)),
            exchanged_k,
            (float(noise_k.mean()), float(noise_k.std(ddof=1))),
        )
        matrices[name] = Matrices(labels, one[0], other[0])
    return metrics, matrices


def _occupancy_of_cells(
    ours: _Side, theirs: _Side, settings: Validation, rng: np.random.Generator
) -> Found:
    """The largest of all cells' pulls, in how often they are hit: hot, dead and noisy cells.

    Its error is that of a pull, 1.
    """
    together = sparse.vstack([ours.lit_nc, theirs.lit_nc]).tocsr()
    ours_p = (np.arange(together.shape[0]) < len(ours)).astype(np.float64)
    exchanged_k = _largest_pull(together, _exchanges(ours, theirs, settings, rng))
    of_halves = _largest_pull(theirs.lit_nc, _halves(len(theirs), settings, rng))
    return Found(
        float(_largest_pull(together, ours_p[None, :])[0]),
        1.0,
        exchanged_k,
        (float(of_halves.mean()), float(of_halves.std(ddof=1))),
    )


def _largest_pull(lit_pc: sparse.csr_array, ours_rp: Float) -> Float:
    """Largest |p - q| over its standard error, p and q being shares of showers that hit a cell.

    Of the cells that at least ten showers hit, and ten do not. `ours_rp` says which showers are of
    the one sample, (R, P): (R,).
    """
    showers = lit_pc.shape[0]
    hits_c = np.asarray(lit_pc.sum(axis=0)).ravel()
    used_c = (hits_c >= _FEWEST_HITS) & (hits_c <= showers - _FEWEST_HITS)
    if not used_c.any():
        return np.zeros(len(ours_rp))
    hits_c = hits_c[used_c]
    ours_cr = lit_pc[:, used_c].T @ ours_rp.T.astype(np.float32)
    count_r = ours_rp.sum(axis=1)
    other_r = showers - count_r
    difference_cr = ours_cr / count_r - (hits_c[:, None] - ours_cr) / other_r
    share_c = hits_c / showers
    variance_cr = (share_c * (1.0 - share_c))[:, None] * (1.0 / count_r + 1.0 / other_r)
    largest_r: Float = np.abs(difference_cr / np.sqrt(variance_cr)).max(axis=0)
    return largest_r


def _distances(
    ours: _Side, theirs: _Side, settings: Validation, rng: np.random.Generator
) -> dict[str, Found]:
    if _too_few(ours, theirs):
        return {}
    count = min(len(ours), len(theirs))
    ours, theirs = ours.rows(slice(count)), theirs.rows(slice(count))
    found = {"frechet_physics_distance": _frechet(ours, theirs, settings, rng)}
    few = slice(settings.pairwise_showers)
    ours, theirs = ours.rows(few), theirs.rows(few)
    one, other = (np.clip(x.features_nf, -_FARTHEST, _FARTHEST) for x in (ours, theirs))
    together = np.concatenate([one, other])
    exchanged = _exchanges(ours, theirs, settings, rng)
    # Between -1 and 1 for the kernel, as in JetNet: its fourth power sees outliers alone else.
    value, error = multivariate.kernel_physics_distance(one / _FARTHEST, other / _FARTHEST, rng)
    halves = _halves(len(other), settings, rng)
    found["kernel_physics_distance"] = Found(
        value,
        error,
        multivariate.kernel_distances(together / _FARTHEST, exchanged, 1 - exchanged),
        _of_halves(multivariate.kernel_distances(other / _FARTHEST, halves, 1 - halves), 0.5),
    )
    near, theirs_near = (multivariate.Neighbours.of(each) for each in (together, other))

    def around(neighbours: multivariate.Neighbours, ours_p: Any) -> dict[str, float]:
        balls = neighbours.neighbourhoods(ours_p, settings.neighbours)
        return balls | neighbours.from_other(ours_p)

    shuffled = [around(near, ours_p) for ours_p in exchanged > 0]
    split = [around(theirs_near, half_m) for half_m in halves > 0]
    values = multivariate.neighbourhoods(one, other, settings.neighbours, rng)
    values |= near.from_other_with_errors(np.arange(len(together)) < len(one), rng)
    for name, (value, error) in values.items():
        found[name] = Found(
            value,
            error,
            np.array([each[name] for each in shuffled]),
            _of_halves(np.array([each[name] for each in split]), np.sqrt(0.5)),
        )
    return found


def _of_halves(values_r: Float, spread: float) -> tuple[float, float]:
    """Mean and standard deviation of what is told of halves, the latter as it is of wholes."""
    return float(values_r.mean()), spread * float(values_r.std(ddof=1))


def _frechet(ours: _Side, theirs: _Side, settings: Validation, rng: np.random.Generator) -> Found:
    """Extrapolated, which takes long; tested is the plain one, less what chance makes it."""
    one, other = (np.clip(x.features_nf, -_FARTHEST, _FARTHEST) for x in (ours, theirs))
    value, error = multivariate.frechet_physics_distance(one, other, rng)
    together = np.concatenate([one, other])
    exchanged_k = np.array(
        [
            multivariate.frechet_distance(together[ours_p], together[~ours_p])
            for ours_p in _exchanges(ours, theirs, settings, rng) > 0
        ]
    )
    chance = exchanged_k.mean()
    tested = multivariate.frechet_distance(one, other) - chance
    of_halves = np.array(
        [
            multivariate.frechet_distance(other[half_m], other[~half_m])
            for half_m in _halves(len(other), settings, rng) > 0
        ]
    )
    # Extrapolated to endless samples it is 0; that of finite ones goes with 1/N.
    _, spread = _of_halves(of_halves, 0.5)
    return Found(value, error, exchanged_k - chance, (0.0, spread), float(tested))


def _classified(ours: _Side, theirs: _Side, settings: Validation) -> dict[str, Classified]:
    def told(name: str, a: _Side, b: _Side, values: Callable[[_Side], Float]) -> Classified:
        return classify(
            values(a),
            values(b),
            settings.classifier_folds,
            settings.seed,
            pair_by=(a.energy_n, b.energy_n) if same_energies(a.energy_n, b.energy_n) else None,
            learner="logistic" if name == "texture" else "trees",
        )

    found = {
        "high_level": told("high_level", ours, theirs, _Side.high_level),
        "low_level": told("low_level", ours, theirs, _Side.low_level),
    }
    seen, other = ours.with_texture(), theirs.with_texture()
    if not _too_few(seen, other):
        found["texture"] = told("texture", seen, other, lambda side: side.texture_nt)
    return found


def _too_few(*sides: _Side) -> bool:
    return min(len(side) for side in sides) < FEWEST_SHOWERS


def copies(generated: Observables, reference: Observables) -> dict[str, tuple[float, float]]:
    """Shares of the generated showers whose image is, cell by cell, that of another, with errors.

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
        name: (float(share), float(np.sqrt(share * (1.0 - share) / count)))
        for name, share in shares.items()
    }

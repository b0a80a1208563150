"""Metrics with their uncertainties and probabilities, before any verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from gan3d.config import Validation
from gan3d.validation.bins import Bin, split_name
from gan3d.validation.catalogue import IMAGES_METRICS, METRICS, Metric
from gan3d.validation.layers import layer_metrics, layer_separations, of_each_layer
from gan3d.validation.measures import Float
from gan3d.validation.metrics import Scales, compare, filled, put_together
from gan3d.validation.observables import Observables
from gan3d.validation.resampling import enough_exchanges, exchanges, pairs, with_bootstrap
from gan3d.validation.significance import SMALLEST_P, Family, at_least_one, each_of
from gan3d.validation.verdict import Estimate
from gan3d.validation.whole import WholeComparison


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
class Group:
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


def from_values(
    ours: Observables,
    theirs: Observables,
    bins: Sequence[Bin],
    by_feature: Scales,
    catalogue: Mapping[str, Metric],
) -> tuple[list[Group], dict[str, float]]:
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
        groups.append(Group(found, Family.of(tested), per_shower))
    as_they_are = {name: each_rz[:1] for name, each_rz in of_layers.items()}
    return groups, of_each_layer(as_they_are) | of_each_layer(layer_noise, "noise.")


def of_whole(whole: WholeComparison, prefix: str, catalogue: Mapping[str, Metric]) -> list[Group]:
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
        groups.append(Group(found, Family.of(tested), sizes))
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
        groups.append(Group(areas, _Normal(spreads), sizes))
    return groups


def _mean_and_spread(values_k: Float) -> tuple[float, float]:
    return float(values_k.mean()), float(values_k.std(ddof=1))


def estimates_of(groups: Sequence[Group], settings: Validation) -> dict[str, Estimate]:
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

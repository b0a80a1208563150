"""Weightings of a sample's showers: as they are, bootstrap replicas, halves."""

from __future__ import annotations

import numpy as np

from gan3d.validation.measures import Float, Integer


def as_it_is(count: int) -> Float:
    """Every shower once: (1, count)."""
    return np.ones((1, count))


def with_bootstrap(count: int, replicas: int, rng: np.random.Generator) -> Float:
    """The sample as it is, then how often each shower is drawn in `replicas` bootstrap replicas.

    A replica draws as many showers as there are, with replacement (Efron, Ann. Statist. 7 (1979)
    1): (1 + replicas, count).
    """
    drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=replicas)
    return np.concatenate([as_it_is(count), drawn.astype(np.float64)])


def halvings(
    energy_n: Float, splits: int, rng: np.random.Generator, *, matched: bool
) -> tuple[Float, Float]:
    """Weights (1 or 0) of one half and of the other in `splits` random halvings: (splits, N) each.

    `matched`: as in `halves`; otherwise all showers are shuffled.
    """
    one, other = np.zeros((2, splits, len(energy_n)))
    for split in range(splits):
        rows, others = halves(energy_n, rng, matched=matched)
        one[split, rows] = 1.0
        other[split, others] = 1.0
    return one, other


def halves(
    energy_n: Float, rng: np.random.Generator, *, matched: bool = True
) -> tuple[Integer, Integer]:
    """Two disjoint random halves, as sorted indices.

    `matched`: with nearly the same incident energies. Of every two neighbours in energy one goes to
    each half, at random; with an odd number, the shower of highest energy goes to neither. So the
    halves are as alike as two samples that were made with the same incident energies. Otherwise
    they are as alike as two samples with incident energies of their own.
    """
    order_n = np.argsort(energy_n, kind="stable") if matched else rng.permutation(len(energy_n))
    pairs_p2 = order_n[: len(order_n) // 2 * 2].reshape(-1, 2)
    swapped_p = rng.integers(0, 2, len(pairs_p2))
    rows_p = np.arange(len(pairs_p2))
    return np.sort(pairs_p2[rows_p, swapped_p]), np.sort(pairs_p2[rows_p, 1 - swapped_p])


def jackknife_error(without_g: Float) -> float:
    """Standard error of a number, given its values without each of G equal groups of showers.

    sqrt((G - 1) / G * sum_g (v_g - mean v)^2), the delete-a-group jackknife (Shao & Wu 1989, Annals
    of Statistics 17, 1176).
    """
    groups = len(without_g)
    return float(np.sqrt((groups - 1) / groups * np.sum((without_g - without_g.mean()) ** 2)))


def energy_distance(energy_n: Float, energy_m: Float) -> float:
    """Kolmogorov-Smirnov distance of incident energies, 0 where both samples hold the same."""
    at = np.concatenate([energy_n, energy_m])
    below_n = np.searchsorted(np.sort(energy_n), at, side="right") / len(energy_n)
    below_m = np.searchsorted(np.sort(energy_m), at, side="right") / len(energy_m)
    return float(np.abs(below_n - below_m).max())


def same_energies(energy_n: Float, energy_m: Float) -> bool:
    """Whether two samples hold the same incident energies, but for what does not divide.

    Independent samples of N and M differ by about 0.87 sqrt(1/N + 1/M) in their cumulative
    distributions; showers made for given energies by 1/N at most.
    """
    return energy_distance(energy_n, energy_m) <= 2.0 / min(len(energy_n), len(energy_m))

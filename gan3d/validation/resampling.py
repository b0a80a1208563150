"""Weightings of a sample's showers: as they are, bootstrap replicas, exchanges, groups left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gan3d.validation.measures import Float

_ALIKE = 25
"""Neighbours in energy that are taken for each other where samples have the same energies."""


def as_it_is(count: int) -> Float:
    """Every shower once: (1, count)."""
    return np.ones((1, count))


def with_bootstrap(count: int, replicas: int, rng: np.random.Generator) -> Float:
    """The sample as it is, then how often each shower is drawn in `replicas` bootstrap replicas.

    A replica draws as many showers as there are, with replacement (Efron, Ann. Statist. 7 (1979)
    1): (1 + replicas, count).
    """
    return np.concatenate([as_it_is(count), _drawn(count, count, replicas, rng)])


def pairs(
    energy_m: Float, count: int, replicas: int, rng: np.random.Generator, *, matched: bool
) -> tuple[Float, Float]:
    """Weights of two samples of `count` and of M showers, drawn from M, in `replicas` replicas.

    What two independent samples of these sizes are like, if the M are what showers are like. Drawn
    with replacement: (replicas, M) each.

    `matched`: both get the incident energies of the M (those of `count` spread evenly over them),
    nearly: every shower is drawn among a few neighbours in energy.
    """
    most = len(energy_m)
    if not matched:
        one, other = (_drawn(most, size, replicas, rng) for size in (count, most))
        return one, other
    order_m = np.argsort(energy_m, kind="stable")

    def drawn(size: int) -> Float:
        at_k = (np.arange(size) * most) // size
        offset_rk = rng.integers(0, _ALIKE, (replicas, size)) - _ALIKE // 2
        rank_rk = np.clip(at_k + offset_rk, 0, most - 1)
        row_rk = np.repeat(np.arange(replicas), size).reshape(replicas, size)
        flat = np.bincount((row_rk * most + order_m[rank_rk]).ravel(), minlength=replicas * most)
        return flat.reshape(replicas, most).astype(np.float64)

    return drawn(count), drawn(most)


def exchanges(
    energy_n: Float,
    energy_m: Float,
    replicas: int,
    rng: np.random.Generator,
    *,
    matched: bool,
) -> NDArray[np.bool_]:
    """Who plays the N, of N and M showers put together, in `replicas` exchanges at random.

    If both samples come from one distribution, their showers may be exchanged, and a metric of the
    exchanged samples is as likely as that of the samples themselves: the permutation test (Lehmann
    and Romano, Testing Statistical Hypotheses, 3rd ed., 15.2). Exact at any sizes.

    `matched`: only among neighbours in incident energy, so that both keep their energies, nearly:
    each time in groups of some dozens. With few in a group, a shower and a near copy of it would
    only ever be exchanged for each other.

    Returns:
        (replicas, N + M), True for N of them.

    """
    count, other = len(energy_n), len(energy_m)
    ours_p = np.repeat([True, False], [count, other])
    group_p = np.zeros(count + other, np.int64)
    if matched:
        # Equal energies at random: one sample after the other, groups would be of one alone.
        energy_p = np.concatenate([energy_n, energy_m])
        order_p = np.lexsort([rng.random(count + other), energy_p])
        groups = max(1, min(count, other) // _ALIKE)
        group_p[order_p] = np.arange(count + other) * groups // (count + other)
    # Sorting random numbers within groups shuffles the group's members.
    at_p = np.argsort(group_p, kind="stable")
    shuffled = np.empty((replicas, count + other), bool)
    for replica in range(replicas):
        from_p = np.lexsort([rng.random(count + other), group_p])
        shuffled[replica, at_p] = ours_p[from_p]
    return shuffled


def enough_exchanges(exchanges: int, showers: int) -> int:
    """More of them for fewer showers, of which distributions have longer tails; up to ten times.

    `exchanges` are for 10 000 showers in all, and the time that they take is the same for fewer.
    """
    return int(np.clip(exchanges * 10_000 // showers, exchanges, 10 * exchanges))


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


def _drawn(count: int, size: int, replicas: int, rng: np.random.Generator) -> Float:
    drawn = rng.multinomial(size, np.full(count, 1.0 / count), size=replicas)
    return drawn.astype(np.float64)

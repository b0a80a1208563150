"""Weightings of a sample's showers: as they are, bootstrap replicas, exchanges, groups left out."""

from __future__ import annotations

import bisect

import numpy as np
from numpy.typing import NDArray

from gan3d.validation.measures import Float

_NEAR = 25
"""Neighbours in energy that the showers of a perfect generator are drawn from, and that are taken
for each other where samples have the same energies."""
_NEARER = 10
"""The same where they have not: within a group both must be spread alike over energy."""
_SAME_ANGLE_DEG = 5.0
"""Bins of angle in which showers may be compared where samples are spread differently over it."""
_SAME_ENERGY = 0.05
"""Difference in ln Ep within which showers may be compared where samples are spread differently."""


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
    energy_n: Float, energy_m: Float, replicas: int, rng: np.random.Generator
) -> tuple[Float, Float]:
    """Weights of two samples of N and M showers, drawn from the M, in `replicas` replicas.

    What two independent samples with these incident energies are like, if the M are what showers
    are like: for each energy one of the showers nearest to it in energy is drawn: (replicas, M)
    each.
    """
    most = len(energy_m)
    order_m = np.argsort(energy_m, kind="stable")
    near = min(_NEAR, most)

    def drawn(energy_k: Float) -> Float:
        rank_k, beyond_k = (
            np.searchsorted(energy_m[order_m], energy_k, side=side) for side in ("left", "right")
        )
        lowest_k = np.clip(rank_k - near // 2, 0, most - near)
        rank_rk = lowest_k + rng.integers(0, near, (replicas, len(energy_k)))
        equal_k = beyond_k - rank_k
        if (equal_k > near).any():  # a beam of one energy: any of them is as near as any other
            among_rk = rank_k + rng.integers(0, np.maximum(equal_k, 1), rank_rk.shape)
            rank_rk = np.where(equal_k > near, among_rk, rank_rk)
        row_rk = np.repeat(np.arange(replicas), len(energy_k)).reshape(replicas, -1)
        flat = np.bincount((row_rk * most + order_m[rank_rk]).ravel(), minlength=replicas * most)
        return flat.reshape(replicas, most).astype(np.float64)

    return drawn(energy_n), drawn(energy_m)


def exchanges(
    energy_n: Float, energy_m: Float, replicas: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Who plays the N, of N and M showers put together, in `replicas` exchanges at random.

    If showers of one incident energy come from one distribution in both samples, they may be
    exchanged, and a metric of the exchanged samples is as likely as that of the samples themselves:
    the permutation test (Lehmann and Romano, Testing Statistical Hypotheses, 3rd ed., 15.2), within
    strata of energy. Exact at any sizes where both are spread alike over energy
    (`at_common_energies`).

    With the same energies in both, groups are wider: with few in a group, a shower and a near copy
    of it would only ever be exchanged for each other.

    Returns:
        (replicas, N + M), True for N of them.

    """
    count, other = len(energy_n), len(energy_m)
    ours_p = np.repeat([True, False], [count, other])
    # Equal energies at random: one sample after the other, groups would be of one alone.
    energy_p = np.concatenate([energy_n, energy_m])
    order_p = np.lexsort([rng.random(count + other), energy_p])
    near = _NEAR if same_energies(energy_n, energy_m) else _NEARER
    groups = max(1, min(count, other) // near)
    group_p = np.empty(count + other, np.int64)
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


def spread_alike(energy_n: Float, energy_m: Float) -> bool:
    """Whether two samples may have one distribution of incident energies, or angles.

    They are said not to for 1 in 1000 pairs that have (Kolmogorov's distribution).
    """
    count, other = len(energy_n), len(energy_m)
    distance = energy_distance(energy_n, energy_m)
    return distance * float(np.sqrt(count * other / (count + other))) <= 1.95


def at_common_energies(
    energy_n: Float, energy_m: Float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of two samples that are spread alike over energy, and equally many of both.

    In an order at random each shower of the smaller sample takes the nearest one of the other that
    is left, if the energies are the same within 5 %. So pairs differ either way, and where one
    sample has few showers as many of the other are left.

    Returns:
        (K,) of each sample, ascending.

    """
    if len(energy_n) > len(energy_m):
        rows_m, rows_n = at_common_energies(energy_m, energy_n, rng)
        return rows_n, rows_m
    order_m = np.argsort(energy_m, kind="stable")
    left, left_rows = np.log(energy_m[order_m]).tolist(), order_m.tolist()
    chosen_n: list[int] = []
    chosen_m: list[int] = []
    for row in rng.permutation(len(energy_n)).tolist():
        logarithm = float(np.log(energy_n[row]))
        place = bisect.bisect_left(left, logarithm)
        near = [at for at in (place - 1, place) if 0 <= at < len(left)]
        nearest = min(near, key=lambda at: abs(left[at] - logarithm), default=None)
        if nearest is None or abs(left[nearest] - logarithm) > _SAME_ENERGY:
            continue
        del left[nearest]
        chosen_n.append(row)
        chosen_m.append(left_rows.pop(nearest))
    return np.sort(np.array(chosen_n, np.int64)), np.sort(np.array(chosen_m, np.int64))


def at_common_angles(
    showers_n: tuple[Float, Float], showers_m: tuple[Float, Float], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same for incident energies and angles (rad): of each 5 degrees those at common energies.

    Returns:
        (K,) of each sample, ascending.

    """
    cells = [np.floor(np.degrees(angles) / _SAME_ANGLE_DEG) for _, angles in (showers_n, showers_m)]
    chosen: list[list[NDArray[np.int64]]] = [[], []]
    for cell in np.intersect1d(*cells):
        rows = [np.flatnonzero(each == cell) for each in cells]
        pair = at_common_energies(showers_n[0][rows[0]], showers_m[0][rows[1]], rng)
        for side, there, taken in zip(chosen, rows, pair, strict=True):
            side.append(there[taken])
    empty = [np.empty(0, np.int64)]
    one, other = (np.sort(np.concatenate(side or empty)) for side in chosen)
    return one, other


def same_energies(energy_n: Float, energy_m: Float) -> bool:
    """Whether two samples hold the same incident energies, but for what does not divide.

    Independent samples of N and M differ by about 0.87 sqrt(1/N + 1/M) in their cumulative
    distributions; showers made for given energies by 1/N at most.
    """
    return energy_distance(energy_n, energy_m) <= 2.0 / min(len(energy_n), len(energy_m))


def _drawn(count: int, size: int, replicas: int, rng: np.random.Generator) -> Float:
    drawn = rng.multinomial(size, np.full(count, 1.0 / count), size=replicas)
    return drawn.astype(np.float64)

"""Distances of two samples in all their features together.

All take features (N, D), each around the reference's mean and over its standard deviation; for the
kernel distance over five of them. Definitions: Kansal et al., "Evaluating generative models in high
energy physics", Phys. Rev. D 107 (2023) 076017, arXiv:2211.10295, for the Frechet and the kernel
physics distance, as in their library JetNet but for three things: JetNet divides by the largest
value of each feature, which one outlier sets; it takes samples of 20 000 to 50 000, here they are
shares of what is there; and its kernel distance is a median of overlapping batches, here it is that
of all showers at once, which sees more. Naeem et al., "Reliable fidelity and diversity metrics for
generative models", arXiv:2002.09797, for density and coverage; Kynkaanniemi et al.,
arXiv:1904.06991, for precision and recall; Schilling, J. Am. Stat. Assoc. 81 (1986) 799, for
nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from gan3d.validation.measures import Float, Integer
from gan3d.validation.resampling import jackknife_error

Estimate = tuple[float, float]
"""Value and standard error."""

Rows = NDArray[np.bool_]
"""Who is kept, of a sample."""

NEIGHBOURHOODS = ("precision", "recall", "density", "coverage")
"""What `neighbourhoods` gives."""

_LISTED = 64
"""Nearest showers of each that exchanges look at: among so many there are always enough of either
sample once they are shuffled."""
_CLOSEST = 0.1
"""Share of showers that `closest.other` is about: those with the closest neighbours."""
_FEWEST_CLOSEST = 10

_FRECHET_SIZES = 10
_FRECHET_BATCHES = 20
_FRECHET_GROUPS = 20
_KERNEL_GROUPS = 20
_KERNEL_DEGREE = 4
_HALVES = 40
_SPARE = 12
_ROWS_AT_ONCE = 500


def frechet_distance(ours_nd: Float, theirs_md: Float) -> float:
    """Squared Frechet (2-Wasserstein) distance of the normal distributions fitted to two samples.

    |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)): Dowson and Landau, J. Multivariate Anal. 12
    (1982) 450.
    """
    shift_d = ours_nd.mean(axis=0) - theirs_md.mean(axis=0)
    ours_dd, theirs_dd = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (ours_nd, theirs_md))
    # tr (C_1 C_2)^(1/2) = tr (S C_2 S)^(1/2) with S^2 = C_1: symmetric, and so without imaginary
    # parts from rounding where features depend on each other.
    values_d, vectors_dd = np.linalg.eigh(ours_dd)
    root_dd = (vectors_dd * np.sqrt(np.maximum(values_d, 0.0))) @ vectors_dd.T
    product_d = np.linalg.eigvalsh(root_dd @ theirs_dd @ root_dd)
    overlap = np.sqrt(np.maximum(product_d, 0.0)).sum()
    return float(shift_d @ shift_d + np.trace(ours_dd) + np.trace(theirs_dd) - 2.0 * overlap)


def frechet_physics_distance(
    ours_nd: Float, theirs_md: Float, rng: np.random.Generator
) -> Estimate:
    """Frechet distance extrapolated to infinite samples: a line in 1/N through those of parts.

    A finite sample's is too large by about a constant over N (Chong and Forsyth, arXiv:1911.07023).
    Parts hold a fifth to all of the smaller sample. May come out a little below 0 for equal ones.
    The error is that of the plain distance by the jackknife, leaving out groups of both samples in
    turn; that of the fit would know nothing of other samples.
    """
    most = min(len(ours_nd), len(theirs_md))
    sizes = (1.0 / np.linspace(5.0 / most, 1.0 / most, _FRECHET_SIZES)).astype(int)
    distances = [
        np.mean(
            [
                frechet_distance(
                    ours_nd[rng.choice(len(ours_nd), size, replace=False)],
                    theirs_md[rng.choice(len(theirs_md), size, replace=False)],
                )
                for _ in range(_FRECHET_BATCHES)
            ]
        )
        for size in sizes
    ]
    _, intercept = np.polyfit(1.0 / sizes, distances, 1)
    groups = (rng.permutation(len(x)) % _FRECHET_GROUPS for x in (ours_nd, theirs_md))
    ours_group_n, theirs_group_m = groups
    without_g = np.array(
        [
            frechet_distance(ours_nd[ours_group_n != group], theirs_md[theirs_group_m != group])
            for group in range(_FRECHET_GROUPS)
        ]
    )
    return float(intercept), jackknife_error(without_g)


def kernel_distances(values_pd: Float, ours_rp: Float, theirs_rp: Float) -> Float:
    """Kernel physics distance of samples put together, for R choices of who is in which: (R,).

    The unbiased squared maximum mean discrepancy with the kernel (x y / D + 1)^4 (Gretton et al.,
    J. Mach. Learn. Res. 13 (2012) 723, equation 3). May come out below 0 for equal samples.

    Args:
        values_pd: features of all showers.
        ours_rp: 1 for who is in the one sample, 0 otherwise.
        theirs_rp: the same of the other.

    """
    kernel_pp = (values_pd @ values_pd.T / values_pd.shape[1] + 1.0) ** _KERNEL_DEGREE
    diagonal_p = np.diag(kernel_pp)

    def within(chosen_rp: Float, summed_rp: Float) -> Float:
        count_r = chosen_rp.sum(axis=1)
        sums_r = (chosen_rp * summed_rp).sum(axis=1) - chosen_rp @ diagonal_p
        mean_r: Float = sums_r / (count_r * (count_r - 1.0))
        return mean_r

    ours_summed, theirs_summed = ours_rp @ kernel_pp, theirs_rp @ kernel_pp
    pairs_r = ours_rp.sum(axis=1) * theirs_rp.sum(axis=1)
    cross_r = (ours_rp * theirs_summed).sum(axis=1) / pairs_r
    distance_r: Float = (
        within(ours_rp, ours_summed) + within(theirs_rp, theirs_summed) - 2.0 * cross_r
    )
    return distance_r


def kernel_physics_distance(ours_nd: Float, theirs_md: Float, rng: np.random.Generator) -> Estimate:
    """`kernel_distances` of two samples, with its standard error by the jackknife."""
    together_pd = np.concatenate([ours_nd, theirs_md])
    ours_p = np.arange(len(together_pd)) < len(ours_nd)
    group_p = np.concatenate(
        [rng.permutation(len(x)) % _KERNEL_GROUPS for x in (ours_nd, theirs_md)]
    )
    kept_rp = group_p != np.arange(-1, _KERNEL_GROUPS)[:, None]  # all, then all but each group
    value_r = kernel_distances(together_pd, 1.0 * (kept_rp & ours_p), 1.0 * (kept_rp & ~ours_p))
    return float(value_r[0]), jackknife_error(value_r[1:])


def neighbourhoods(
    ours_nd: Float, theirs_md: Float, neighbours: int, rng: np.random.Generator
) -> dict[str, Estimate]:
    """`precision`, `recall`, `density` and `coverage`, from balls to the k-th nearest neighbour.

    Precision: share of our showers inside of a ball around one of theirs. Recall: share of theirs
    inside of a ball around one of ours. Density: in how many balls around theirs one of ours lies,
    over k; above 1 where ours crowd where theirs are dense. Coverage: share of their balls with one
    of ours in it. Errors by `_with_errors`: showers share balls, so they do not count as
    independent.
    """
    ours, theirs = (_Nearest.of(x, neighbours) for x in (ours_nd, theirs_md))
    cross_nm = cdist(ours_nd, theirs_md)

    def among(kept_n: Rows, kept_m: Rows) -> dict[str, float]:
        kept_nm = cross_nm[np.ix_(kept_n, kept_m)]
        inside_nm = kept_nm < theirs.radius(kept_m)
        around_nm = kept_nm < ours.radius(kept_n)[:, None]
        return {
            "precision": float(inside_nm.any(axis=1).mean()),
            "recall": float(around_nm.any(axis=0).mean()),
            "density": float(inside_nm.sum(axis=1).mean() / neighbours),
            "coverage": float(inside_nm.any(axis=0).mean()),
        }

    return _with_errors(among, len(ours_nd), len(theirs_md), rng)


@dataclass(frozen=True)
class _Nearest:
    """The nearest others of each shower within its own sample, nearest first."""

    neighbours: int
    number_nl: Integer
    distance_nl: Float

    @classmethod
    def of(cls, values_nd: Float, neighbours: int) -> Self:
        # More than k: half of them are left out at random.
        near = Neighbours.of(values_nd, 4 * neighbours + _SPARE)
        return cls(neighbours, near.number_pl, near.distance_pl)

    def radius(self, kept_n: Rows) -> Float:
        """Distance of each that is kept to its k-th nearest neighbour among the others kept."""
        rank_nl = np.cumsum(kept_n[self.number_nl[kept_n]], axis=1)
        at_n = np.minimum((rank_nl < self.neighbours).sum(axis=1), self.number_nl.shape[1] - 1)
        distance_n: Float = self.distance_nl[kept_n][np.arange(len(at_n)), at_n]
        return distance_n


@dataclass(frozen=True)
class Neighbours:
    """The nearest others of each of P showers, of two samples put together, nearest first."""

    number_pl: Integer
    distance_pl: Float

    @classmethod
    def of(cls, values_pd: Float, listed: int = _LISTED) -> Self:
        """Of showers with these features, the nearest `listed` of each."""
        listed = min(listed, len(values_pd) - 1)
        numbers, distances = [], []
        for first in range(0, len(values_pd), _ROWS_AT_ONCE):
            distance = cdist(values_pd[first : first + _ROWS_AT_ONCE], values_pd)
            rows = np.arange(len(distance))
            distance[rows, first + rows] = np.inf  # itself
            near = np.argpartition(distance, listed - 1, axis=1)[:, :listed]
            near_distance = np.take_along_axis(distance, near, axis=1)
            order = np.argsort(near_distance, axis=1, kind="stable")
            numbers.append(np.take_along_axis(near, order, axis=1))
            distances.append(np.take_along_axis(near_distance, order, axis=1))
        return cls(np.concatenate(numbers), np.concatenate(distances))

    def neighbourhoods(self, ours_p: NDArray[np.bool_], neighbours: int) -> dict[str, float]:
        """`NEIGHBOURHOODS` where `ours_p` says who is ours, if that was shuffled.

        So that among the showers listed of each there are `neighbours` of both samples.
        """
        ours_pl = ours_p[self.number_pl]
        in_theirs_p, in_ours_p = np.zeros((2, len(ours_p)))
        covered_p = np.zeros(len(ours_p), bool)
        for mine_p, mine_pl, inside_p in (
            (~ours_p, ~ours_pl, in_theirs_p),
            (ours_p, ours_pl, in_ours_p),
        ):
            rank_pl = np.cumsum(mine_pl, axis=1)
            at_p = np.minimum((rank_pl < neighbours).sum(axis=1), self.distance_pl.shape[1] - 1)
            radius_p = self.distance_pl[np.arange(len(ours_p)), at_p]
            inside_pl = (self.distance_pl < radius_p[:, None]) & ~mine_pl & mine_p[:, None]
            np.add.at(inside_p, self.number_pl[inside_pl], 1.0)
            if inside_p is in_theirs_p:
                covered_p = inside_pl.any(axis=1)
        return {
            "precision": float((in_theirs_p[ours_p] > 0).mean()),
            "recall": float((in_ours_p[~ours_p] > 0).mean()),
            "density": float(in_theirs_p[ours_p].mean() / neighbours),
            "coverage": float(covered_p[~ours_p].mean()),
        }

    def from_other(
        self, ours_p: NDArray[np.bool_], kept_p: NDArray[np.bool_] | None = None
    ) -> dict[str, float]:
        """Share of showers whose nearest neighbour is of the other sample.

        `nearest.other`: of all; a half for equal samples of one size, less where they differ, more
        where the ones are near copies of the others. `closest.other`: of that tenth
        (at least ten) whose neighbours are closest, which a few near copies suffice for.
        `kept_p`: as if there were only these.
        """
        kept_p = np.ones(len(ours_p), bool) if kept_p is None else kept_p
        rows = np.flatnonzero(kept_p)
        first = np.argmax(kept_p[self.number_pl[rows]], axis=1)
        other_p = ours_p[self.number_pl[rows, first]] != ours_p[rows]
        count = min(len(rows), max(_FEWEST_CLOSEST, round(_CLOSEST * len(rows))))
        closest = np.argsort(self.distance_pl[rows, first], kind="stable")[:count]
        return {
            "nearest.other": float(other_p.mean()),
            "closest.other": float(other_p[closest].mean()),
        }

    def from_other_with_errors(
        self, ours_p: NDArray[np.bool_], rng: np.random.Generator
    ) -> dict[str, Estimate]:
        """`from_other`, with standard errors by `_with_errors`."""
        ours, theirs = np.flatnonzero(ours_p), np.flatnonzero(~ours_p)

        def among(kept_n: Rows, kept_m: Rows) -> dict[str, float]:
            kept_p = np.zeros(len(ours_p), bool)
            kept_p[ours[kept_n]] = kept_p[theirs[kept_m]] = True
            return self.from_other(ours_p, kept_p)

        return _with_errors(among, len(ours), len(theirs), rng)


def _with_errors(
    among: Callable[[Rows, Rows], dict[str, float]],
    count: int,
    other: int,
    rng: np.random.Generator,
) -> dict[str, Estimate]:
    """What comes of two samples, with standard errors from halves of both.

    The jackknife that leaves out half, at random: the spread over halves is the standard error of
    the whole, also for what is no smooth function of the showers, of which one that leaves out few
    says too much (Shao and Wu, Annals of Statistics 17 (1989) 1176).
    """
    halves = [
        among(*(rng.permutation(size) < (size + 1) // 2 for size in (count, other)))
        for _ in range(_HALVES)
    ]
    return {
        name: (value, float(np.std([each[name] for each in halves], ddof=1)))
        for name, value in among(np.ones(count, bool), np.ones(other, bool)).items()
    }


def nearest_distances(ours_nd: Float, theirs_md: Float | None = None) -> Float:
    """How far each of ours is from the nearest of theirs, over its own length: (N,).

    None: from the nearest other of ours. Infinite for a shower of length 0.
    """
    others = ours_nd if theirs_md is None else theirs_md
    length_n = np.linalg.norm(ours_nd, axis=1)
    nearest = []
    for first in range(0, len(ours_nd), _ROWS_AT_ONCE):
        distance = cdist(ours_nd[first : first + _ROWS_AT_ONCE], others)
        if theirs_md is None:
            rows = np.arange(len(distance))
            distance[rows, first + rows] = np.inf  # itself
        nearest.append(distance.min(axis=1))
    return np.divide(
        np.concatenate(nearest), length_n, out=np.full(len(length_n), np.inf), where=length_n > 0.0
    )

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

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from gan3d.validation.measures import Float, Integer
from gan3d.validation.resampling import jackknife_error

Estimate = tuple[float, float]
"""Value and standard error."""

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


def neighbourhoods(ours_nd: Float, theirs_md: Float, neighbours: int) -> dict[str, Estimate]:
    """`precision`, `recall`, `density` and `coverage`, from balls to the k-th nearest neighbour.

    Precision: share of our showers inside of a ball around one of theirs. Recall: share of theirs
    inside of a ball around one of ours. Density: in how many balls around theirs one of ours lies,
    over k; above 1 where ours crowd where theirs are dense. Coverage: share of their balls with one
    of ours in it. Errors are those of a share, or of a mean, over showers.
    """
    our_radii = _radii(ours_nd, neighbours)
    their_radii = _radii(theirs_md, neighbours)
    in_theirs_n, nearest_m = np.zeros(len(ours_nd)), np.full(len(theirs_md), np.inf)
    in_ours_m = np.zeros(len(theirs_md), bool)
    for first in range(0, len(ours_nd), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        distance = cdist(ours_nd[rows], theirs_md)
        in_theirs_n[rows] = (distance < their_radii).sum(axis=1)
        in_ours_m |= (distance < our_radii[rows, None]).any(axis=0)
        nearest_m = np.minimum(nearest_m, distance.min(axis=0))
    return {
        "precision": _mean(in_theirs_n > 0),
        "recall": _mean(in_ours_m),
        "density": _mean(in_theirs_n / neighbours),
        "coverage": _mean(nearest_m < their_radii),
    }


@dataclass(frozen=True)
class Neighbours:
    """The nearest others of each of P showers, of two samples put together, nearest first."""

    number_pl: Integer
    distance_pl: Float

    @classmethod
    def of(cls, values_pd: Float) -> Self:
        """Of showers with these features."""
        listed = min(_LISTED, len(values_pd) - 1)
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

    def from_other(self, ours_p: NDArray[np.bool_]) -> dict[str, float]:
        """Share of showers whose nearest neighbour is of the other sample.

        `nearest.other`: of all; a half for equal samples of one size, less where they differ, more
        where the ones are near copies of the others. `closest.other`: of that tenth
        (at least ten) whose neighbours are closest, which a few near copies suffice for.
        """
        other_p = ours_p[self.number_pl[:, 0]] != ours_p
        count = min(len(ours_p), max(_FEWEST_CLOSEST, round(_CLOSEST * len(ours_p))))
        closest = np.argsort(self.distance_pl[:, 0], kind="stable")[:count]
        return {
            "nearest.other": float(other_p.mean()),
            "closest.other": float(other_p[closest].mean()),
        }


def _radii(values_nd: Float, neighbours: int) -> Float:
    """Distance of each shower to its k-th nearest neighbour, itself not counted."""
    found = [
        np.partition(cdist(values_nd[first : first + _ROWS_AT_ONCE], values_nd), neighbours)[
            :, neighbours
        ]
        for first in range(0, len(values_nd), _ROWS_AT_ONCE)
    ]
    return np.concatenate(found)


def _mean(values_n: Float | NDArray[np.bool_]) -> Estimate:
    return float(values_n.mean()), float(values_n.std(ddof=1) / np.sqrt(len(values_n)))

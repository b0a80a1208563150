"""Distances of two samples in all their features together.

All take features (N, D), each around the reference's mean and over its standard deviation; for the
kernel distance over five of them. Definitions: Kansal et al., "Evaluating generative models in high
energy physics", Phys. Rev. D 107 (2023) 076017, arXiv:2211.10295, for the Frechet and the kernel
physics distance, as in their library JetNet but for three things: JetNet divides by the largest
value of each feature, which one outlier sets; it takes samples of 20 000 to 50 000, here they are
shares of what is there; and its kernel distance is a median of overlapping batches, here it is a
mean of disjoint ones, which has a standard error. Naeem et al., "Reliable fidelity and diversity
metrics for generative models", arXiv:2002.09797, for density and coverage; Kynkaanniemi et al.,
arXiv:1904.06991, for precision and recall.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from gan3d.validation.measures import Float
from gan3d.validation.resampling import jackknife_error

Estimate = tuple[float, float]
"""Value and standard error."""

NEIGHBOURHOODS = ("precision", "recall", "density", "coverage")
"""What `neighbourhoods` gives."""

_FRECHET_SIZES = 10
_FRECHET_BATCHES = 20
_FRECHET_GROUPS = 20
_KERNEL_BLOCKS = 10
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


def kernel_physics_distance(ours_nd: Float, theirs_md: Float, rng: np.random.Generator) -> Estimate:
    """Unbiased squared maximum mean discrepancy with the kernel (x y / D + 1)^4.

    Gretton et al., J. Mach. Learn. Res. 13 (2012) 723, equation 3; the mean over disjoint blocks
    with its standard error. May come out below 0 for equal samples.
    """
    most = min(len(ours_nd), len(theirs_md))
    ours_rows, theirs_rows = (rng.permutation(len(x))[:most] for x in (ours_nd, theirs_md))
    blocks = [
        _squared_discrepancy(ours_nd[ours], theirs_md[theirs])
        for ours, theirs in zip(
            np.array_split(ours_rows, _KERNEL_BLOCKS),
            np.array_split(theirs_rows, _KERNEL_BLOCKS),
            strict=True,
        )
    ]
    return float(np.mean(blocks)), float(np.std(blocks, ddof=1) / np.sqrt(len(blocks)))


def _squared_discrepancy(ours_nd: Float, theirs_md: Float) -> float:
    def kernel(x_nd: Float, y_md: Float) -> Float:
        values: Float = (x_nd @ y_md.T / x_nd.shape[1] + 1.0) ** _KERNEL_DEGREE
        return values

    def without_diagonal(x_nd: Float) -> float:
        values = kernel(x_nd, x_nd)
        count = len(x_nd)
        return float((values.sum() - np.trace(values)) / (count * (count - 1)))

    cross = float(kernel(ours_nd, theirs_md).mean())
    return without_diagonal(ours_nd) + without_diagonal(theirs_md) - 2.0 * cross


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

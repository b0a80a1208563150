"""Can a classifier tell generated showers from the reference? The area under its ROC curve.

Trained and tested on different showers (cross-validation), so it is 0.5 where it cannot, within the
error, and 1 where it always can. Trees boosted by gradients: they need no scaling, take undefined
features as they are, and find more in a few thousand showers than the dense networks of the Fast
Calorimeter Challenge 2022 (Krause et al., arXiv:2410.21611), whose two sets of features these are:
high-level ones, and the energies of the cells.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from gan3d.validation.measures import Float, Integer

_TREES = 100
_LEAVES = 15
_BINS = 63  # per feature; a quarter of the time of 255
_CURVE_POINTS = 201


@dataclass(frozen=True)
class Classified:
    """How well two samples were told apart."""

    auc: float
    """Area under the ROC curve: mean over the folds."""
    error: float
    """Its standard error."""
    false_positive_rate: Float
    """Share of reference showers taken for generated ones, ascending: (points,)."""
    true_positive_rate: Float
    """Share of generated showers recognised, at the same cuts."""


def classify(ours_nd: Float, theirs_md: Float, folds: int, seed: int) -> Classified:
    """Tell ours (N, D) from theirs (M, D) with classifiers that have not seen them.

    Every fold tests on one of `folds` parts and trains on the others. NaN are taken as such.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score, roc_curve
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    values = np.concatenate([ours_nd, theirs_md])
    truth = np.concatenate([np.ones(len(ours_nd), int), np.zeros(len(theirs_md), int)])
    at = np.linspace(0.0, 1.0, _CURVE_POINTS)

    def test_one(split: tuple[Integer, Integer]) -> tuple[float, Float]:
        train, test = split
        trees = HistGradientBoostingClassifier(
            max_iter=_TREES,
            max_leaf_nodes=_LEAVES,
            max_bins=_BINS,
            early_stopping=True,
            random_state=seed,
        )
        # A fold on each core. OpenMP's threads, which wait for each other by spinning, are ten
        # times slower where a core is taken.
        with threadpool_limits(1, user_api="openmp"):
            trees.fit(values[train], truth[train])
            score = trees.predict_proba(values[test])[:, 1]
        false_rate, true_rate, _ = roc_curve(truth[test], score)
        return float(roc_auc_score(truth[test], score)), np.interp(at, false_rate, true_rate)

    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(values, truth)
    with ThreadPoolExecutor(min(folds, len(os.sched_getaffinity(0)))) as pool:
        areas, true_rates = zip(*pool.map(test_one, splits), strict=True)
    area = float(np.mean(areas))
    return Classified(
        area, auc_error(area, len(ours_nd), len(theirs_md)), at, np.mean(true_rates, axis=0)
    )


def auc_error(area: float, positives: int, negatives: int) -> float:
    """Standard error of the area under a ROC curve: Hanley and McNeil, Radiology 143 (1982) 29."""
    q1, q2 = area / (2.0 - area), 2.0 * area**2 / (1.0 + area)
    variance = (
        area * (1.0 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    ) / (positives * negatives)
    return float(np.sqrt(max(variance, 0.0)))

"""Can a classifier tell generated showers from the reference? The area under its ROC curve.

Trained and tested on different showers (cross-validation), so it is 0.5 where it cannot, within the
error, and 1 where it always can. Trees boosted by gradients for features and cells: they need no
scaling, take undefined features as they are, and find more in a few thousand showers than the dense
networks of the Fast Calorimeter Challenge 2022 (Krause et al., arXiv:2410.21611), whose two sets of
inputs these are. A logistic regression for hundreds of features that say little each, as texture
has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gan3d.validation.measures import Float, Integer

_TREES = 100
_LEAVES = 15
_BINS = 63  # per feature; a quarter of the time of 255
_CURVE_POINTS = 201
_PENALTY = 0.1
"""Inverse of the logistic regression's L2 penalty; a tenth or ten times as much changes little."""

_CROSS_VALIDATED = 1.5
"""Spread of the area over folds, over that of a classifier that is given: the folds' classifiers
are trained on each other's tests. Seen for equal samples of 100 and 200 showers: 1.3 to 1.5."""

Learner = Literal["trees", "logistic"]


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
    showers: tuple[int, int]
    """Generated and reference showers it was tested on."""
    error_of_equal: float
    """Standard error of the area if there is nothing to tell, so that it is 0.5."""


def classify(
    ours_nd: Float,
    theirs_md: Float,
    folds: int,
    seed: int,
    *,
    pair_by: tuple[Float, Float] | None = None,
    learner: Learner = "trees",
) -> Classified:
    """Tell ours (N, D) from theirs (M, D) with classifiers that have not seen them.

    Every fold tests on one of `folds` parts and trains on the others. Trees take NaN as such.

    `pair_by`: incident energies of both, where they are the same in both samples. Showers of (next
    to) the same energy then are in the same fold: a classifier that remembers which energy was of
    which sample would be wrong about its twin.
    """
    from sklearn.metrics import roc_auc_score, roc_curve
    from threadpoolctl import threadpool_limits

    values = np.concatenate([ours_nd, theirs_md])
    truth = np.concatenate([np.ones(len(ours_nd), int), np.zeros(len(theirs_md), int)])
    fold_n = _folds(truth, folds, np.random.default_rng(seed), pair_by)
    at = np.linspace(0.0, 1.0, _CURVE_POINTS)

    def test_one(fold: int) -> tuple[float, Float]:
        tested = fold_n == fold
        # One thread: OpenMP's, which wait for each other by spinning, are ten times slower where a
        # core is taken. Nor folds side by side: scikit-learn 1.9 sets the warnings of the whole
        # process aside and back in every thread, and warns, by the thousand, of what it then sees.
        with threadpool_limits(1):
            model = _model(learner, seed)
            model.fit(values[~tested], truth[~tested])
            score = model.predict_proba(values[tested])[:, 1]
        false_rate, true_rate, _ = roc_curve(truth[tested], score)
        return float(roc_auc_score(truth[tested], score)), np.interp(at, false_rate, true_rate)

    areas, true_rates = zip(*map(test_one, range(folds)), strict=True)
    area = float(np.mean(areas))
    showers = len(ours_nd), len(theirs_md)
    error, of_equal = (_CROSS_VALIDATED * auc_error(each, *showers) for each in (area, 0.5))
    return Classified(area, error, at, np.mean(true_rates, axis=0), showers, of_equal)


def told_apart(ours_n: Float, theirs_m: Float) -> Classified:
    """How well scores that rise with the likelihood of being ours tell two samples apart."""
    from sklearn.metrics import roc_auc_score, roc_curve

    truth = np.repeat([1, 0], [len(ours_n), len(theirs_m)])
    score = np.concatenate([ours_n, theirs_m])
    area = float(roc_auc_score(truth, score))
    at = np.linspace(0.0, 1.0, _CURVE_POINTS)
    false_rate, true_rate, _ = roc_curve(truth, score)
    showers = len(ours_n), len(theirs_m)
    curve = np.interp(at, false_rate, true_rate)
    return Classified(area, auc_error(area, *showers), at, curve, showers, auc_error(0.5, *showers))


def _model(learner: Learner, seed: int) -> Any:
    if learner == "trees":
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            max_iter=_TREES,
            max_leaf_nodes=_LEAVES,
            max_bins=_BINS,
            early_stopping=True,
            random_state=seed,
        )
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=_PENALTY, max_iter=1000))


def _folds(
    truth_n: Integer, folds: int, rng: np.random.Generator, pair_by: tuple[Float, Float] | None
) -> Integer:
    """Which part each shower is in; every part has its share of both samples."""
    fold_n = np.empty(len(truth_n), np.int64)
    if pair_by is not None:
        order = np.argsort(np.concatenate(pair_by), kind="stable")
        pairs = (len(order) + 1) // 2
        fold_n[order] = np.repeat(rng.permutation(pairs) % folds, 2)[: len(order)]
        return fold_n
    for label in (0, 1):
        rows = np.flatnonzero(truth_n == label)
        fold_n[rows] = rng.permutation(len(rows)) % folds
    return fold_n


def auc_error(area: float, positives: int, negatives: int) -> float:
    """Standard error of the area under a ROC curve: Hanley and McNeil, Radiology 143 (1982) 29."""
    q1, q2 = area / (2.0 - area), 2.0 * area**2 / (1.0 + area)
    variance = (
        area * (1.0 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    ) / (positives * negatives)
    return float(np.sqrt(max(variance, 0.0)))

import numpy as np
import pytest
from scipy.stats import norm

from gan3d.validation.classifier import auc_error, classify, told_apart


def normal(seed, count, shift=0.0, width=4):
    return np.random.default_rng(seed).normal(size=(count, width)) + shift


def test_the_auc_of_two_normal_distributions():
    """Phi(d / sqrt 2) for a shift d; a classifier that learns from some finds a little less."""
    found = classify(normal(0, 2000, 1.5, 1), normal(1, 2000, 0.0, 1), 5, 0)
    assert found.auc == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=0.015)
    assert 0.005 < found.error < 0.012


def test_equal_distributions_cannot_be_told_apart():
    pulls = []
    for seed in range(6):
        found = classify(normal(2 * seed, 400), normal(2 * seed + 1, 400), 5, seed)
        pulls.append((found.auc - 0.5) / found.error)
    assert np.abs(pulls).max() < 4
    assert abs(np.mean(pulls)) < 1.5


def test_what_is_far_apart_is_always_told_apart():
    found = classify(normal(0, 200, 30.0), normal(1, 200), 5, 0)
    assert found.auc == 1.0
    assert found.error == pytest.approx(0, abs=1e-9)


def test_the_curve_runs_from_0_to_1_and_has_the_area():
    found = classify(normal(0, 800, 0.7), normal(1, 800), 5, 0)
    assert found.false_positive_rate[0] == 0
    assert found.false_positive_rate[-1] == found.true_positive_rate[-1] == 1
    assert (np.diff(found.true_positive_rate) >= 0).all()
    area = np.trapezoid(found.true_positive_rate, found.false_positive_rate)
    assert area == pytest.approx(found.auc, abs=0.01)


def test_undefined_features_are_taken_as_such():
    ours, theirs = normal(0, 300), normal(1, 300)
    ours[:150, 0] = np.nan
    assert classify(ours, theirs, 5, 0).auc > 0.7


def test_the_same_twice():
    once, again = (classify(normal(0, 100), normal(1, 100), 5, 3).auc for _ in range(2))
    assert once == again


def test_the_error_is_that_of_many_samples():
    """Of the exact score, whose area is known."""
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([1, 0], [150, 250])
    areas = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        areas.append(roc_auc_score(truth, rng.normal(size=400) + 0.8 * truth))
    assert auc_error(norm.cdf(0.8 / np.sqrt(2)), 150, 250) == pytest.approx(np.std(areas), rel=0.12)


def test_twins_in_energy_do_not_mislead():
    """Both samples have the same energies, and are told nothing but them."""
    energy_n = np.random.default_rng(0).uniform(10, 100, 300)
    told = energy_n[:, None]
    apart = [classify(told, told, 5, seed).auc for seed in range(4)]
    paired = [classify(told, told, 5, seed, pair_by=(energy_n, energy_n)).auc for seed in range(4)]
    assert np.mean(apart) < 0.4
    assert np.mean(paired) == pytest.approx(0.5, abs=0.05)


def test_a_logistic_regression_finds_what_hundreds_of_features_say_together():
    ours, theirs = (normal(seed, 400, shift, 200) for seed, shift in ((0, 0.1), (1, 0.0)))
    # A shift of 0.1 in each of 200: sqrt(200) x 0.1 standard deviations.
    assert classify(ours, theirs, 5, 0, learner="logistic").auc > 0.65
    assert classify(ours[:, :2], theirs[:, :2], 5, 0, learner="logistic").auc < 0.6


def test_scores_are_told_apart_by_their_order():
    found = told_apart(np.array([0.2, 0.9, 0.8]), np.array([0.1, 0.3]))
    assert found.auc == pytest.approx(5 / 6)
    assert found.showers == (3, 2)

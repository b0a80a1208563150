import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gan3d.config import Validation
from gan3d.validation import distances as d

# Coarse values: ties within and between the samples.
samples = st.lists(st.integers(-20, 20).map(float), min_size=2, max_size=30).map(np.array)
counts = st.lists(st.integers(0, 50), min_size=6, max_size=6).map(lambda c: np.array(c, float))


SETTINGS = Validation(histogram_bins=8, chi2_bins=4)


def found(ours, theirs, *times):
    """The distances of two samples, given how often each value of both counts."""
    values = np.concatenate([ours, theirs])
    times = times or (np.ones(len(ours)), np.ones(len(theirs)))
    left = np.concatenate([times[0], np.zeros(len(theirs))])
    right = np.concatenate([np.zeros(len(ours)), times[1]])
    return d.distances(values, left[None, :], right[None, :], SETTINGS)


@given(samples, samples)
def test_the_distances_are_those_of_scipy(ours, theirs):
    values = found(ours, theirs)
    assert values["ks"][0] == pytest.approx(
        stats.ks_2samp(ours, theirs, method="asymp").statistic, abs=1e-6
    )
    expected = stats.wasserstein_distance(ours, theirs) / (theirs.std() or 1.0)
    assert values["wasserstein"][0] == pytest.approx(expected, rel=1e-5, abs=1e-5)


@given(samples, samples, st.integers(0, 1000))
def test_a_weight_counts_a_value_so_often(ours, theirs, seed):
    times = np.random.default_rng(seed).integers(1, 4, len(ours)).astype(float)
    weighted = found(ours, theirs, times, np.ones(len(theirs)))
    repeated = found(np.repeat(ours, times.astype(int)), theirs)
    for name in d.DISTANCES:
        assert weighted[name] == pytest.approx(repeated[name], rel=1e-5, abs=1e-6)


def test_replicas_do_not_mix():
    rng = np.random.default_rng(0)
    values = rng.normal(size=70)
    # As many of theirs in all, as the number of bins is for all replicas.
    left, right = (rng.multinomial(size, np.ones(70) / 70, 5) * 1.0 for size in (40, 30))
    together = d.distances(values, left, right, SETTINGS)
    for row in range(5):
        alone = d.distances(values, left[[row]], right[[row]], SETTINGS)
        for name in d.DISTANCES:
            assert together[name][row] == pytest.approx(alone[name][0], rel=1e-6)


def test_a_shift_is_the_wasserstein_distance():
    theirs = np.random.default_rng(0).normal(size=500)
    shifted = found(theirs + 0.7 * theirs.std(), theirs)["wasserstein"]
    assert shifted[0] == pytest.approx(0.7, rel=1e-4)


def test_what_is_theirs_sets_the_bins():
    """Bins of one width from their least to their largest value, the rest flows over."""
    theirs, ours = np.arange(200.0), np.array([-50.0, 10.0, 500.0])
    both = d.Cumulated.of(
        np.concatenate([ours, theirs]),
        np.r_[np.ones(3), np.zeros(200)][None, :],
        np.r_[np.zeros(3), np.ones(200)][None, :],
    )
    (edges,) = both.equal_width(4)
    assert edges.tolist() == [0.0, 49.75, 99.5, 149.25, 199.0]
    (left,), (right,) = both.histograms(edges[None, :])
    assert left.tolist() == [1, 1, 0, 0, 0, 1]
    assert right.tolist() == [0, 50, 50, 50, 50, 0]
    (quartiles,) = both.quantiles_of_theirs(np.array([0.25, 0.5, 1.0]))
    assert quartiles.tolist() == [49.0, 99.0, 199.0]
    assert both.spread_of_theirs() == pytest.approx(theirs.std())


def test_chi2_is_one_for_samples_of_one_distribution():
    rng = np.random.default_rng(3)
    shares = rng.dirichlet(np.ones(20) * 5)
    # Of different sizes; the mean of 400 has an error of sqrt(2 / 19 / 400).
    left, right = rng.multinomial(900, shares, 400), rng.multinomial(2000, shares, 400)
    values = d.reduced_chi2(left.astype(float), right.astype(float))
    assert values.mean() == pytest.approx(1.0, abs=4 * np.sqrt(2 / 19 / 400))
    assert values.std() == pytest.approx(np.sqrt(2 / 19), rel=0.2)


def test_chi2_by_hand():
    # Equal sums: (n - m)^2 / (n + m) in two bins, one degree of freedom.
    value = d.reduced_chi2(np.array([[6.0, 4.0, 0.0]]), np.array([[2.0, 8.0, 0.0]]))
    assert value[0] == pytest.approx(16 / 8 + 16 / 12)


def test_chi2_of_an_empty_histogram_is_a_number():
    assert np.isfinite(d.reduced_chi2(np.zeros((1, 3)), np.ones((1, 3)))).all()


@given(counts, counts)
def test_separation_is_symmetric_and_between_0_and_1(p, q):
    value = d.separation_power(p, q)
    assert value == pytest.approx(d.separation_power(q, p))
    assert 0 <= value <= 1 + 1e-12


@given(counts, st.integers(1, 9))
def test_separation_does_not_depend_on_the_sample_size(p, factor):
    assert d.separation_power(p, factor * p) == pytest.approx(0, abs=1e-15)


def test_separation_of_disjoint_histograms_is_one():
    p, q, nothing = np.array([3.0, 1, 0, 0]), np.array([0.0, 0, 2, 2]), np.zeros(4)
    assert d.separation_power(p, q) == pytest.approx(1)
    assert d.separation_power(nothing, q) == 1
    assert d.separation_power(nothing, nothing) == 0


def test_separation_by_hand():
    expected = 0.5 * (0.25**2 / 0.75 + 0.25**2 / 1.25)
    value = d.separation_power(np.array([1.0, 1.0]), np.array([1.0, 3.0]))
    assert value == pytest.approx(expected)


def test_separation_of_two_samples_of_one_distribution():
    """(B / 4) (1/N + 1/M) on average, as its documentation says."""
    rng = np.random.default_rng(1)
    left, right = (
        rng.multinomial(500, np.ones(50) / 50, 200),
        rng.multinomial(800, np.ones(50) / 50, 200),
    )
    values = d.separation_power(left.astype(float), right.astype(float))
    assert values.mean() == pytest.approx(49 / 4 * (1 / 500 + 1 / 800), rel=0.03)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gan3d.validation import distances as d

# Coarse values: ties within and between the samples.
samples = st.lists(st.integers(-20, 20).map(float), min_size=2, max_size=30).map(np.array)
counts = st.lists(st.integers(0, 50), min_size=6, max_size=6).map(lambda c: np.array(c, float))


def edges(values):
    low, high = values.min(), values.max() + 1
    return d.Edges(np.linspace(low, high, 9), np.linspace(low, high, 5)[1:-1], 2.0)


def once(values):
    return np.ones((1, len(values)))


@given(samples, samples)
def test_the_distances_are_those_of_scipy(ours, theirs):
    found = d.distances(ours, theirs, once(ours), once(theirs), edges(theirs))
    assert found["ks"][0] == pytest.approx(
        stats.ks_2samp(ours, theirs, method="asymp").statistic, abs=1e-12
    )
    expected = stats.wasserstein_distance(ours, theirs) / 2.0
    assert found["wasserstein"][0] == pytest.approx(expected, abs=1e-9)


@given(samples, samples, st.integers(0, 1000))
def test_a_weight_counts_a_value_so_often(ours, theirs, seed):
    times = np.random.default_rng(seed).integers(1, 4, len(ours))
    weighted = d.distances(ours, theirs, times[None, :] * 1.0, once(theirs), edges(theirs))
    copied = np.repeat(ours, times)
    repeated = d.distances(copied, theirs, once(copied), once(theirs), edges(theirs))
    for name in d.DISTANCES:
        assert weighted[name] == pytest.approx(repeated[name], abs=1e-9)


def test_replicas_do_not_mix():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=40), rng.normal(size=30)
    left, right = rng.integers(0, 3, (5, 40)) * 1.0, rng.integers(0, 3, (5, 30)) * 1.0
    together = d.distances(ours, theirs, left, right, edges(theirs))
    for row in range(5):
        alone = d.distances(ours, theirs, left[[row]], right[[row]], edges(theirs))
        for name in d.DISTANCES:
            assert together[name][row] == pytest.approx(alone[name][0])


def test_a_shift_is_the_wasserstein_distance():
    theirs = np.random.default_rng(0).normal(size=500)
    found = d.distances(theirs + 0.7, theirs, once(theirs), once(theirs), edges(theirs))
    assert found["wasserstein"][0] == pytest.approx(0.35)


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
    found = d.reduced_chi2(np.array([[6.0, 4.0, 0.0]]), np.array([[2.0, 8.0, 0.0]]))
    assert found[0] == pytest.approx(16 / 8 + 16 / 12)


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
    found = d.separation_power(np.array([1.0, 1.0]), np.array([1.0, 3.0]))
    assert found == pytest.approx(expected)


def test_separation_of_two_samples_of_one_distribution():
    """(B / 4) (1/N + 1/M) on average, as its documentation says."""
    rng = np.random.default_rng(1)
    left, right = (
        rng.multinomial(500, np.ones(50) / 50, 200),
        rng.multinomial(800, np.ones(50) / 50, 200),
    )
    values = d.separation_power(left.astype(float), right.astype(float))
    assert values.mean() == pytest.approx(49 / 4 * (1 / 500 + 1 / 800), rel=0.03)


def test_values_beyond_the_edges_are_counted():
    values = np.array([-5.0, 0.0, 0.5, 2.0, 7.0, 8.0])
    counted = d.histogram(values, np.array([[1.0] * 6, [0, 1, 2, 3, 4, 5]]), np.arange(3.0))
    assert counted.tolist() == [[1, 2, 1, 2], [0, 3, 3, 9]]

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.validation.resampling import halves, halvings, same_energies, with_bootstrap


@given(st.integers(2, 41), st.integers(0, 100), st.booleans())
def test_halves_are_disjoint_and_equal(count, seed, matched):
    energy_n = np.random.default_rng(seed).uniform(10, 100, count)
    one, other = halves(energy_n, np.random.default_rng(seed), matched=matched)
    assert len(one) == len(other) == count // 2
    assert not set(one) & set(other)
    if matched:
        ranks = np.argsort(np.argsort(energy_n))
        assert np.array_equal(np.sort(ranks[one]) // 2, np.sort(ranks[other]) // 2)


@pytest.mark.parametrize("matched", [True, False])
def test_halvings_are_the_weights_of_halves(matched):
    energy_n = np.random.default_rng(0).uniform(10, 100, 31)
    one, other = halvings(energy_n, 7, np.random.default_rng(0), matched=matched)
    assert one.shape == other.shape == (7, 31)
    assert set(np.unique(one)) == {0.0, 1.0}
    assert ((one + other).sum(axis=1) == 30).all()
    assert (one * other).sum() == 0
    assert len({tuple(row) for row in one}) > 1


def test_a_replica_draws_as_many_as_there_are():
    weights = with_bootstrap(50, 400, np.random.default_rng(0))
    assert weights.shape == (401, 50)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 50).all()
    # The chance of a shower not to be drawn is (1 - 1/50)^50.
    assert (weights[1:] == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)


def test_a_bootstrap_gives_the_error_of_a_mean():
    values = np.random.default_rng(1).normal(size=400)
    means = with_bootstrap(400, 2000, np.random.default_rng(2)) @ values / 400
    assert means[1:].std() == pytest.approx(values.std() / 20, rel=0.1)


def test_same_energies():
    rng = np.random.default_rng(0)
    energy_n = rng.uniform(10, 100, 300)
    assert same_energies(rng.permutation(energy_n), energy_n)
    assert same_energies(np.resize(energy_n, 1000), energy_n)
    assert not same_energies(rng.uniform(10, 100, 300), energy_n)

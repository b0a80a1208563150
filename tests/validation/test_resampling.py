import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.validation.resampling import exchanges, pairs, same_energies, with_bootstrap


@given(st.integers(4, 30), st.integers(4, 30), st.integers(0, 100), st.booleans())
def test_an_exchange_keeps_the_sizes(count, other, seed, matched):
    rng = np.random.default_rng(seed)
    energy_n, energy_m = rng.uniform(10, 100, count), rng.uniform(10, 100, other)
    ours_rp = exchanges(energy_n, energy_m, 20, rng, matched=matched)
    assert ours_rp.shape == (20, count + other)
    assert (ours_rp.sum(axis=1) == count).all()


def test_every_shower_plays_either_part():
    rng = np.random.default_rng(0)
    ours_rp = exchanges(np.ones(30), np.ones(60), 3000, rng, matched=False)
    assert ours_rp.mean(axis=0) == pytest.approx(np.full(90, 1 / 3), abs=0.04)


def test_matched_showers_are_exchanged_with_neighbours_in_energy_alone():
    """Of 200 and 200 with the same energies, in 8 groups of 50: both keep theirs within a group."""
    energy_n = np.random.default_rng(0).permutation(200).astype(float)
    energy_m = np.arange(200.0)
    ours_rp = exchanges(energy_n, energy_m, 200, np.random.default_rng(1), matched=True)
    energy_p = np.concatenate([energy_n, energy_m])
    for ours_p in ours_rp:
        assert np.abs(np.sort(energy_p[ours_p]) - energy_m).max() < 26
    assert ours_rp.mean(axis=0) == pytest.approx(np.full(400, 0.5), abs=0.15)


@pytest.mark.parametrize("energies", [[50.0], [10.0, 20.0, 50.0], list(range(10, 101))])
def test_showers_of_equal_energies_are_exchanged_as_well(energies):
    """Not one sample after the other, which would leave everybody where they are."""
    rng = np.random.default_rng(0)
    energy_n, energy_m = rng.choice(energies, (2, 300))
    ours_rp = exchanges(energy_n, energy_m, 50, rng, matched=True)
    assert ours_rp[:, :300].mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("matched", [True, False])
def test_pairs_are_samples_of_these_sizes(matched):
    energy_m = np.random.default_rng(0).uniform(10, 100, 200)
    one, other = pairs(energy_m, 50, 300, np.random.default_rng(1), matched=matched)
    assert one.shape == other.shape == (300, 200)
    assert (one.sum(axis=1) == 50).all()
    assert (other.sum(axis=1) == 200).all()
    # As independent as two samples: means differ by the spread times sqrt(1/50 + 1/200).
    values = np.random.default_rng(2).normal(size=200)
    difference = one @ values / 50 - other @ values / 200
    assert difference.std() == pytest.approx(np.sqrt(1 / 50 + 1 / 200) * values.std(), rel=0.15)
    if matched:
        means = (one @ energy_m / 50).std()
        assert means < 0.25 * energy_m.std() / np.sqrt(50)


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

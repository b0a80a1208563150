import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.validation.resampling import (
    at_common_energies,
    exchanges,
    pairs,
    same_energies,
    spread_alike,
    with_bootstrap,
)


@given(st.integers(4, 30), st.integers(4, 30), st.integers(0, 100))
def test_an_exchange_keeps_the_sizes(count, other, seed):
    rng = np.random.default_rng(seed)
    energy_n, energy_m = rng.uniform(10, 100, count), rng.uniform(10, 100, other)
    ours_rp = exchanges(energy_n, energy_m, 20, rng)
    assert ours_rp.shape == (20, count + other)
    assert (ours_rp.sum(axis=1) == count).all()


def test_every_shower_plays_either_part():
    rng = np.random.default_rng(0)
    ours_rp = exchanges(np.ones(30), np.ones(60), 3000, rng)
    assert ours_rp.mean(axis=0) == pytest.approx(np.full(90, 1 / 3), abs=0.04)


def test_showers_are_exchanged_with_neighbours_in_energy_alone():
    """Of 200 and 200 with the same energies, in 8 groups of 50: both keep theirs within a group."""
    energy_n = np.random.default_rng(0).permutation(200).astype(float)
    energy_m = np.arange(200.0)
    ours_rp = exchanges(energy_n, energy_m, 200, np.random.default_rng(1))
    energy_p = np.concatenate([energy_n, energy_m])
    for ours_p in ours_rp:
        assert np.abs(np.sort(energy_p[ours_p]) - energy_m).max() < 26
    assert ours_rp.mean(axis=0) == pytest.approx(np.full(400, 0.5), abs=0.15)


@pytest.mark.parametrize("energies", [[50.0], [10.0, 20.0, 50.0], list(range(10, 101))])
def test_showers_of_equal_energies_are_exchanged_as_well(energies):
    """Not one sample after the other, which would leave everybody where they are."""
    rng = np.random.default_rng(0)
    energy_n, energy_m = rng.choice(energies, (2, 300))
    ours_rp = exchanges(energy_n, energy_m, 50, rng)
    assert ours_rp[:, :300].mean() == pytest.approx(0.5, abs=0.05)


def test_both_keep_their_spectra_where_these_are_unlike():
    """Flat against one that falls: exchanged showers have the incident energies of before."""
    rng = np.random.default_rng(0)
    energy_n, energy_m = 10 * 10 ** rng.uniform(0, 1, 300), rng.uniform(10, 100, 600)
    energy_p = np.concatenate([energy_n, energy_m])
    for ours_p in exchanges(energy_n, energy_m, 20, rng):
        assert energy_p[ours_p].mean() == pytest.approx(energy_n.mean(), rel=0.02)
        assert energy_p[~ours_p].mean() == pytest.approx(energy_m.mean(), rel=0.02)


@pytest.mark.parametrize("low", [10.0, 55.0])
def test_pairs_are_samples_of_these_sizes_and_energies(low):
    rng = np.random.default_rng(0)
    energy_n, energy_m = rng.uniform(low, 100, 50), rng.uniform(10, 100, 400)
    one, other = pairs(energy_n, energy_m, 300, np.random.default_rng(1))
    assert one.shape == other.shape == (300, 400)
    assert (one.sum(axis=1) == 50).all()
    assert (other.sum(axis=1) == 400).all()
    assert one @ energy_m / 50 == pytest.approx(np.full(300, energy_n.mean()), rel=0.03)
    assert other @ energy_m / 400 == pytest.approx(np.full(300, energy_m.mean()), rel=0.01)
    # As independent as two samples: means differ by the spread times sqrt(1/50 + 1/400).
    values = np.random.default_rng(2).normal(size=400)
    difference = one @ values / 50 - other @ values / 400
    assert difference.std() == pytest.approx(np.sqrt(1 / 50 + 1 / 400) * values.std(), rel=0.2)


@pytest.mark.parametrize("energies", [[50.0], [20.0, 50.0]])
def test_pairs_of_a_beam_of_one_energy_are_drawn_from_all_its_showers(energies):
    energy_m = np.repeat(energies, 300)
    one, other = pairs(energy_m, energy_m, 100, np.random.default_rng(0))
    for each in (one, other):
        assert (each.sum(axis=0) > 0).all()
        for energy in energies:
            assert (each[:, energy_m == energy].sum(axis=1) == 300).all()


@pytest.mark.parametrize("swapped", [False, True])
def test_rows_at_common_energies_are_spread_alike(swapped):
    rng = np.random.default_rng(0)
    energies = 10 * 10 ** rng.uniform(0, 1, 500), rng.uniform(10, 100, 900)
    energy_n, energy_m = energies[::-1] if swapped else energies
    assert not spread_alike(energy_n, energy_m)
    rows_n, rows_m = at_common_energies(energy_n, energy_m, rng)
    assert len(rows_n) == len(rows_m) > 250
    assert len(set(rows_n)) == len(set(rows_m)) == len(rows_n)
    ours, theirs = np.log(np.sort(energy_n[rows_n])), np.log(np.sort(energy_m[rows_m]))
    assert np.abs(ours - theirs).max() <= 0.05
    # Either way: were each matched with one above it, the mean difference would be 0.025.
    assert abs(np.mean(ours - theirs)) < 0.002
    assert spread_alike(rng.uniform(10, 100, 500), rng.uniform(10, 100, 900))


@given(st.data())
def test_common_energies_are_within_five_per_cent_and_taken_once(data):
    energies = st.lists(st.floats(1, 2), max_size=20).map(np.array)
    energy_n, energy_m = data.draw(energies), data.draw(energies)
    rows_n, rows_m = at_common_energies(energy_n, energy_m, np.random.default_rng(0))
    assert (np.diff(rows_n) > 0).all()
    assert (np.diff(rows_m) > 0).all()
    # Of what is left of both, none could have been taken.
    left_n, left_m = np.delete(energy_n, rows_n), np.delete(energy_m, rows_m)
    if len(left_n) and len(left_m):
        assert np.abs(np.log(left_n[:, None] / left_m)).min() > 0.05


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

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.data import Showers
from gan3d.validation import METRICS, observe
from gan3d.validation import metrics as m

BINS = [(10.0, 100.0), (10.0, 40.0), (40.0, 70.0), (70.0, 100.0)]
counts = st.lists(st.integers(0, 50), min_size=6, max_size=6).map(np.array)


@pytest.fixture
def compare(geometry, settings):
    def run(generated, reference):
        ours, theirs = (observe(s, geometry, settings) for s in (generated, reference))
        return m.compare(ours, theirs, m.Binning.from_reference(theirs), BINS)

    return run


def scaled(showers, factor):
    return Showers(showers.images_nxyz * np.float32(factor), showers.energy_n)


def test_identical_samples_score_exactly_zero(geant4, compare):
    values = compare(geant4, geant4)
    assert len(values) == len(METRICS) * (1 + len(BINS))
    assert set(values.values()) == {0.0}


def test_a_response_3_per_cent_too_high(geant4, compare):
    values = compare(scaled(geant4, 1.03), geant4)
    for name in (
        "sampling_fraction.rel_error",
        "profile.longitudinal.rel_error",
        "profile.transverse_x.rel_error",
        "profile.transverse_y.rel_error",
        "optimisation_metric",
        "bin.40-70GeV.sampling_fraction.rel_error",
    ):
        assert values[name] == pytest.approx(0.03, abs=1e-5)
    assert values["moments.rel_error"] == pytest.approx(0.0, abs=1e-6)
    assert values["total_energy.separation"] > 0.1
    assert values["hits.separation"] < 0.01


def test_errors_of_opposite_sign_in_energy_do_not_cancel(geant4, compare):
    factor = np.where(geant4.energy_n < 55, 1.1, 0.9).astype(np.float32)
    tilted = Showers(geant4.images_nxyz * factor[:, None, None, None], geant4.energy_n)
    assert compare(tilted, geant4)["sampling_fraction.rel_error"] > 0.04


def test_a_worse_resolution_is_seen_at_the_right_response(geant4, compare):
    factor = np.tile([0.92, 1.08], len(geant4) // 2).astype(np.float32)
    smeared = Showers(geant4.images_nxyz * factor[:, None, None, None], geant4.energy_n)
    values = compare(smeared, geant4)
    assert values["sampling_fraction.rel_error"] < 0.015
    assert values["total_energy.separation"] > 0.3


def test_total_energy_does_not_see_which_incident_energies_were_generated(geant4, compare):
    low = geant4.take(np.flatnonzero(geant4.energy_n < 90))
    assert compare(low, geant4)["total_energy.separation"] < 0.02


def test_profile_error_is_weighted_by_energy(one_cell, compare):
    """A layer with 1 % of the energy that is lost altogether costs 1 %."""
    reference = one_cell((12, 12, 8), energy=0.99, count=8)
    energies = np.linspace(11, 99, 8).astype(np.float32)
    images = reference.images_nxyz * (energies / 50)[:, None, None, None]
    lost = Showers(images, energies)
    images = images.copy()
    images[:, 12, 12, 20] = 0.01 * energies / 50
    values = compare(lost, Showers(images, energies))
    assert values["profile.longitudinal.rel_error"] == pytest.approx(0.01, rel=1e-4)
    # Unweighted: one of two layers is lost; the one filled row in x and in y lacks 1 %.
    assert values["optimisation_metric"] - values["moments.rel_error"] == pytest.approx(
        (0.5 + 0.01 + 0.01) / 3, rel=1e-3
    )


def test_moments_error_by_hand(one_cell, compare):
    energies = np.linspace(11, 99, 8).astype(np.float32)
    here, there = (
        Showers(one_cell(cell, count=8).images_nxyz, energies) for cell in ((9, 9, 9), (9, 9, 10))
    )
    # One of six moments is off by 1 of 9.5 layers; the variances are 0 in both.
    assert compare(there, here)["moments.rel_error"] == pytest.approx(1 / 9.5 / 6)


def test_separation_of_disjoint_histograms_is_one():
    assert m.separation_power(np.array([3, 1, 0, 0]), np.array([0, 0, 2, 2])) == pytest.approx(1)
    assert m.separation_power(np.array([0, 0]), np.array([0, 2])) == 1
    assert m.separation_power(np.array([0, 0]), np.array([0, 0])) == 0


def test_separation_by_hand():
    expected = 0.5 * (0.25**2 / 0.75 + 0.25**2 / 1.25)
    assert m.separation_power(np.array([1, 1]), np.array([1, 3])) == pytest.approx(expected)


@given(counts, counts)
def test_separation_is_symmetric_and_between_0_and_1(p, q):
    value = m.separation_power(p, q)
    assert value == pytest.approx(m.separation_power(q, p))
    assert 0 <= value <= 1 + 1e-12


@given(counts, st.integers(1, 9))
def test_separation_does_not_depend_on_the_sample_size(p, factor):
    assert m.separation_power(p, factor * p) == pytest.approx(0, abs=1e-15)


def test_values_beyond_the_edges_are_counted():
    counted = m.histogram_with_flows(np.array([-5.0, 0.0, 0.5, 2.0, 7.0, 8.0]), np.arange(3.0))
    assert counted.tolist() == [1, 2, 1, 2]


def test_relative_error_where_it_is_not_defined():
    value, reference = np.array([0.0, 1.0, np.nan, np.nan]), np.array([0.0, 0.0, 1.0, np.nan])
    assert m.relative_error(value, reference).tolist() == [0, 1, 1, 0]


def test_a_sample_of_one_energy_can_be_compared(one_cell, geometry, settings):
    showers = one_cell((12, 12, 8), count=30)
    seen = observe(showers, geometry, settings)
    values = m.compare(seen, seen, m.Binning.from_reference(seen), [(40.0, 70.0)])
    assert set(values.values()) == {0.0}


@given(st.integers(0, 1000))
def test_no_metric_is_negative(seed):
    from gan3d.config import Geometry, Validation

    rng = np.random.default_rng(seed)
    geometry, settings = Geometry(shape=(3, 3, 4)), Validation(energy_bins_gev=[(10, 100)])
    ours, theirs = (
        observe(
            Showers(
                rng.exponential(1e-3, (6, 3, 3, 4)).astype(np.float32),
                rng.uniform(10, 100, 6).astype(np.float32),
            ),
            geometry,
            settings,
        )
        for _ in range(2)
    )
    values = m.compare(ours, theirs, m.Binning.from_reference(theirs), [(10.0, 100.0)])
    assert min(values.values()) >= 0
    assert all(np.isfinite(list(values.values())))

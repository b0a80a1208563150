import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.validation import METRICS, observe
from gan3d.validation import metrics as m
from gan3d.validation.bins import Bin, bins_of
from gan3d.validation.catalogue import feature_metrics


@pytest.fixture
def compare(geometry, settings):
    def run(generated, reference):
        return as_they_are(generated, reference, geometry, settings, bins_of(settings))

    return run


def as_they_are(generated, reference, geometry, settings, bins):
    ours, theirs = (observe(s, geometry, settings) for s in (generated, reference))
    together, weights = m.put_together(ours, theirs)
    values = m.compare(together, weights, bins, m.scales(together))
    assert all(value.shape == (1,) for value in values.values())
    return {name: float(value[0]) for name, value in values.items()}


def scaled(showers, factor):
    return Showers(showers.images_nxyz * np.float32(factor), showers.energy_n)


def test_identical_samples_score_exactly_zero(geant4, compare, settings):
    values = compare(geant4, geant4)
    names = {**METRICS, **feature_metrics(settings)}
    # The files of a fixed angle do not say it.
    names = {name for name in names if not name.startswith("angle_to_track")}
    assert set(values) == {
        prefix + name
        for name in names
        for prefix in ("", *(f"bin.{each.name}." for each in bins_of(settings)))
    }
    assert list(values.values()) == pytest.approx([0.0] * len(values), abs=1e-12)


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


def test_chi2_of_a_profile_is_one_for_equal_samples_and_sees_a_common_trend():
    """Slices that vary together: a shift along what hardly varies is seen, small as it is."""
    rng = np.random.default_rng(0)
    energy_p = rng.uniform(10, 100, 800)
    mixed = rng.normal(size=(6, 6))

    def chi2(shift):
        values = rng.normal(size=(800, 6)) * [2, 2, 1.5, 1.5, 1, 0.6] @ mixed
        values += np.log(energy_p)[:, None] * [1, 2, 3, 4, 5, 6]
        values[:400] += shift @ mixed
        ours = (np.arange(800) < 400)[None, :].astype(float)
        return m.profile_chi2(values, energy_p, ours, 1 - ours)[0]

    alike = [chi2(np.zeros(6)) for _ in range(200)]
    assert np.mean(alike) == pytest.approx(1.0, abs=4 * np.sqrt(2 / 6 / 200))
    assert np.std(alike) == pytest.approx(np.sqrt(2 / 6), rel=0.2)
    # Half of its own spread: 400 x 400 / 800 x 0.25 over six degrees of freedom, and 1.
    assert chi2(np.array([0, 0, 0, 0, 0, 0.3])) == pytest.approx(1 + 50 / 6, rel=0.4)


def test_a_profile_that_is_the_same_in_all_showers_has_no_chi2():
    ours = (np.arange(10) < 5)[None, :].astype(float)
    assert m.profile_chi2(np.ones((10, 3)), np.ones(10), ours, 1 - ours).tolist() == [0.0]


def test_relative_error_where_it_is_not_defined():
    value, reference = np.array([0.0, 1.0, np.nan, np.nan]), np.array([0.0, 0.0, 1.0, np.nan])
    assert m.relative_error(value, reference).tolist() == [0, 1, 1, 0]


def test_a_sample_of_one_energy_can_be_compared(one_cell, geometry, settings):
    showers = one_cell((12, 12, 8), count=30)
    values = as_they_are(showers, showers, geometry, settings, [Bin("energy", 40.0, 70.0)])
    assert list(values.values()) == pytest.approx([0.0] * len(values), abs=1e-12)


def test_rounding_is_no_fluctuation(one_cell, geometry, settings):
    showers = one_cell((12, 12, 8), count=30)
    rounded = np.random.default_rng(0).choice([1.0, 1.0 + 2e-7], (30, 1, 1, 1)).astype(np.float32)
    others = Showers(showers.images_nxyz * rounded, showers.energy_n)
    values = as_they_are(others, showers, geometry, settings, [Bin("energy", 40.0, 70.0)])
    assert values["fluctuations.rel_error"] == 0.0


def test_a_feature_that_no_shower_has_is_missing(one_cell, geometry, settings):
    """All energy in one cell: no width, and so neither skewness nor kurtosis nor an axis."""
    showers = one_cell((12, 12, 8), count=30)
    values = as_they_are(showers, showers, geometry, settings, [Bin("energy", 40.0, 70.0)])
    assert "width_x.ks" in values
    assert not {"skewness_x.ks", "kurtosis_layer.ks", "angle_x.ks"} & set(values)


def test_weights_of_a_shower_are_as_good_as_copies(geant4, geometry, settings):
    """Twice the weight is the shower twice, and none is without it, in every metric."""
    rng = np.random.default_rng(1)
    times_n = rng.integers(0, 3, len(geant4))
    theirs = observe(geant4, geometry, settings)
    bins, by_feature = bins_of(settings), m.scales(theirs)
    copied = theirs.select(np.repeat(np.arange(len(theirs)), times_n))
    nothing = np.zeros((1, len(theirs)))
    weights = (
        np.concatenate([times_n[None, :], nothing], axis=1),
        np.concatenate([nothing, nothing + 1], axis=1),
    )
    weighted = m.compare(m.put_together(theirs, theirs)[0], weights, bins, by_feature)
    repeated = m.compare(*m.put_together(copied, theirs), bins, by_feature)
    assert set(weighted) == set(repeated)
    for name, value in weighted.items():
        # These look at showers put together, which are others here.
        if not name.endswith(("chi2", "fluctuations.rel_error")):
            assert value[0] == pytest.approx(repeated[name][0], rel=1e-5, abs=1e-9), name


def test_in_bins_of_angle(geant4, geometry):
    settings = Validation(angle_bins_deg=[(60, 90), (90, 120)])
    theta_n = np.radians(np.linspace(60, 120, len(geant4)))
    ours, theirs = (
        Showers(scaled(geant4, factor).images_nxyz, geant4.energy_n, {"theta": theta_n})
        for factor in (np.float32(1), np.float32(1))
    )
    steep = theta_n > np.pi / 2
    ours.images_nxyz[steep] *= 1.1
    values = as_they_are(ours, theirs, geometry, settings, bins_of(settings))
    assert values["bin.60-90deg.sampling_fraction.rel_error"] == 0
    assert values["bin.90-120deg.sampling_fraction.rel_error"] == pytest.approx(0.1, rel=1e-4)


@given(st.integers(0, 1000))
def test_no_metric_is_negative(seed):
    rng = np.random.default_rng(seed)
    geometry, settings = Geometry(shape=(3, 3, 4)), Validation(energy_bins_gev=[(10, 100)])
    ours, theirs = (
        Showers(
            rng.exponential(1e-3, (6, 3, 3, 4)).astype(np.float32),
            rng.uniform(10, 100, 6).astype(np.float32),
        )
        for _ in range(2)
    )
    values = as_they_are(ours, theirs, geometry, settings, bins_of(settings))
    assert min(values.values()) >= 0
    assert all(np.isfinite(list(values.values())))

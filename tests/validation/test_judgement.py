import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config import Validation
from gan3d.data import Showers
from gan3d.errors import DataError
from gan3d.validation import METRICS, compare_showers, judge
from gan3d.validation.judgement import halves


def with_energies(showers, energy_n):
    return Showers(showers.images_nxyz, np.asarray(energy_n, np.float32))


def test_every_metric_has_its_noise_and_all_are_numbers(geant4, other_geant4, geometry, settings):
    judgement = judge(other_geant4, geant4, geometry, settings)
    named = {name for name in judgement.metrics if not name.startswith(("noise.", "bin."))}
    assert named == set(METRICS) | {
        f"{side}.{what}"
        for side in ("generated", "reference")
        for what in ("showers", "empty_showers")
    }
    for name in METRICS:
        assert f"noise.{name}" in judgement.metrics
        assert f"bin.10-40GeV.{name}" in judgement.metrics
        assert f"noise.bin.10-40GeV.{name}" in judgement.metrics
    assert np.isfinite(list(judgement.metrics.values())).all()
    assert json.loads(json.dumps(judgement.metrics, allow_nan=False)) == judgement.metrics


def test_geant4_against_geant4_is_at_its_noise(geant4, other_geant4, geometry, settings):
    judgement = judge(other_geant4, geant4, geometry, settings)
    for verdict in judgement.verdicts:
        assert verdict.noise > 0
        assert verdict.word == "agrees", verdict
    assert judgement.remarks == []


@pytest.mark.parametrize(
    ("distort", "caught_by"),
    [
        (lambda images: images * np.float32(1.03), "sampling_fraction.rel_error"),
        (lambda images: images * np.float32(1.03), "total_energy.separation"),
        (lambda images: np.roll(images, 1, axis=3), "profile.longitudinal.rel_error"),
        (lambda images: np.roll(images, 1, axis=1), "profile.transverse_x.rel_error"),
        (lambda images: np.roll(images, 1, axis=2), "profile.transverse_y.rel_error"),
        (lambda images: np.roll(images, 3, axis=2), "moments.rel_error"),
        (lambda images: images**1.2 / images.max() ** 0.2, "cell_energy.separation"),
        (lambda images: np.where(images > 1e-4, images, 0), "hits.separation"),
        (lambda images: np.roll(images, 1, axis=3), "optimisation_metric"),
    ],
)
def test_distortions_are_caught(distort, caught_by, geant4, other_geant4, geometry, settings):
    distorted = Showers(distort(other_geant4.images_nxyz), other_geant4.energy_n)
    judgement = judge(distorted, geant4, geometry, settings)
    verdict = next(v for v in judgement.verdicts if v.name == caught_by)
    assert verdict.word != "agrees"
    assert verdict.ratio > settings.agrees_within_noise


def test_the_same_judgement_twice(geant4, other_geant4, geometry, settings):
    once, again = (judge(other_geant4, geant4, geometry, settings).metrics for _ in range(2))
    assert once == again


@given(st.integers(2, 41), st.integers(0, 100))
def test_halves_are_disjoint_equal_and_alike_in_energy(count, seed):
    energy_n = np.random.default_rng(seed).uniform(10, 100, count)
    one, other = halves(energy_n, np.random.default_rng(seed))
    assert len(one) == len(other) == count // 2
    assert not set(one) & set(other)
    ranks = np.argsort(np.argsort(energy_n))
    assert np.array_equal(np.sort(ranks[one]) // 2, np.sort(ranks[other]) // 2)


def test_too_few_showers(geant4, geometry, settings):
    with pytest.raises(DataError, match="Generated: 3 showers are too few"):
        judge(geant4.take(slice(3)), geant4, geometry, settings)


def test_all_showers_empty(geant4, geometry, settings):
    empty = Showers(np.zeros_like(geant4.images_nxyz), geant4.energy_n)
    with pytest.raises(DataError, match="Generated: all 400 showers are empty"):
        judge(empty, geant4, geometry, settings)


def test_some_empty_showers_are_counted_and_remarked(geant4, other_geant4, geometry, settings):
    images = other_geant4.images_nxyz.copy()
    images[:7] = 0
    judgement = judge(Showers(images, other_geant4.energy_n), geant4, geometry, settings)
    assert judgement.metrics["generated.empty_showers"] == 7
    assert any("7 of 300 showers are empty" in remark for remark in judgement.remarks)
    assert np.isfinite(list(judgement.metrics.values())).all()


def test_a_bin_of_empty_showers_counts_as_wholly_wrong(geant4, geometry, settings):
    images = np.where(
        (geant4.energy_n < 40)[:, None, None, None], np.float32(0), geant4.images_nxyz
    )
    judgement = judge(Showers(images, geant4.energy_n), geant4, geometry, settings)
    assert judgement.metrics["bin.10-40GeV.moments.rel_error"] == 1
    assert any("all showers in 10-40GeV are empty" in remark for remark in judgement.remarks)


@pytest.mark.parametrize("factor", [1000.0, 1e-3])
def test_cells_in_other_units(factor, geant4, geometry, settings):
    other = Showers(geant4.images_nxyz * np.float32(factor), geant4.energy_n)
    with pytest.raises(DataError, match="GeV"):
        judge(other, geant4, geometry, settings)


def test_incident_energies_in_mev(geant4, geometry, settings):
    with pytest.raises(DataError, match="other units"):
        judge(with_energies(geant4, geant4.energy_n * 1000), geant4, geometry, settings)


def test_a_bin_without_enough_showers_is_left_out_and_named(geant4, geometry, settings):
    high = geant4.take(np.flatnonzero(geant4.energy_n > 40))
    judgement = judge(high, geant4, geometry, settings)
    assert judgement.energy_bins_gev == [(10, 100), (40, 70), (70, 100)]
    assert not any("10-40GeV" in name for name in judgement.metrics)
    assert any("10-40GeV is left out: 0 generated" in remark for remark in judgement.remarks)
    assert any("spread differently" in remark for remark in judgement.remarks)


def test_no_bin_with_enough_showers(geant4, geometry):
    settings = Validation(energy_bins_gev=[(200, 300)])
    with pytest.raises(DataError, match=r"no energy bin holds 20 .*200-300GeV 0 and 0"):
        judge(geant4, geant4, geometry, settings)


def test_the_quick_comparison_gives_the_same_numbers(geant4, other_geant4, geometry, settings):
    judgement = judge(other_geant4, geant4, geometry, settings)
    quick = compare_showers(other_geant4, geant4, geometry, settings)
    assert quick == {name: judgement.metrics[name] for name in METRICS}


def test_the_quick_comparison_takes_what_an_untrained_network_makes(geant4, geometry, settings):
    for factor in (0.0, 1e3):
        bad = Showers(geant4.images_nxyz * np.float32(factor), geant4.energy_n)
        values = compare_showers(bad, geant4, geometry, settings)
        assert np.isfinite(list(values.values())).all()
        assert values["sampling_fraction.rel_error"] >= 1 - 1e-6
    assert compare_showers(geant4.take(slice(5)), geant4, geometry, settings) == {}

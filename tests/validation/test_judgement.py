import json

import numpy as np
import pytest

from gan3d.config import Validation
from gan3d.data import Showers, read_showers
from gan3d.errors import DataError
from gan3d.samples import sample_files
from gan3d.validation import METRICS, compare_showers, judge, summarise
from gan3d.validation.catalogue import (
    AUC,
    CHI2,
    COPIES,
    DENSITY,
    NEIGHBOUR,
    RELATIVE_ERROR,
    SHARE,
    WHOLE_METRICS,
    all_metrics,
)
from gan3d.validation.verdict import Estimate, beyond, word


def with_energies(showers, energy_n):
    return Showers(showers.images_nxyz, np.asarray(energy_n, np.float32))


@pytest.fixture
def settings():
    """Metrics of whole showers have tests of their own, which take longer."""
    return Validation(noise_replicas=10, exchanges=20, bootstrap_replicas=10, sample_showers=0)


def test_every_metric_has_companions_and_all_are_numbers(geant4, other_geant4, geometry, settings):
    metrics = judge(other_geant4, geant4, geometry, settings).metrics
    for name in METRICS:
        for part in ("", "noise.", "error.", "spread.", "p."):
            assert f"{part}{name}" in metrics
            assert f"{part}bin.10-40GeV.{name}" in metrics
    for name in all_metrics(settings, geometry):
        assert name in metrics or name.startswith(
            (
                "cells.",
                "classifier.",
                "correlation.",
                "frechet",
                "kernel",
                "precision",
                "recall",
                "density",
                "coverage",
                "angle_to_track",
                "nearest",
                "closest",
                "near_copies",
            )
        )
    assert np.isfinite(list(metrics.values())).all()
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_geant4_against_geant4_is_as_good_as_possible(geant4, other_geant4, geometry, settings):
    judgement = judge(other_geant4, geant4, geometry, settings)
    for verdict in (*judgement.verdicts, *judgement.feature_verdicts):
        assert verdict.word in ("agrees", "unclear"), verdict
    assert judgement.p > 0.01
    assert judgement.remarks == []


def test_what_to_expect_follows_from_the_sizes(geant4, geometry):
    """(B / 4) (1/N + 1/M) for the separation, 1 for chi2, sqrt(1/N + 1/M) for errors of means."""
    settings = Validation(noise_replicas=100, sample_showers=0, exchanges=20)
    third, whole = (
        judge(geant4.take(slice(0, None, step)), geant4, geometry, settings).metrics
        for step in (3, 1)
    )
    ratio = (3 + 1) / (1 + 1)
    for name, power in (
        ("total_energy.separation", 1.0),
        ("start.ks", 0.5),
        ("profile.longitudinal.rel_error", 0.5),
        ("start.chi2", 0.0),
    ):
        found = third[f"noise.{name}"] / whole[f"noise.{name}"]
        assert found == pytest.approx(ratio**power, rel=0.2), name
    assert whole["noise.start.chi2"] == pytest.approx(1.0, abs=0.15)
    bins = len(geant4) // 20 + 2
    assert whole["noise.total_energy.separation"] == pytest.approx(
        (bins - 1) / 4 * 2 / len(geant4), rel=0.25
    )


def test_what_to_expect_does_not_depend_on_what_is_judged(geant4, other_geant4, geometry):
    settings = Validation(noise_replicas=10, exchanges=20, bootstrap_replicas=10)
    images = other_geant4.images_nxyz * np.float32(1.3)
    images[:, :, :, 5::2] = 0.0
    good, bad = (
        judge(Showers(each, other_geant4.energy_n), geant4, geometry, settings).metrics
        for each in (other_geant4.images_nxyz, images)
    )
    assert bad["precision"] < 0.1 < 0.8 < good["precision"]
    for name in WHOLE_METRICS:
        if name in good:
            noise = good[f"noise.{name}"], bad[f"noise.{name}"]
            assert noise[1] == pytest.approx(noise[0], rel=0.05, abs=1e-4), name


def test_the_error_is_the_spread_over_samples(geometry):
    """The bootstrap's, of one sample, against many samples from one distribution."""
    settings = Validation(
        energy_bins_gev=[(10, 100)], sample_showers=0, bootstrap_replicas=200, exchanges=20
    )

    def sample(seed, response):
        rng = np.random.default_rng(seed)
        energy_n = rng.uniform(10, 100, 200).astype(np.float32)
        images = np.zeros((200, 25, 25, 25), np.float32)
        images[:, 12, 12, 8] = response * energy_n * rng.normal(1.0, 0.1, 200)
        return Showers(images, energy_n)

    reference = sample(0, 0.02)
    name = "sampling_fraction.rel_error"
    values, errors = [], []
    for seed in range(1, 25):
        metrics = judge(sample(seed, 0.022), reference, geometry, settings).metrics
        values.append(metrics[name])
        errors.append(metrics[f"error.{name}"])
    # The reference is the same in all, and half of the error: 10 % / sqrt(200), and 1.1 times it.
    both = np.hypot(0.1 * 1.1, 0.1 * 1.1) / np.sqrt(200)
    assert np.mean(errors) == pytest.approx(both, rel=0.15)
    assert np.std(values) == pytest.approx(both / np.sqrt(2), rel=0.4)


def estimate(value, noise, spread, p=1.0, detectable=0.0, per_shower=0.01, alone=1.0):
    return Estimate(value, 0.0, noise, spread, p, alone, detectable, per_shower, (noise, spread))


@pytest.mark.parametrize(
    ("kind", "found", "spreads"),
    [
        (RELATIVE_ERROR, estimate(0.02, 0.01, 0.005), 2.0),
        (RELATIVE_ERROR, estimate(0.001, 0.01, 0.005), 0.0),
        (RELATIVE_ERROR, estimate(0.0, 0.0, 0.0), 0.0),
        (RELATIVE_ERROR, estimate(0.1, 0.0, 0.0), np.inf),
        (AUC, estimate(0.44, 0.5, 0.005), 12.0),
        (SHARE, estimate(0.80, 0.9, 0.01), 10.0),
        (SHARE, estimate(0.95, 0.9, 0.01), 0.0),
        (DENSITY, estimate(0.8, 1.0, 0.02), 10.0),
    ],
)
def test_a_metric_is_ranked_by_spreads_in_the_worse_direction(kind, found, spreads):
    assert beyond(kind, found) == pytest.approx(spreads)


@pytest.mark.parametrize(
    ("kind", "found", "said"),
    [
        (RELATIVE_ERROR, estimate(0.04, 0.01, 0.005, p=0.02, detectable=0.05), "agrees"),
        (RELATIVE_ERROR, estimate(0.04, 0.01, 0.005, p=0.02, detectable=0.2), "unclear"),
        (RELATIVE_ERROR, estimate(0.06, 0.01, 0.005, p=0.02, detectable=0.05), "unclear"),
        (RELATIVE_ERROR, estimate(0.04, 0.01, 0.005, p=0.02, alone=1e-4), "unclear"),
        (RELATIVE_ERROR, estimate(0.04, 0.01, 0.005, p=0.001), "close"),
        (RELATIVE_ERROR, estimate(0.06, 0.01, 0.005, p=0.001), "differs"),
        (CHI2, estimate(2.9, 1.0, 0.1, p=0.0, per_shower=0.01), "close"),
        (CHI2, estimate(3.1, 1.0, 0.1, p=0.0, per_shower=0.01), "differs"),
        (CHI2, estimate(1.0, 1.0, 0.1, detectable=3.0, per_shower=0.05), "unclear"),
        (COPIES, estimate(0.01, 0.0, 0.0, p=0.0), "differs"),
        (AUC, estimate(0.54, 0.5, 0.005, p=0.0), "close"),
        (AUC, estimate(0.44, 0.5, 0.005, p=0.0), "too alike"),
        (NEIGHBOUR, estimate(0.6, 0.5, 0.005, p=0.0), "too alike"),
        (NEIGHBOUR, estimate(0.4, 0.5, 0.005, p=0.0), "differs"),
        (SHARE, estimate(0.86, 0.9, 0.01, p=0.0), "close"),
        (SHARE, estimate(0.80, 0.9, 0.01, p=0.0), "differs"),
    ],
)
def test_a_verdict_goes_by_probability_and_then_by_tolerance(kind, found, said):
    assert word(kind, found, Validation()) == said


@pytest.mark.parametrize(
    ("kind", "found", "said"),
    [
        # Exchanges of unlike samples make a usual value look impossible,
        (RELATIVE_ERROR, estimate(0.08, 0.07, 0.02, p=0.0, detectable=0.01), "unclear"),
        (RELATIVE_ERROR, estimate(0.03, 0.03, 0.001, p=0.0, detectable=0.01), "agrees"),
        (RELATIVE_ERROR, estimate(0.12, 0.07, 0.02, p=0.0), "differs"),
        # and an impossible one usual.
        (RELATIVE_ERROR, estimate(10.0, 0.07, 0.03, p=1.0, detectable=20.0), "differs"),
        (RELATIVE_ERROR, estimate(0.04, 0.01, 0.001, p=0.02, detectable=0.05), "agrees"),
        (NEIGHBOUR, estimate(0.6, 0.5, 0.2, p=0.0), "too alike"),
        (AUC, estimate(0.9, 0.5, 0.02, p=0.0), "differs"),
    ],
)
def test_where_samples_differ_a_verdict_goes_by_perfect_generators_too(kind, found, said):
    assert word(kind, found, Validation(), differ=True) == said


def test_a_wrong_response_does_not_change_what_is_said_of_the_width(other_geant4, geometry):
    geant4 = read_showers([sample_files().train], threshold_gev=1e-6, limit=1000)
    settings = Validation(noise_replicas=20, exchanges=50, bootstrap_replicas=10, sample_showers=0)
    as_it_is, scaled = (
        judge(
            Showers(other_geant4.images_nxyz * factor, other_geant4.energy_n),
            geant4,
            geometry,
            settings,
        )
        for factor in (np.float32(1), np.float32(2))
    )
    assert scaled.p < 0.01 < as_it_is.p
    words = [
        {verdict.name: verdict.word for verdict in (*each.verdicts, *each.bin_verdicts)}
        for each in (as_it_is, scaled)
    ]
    widths = [name for name in words[0] if "resolution" in name or "fluctuations" in name]
    assert len(widths) == 10
    for name in widths:
        assert words[1][name] in ("agrees", "unclear"), name
    assert words[1]["sampling_fraction.rel_error"] == "differs"
    emptied = other_geant4.images_nxyz.copy()
    emptied[::2] = 0.0
    halved = judge(Showers(emptied, other_geant4.energy_n), geant4, geometry, settings)
    words = {verdict.name: verdict.word for verdict in halved.verdicts}
    assert words["resolution.rel_error"] == words["fluctuations.rel_error"] == "differs"


def test_near_copies_of_reference_showers_are_too_alike(geant4, other_geant4, geometry):
    """A tenth of the showers are the reference's with every cell changed by a per cent."""
    settings = Validation(noise_replicas=10, bootstrap_replicas=2)
    rng = np.random.default_rng(0)
    images = other_geant4.images_nxyz.copy()
    changed = geant4.images_nxyz[:30] * rng.normal(1.0, 0.01, geant4.images_nxyz[:30].shape)
    images[:30] = changed.astype(np.float32)
    energy_n = np.concatenate([geant4.energy_n[:30], other_geant4.energy_n[30:]])
    judgement = judge(Showers(images, energy_n), geant4, geometry, settings)
    words = {verdict.name: verdict.word for verdict in judgement.verdicts}
    assert words["closest.other"] == "too alike"
    assert judgement.metrics["copies.of_reference"] == 0


def test_a_memorised_sample_is_too_alike(geant4, geometry):
    """At the reference's own incident energies, where every shower has its twin."""
    settings = Validation(noise_replicas=10, bootstrap_replicas=2)
    half = geant4.take(slice(200))
    noise = np.random.default_rng(0).normal(1.0, 0.02, half.images_nxyz.shape)
    memorised = Showers((half.images_nxyz * noise).astype(np.float32), half.energy_n)
    judgement = judge(memorised, half, geometry, settings)
    words = {verdict.name: verdict.word for verdict in judgement.verdicts}
    assert words["nearest.other"] == "too alike"


@pytest.mark.parametrize("energies", [[50.0], [20.0, 50.0, 80.0]])
def test_a_fault_is_seen_at_fixed_incident_energies(energies, geant4, other_geant4, geometry):
    settings = Validation(noise_replicas=10, exchanges=20, bootstrap_replicas=2, sample_showers=0)

    def at_fixed(showers, factor):
        """As if made at the nearest of the energies, with that response."""
        energy_n = np.array(energies)[np.abs(showers.energy_n[:, None] - energies).argmin(axis=1)]
        scale = (factor * energy_n / showers.energy_n).astype(np.float32)
        return Showers(showers.images_nxyz * scale[:, None, None, None], energy_n)

    reference, right, wrong = (
        at_fixed(geant4.take(slice(250)), 1.0),
        at_fixed(other_geant4.take(slice(250)), 1.0),
        at_fixed(other_geant4.take(slice(250)), 1.1),
    )
    assert judge(right, reference, geometry, settings).p > 0.01
    judgement = judge(wrong, reference, geometry, settings)
    words = {verdict.name: verdict.word for verdict in judgement.verdicts}
    assert words["sampling_fraction.rel_error"] == "differs"


@pytest.mark.parametrize(("count", "factor"), [(3, 5.0), (10, 1.3)])
def test_a_few_wild_showers_are_found(count, factor, geant4, other_geant4, geometry, settings):
    images = other_geant4.images_nxyz.copy()
    images[:count] *= factor
    judgement = judge(Showers(images, other_geant4.energy_n), geant4, geometry, settings)
    assert judgement.p < 0.01
    words = {verdict.name: verdict.word for verdict in judgement.verdicts}
    assert words["outliers"] == "differs"
    assert any("showers are beyond all of Geant4" in remark for remark in judgement.remarks)


@pytest.mark.parametrize("other", [0.0, 2.0])
def test_other_incident_energies_are_no_fault(other, geometry):
    """One falls steeply, the other is flat or rises: compared is what both have."""
    both = read_showers([sample_files().train, sample_files().heldout], threshold_gev=1e-6)
    energy_n = both.energy_n.astype(float)
    for seed in range(2):
        rng = np.random.default_rng(seed)
        rows, chosen = np.arange(len(both)), []
        for power in (-2.0, other):
            weight_n = energy_n[rows] ** power
            chosen.append(rng.choice(rows, 300, replace=False, p=weight_n / weight_n.sum()))
            rows = np.setdiff1d(rows, chosen[-1])
        settings = Validation(noise_replicas=10, exchanges=50, bootstrap_replicas=10)
        judgement = judge(both.take(chosen[0]), both.take(chosen[1]), geometry, settings)
        assert judgement.p > 0.01
        compared = judgement.metrics["generated.compared_showers"]
        assert compared == judgement.metrics["reference.compared_showers"]
        assert 60 < compared < 300 == judgement.metrics["generated.showers"]
        energies = [x.observables.energy_n for x in (judgement.generated, judgement.reference)]
        assert len(energies[0]) == compared
        assert np.mean(energies[0]) == pytest.approx(np.mean(energies[1]), rel=0.005)
        means = [x.mean_image_xyz.sum() for x in (judgement.generated, judgement.reference)]
        assert means[0] == pytest.approx(means[1], rel=0.01)
        assert any(f"compared are {compared} of both" in remark for remark in judgement.remarks)


def test_a_fault_is_seen_at_other_incident_energies(geometry):
    both = read_showers([sample_files().train, sample_files().heldout], threshold_gev=1e-6)
    order = np.argsort(both.energy_n)
    low, high = order[: 2 * len(order) // 3], order[len(order) // 3 :]
    common = np.intersect1d(low, high)
    low, high = np.setdiff1d(low, common[::2]), np.setdiff1d(high, common[1::2])
    bad = both.take(low)
    images = bad.images_nxyz * np.float32(1.05)
    settings = Validation(noise_replicas=10, exchanges=50, bootstrap_replicas=10, sample_showers=0)
    judgement = judge(Showers(images, bad.energy_n), both.take(high), geometry, settings)
    assert judgement.p < 0.01


def with_angles(showers, theta_n):
    """Upright showers whose layers are moved along y, as those of inclined particles are."""
    cells_nz = np.rint((np.arange(25) - 8) / np.tan(theta_n)[:, None]).astype(int)
    y_y = np.arange(25)[None, :, None] - cells_nz[:, None, :]
    images = np.take_along_axis(showers.images_nxyz, np.clip(y_y, 0, 24)[:, None], axis=2)
    return Showers(images, showers.energy_n, {"theta": theta_n})


def test_other_incident_angles_are_no_fault(geant4, other_geant4, geometry, settings):
    rng = np.random.default_rng(0)
    reference = with_angles(geant4, rng.uniform(1.1, 2.0, 400))
    ours = with_angles(other_geant4, rng.uniform(1.1, 1.5, 300))
    judgement = judge(ours, reference, geometry, settings)
    assert judgement.p > 0.01
    assert 60 < judgement.metrics["generated.compared_showers"] < 200
    assert any("differently over incident angle: compared" in each for each in judgement.remarks)


def test_wrong_angles_make_the_optimisation_metric_worse(geant4, other_geant4, geometry, settings):
    rng = np.random.default_rng(0)
    theta_n, true_n = rng.uniform(1.1, 2.0, 400), rng.uniform(1.1, 2.0, 300)
    reference, ours = with_angles(geant4, theta_n), with_angles(other_geant4, true_n)
    others = Showers(ours.images_nxyz, ours.energy_n, {"theta": np.roll(true_n, 7)})
    unknown = Showers(ours.images_nxyz, ours.energy_n)
    right, wrong, without = (
        compare_showers(each, reference, geometry, settings)["optimisation_metric"]
        for each in (ours, others, unknown)
    )
    assert wrong > right + 0.1
    assert without == pytest.approx(right, abs=0.02)


def test_no_showers_at_common_energies(geant4, geometry, settings):
    order = np.argsort(geant4.energy_n)
    with pytest.raises(DataError, match=r"only \d+ showers of both.*--like"):
        judge(geant4.take(order[:153]), geant4.take(order[149:]), geometry, settings)


def test_nearly_the_same_showers_are_found(geant4, other_geant4, geometry):
    """25 of 300 are others with 0.1 % of noise on each cell: a generator hardly repeats a bit."""
    rng = np.random.default_rng(0)
    images, energy_n = other_geant4.images_nxyz.copy(), other_geant4.energy_n.copy()
    images[:25] = images[25:50] * rng.normal(1.0, 1e-3, images[:25].shape).astype(np.float32)
    energy_n[:25] = energy_n[25:50]
    settings = Validation(noise_replicas=10, exchanges=20, bootstrap_replicas=5)
    judgement = judge(Showers(images, energy_n), geant4, geometry, settings)
    assert judgement.metrics["near_copies.within"] == pytest.approx(50 / 300)
    assert judgement.metrics["near_copies.of_reference"] == 0.0
    assert judgement.metrics["copies.within"] == 0.0
    assert judgement.p < 0.01
    assert any("nearly the same as others" in remark for remark in judgement.remarks)
    alike = judge(Showers(images[25:], energy_n[25:]), geant4, geometry, settings).metrics
    assert alike["near_copies.within"] == 0.0


def test_what_the_own_discriminator_says_is_a_metric(geant4, other_geant4, geometry, settings):
    rng = np.random.default_rng(0)
    scores = rng.normal(0.0, 1.0, 300), rng.normal(2.0, 1.0, 300)
    judgement = judge(other_geant4, geant4, geometry, settings, scores=scores)
    verdict = {v.name: v for v in judgement.verdicts}["classifier.discriminator.auc"]
    assert verdict.value == pytest.approx(0.92, abs=0.03)
    assert verdict.word == "differs"
    assert judgement.p < 1e-4


def test_other_particles_are_remarked(geant4, other_geant4, geometry, settings):
    ours, theirs = (
        Showers(each.images_nxyz, each.energy_n, {"pdg": np.full(len(each), code)})
        for each, code in ((other_geant4, 22), (geant4, 11))
    )
    remarks = judge(ours, theirs, geometry, settings).remarks
    assert remarks == ["Not of the same particles: Generated has PDG code 22, Geant4 11."]


def test_bins_of_four_showers_have_numbers_all_the_same(geant4, other_geant4, geometry, settings):
    """One of some fifty weightings has no shower of such a bin."""
    small = settings.model_copy(
        update={
            "minimum_showers": 4,
            "bootstrap_replicas": 200,
            "energy_bins_gev": [(10, 100), (10, 20), (20, 55)],
        }
    )
    ours, theirs = (
        showers.take(
            np.concatenate(
                [
                    np.flatnonzero(showers.energy_n < 20)[:4],
                    np.flatnonzero(showers.energy_n > 20)[:40],
                ]
            )
        )
        for showers in (geant4, other_geant4)
    )
    metrics = judge(ours, theirs, geometry, small).metrics
    assert metrics["bin.10-20GeV.sampling_fraction.rel_error"] >= 0.0
    assert np.isfinite(list(metrics.values())).all()


def test_the_same_judgement_twice(geant4, other_geant4, geometry, settings):
    once, again = (judge(other_geant4, geant4, geometry, settings).metrics for _ in range(2))
    assert once == again


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
    assert not any(".10-40GeV" in name for name in judgement.metrics)
    assert any("10-40GeV is left out: 0 generated" in remark for remark in judgement.remarks)
    assert any("spread differently" in remark for remark in judgement.remarks)


def test_showers_outside_of_all_bins_are_counted_and_remarked(geant4, other_geant4, geometry):
    settings = Validation(
        energy_bins_gev=[(10, 40)], sample_showers=0, noise_replicas=10, exchanges=20
    )
    judgement = judge(other_geant4, geant4, geometry, settings)
    outside = int((other_geant4.energy_n > 40).sum())
    assert any(f"Generated: {outside} of 300 showers lie outside" in r for r in judgement.remarks)


def test_a_generator_that_ignores_the_angle_is_found_out(geant4, other_geant4, geometry):
    """Showers of one angle, said to come at another: every distribution of showers is right."""
    settings = Validation(sample_showers=0, noise_replicas=20, bootstrap_replicas=2)
    rng = np.random.default_rng(0)

    def at_angles(showers, theta_n):
        return Showers(showers.images_nxyz, showers.energy_n, {"theta": theta_n})

    right = np.full(len(geant4), np.pi / 2)
    wrong = rng.uniform(np.pi / 3, 2 * np.pi / 3, len(other_geant4))
    judgement = judge(at_angles(other_geant4, wrong), at_angles(geant4, right), geometry, settings)
    verdicts = {verdict.name: verdict for verdict in judgement.feature_verdicts}
    assert verdicts["angle_to_track.ks"].word == "differs"
    assert not verdicts["angle_y.ks"].faulty


def test_a_fault_in_one_bin_is_found_there(geant4, other_geant4, geometry, settings):
    factor = np.where(other_geant4.energy_n >= 70, 1.1, 1.0).astype(np.float32)
    tilted = Showers(other_geant4.images_nxyz * factor[:, None, None, None], other_geant4.energy_n)
    judgement = judge(tilted, geant4, geometry, settings)
    words = {verdict.name: verdict.word for verdict in judgement.bin_verdicts}
    assert words["bin.70-100GeV.sampling_fraction.rel_error"] == "differs"
    assert words["bin.10-40GeV.sampling_fraction.rel_error"] in ("agrees", "unclear")


def test_a_response_of_one_is_a_calibrated_calorimeter(geant4, other_geant4, geometry, settings):
    ours, theirs = (
        Showers(showers.images_nxyz * np.float32(factor / 0.0208), showers.energy_n)
        for showers, factor in ((other_geant4, 1.05), (geant4, 1.0))
    )
    metrics = judge(ours, theirs, geometry, settings).metrics
    assert metrics["sampling_fraction.rel_error"] == pytest.approx(0.05, abs=0.01)


def test_no_bin_with_enough_showers(geant4, geometry):
    settings = Validation(energy_bins_gev=[(200, 300)])
    with pytest.raises(DataError, match=r"no energy bin holds 20 .*200-300GeV 0 and 0"):
        judge(geant4, geant4, geometry, settings)


def test_the_resolution_of_both_samples_is_told(geant4, geometry, settings):
    rng = np.random.default_rng(0)
    factor = rng.normal(1.0, 0.05, len(geant4)).astype(np.float32)
    worse = Showers(geant4.images_nxyz * factor[:, None, None, None], geant4.energy_n)
    metrics = judge(worse, geant4, geometry, settings).metrics
    constant, reference = (
        metrics[f"{side}.resolution.constant"] for side in ("generated", "reference")
    )
    assert constant == pytest.approx(np.hypot(0.05, reference), abs=0.012)
    assert 0.1 < metrics["reference.resolution.stochastic"] < 0.22
    assert metrics["generated.resolution.constant_error"] > 0
    one_energy = with_energies(geant4, np.full(len(geant4), 50))
    assert not any(
        "stochastic" in name for name in judge(one_energy, one_energy, geometry, settings).metrics
    )


def test_the_quick_comparison_gives_the_same_numbers(geant4, other_geant4, geometry, settings):
    judgement = judge(other_geant4, geant4, geometry, settings)
    quick = compare_showers(other_geant4, geant4, geometry, settings)
    assert quick == pytest.approx({name: judgement.metrics[name] for name in METRICS}, rel=1e-9)


def test_angles_that_no_file_says_cannot_be_binned(geant4, geometry):
    settings = Validation(angle_bins_deg=[(60, 90)])
    with pytest.raises(DataError, match="angle_bins_deg"):
        judge(geant4, geant4, geometry, settings)


def test_unequal_thresholds_are_remarked(geant4, other_geant4, geometry, settings):
    def cut(showers, threshold_gev):
        images = np.where(showers.images_nxyz < threshold_gev, 0, showers.images_nxyz)
        return Showers(images.astype(np.float32), showers.energy_n)

    low, high = cut(other_geant4, 1e-6), cut(geant4, 2e-5)
    (remark,) = judge(low, high, geometry, settings).remarks
    assert remark.startswith("Generated: ")
    assert "begin at 2e-05 GeV" in remark
    (remark,) = judge(cut(other_geant4, 2e-5), geant4, geometry, settings).remarks
    assert remark.startswith("Geant4: ")


def test_copies_are_counted_and_remarked(geant4, other_geant4, geometry, settings):
    rows = np.r_[0:290, 0:10]
    copied = Showers(other_geant4.images_nxyz[rows], other_geant4.energy_n[rows])
    judgement = judge(copied, geant4, geometry, settings)
    assert judgement.metrics["copies.within"] == pytest.approx(10 / 300)
    assert judgement.metrics["copies.of_reference"] == 0
    assert any("10 of 300 showers are copies" in remark for remark in judgement.remarks)
    judgement = judge(geant4.take(slice(0, 100)), geant4, geometry, settings)
    assert judgement.metrics["copies.of_reference"] == 1
    assert any("are also in" in remark for remark in judgement.remarks)


def test_what_no_generated_shower_has_is_remarked(geant4, one_cell, geometry, settings):
    points = one_cell((12, 12, 8), energy=1.0, count=len(geant4))
    points = Showers(points.images_nxyz, geant4.energy_n)
    judgement = judge(points, geant4, geometry, settings)
    assert "skewness_x.ks" not in judgement.metrics
    assert any("Skewness in x: in Generated undefined" in remark for remark in judgement.remarks)


def test_a_sample_may_be_given_as_blocks_or_measured(geant4, other_geant4, geometry, settings):
    blocks = (other_geant4.take(slice(first, first + 70)) for first in range(0, 300, 70))
    reference = summarise(geant4, geometry, settings, label="Geant4")
    found = judge(blocks, reference, geometry, settings).metrics
    expected = judge(other_geant4, geant4, geometry, settings).metrics
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_the_quick_comparison_takes_what_an_untrained_network_makes(geant4, geometry, settings):
    for factor in (0.0, 1e3):
        bad = Showers(geant4.images_nxyz * np.float32(factor), geant4.energy_n)
        values = compare_showers(bad, geant4, geometry, settings)
        assert np.isfinite(list(values.values())).all()
        assert values["sampling_fraction.rel_error"] >= 1 - 1e-6
    assert compare_showers(geant4.take(slice(5)), geant4, geometry, settings) == {}


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_the_share_of_outliers_is_that_of_the_showers(
    share, geant4, other_geant4, geometry, settings
):
    images, count = other_geant4.images_nxyz.copy(), round(300 * share)
    images[:count] *= 1.5
    judgement = judge(Showers(images, other_geant4.energy_n), geant4, geometry, settings)
    assert judgement.metrics["outliers"] == pytest.approx(share, abs=0.02)
    verdict = {each.name: each for each in judgement.verdicts}["outliers"]
    assert verdict.word == "differs"
    perfect = judge(other_geant4, geant4, geometry, settings)
    verdict = {each.name: each for each in perfect.verdicts}["outliers"]
    assert (verdict.value, verdict.word, verdict.beyond) == (0.0, "agrees", 0.0)


def test_bounds_of_bins_may_be_fractions(geant4, other_geant4, geometry, settings):
    bins = [(10.0, 100.0), (10.5, 40.25)]
    settings = settings.model_copy(update={"energy_bins_gev": bins})
    judgement = judge(other_geant4, geant4, geometry, settings)
    names = {verdict.name for verdict in judgement.bin_verdicts}
    assert {"bin.10.5-40.25GeV.hits.ks", "bin.10-100GeV.optimisation_metric"} <= names

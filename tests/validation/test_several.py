"""Showers of several images: each is judged, and all together."""

import json

import numpy as np
import pytest

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.errors import DataError
from gan3d.validation import (
    compare_images,
    compare_showers,
    judge,
    judge_images,
    plots,
    summarise,
    summarise_images,
    write_report,
)
from gan3d.validation.report import flat_metrics, headlines, remarks
from gan3d.validation.several import take_apart

GEOMETRIES = {
    "ECAL": Geometry(shape=(5, 4, 6)),
    "HCAL": Geometry(shape=(4, 4, 5), cell_size_mm=(30.0, 30.0, 26.5)),
}
SETTINGS = Validation(
    noise_replicas=10,
    exchanges=20,
    bootstrap_replicas=5,
    figures=False,
    energy_bins_gev=[(10.0, 100.0)],
    pairwise_showers=120,
    classifier_cells=50,
)
COUNT = 240


def showers(seed, hcal=1.0, count=COUNT):
    """What leaks out of the ECAL, a tenth on average, is in the HCAL, `hcal` times as much."""
    rng = np.random.default_rng(seed)
    energy_n = rng.uniform(10, 100, count)
    leaked_n = rng.uniform(0.0, 0.2, count)
    parts = []
    for geometry, scale_n in zip(GEOMETRIES.values(), (1 - leaked_n, hcal * leaked_n), strict=True):
        cells = rng.dirichlet(np.full(int(np.prod(geometry.shape)), 0.5), count)
        cells[cells < 1e-4] = 0.0
        parts.append(cells * (0.02 * energy_n * scale_n)[:, None])
    packed = np.concatenate(parts, axis=1).astype(np.float32)
    return Showers(packed.reshape(count, -1, 1, 1), energy_n.astype(np.float32))


def shuffled(given):
    """The same showers, each with the HCAL of the one that is next in incident energy."""
    order = np.argsort(given.energy_n)
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    images = given.images_nxyz.copy()
    images[:, 120:] = images[other, 120:]
    return Showers(images, given.energy_n)


def summary(given, label="Generated"):
    blocks = [given.take(slice(start, start + 70)) for start in range(0, len(given), 70)]
    return summarise_images(blocks, GEOMETRIES, SETTINGS, label=label)


@pytest.fixture(scope="module")
def reference():
    return summary(showers(0), "Geant4")


def test_each_image_is_measured_as_it_would_be_alone(reference):
    given = showers(0)
    images = take_apart(given, GEOMETRIES)
    for name, sample in {"ECAL": reference, **reference.further}.items():
        alone = summarise(images[name], GEOMETRIES[name], SETTINGS, label="Geant4")
        np.testing.assert_array_equal(
            sample.observables.longitudinal_nz, alone.observables.longitudinal_nz
        )
        np.testing.assert_array_equal(sample.kept_rows_k, alone.kept_rows_k)
        assert (sample.kept_kc != alone.kept_kc).nnz == 0
        assert sample.observables.image == name
    hcal_n = images["HCAL"].images_nxyz.sum((1, 2, 3))
    np.testing.assert_allclose(reference.observables.others_energy_no[:, 0], hcal_n, rtol=1e-6)
    everything_n = given.images_nxyz.sum((1, 2, 3))
    np.testing.assert_allclose(reference.observables.all_energy_n, everything_n, rtol=1e-5)
    share_n = 1 - hcal_n / everything_n
    np.testing.assert_allclose(reference.observables.share_n, share_n, rtol=1e-4)
    # What a discriminator is asked about has both, in the cells of the network.
    some = reference.some(7)
    assert some.images_nxyz.shape == (7, 200, 1, 1)
    rows = [int(np.argmin(np.abs(given.energy_n - energy))) for energy in some.energy_n]
    np.testing.assert_array_equal(some.images_nxyz, given.images_nxyz[rows])


@pytest.fixture(scope="module")
def judgements(reference):
    return {
        name: judge_images(summary(given), reference, GEOMETRIES, SETTINGS)
        for name, given in {
            "same": showers(1),
            "more": showers(1, hcal=1.5),
            "shuffled": shuffled(showers(1)),
        }.items()
    }


def test_showers_of_the_same_kind_agree_in_both_and_together(judgements):
    judgement = judgements["same"]
    for name in ("correlation.images", "images.share.separation", "images.energy.separation"):
        verdict = next(each for each in judgement.verdicts if each.name == name)
        assert not verdict.faulty, verdict
    assert judgement.p > 0.001
    assert judgement.further["HCAL"].p > 0.001


def test_too_much_in_one_image_is_seen_there_and_in_the_share_but_not_in_the_other(judgements):
    metrics = judgements["more"].metrics
    assert metrics["p.sampling_fraction.rel_error"] > 0.01
    assert metrics["HCAL.sampling_fraction.rel_error"] == pytest.approx(0.5, abs=0.25)
    for name in ("HCAL.p.sampling_fraction.rel_error", "p.images.share.separation"):
        assert metrics[name] < 0.01, name


def test_images_that_do_not_belong_together_are_told_by_what_sees_both(judgements):
    metrics, alone = judgements["shuffled"].metrics, judgements["same"].metrics
    assert metrics["p.sampling_fraction.rel_error"] > 0.01
    assert metrics["HCAL.p.sampling_fraction.rel_error"] > 0.01
    assert metrics["p.correlation.images"] < 0.01 < alone["p.correlation.images"]
    for name in ("images.energy.ks", "classifier.high_level.auc"):
        assert metrics[f"p.{name}"] < 0.01, name


def test_names_of_the_first_image_are_those_of_one_alone(judgements, reference):
    metrics = judgements["same"].metrics
    ours, theirs = (take_apart(showers(seed), GEOMETRIES)["ECAL"] for seed in (1, 0))
    alone = judge(ours, theirs, GEOMETRIES["ECAL"], SETTINGS).metrics
    for name in ("sampling_fraction.rel_error", "profile.longitudinal.chi2", "hits.separation"):
        assert metrics[name] == pytest.approx(alone[name])
    assert set(alone) < set(metrics)
    assert flat_metrics([judgements["same"]]) == metrics
    # Of the whole showers alone: an image with a few cells is soon like another, or like none.
    for name in ("copies.within", "outliers"):
        assert name in metrics
        assert f"HCAL.{name}" not in metrics


def test_the_report_shows_both(judgements, tmp_path):
    judgement = judgements["more"]
    page = write_report(judgement, tmp_path, title="A pair", facts={"Run": "x"})
    text = page.read_text(encoding="utf-8")
    assert text.count("<h2 id=") == len(set(text.split('<h2 id="')[1:])) == text.count("</h2>")
    for said in (
        '<h1 class="part" id="image">ECAL, and all images together</h1>',
        '<h1 class="part" id="HCAL-image">HCAL</h1>',
        "Sampling fraction HCAL/Ep",
        "ECAL/(ECAL + HCAL) [%]",
        "Share of the images in the energy",
        "4 × 4 × 5 (x, y, layer) of 30 × 30 × 26.5 mm",
    ):
        assert said in text, said
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {"sampling_fraction.rel_error", "HCAL.sampling_fraction.rel_error"} < set(metrics)
    named = [line.split(":")[0] for line in headlines([judgement])]
    assert named == ["ECAL, and all images together", "HCAL"]
    assert len(remarks([judgement])) == len(set(remarks([judgement])))


def test_shares_are_drawn(reference):
    ours = summary(showers(1))
    figure = plots.image_shares(ours.observables, reference.observables)
    labels = {axes.get_xlabel() for axes in figure.axes}
    assert {"ECAL/(ECAL + HCAL) [%]", "(ECAL + HCAL)/Ep [%]"} <= labels


def test_epochs_compare_all_images():
    ours, theirs = showers(1), showers(0)
    metrics = compare_images(ours, theirs, GEOMETRIES, SETTINGS)
    own = {}
    for name, geometry in GEOMETRIES.items():
        pair = [take_apart(each, GEOMETRIES)[name] for each in (ours, theirs)]
        own[name] = compare_showers(*pair, geometry, SETTINGS)
    assert metrics["HCAL.hits.separation"] == own["HCAL"]["hits.separation"]
    assert metrics["hits.separation"] == own["ECAL"]["hits.separation"]
    both = [each["optimisation_metric"] for each in own.values()]
    assert metrics["optimisation_metric"] == pytest.approx(np.mean(both))


def test_what_is_wrong_with_an_image_is_said_with_its_name(reference):
    bad = showers(1)
    bad.images_nxyz[75, 150] = -1.0
    with pytest.raises(DataError, match="Generated, HCAL: shower 75: a cell energy is negative"):
        summary(bad)
    empty = showers(1)
    empty.images_nxyz[:, 120:] = 0.0
    with pytest.raises(DataError, match=r"^HCAL: "):
        judge_images(summary(empty), reference, GEOMETRIES, SETTINGS)

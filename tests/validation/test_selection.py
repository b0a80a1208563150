"""Which checkpoint is the best, and whether the difference is more than chance."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.errors import DataError
from gan3d.validation import (
    METRICS,
    compare_showers,
    judge,
    observe,
    select_checkpoint,
    write_selection,
)
from gan3d.validation.selection import jackknife_error, usable_bins

SHAPE = (6, 6, 5)
GEOMETRY = Geometry(shape=SHAPE)
SETTINGS = Validation(energy_bins_gev=[(10, 60), (60, 100)], noise_replicas=40)


@dataclass(frozen=True)
class Checkpoint:
    epoch: float
    step: int


def fluctuating(rng, energy_n, tilt=0.0):
    """Showers of independent cells; `tilt` brightens the last layer by this share."""
    images = rng.gamma(2.0, 0.01, (len(energy_n), *SHAPE)) * energy_n[:, None, None, None] / 100
    images[..., -1] *= 1.0 + tilt
    return Showers(images.astype(np.float32), energy_n)


@pytest.fixture
def reference():
    rng = np.random.default_rng(1)
    return fluctuating(rng, rng.uniform(10, 100, 200).astype(np.float32))


def names(bins):
    return [each.name for each in bins]


def streams(reference, tilts, count=200):
    energy_n = np.resize(reference.energy_n, count)
    for epoch, tilt in enumerate(tilts, start=1):
        yield (
            Checkpoint(float(epoch), 10 * epoch),
            fluctuating(np.random.default_rng(2), energy_n, tilt),
        )


def test_the_checkpoint_that_is_nearest_to_the_reference_is_chosen(reference):
    selection = select_checkpoint(
        streams(reference, [0.9, 0.4, 0.0, 0.3]), reference, GEOMETRY, SETTINGS
    )
    assert [each.epoch for each in selection.candidates] == [1.0, 2.0, 3.0, 4.0]
    assert (selection.best.epoch, selection.best.step) == (3.0, 30)
    assert (selection.best.above_best, selection.best.above_best_error) == (0.0, 0.0)
    assert [each.as_good for each in selection.candidates] == [False, False, True, False]
    for each in selection.candidates:
        assert each.above_best == pytest.approx(each.metric - selection.best.metric)


def test_the_metrics_and_their_noise_are_those_of_a_report(reference):
    selection = select_checkpoint(streams(reference, [0.2]), reference, GEOMETRY, SETTINGS)
    ((_, generated),) = streams(reference, [0.2])
    expected = compare_showers(generated, reference, GEOMETRY, SETTINGS)
    assert selection.candidates[0].metrics == pytest.approx(expected)
    judged = judge(generated, reference, GEOMETRY, SETTINGS).metrics
    # Other draws than the report's, and hits at given Ep by another curve.
    expected = {name: judged[f"noise.{name}"] for name in METRICS}
    assert selection.noise == pytest.approx(expected, rel=0.5)


def test_of_several_images_the_mean_of_their_metrics_chooses(reference):
    grids = {"ECAL": GEOMETRY, "HCAL": GEOMETRY}
    of_image = {}
    for image, tilts in {"ECAL": [0.1, 0.2, 0.3], "HCAL": [0.9, 0.0, 0.3]}.items():
        made = [(at, each) for at, each in streams(reference, tilts)]
        of_image[image] = made, select_checkpoint(made, reference, GEOMETRY, SETTINGS)

    def both():
        for (checkpoint, ecal), (_, hcal) in zip(
            *(each for each, _ in of_image.values()), strict=True
        ):
            cells_nc = [each.images_nxyz.reshape(len(each), -1) for each in (ecal, hcal)]
            images_nc11 = np.concatenate(cells_nc, axis=1)[..., None, None]
            whole = Showers(images_nc11, ecal.energy_n)
            yield checkpoint, [whole.take(slice(0, 70)), whole.take(slice(70, 200))]

    theirs = dict.fromkeys(grids, observe(reference, GEOMETRY, SETTINGS))
    selection = select_checkpoint(both(), theirs, grids, SETTINGS)
    alone = {image: each.candidates for image, (_, each) in of_image.items()}
    for number, candidate in enumerate(selection.candidates):
        of_both = [each[number] for each in alone.values()]
        assert candidate.metric == pytest.approx(np.mean([each.metric for each in of_both]))
        # Of a mean of two: between what two that cancel and two that go together leave.
        errors = [each.error for each in of_both]
        assert abs(errors[0] - errors[1]) / 2 <= candidate.error * (1 + 1e-9)
        assert candidate.error <= np.mean(errors) * (1 + 1e-9)
        assert candidate.metrics["HCAL.moments.rel_error"] == pytest.approx(
            of_both[1].metrics["moments.rel_error"]
        )
    # ECAL alone would have chosen the first.
    assert (of_image["ECAL"][1].best.epoch, selection.best.epoch) == (1.0, 2.0)
    noise = [each.noise["optimisation_metric"] for _, each in of_image.values()]
    assert selection.noise["optimisation_metric"] == pytest.approx(np.mean(noise))


def test_checkpoints_that_differ_by_chance_alone_are_as_good(reference):
    def others():
        for step in range(1, 6):
            showers = fluctuating(np.random.default_rng(100 + step), reference.energy_n)
            yield Checkpoint(float(step), step), showers

    selection = select_checkpoint(others(), reference, GEOMETRY, SETTINGS)
    assert sum(each.as_good for each in selection.candidates) >= 4
    assert len({each.metric for each in selection.candidates}) == 5


def test_errors_of_a_metric_and_of_a_difference_are_their_scatter_over_other_samples():
    """Against brute force: many references, each with showers of the same two generators."""
    differences, errors, metrics, metric_errors = [], [], [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        theirs = fluctuating(rng, rng.uniform(10, 100, 120).astype(np.float32))

        def two(theirs=theirs, seed=seed):
            for step, tilt in ((1, 0.2), (2, 0.3)):
                showers = fluctuating(np.random.default_rng(1000 + seed), theirs.energy_n, tilt)
                yield Checkpoint(float(step), step), showers

        first, second = select_checkpoint(
            two(), theirs, GEOMETRY, SETTINGS.model_copy(update={"noise_replicas": 10})
        ).candidates
        differences.append(second.metric - first.metric)
        errors.append(max(first.above_best_error, second.above_best_error))
        metrics.append(first.metric)
        metric_errors.append(first.error)
    # Of 60 samples the scatter is known to 9 %.
    assert np.mean(errors) == pytest.approx(np.std(differences, ddof=1), rel=0.35)
    assert np.mean(metric_errors) == pytest.approx(np.std(metrics, ddof=1), rel=0.2)


@given(
    values=st.lists(st.floats(-100, 100), min_size=2, max_size=40),
    shift=st.floats(-10, 10),
    scale=st.floats(-10, 10),
)
def test_a_jackknife_error_does_not_depend_on_the_origin_and_grows_with_the_scale(
    values, shift, scale
):
    error = jackknife_error(np.array(values))
    moved = jackknife_error(scale * np.array(values) + shift)
    assert moved == pytest.approx(abs(scale) * error, rel=1e-6, abs=1e-9)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=40))
def test_the_jackknife_of_a_mean_is_its_standard_error(values):
    values = np.array(values)
    without = np.array([np.delete(values, i).mean() for i in range(len(values))])
    expected = values.std(ddof=1) / np.sqrt(len(values))
    assert jackknife_error(without) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_more_or_fewer_showers_than_the_reference_may_be_generated(reference):
    for count in (130, 450):
        selection = select_checkpoint(
            streams(reference, [0.4, 0.0], count), reference, GEOMETRY, SETTINGS
        )
        assert (selection.generated_showers, selection.reference_showers) == (count, 200)
        assert selection.best.epoch == 2.0


def test_showers_of_other_energies_are_refused(reference):
    wrong = Showers(reference.images_nxyz, reference.energy_n[::-1].copy())
    with pytest.raises(DataError, match="step 7: their incident energies are not those"):
        select_checkpoint([(Checkpoint(1.0, 7), wrong)], reference, GEOMETRY, SETTINGS)


def test_bins_without_enough_showers_are_an_error_before_any_shower_is_generated(reference):
    settings = SETTINGS.model_copy(update={"minimum_showers": 150})

    def untouched():
        pytest.fail("a checkpoint was loaded")
        yield

    with pytest.raises(DataError, match=r"no energy bin holds 150 .*take more showers, or set"):
        select_checkpoint(untouched(), reference, GEOMETRY, settings)
    assert names(usable_bins(reference.energy_n, 200, SETTINGS)) == ["10-60GeV", "60-100GeV"]
    with pytest.raises(DataError, match="no energy bin holds 20 generated"):
        usable_bins(reference.energy_n, 15, SETTINGS)


def test_the_upper_bound_of_the_highest_bin_is_in_it():
    energies = np.full(30, 100.0, np.float32)
    assert names(usable_bins(energies, 30, SETTINGS)) == ["60-100GeV"]
    with pytest.raises(DataError):
        usable_bins(np.full(30, 100.1, np.float32), 30, SETTINGS)


def test_no_checkpoint_is_an_error(reference):
    with pytest.raises(DataError, match="no checkpoint"):
        select_checkpoint([], reference, GEOMETRY, SETTINGS)


def test_what_is_written_says_all_of_it(reference, tmp_path):
    selection = select_checkpoint(streams(reference, [0.4, 0.0]), reference, GEOMETRY, SETTINGS)
    folder = tmp_path / "run" / "selection"
    path = write_selection(selection, folder, facts={"reference": "showers of mine"})
    assert sorted(each.name for each in folder.iterdir()) == [
        "selection.json",
        "selection.pdf",
        "selection.png",
    ]
    content = json.loads(path.read_text())
    assert content["best"] == {
        "epoch": 2.0,
        "step": 20,
        "optimisation_metric": selection.best.metric,
    }
    assert [each["step"] for each in content["checkpoints"]] == [10, 20]
    assert set(METRICS) < set(content["checkpoints"][0])
    assert content["checkpoints"][0]["as_good_as_best"] is False
    assert content["facts"] == {"reference": "showers of mine"}
    assert (folder / "selection.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "selection.pdf").read_bytes().startswith(b"%PDF")

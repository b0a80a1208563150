"""What is wrong with generated showers is a point's fault, what is wrong with held-out ones not."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from pairs import CONFIG, ECAL, write_pair

from gan3d.cli.tune_judge import judge_run
from gan3d.config import load_experiment
from gan3d.data import Showers
from gan3d.errors import DataError, DivergedError

CELLS = int(np.prod(ECAL))
"""Of the first image; the HCAL's come after."""


def write_angled(path, share=1.0):
    """Showers of a pair whose incident particles have an angle; `share` as of `write_pair`."""
    write_pair(path, 30, seed=2, share=share)
    with h5py.File(path, "r+") as file:
        file["energy"] = file["target"][:, 1]
        file["theta"] = np.random.default_rng(3).uniform(1.1, 2.0, 30)
        del file["target"]


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """Judge a run that generates showers with 2 % of their energy in the cells, after `spoil`."""
    for name in ("train.h5", "heldout.h5"):
        write_angled(tmp_path / name)
    (tmp_path / "experiment.yaml").write_text(
        f"{CONFIG}validation: {{minimum_showers: 4, noise_replicas: 10, exchanges: 20, "
        "bootstrap_replicas: 10, angle_bins_deg: [[60, 120]]}\n"
    )
    experiment = load_experiment(tmp_path / "experiment.yaml")

    def judged(spoil=lambda images_nc: None):
        def stream(energy_n, **_):
            count = experiment.data.images.cells["HCAL"].stop
            images_nc = np.random.default_rng(1).dirichlet(np.ones(count), len(energy_n))
            images_nc = (images_nc * 0.02 * energy_n[:, None]).astype("f4")
            spoil(images_nc)
            yield Showers(images_nc[:, :, None, None], energy_n, {})

        run = SimpleNamespace(experiment=experiment, labels=(), stream=stream)
        monkeypatch.setattr("gan3d.generation.load_run", lambda *_: run)
        return judge_run(tmp_path / "run", ["images.share.separation"], checkpoint="last")

    return judged


def explode(images_nc):
    images_nc *= 1e10


def empty(images_nc):
    images_nc[:] = 0.0


def empty_hcal(images_nc):
    images_nc[:, CELLS:] = 0.0


def break_cell(images_nc):
    images_nc[3, 0] = np.nan


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (explode, r"^Generated: the cells hold .*e\+\d+ times the incident energy"),
        (empty, r"^Generated: all 30 showers are empty"),
        (empty_hcal, r"^HCAL: Generated: all 30 showers are empty"),
        (break_cell, r"^Generated, ECAL: shower 3: a cell energy is not a finite number"),
    ],
)
def test_generated_showers_that_cannot_be_judged_are_the_points_fault(judge, spoil, words):
    with pytest.raises(DivergedError, match=words):
        judge(spoil)


def test_others_are_judged_at_the_angles_of_the_held_out_ones(judge):
    assert judge()["images.share.separation"] >= 0.0


def test_held_out_showers_that_cannot_be_judged_are_an_error(judge, tmp_path):
    write_angled(tmp_path / "heldout.h5", share=0.0)
    with pytest.raises(DataError, match=r"^HCAL: Geant4: all 30 showers are empty"):
        judge(empty)

"""Runs on labels by the command: trained, resumed, generated from, validated, by several ranks."""

import json

import numpy as np
import pytest
from labelled import CONFIG, pdg_of, theta_of, write_labelled
from two_ranks import assert_two_ranks_train_as_one

from gan3d.data import read_showers

pytestmark = pytest.mark.slow


@pytest.fixture
def experiment(tmp_path):
    write_labelled(tmp_path / "train.h5", 24, seed=1)
    write_labelled(tmp_path / "heldout.h5", 30, seed=2)
    path = tmp_path / "experiment.yaml"
    path.write_text(CONFIG)
    return path


def done(result):
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_a_run_is_trained_resumed_generated_from_and_validated(
    labelled_gan3d, experiment, tmp_path, checkpoint_arrays
):
    run = labelled_gan3d
    plan = done(run("train", experiment, "--dry-run")).stdout
    assert "conditions     energy; theta (column theta: rad); particle (column pdg: one of" in plan
    done(run("train", experiment, "--run", "whole"))
    done(run("train", experiment, "--run", "parts", "--set", "training.epochs=1"))
    done(run("train", experiment, "--run", "parts", "--resume"))
    whole, parts = (checkpoint_arrays(tmp_path / name) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(values, parts[name], err_msg=name)
    record = json.loads((tmp_path / "whole" / "history.jsonl").read_text().splitlines()[-1])
    assert record["generator.angle"] > 0
    assert record["validation.optimisation_metric"] > 0

    told = done(run("generate", "whole", "-n", 9, "--condition", "theta=0.5:1.3", "--condition",
                    "particle=22", "--energy", 50, "-o", "some.h5"))  # fmt: skip
    some = read_showers([tmp_path / "some.h5"])
    assert "note: the network was trained with theta of 1." in told.stderr + told.stdout
    assert 0.5 <= some.columns["theta"].min() < some.columns["theta"].max() <= 1.3
    assert set(some.columns["pdg"]) == {22}
    again = done(run("generate", "whole", "-n", 40, "--like", "heldout.h5", "-o", "like.h5"))
    assert (
        "note: heldout.h5: 30 showers; their energies and conditions" in again.stdout + again.stderr
    )
    like = read_showers([tmp_path / "like.h5"])
    energy_n = np.resize(read_showers([tmp_path / "heldout.h5"]).energy_n, 40)
    np.testing.assert_array_equal(like.energy_n, energy_n)
    np.testing.assert_array_equal(like.columns["theta"], theta_of(energy_n))
    np.testing.assert_array_equal(like.columns["pdg"], pdg_of(energy_n))

    for arguments, expected in (
        (["--condition", "theta=70"], "'theta' is 70, expected rad"),
        (["--condition", "energy=3"], "has an option of its own, --energy"),
        (["--condition", "theta"], "is no NAME=VALUE"),
        (["--like", "train.h5", "--energy", "3"], "leave --energy and --condition out"),
    ):
        refused = run("generate", "whole", "-n", 2, *arguments, "-o", "no.h5")
        assert refused.returncode == 2, arguments
        assert expected in " ".join(refused.stderr.split()), refused.stderr

    (tmp_path / "judge.yaml").write_text(
        "extends: experiment.yaml\n"
        "validation: {angle_bins_deg: [[57, 90], [90, 120]], minimum_showers: 4, figures: false,"
        " noise_replicas: 10, exchanges: 20, bootstrap_replicas: 3}\n"
    )
    judged = done(run("validate", "whole", "--config", "judge.yaml", "--json"))
    assert json.loads(judged.stdout)["optimisation_metric"] > 0
    write_labelled(tmp_path / "bare.h5", 30, seed=2, pdg=None)
    refused = run("validate", "whole", "--reference", "bare.h5", "--out", "report")
    assert refused.returncode == 1
    assert "bare.h5: has no column 'pdg'" in " ".join(refused.stderr.split())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"theta": None, "target": np.ones((24, 5), "f4")}, "has no column 'theta'"),
        ({"theta": np.full((24, 1), 80.0, "f4")}, "are the angles in degrees?"),
        ({"pdg": np.full((24, 1), 2212)}, "'pdg' is 2212, expected one of 22, 11"),
        ({"ECAL": np.ones((24, 5, 4, 3), "f4")}, "images have 5×4×3 cells, expected 4×4×3 cells"),
    ],
)
def test_bad_labels_end_it_before_any_work(labelled_gan3d, experiment, tmp_path, changes, expected):
    write_labelled(tmp_path / "train.h5", 24, seed=1, **changes)
    refused = labelled_gan3d("train", experiment, "--run", "run")
    assert refused.returncode in (1, 2)
    assert "train.h5: " in refused.stderr
    assert expected in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_category_that_no_training_shower_has_is_said_before_training(
    labelled_gan3d, experiment, tmp_path
):
    write_labelled(tmp_path / "train.h5", 24, seed=1, pdg=np.full((24, 1), 22))
    begun = done(labelled_gan3d("train", experiment, "--run", "run", "--set", "training.epochs=1"))
    said = " ".join((begun.stdout + begun.stderr).split())
    assert "note: model.conditions: no training shower has particle 11 (column pdg)" in said
    made = done(labelled_gan3d("generate", "run", "-n", 20, "-o", "drawn.h5"))
    assert "note: " not in made.stdout + made.stderr
    assert set(read_showers([tmp_path / "drawn.h5"]).columns["pdg"]) == {22}


def test_a_mixture_is_refused_where_the_particle_is_no_condition(labelled_gan3d, experiment):
    refused = labelled_gan3d("train", experiment, "--set", "model.conditions=[energy, theta]")
    assert refused.returncode == 1
    assert "expected one kind of particle" in refused.stderr


@pytest.mark.distributed
def test_two_ranks_give_labels_to_their_showers_as_one_does(labelled_gan3d, tmp_path):
    write_labelled(tmp_path / "train.h5", 24, seed=1)
    write_labelled(tmp_path / "heldout.h5", 8, seed=2)
    config = tmp_path / "experiment.yaml"
    config.write_text(
        CONFIG.replace("heldout.h5]", "heldout.h5], shuffle: false")
        .replace("dropout: 0.0", "dropout: 0.0, batch_norm: false")
        .replace("epochs: 2", "epochs: 1, learning_rate_scaling: none")
        .replace("response_degree: 1", "response_degree: 1, optimizer: {name: sgd}")
    )
    losses = ["discriminator.real.loss", "discriminator.fake.angle", "generator.loss"]
    assert_two_ranks_train_as_one(
        labelled_gan3d, tmp_path, config, losses, ["--set", "training.optimizer.learning_rate=1e-4"]
    )

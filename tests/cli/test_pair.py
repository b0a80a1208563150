"""Two images of one shower by the command: trained, generated, judged; what cannot be, refused."""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
import yaml
from bare_run import told_in_one_line, write_bare_run
from pairs import CONFIG, write_pair
from two_ranks import assert_two_ranks_train_as_one

from gan3d.cli import main
from gan3d.cli.sample_checks import left_out
from gan3d.cli.tune_judge import judge_run
from gan3d.config import load_experiment
from gan3d.data import open_for, stated_cell_size
from gan3d.tuning.objectives import in_epochs


def done(result):
    assert result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.mark.slow
def test_a_pair_is_trained_generated_and_judged(gan3d, pair_experiment, tmp_path):
    plan = done(gan3d("train", pair_experiment, "--dry-run")).stdout
    assert "images         ECAL of 6x5x5 cells, HCAL of 4x4x7 cells" in plan
    done(gan3d("train", pair_experiment, "--run", "run"))
    record = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[-1])
    assert record["generator.HCAL"] > 0.0
    assert record["validation.HCAL.optimisation_metric"] > 0.0

    said = done(gan3d("export", "run", "--format", "onnx")).stdout
    assert "agree with the run's own" in said
    data = load_experiment(pair_experiment).data
    images = {}
    for name in ("some.h5", "some.parquet", "many", "exported.h5"):
        model = "run/generator.onnx" if name == "exported.h5" else "run"
        done(gan3d("generate", model, "-n", 9, "--seed", 3, "-o", name))
        (path,) = (tmp_path / name).glob("*.h5") if name == "many" else [tmp_path / name]
        with open_for(path, data) as file:
            images[name] = file.read().images_nxyz
            # Of the particle that the training files name; a shard has what it is told alone.
            assert file.particles == ((11,) if path.suffix == ".h5" else ())
        assert stated_cell_size([path], image="HCAL") == (30.0, 30.0, 30.0)
    assert images["some.h5"].shape == (9, 150 + 112, 1, 1)
    for name, each in images.items():
        np.testing.assert_allclose(each, images["some.h5"], rtol=1e-4, atol=2e-6, err_msg=name)
    again = done(gan3d("generate", "run", "-n", 9, "--seed", 3, "-o", "many"))
    assert "1 of 1 files are there already" in again.stdout + again.stderr

    (tmp_path / "judge.yaml").write_text(
        "extends: experiment.yaml\n"
        "validation: {figures: false, noise_replicas: 10, exchanges: 20, minimum_showers: 4}\n"
    )
    judged = done(gan3d("validate", "run", "--config", "judge.yaml", "--json"))
    metrics = json.loads(judged.stdout)
    assert metrics["optimisation_metric"] > 0.0 < metrics["HCAL.optimisation_metric"]
    assert "images.share.separation" in metrics
    names = ["HCAL.optimisation_metric", "images.share.separation"]
    with_settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    with_settings["validation"] |= {"noise_replicas": 10, "exchanges": 20, "minimum_showers": 4}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(with_settings))
    of_trial = judge_run(tmp_path / "run", names, checkpoint="last")
    assert of_trial == {name: pytest.approx(metrics[name], rel=1e-4) for name in names}

    chosen = done(gan3d("validate", "run", "--select", "--config", "judge.yaml"))
    selected = json.loads((tmp_path / "run" / "selection" / "selection.json").read_text())
    last = selected["checkpoints"][-1]
    assert "the mean over ECAL and HCAL" in " ".join(chosen.stdout.split())
    of_images = [last[f"{image}.optimisation_metric"] for image in ("ECAL", "HCAL")]
    assert last["optimisation_metric"] == pytest.approx(sum(of_images) / 2)
    assert of_images[1] == pytest.approx(metrics["HCAL.optimisation_metric"], rel=1e-3)

    write_pair(tmp_path / "other.h5", 30, seed=5)
    shown = done(gan3d("validate", "other.h5", "--reference", "heldout.h5", "--config",
                       "judge.yaml", "--out", "of-files"))  # fmt: skip
    lines = shown.stdout.splitlines()
    assert "HCAL:" in lines
    assert max(map(len, lines[:-1])) <= 80
    assert (
        sum(line.startswith(("ECAL, and all images together: ", "HCAL: ")) for line in lines) == 2
    )


@pytest.mark.distributed
def test_two_ranks_train_a_pair_as_one_does(gan3d, pair_experiment, tmp_path):
    pair_experiment.write_text(
        CONFIG.replace("heldout.h5]", "heldout.h5]\n  shuffle: false")
        .replace("joint_features: 3", "joint_features: 3\n  dropout: 0\n  batch_norm: false")
        .replace("epochs: 2", "epochs: 1, learning_rate_scaling: none, optimizer: {name: sgd}")
    )
    weights = "{response: 1.0, further_sums: {HCAL: 3.0}}"  # means over showers, whoever has them
    arguments = ["--set", "training.optimizer.learning_rate=1e-4", "--set",
                 f"training.loss_weights={weights}"]  # fmt: skip
    losses = ["discriminator.real.loss", "discriminator.fake.HCAL", "generator.HCAL",
              "generator.loss"]  # fmt: skip
    assert_two_ranks_train_as_one(gan3d, tmp_path, pair_experiment, losses, arguments)


@pytest.fixture
def folder(tmp_path, pair_experiment, monkeypatch):
    """A run on a pair that says all of itself but has no weights, which nobody gets to miss."""
    experiment = load_experiment(pair_experiment)
    write_bare_run(tmp_path / "run", experiment)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rewrite(name, cells, **attributes):
    """Give heldout.h5 another HCAL: None is none."""

    def spoil(folder):
        with h5py.File(folder / "heldout.h5", "r+") as file:
            del file[name]
            if cells is not None:
                file[name] = cells
                file[name].attrs.update(attributes)

    return spoil


def study(folder):
    (folder / "study.yaml").write_text(
        "experiment: experiment.yaml\n"
        "search: {training.optimizer.learning_rate: {float: [1.0e-5, 1.0e-2]}}\n"
        "budget: {trials: 2}\n"
    )


def large(folder):
    text = CONFIG.replace("shape: [6, 5, 5]", "shape: [25, 25, 25]")
    (folder / "large.yaml").write_text(text.replace("architecture: conv", "architecture: ecal25 #"))


TRAIN = ["train", "experiment.yaml", "--run", "new"]
OTHER_SHAPE = np.ones((30, 4, 4, 8), "f4")
OTHER_CELLS = np.ones((30, 4, 4, 7), "f4")
CASES = [
    (
        None,
        [*TRAIN, "--set", "model.architecture=compact"],
        2,
        ["model.architecture: compact takes one image", "HCAL", "convolutional"],
    ),
    (large, ["train", "large.yaml", "--dry-run"], 2, ["model.architecture: ecal25 takes one"]),
    (rewrite("HCAL", None), TRAIN, 1, ["heldout.h5: has no dataset 'HCAL'", "ECAL, target"]),
    (
        rewrite("HCAL", OTHER_SHAPE),
        TRAIN,
        1,
        ["heldout.h5: images 'HCAL' have 4×4×8 cells, expected 4×4×7", "further_images.HCAL"],
    ),
    (
        rewrite("HCAL", OTHER_CELLS, cell_size_mm=(10.0, 10.0, 10.0)),
        ["validate", "train.h5", "--reference", "heldout.h5", "--config", "experiment.yaml",
         "--out", "report"],
        1,
        ["heldout.h5: cells of 10 x 10 x 10 mm, but 30 x 30 x 30", "further_images.HCAL.cell_size"],
    ),
    (None, ["export", "run", "--format", "onnx", "--int8"], 2, ["run: --int8 takes one image"]),
    (
        study,
        ["tune", "study.yaml", "--run", "new", "--dry-run", "--set", "objective=HCAL.outliers"],
        2,
        ["'HCAL.outliers' is no number of a trial"],  # those are looked for in whole showers
    ),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "arguments", "code", "words"), CASES)
def test_what_cannot_be_is_one_line(folder, capsys, spoil, arguments, code, words):
    if spoil is not None:
        spoil(folder)
    assert main(arguments) == code
    told_in_one_line(capsys, words)
    assert not (folder / "new").exists()


def test_a_study_goes_by_numbers_of_any_image(folder, capsys):
    study(folder)
    objective = "objective=[HCAL.moments.rel_error,images.share.separation]"
    judged = ["--set", "overrides={validation.epoch_showers: 30, validation.minimum_showers: 4}"]
    assert main(["tune", "study.yaml", "--dry-run", "--set", objective, *judged]) == 0
    assert "HCAL.moments.rel_error" in capsys.readouterr().out
    assert in_epochs("HCAL.moments.rel_error")
    assert not in_epochs("images.share.separation")
    assert not in_epochs("layers.hits.separation")


def test_what_files_hold_besides_is_told(folder):
    (remark,) = left_out([(["heldout.h5"], None)], [])
    assert remark.startswith("heldout.h5: HCAL of it is not judged; data.further_images")
    assert left_out([(["train.h5"], None), (["heldout.h5"], (6, 5, 5))], ["HCAL"]) == []


def test_it_is_said_before_tensorflow_is_loaded(folder):
    calls = [arguments for spoil, arguments, _, _ in CASES if spoil is None]
    code = (
        "import sys; from gan3d.cli import main\n"
        f"codes = [main(call) for call in {calls}]\n"
        "sys.exit(99 if {'tensorflow', 'keras'} & set(sys.modules) else sum(codes))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=dict(os.environ), check=False
    )
    assert ended.returncode == 2 * len(calls)

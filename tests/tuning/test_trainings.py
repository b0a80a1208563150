"""Trials that train, on real blocks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import write_tiny

from gan3d.config import load_experiment

pytestmark = pytest.mark.distributed

EXPERIMENT = """
data: {files: [train.h5], validation_files: [heldout.h5], geometry: {shape: [4, 4, 3]}}
model: {architecture: tiny-labelled}
training: {epochs: 2, batch_size: 4, warmup_epochs: 0, response_degree: 1}
node: {intra_op_threads: 1, inter_op_threads: 1}
validation: {energy_bins_gev: [[1, 1000]], minimum_showers: 4}
"""


@pytest.fixture
def command(tmp_path):
    """Run the command, which knows tiny networks, in a folder with an experiment."""
    for name, count, seed in (("train.h5", 24, 1), ("heldout.h5", 10, 2)):
        write_tiny(tmp_path / name, count, seed)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)

    def run(*arguments, code=0, meanwhile=lambda process: None):
        program = Path(__file__).with_name("tiny_gan3d.py")
        with subprocess.Popen(
            [sys.executable, program, *arguments],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "COLUMNS": "80"},
        ) as process:  # fmt: skip
            meanwhile(process)
            said, _ = process.communicate(timeout=600)
        assert process.returncode == code, said
        return said

    return run


@pytest.fixture
def tune(tmp_path, command):
    """Run a study of short trainings; returns the rows of its table."""

    def run(code=0, meanwhile=lambda process: None, **sections):
        study = {
            "experiment": "experiment.yaml",
            "search": {"training.label_flip": {"float": [0.0, 0.2]}},
            "pruner": {"name": "none"},
            "rerun": {"best": 0},
            **sections,
        }
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
        run.said = command("tune", "study.yaml", "--run", "study", code=code, meanwhile=meanwhile)
        return json.loads((tmp_path / "study" / "trials.json").read_text())

    return run


def test_trials_in_one_process_are_as_in_fresh_ones_and_the_best_gets_fresh_seeds(
    tune, tmp_path, command, checkpoint_arrays
):
    sections = {"budget": {"trials": 2}, "rerun": {"best": 1, "seeds": 2, "default": False}}
    rows = tune(**sections)
    assert [row["state"] for row in rows] == ["complete"] * 2
    assert tune.said.count("is up after") == 1
    # The first is the experiment as it is, whose numbers are of its best epoch.
    assert rows[0]["parameters"] == {"training.label_flip": 0.05}
    history = [json.loads(line) for line in
               (tmp_path / "study/trials/0001/history.jsonl").read_text().splitlines()]  # fmt: skip
    assert rows[1]["objectives"]["optimisation_metric"] == min(
        record["validation.optimisation_metric"] for record in history
    )
    # A trial is a run, and best.yaml an experiment.
    command("train", "study/trials/0001/config.yaml", "--run", "fresh")
    fresh, second = (checkpoint_arrays(tmp_path / run) for run in ("fresh", "study/trials/0001"))
    assert len(fresh) > 10
    assert fresh.keys() == second.keys()
    # Bit for bit: weights, optimisers, random states.
    assert all(np.array_equal(fresh[name], second[name]) for name in fresh)
    best = min(rows, key=lambda row: row["objectives"]["optimisation_metric"])
    again = sorted((tmp_path / "study" / "reruns").iterdir())
    configs = [load_experiment(run / "config.yaml") for run in again]
    assert [each.run.seed for each in configs] == [1, 2]
    # Ready to be trained, and with nothing of a study in it.
    written = load_experiment(tmp_path / "study" / "best.yaml")
    for config in (written, *configs):
        assert config.training.label_flip == best["parameters"]["training.label_flip"]
    assert written.run.seed == 0
    assert "with 2 fresh seed(s)" in tune.said
    # Called again, there is nothing left to do.
    tune(**sections)
    assert "is up after" not in tune.said
    assert sorted((tmp_path / "study" / "reruns").iterdir()) == again


def test_blocks_of_two_ranks_with_folds_and_several_objectives(tune, tmp_path):
    rows = tune(
        objective=["optimisation_metric", "showers_per_second"],
        overrides={"data.validation_files": None, "training.epochs": 1},
        trial={"folds": 2},
        blocks={"size": 2},
        budget={"trials": 2},
    )
    assert [row["state"] for row in rows] == ["complete"] * 2
    # Two trials of two trainings each by the same two ranks.
    assert tune.said.count("is up after") == 1
    for row in rows:
        folds = [tmp_path / "study" / row["folder"] / f"fold-{number}" for number in (1, 2)]
        values = []
        for number, fold in enumerate(folds):
            split = yaml.safe_load((fold / "config.yaml").read_text())["data"]["split"]
            assert (split["folds"], split["fold"]) == (2, number)
            assert json.loads((fold / "environment.json").read_text())["world_size"] == 2
            (record,) = map(json.loads, (fold / "history.jsonl").read_text().splitlines())
            values.append(record["validation.optimisation_metric"])
        assert row["objectives"]["optimisation_metric"] == pytest.approx(sum(values) / 2)
        assert row["spread"]["optimisation_metric"] == pytest.approx(
            abs(values[0] - values[1]) / 2**0.5
        )
    page = (tmp_path / "study/report/index.html").read_text()
    assert "Pareto front" in page


def test_a_trial_that_was_stopped_goes_on_from_its_checkpoint(tune, tmp_path, command):
    tune_all = {"overrides": {"training.epochs": 60}, "budget": {"trials": 1}}
    history = tmp_path / "study/trials/0000/history.jsonl"

    def stop(process):
        while not history.exists() or len(history.read_text().splitlines()) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)

    rows = tune(code=75, meanwhile=stop, **tune_all)
    assert [row["state"] for row in rows] in ([], ["waiting"])
    assert json.loads(history.with_name("status.json").read_text())["status"] == "requeue"
    rows = tune(**tune_all)
    assert [(row["state"], row["folder"]) for row in rows] == [("complete", "trials/0000")]
    steps = [json.loads(line)["step"] for line in history.read_text().splitlines()]
    assert steps == [6 * epoch for epoch in range(1, 61)]


def test_a_pruned_trial_ends_on_all_ranks_with_a_checkpoint(tune, tmp_path):
    # Nothing is as good as the limit wants, so the first epoch decides; the ranks go on together.
    rows = tune(
        overrides={"training.epochs": 500},
        pruner={"name": "threshold", "limit": 1e-9},
        blocks={"size": 2},
        budget={"trials": 2},
    )
    assert [(row["state"], row["reason"]) for row in rows] == [("pruned", "behind the others")] * 2
    assert tune.said.count("is up after") == 1
    for row in rows:
        run = tmp_path / "study" / row["folder"]
        (newest,) = sorted(run.glob("checkpoints/step-*"))[-1:]
        position = json.loads((newest / "state.json").read_text())
        assert 1 <= position["epoch"] < 500
        assert json.loads((run / "status.json").read_text())["status"] == "requeue"

"""Trials that train, on real blocks."""

import json
from pathlib import Path

import h5py
import pytest
import yaml

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

EXPERIMENT = """
data: {files: [train.h5], validation_files: [heldout.h5]}
model: {architecture: ecal25-compact}
training: {epochs: 2, batch_size: 4, warmup_epochs: 0, optimizer: {name: adam, learning_rate: 2.0e-4}}
node: {intra_op_threads: 1, inter_op_threads: 1}
validation: {energy_bins_gev: [[1, 1000]], minimum_showers: 4}
"""


@pytest.fixture
def tune(tmp_path, write_lcd, gan3d):
    """Run a study of short trainings; returns the rows of its table."""
    write_lcd("train.h5", range(24))
    write_lcd("heldout.h5", range(24, 34))
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)

    def run(*arguments, **sections):
        study = {
            "experiment": "experiment.yaml",
            "search": {"training.label_flip": {"float": [0.0, 0.2]}},
            "pruner": {"name": "none"},
            "rerun": {"best": 0},
            **sections,
        }
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
        done = gan3d("tune", "study.yaml", "--run", "study", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        run.said = done.stdout
        return json.loads((tmp_path / "study" / "trials.json").read_text())

    return run


def weights(folder):
    checkpoint = max((folder / "checkpoints").glob("step-*"))
    found = {}
    for path in sorted(checkpoint.glob("*.h5")):
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item, path=path: found.update({f"{path.name}/{name}": item[()].tobytes()})
                if isinstance(item, h5py.Dataset)
                else None
            )
    return found


def test_a_second_trial_in_a_process_is_as_in_a_fresh_one(tune, tmp_path, gan3d):
    rows = tune(budget={"trials": 2})
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
    done = gan3d("train", "study/trials/0001/config.yaml", "--run", "fresh")
    assert done.returncode == 0, done.stderr
    fresh, second = weights(tmp_path / "fresh"), weights(tmp_path / "study/trials/0001")
    assert len(fresh) > 10
    assert fresh == second
    best = min(rows, key=lambda row: row["objectives"]["optimisation_metric"])
    written = yaml.safe_load((tmp_path / "study" / "best.yaml").read_text())
    assert written["training"]["label_flip"] == best["parameters"]["training.label_flip"]
    assert gan3d("train", "study/best.yaml", "--run", "again", "--dry-run").returncode == 0


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


def test_the_best_are_trained_again_with_fresh_seeds(tune, tmp_path):
    tune(
        overrides={"training.epochs": 1},
        budget={"trials": 2},
        rerun={"best": 1, "seeds": 2},
    )
    runs = sorted((tmp_path / "study" / "reruns").iterdir())
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in runs]
    assert [each["run"]["seed"] for each in configs] == [1, 2]
    assert len({each["training"]["label_flip"] for each in configs}) == 1
    assert "with 2 fresh seed(s)" in tune.said
    # Called again, there is nothing left to do.
    tune(overrides={"training.epochs": 1}, budget={"trials": 2}, rerun={"best": 1, "seeds": 2})
    assert sorted((tmp_path / "study" / "reruns").iterdir()) == runs


def test_a_trial_of_a_killed_study_goes_on_from_its_checkpoint(tune, tmp_path):
    """Told to stop in the middle: the run goes on where it was, in the same folder."""
    tune(overrides={"training.epochs": 6}, budget={"trials": 1, "minutes": 0.01})
    before = Path(tmp_path / "study/trials/0000")
    rows = tune(overrides={"training.epochs": 6}, budget={"trials": 1})
    assert [row["state"] for row in rows] == ["complete"]
    assert rows[0]["folder"] == "trials/0000"
    steps = [json.loads(line)["step"] for line in (before / "history.jsonl").read_text().splitlines()]
    assert steps == [6 * epoch for epoch in range(1, 7)]

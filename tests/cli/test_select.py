"""`gan3d validate RUN --select`."""

import json
import shutil

import pytest
from click.testing import CliRunner
from tiny import begin, resume, write_tiny

from gan3d.cli.validate import command
from gan3d.errors import DataError, RunError, UsageError
from gan3d.generation import load_run
from gan3d.training.records import write_status

pytestmark = pytest.mark.tensorflow

METRIC = "validation.optimisation_metric"
CHANGES = {
    "training.epochs": 3,
    "training.optimizer.learning_rate": 0.02,
    "run.keep_checkpoints": "null",
    "validation.minimum_showers": 4,
}


def invoke(*arguments):
    result = CliRunner(env={"COLUMNS": "80"}).invoke(command, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(autouse=True)
def node_left_alone(monkeypatch):
    monkeypatch.setattr("gan3d.runtime.apply_node", lambda node: None)


@pytest.fixture
def folder(make_trainer, listen):
    """A run of three epochs of five steps, of which training found the first the best."""
    trainer = make_trainer(**CHANGES)
    begin(trainer)
    metrics = iter([0.1, 0.2, 0.3])
    trainer.train(listen(), lambda *_: {"optimisation_metric": next(metrics)})
    return trainer.folder


def written(folder):
    return json.loads((folder / "selection" / "selection.json").read_text())


def test_every_checkpoint_is_judged_and_the_best_is_noted_and_used(folder):
    result = invoke(folder, "--select")
    content = written(folder)
    found = {each["step"]: each["optimisation_metric"] for each in content["checkpoints"]}
    assert list(found) == [5, 10, 15]
    best = min(found, key=found.get)
    assert len(set(found.values())) == 3
    noted = json.loads((folder / "best.json").read_text())
    assert noted == {"epoch": best // 5, "step": best, METRIC: found[best]}
    assert load_run(folder, "best").checkpoint.name == f"step-{best:08d}"
    assert content["facts"]["reference"] == "held-out showers of heldout.h5"
    assert content["generated.showers"] == content["reference.showers"] == 10
    for line in result.stdout.splitlines():
        assert len(line) <= 80 or line.startswith(("written: ", "  gan3d generate"))
    for step, value in found.items():
        assert f"{100 * value:.2f}" in result.stdout
        assert f"step-{step:08d}" in result.stderr
    assert f"best: epoch {best // 5}, step {best}" in result.stdout


def test_json_is_all_that_is_printed(folder):
    result = invoke(folder, "--select", "--json")
    content = written(folder)
    assert content.pop("facts")
    assert json.loads(result.stdout) == content


def test_other_showers_and_another_number_of_them(folder, tmp_path):
    write_tiny(tmp_path / "other.h5", 30, seed=9)
    named = f"Geant4={tmp_path / 'other.h5'}"
    invoke(folder, "--select", "--reference", named, "--showers", 50)
    content = written(folder)
    assert (content["generated.showers"], content["reference.showers"]) == (50, 30)
    assert content["facts"]["reference"] == "other.h5"


def test_a_single_checkpoint_is_judged_and_said_to_be_alone(folder):
    for step in (5, 10):
        shutil.rmtree(folder / "checkpoints" / f"step-{step:08d}")
    result = invoke(folder, "--select")
    assert "only checkpoint that was kept" in result.stdout
    assert "run.keep_checkpoints=null keeps all" in result.stdout
    assert json.loads((folder / "best.json").read_text())["step"] == 15


def test_the_run_can_go_on_and_keeps_what_was_selected(folder, make_trainer, listen):
    invoke(folder, "--select")
    best = json.loads((folder / "best.json").read_text())["step"]
    again = make_trainer(**CHANGES | {"training.epochs": 4, "run.keep_checkpoints": 1})
    resume(again)
    again.train(listen())
    left = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert left == sorted({f"step-{best:08d}", "step-00000020"})


def test_a_run_that_may_still_be_training_is_noted(folder):
    write_status(folder, "training")
    assert "training, or killed" in invoke(folder, "--select", "--json").stderr


def test_wrong_calls(folder, tmp_path):
    for arguments, error, message in (
        ([tmp_path / "train.h5", "--select"], UsageError, "--select is for the folder of one run"),
        ([folder, folder, "--select"], UsageError, "--select is for the folder of one run"),
        ([folder, "--select", "--out", tmp_path / "o"], UsageError, "leave --out out"),
        ([folder, "--showers", 5], UsageError, "--showers is for --select"),
        ([tmp_path, "--select"], RunError, "not a run's folder"),
        ([folder, "--select", "--reference", tmp_path / "no.h5"], DataError, r"no\.h5"),
    ):
        with pytest.raises(error, match=message):
            invoke(*arguments)


def test_nothing_is_loaded_or_written_where_it_cannot_be_judged(folder, monkeypatch):
    monkeypatch.setattr("gan3d.generation.checkpoints.load_run", pytest.fail)
    before = (folder / "best.json").read_text()
    with pytest.raises(DataError, match="no energy bin holds 4 generated and 4 reference"):
        invoke(folder, "--select", "--showers", 3)
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(RunError, match="no checkpoint yet"):
        invoke(folder, "--select")
    assert not (folder / "selection").exists()
    assert (folder / "best.json").read_text() == before

"""`gan3d tune` as a command; studies are tested in tests/tuning."""

import sys
from pathlib import Path

import pytest

from gan3d.cli import main

STUDY = """
objective: {function: sphere}
search: {a: {float: [-5, HIGH]}}
pruner: {name: none}
budget: {trials: 1}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a study that searches up to `high`; it has the name of others."""
    monkeypatch.chdir(tmp_path)

    def write_study(folder, high):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "study.yaml"
        path.write_text(STUDY.replace("HIGH", str(high)))
        return str(path)

    return write_study


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.distributed("waiting")
def test_the_results_of_another_study_stay_as_they_are(write, tmp_path, capsys):
    mine, other = write("mine", 5), write("other", 6)
    assert main(["tune", other]) == 0
    before = content(tmp_path / "studies")
    assert any(path.name == "trials.csv" for path in before)
    capsys.readouterr()
    for arguments in ([], ["--report"]):
        assert main(["tune", mine, *arguments]) == 2
        said = capsys.readouterr()
        assert "has other values of search" in said.err
        assert "trials" not in said.out
        assert content(tmp_path / "studies") == before


def test_a_run_is_no_place_for_a_study(write, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    assert main(["tune", write("mine", 5), "--run", "run"]) == 1
    assert "holds a run of `gan3d train`" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]


@pytest.mark.distributed("waiting")
def test_a_study_in_which_all_trials_fail_is_an_error(write, tmp_path, monkeypatch, capsys):
    faulty = Path(__file__).parents[1] / "tuning" / "faulty_block.py"
    monkeypatch.setattr("gan3d.cli.tune.WORKER", (sys.executable, str(faulty)))
    study = write("mine", 5)
    faults = ["--set", "search.fault={choice: [diverges]}"]
    assert main(["tune", study, *faults]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "all trials have failed or diverged (1 trials: 1 diverged)" in line
    assert line.endswith("the last one: epoch 1, step 3: generator.loss is nan")

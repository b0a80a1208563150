"""Studies of functions, through the same coordinator and processes as trainings."""

import sys
from pathlib import Path

import pytest
import yaml

from gan3d.runtime import Signals

FAULTY = sys.executable, str(Path(__file__).with_name("faulty_block.py"))


@pytest.fixture
def write_study(tmp_path):
    """Write study.yaml: write_study(search=..., budget=...)."""

    def write(**sections):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(sections))
        return path

    return write


@pytest.fixture
def run_study(tmp_path, write_study, monkeypatch):
    """Run a study of a function here, with real blocks: returns its results and what it said."""
    from gan3d.tuning.results import read_results
    from gan3d.tuning.run import check_study, plan_blocks
    from gan3d.tuning.run import run_study as run
    from gan3d.tuning.study import load_study

    monkeypatch.chdir(tmp_path)

    def start(signals=None, on_told=lambda studies: None, **sections):
        sections = {
            "objective": {"function": "sphere"},
            "search": {"a": {"float": [-5, 10]}},
            "pruner": {"name": "none"},
            **sections,
        }
        checked = check_study(*load_study(write_study(**sections)))
        said = []
        folder = tmp_path / "study"
        try:
            run(
                checked, folder, plan_blocks(checked.study), FAULTY, signals or Signals(),
                said.append, on_told,
            )  # fmt: skip
        finally:
            start.said = said
        return read_results(checked, folder), said

    return start


def calls(folder):
    """The points that blocks have been given, one line each."""
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []

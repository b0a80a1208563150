"""A run that says all of itself but has no weights, which nobody gets to miss."""

import json
from pathlib import Path

from gan3d.config import Experiment, dump_experiment
from gan3d.data import survey_files


def write_bare_run(run: Path, experiment: Experiment) -> Path:
    """Write the run of an experiment into the folder `run`."""
    (run / "checkpoints" / "step-00000001").mkdir(parents=True)
    (run / "config.yaml").write_text(dump_experiment(experiment))
    (run / "response.json").write_text(json.dumps({"energy_range_gev": [10, 100]}))
    files = survey_files(experiment.data, experiment.model.labels)
    (run / "data.json").write_text(json.dumps(files.as_dict()))
    return run


def told_in_one_line(capsys, words):
    """Hold what a command has said against what it should say, in a line."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0]

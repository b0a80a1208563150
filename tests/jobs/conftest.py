"""A job whose programs are the test's own, so that its script runs anywhere."""

import pytest

from gan3d.cli import main


@pytest.fixture
def experiment(tmp_path):
    """A folder with shower files of any content, an experiment, and a node of two ranks."""
    (tmp_path / "data").mkdir()
    for name in ("a 1.h5", "a 2.h5", "held.h5"):
        (tmp_path / "data" / name).write_text(name)
    (tmp_path / "node.yaml").write_text("node: {name: two, workers_per_node: 2}\n")
    path = tmp_path / "experiment.yaml"
    path.write_text("data: {files: ['data/a *.h5'], validation_files: [data/held.h5]}\n")
    return path


@pytest.fixture
def render(tmp_path, monkeypatch, capsys, experiment):
    """`gan3d jobs render` in the experiment's folder; returns (exit code, script, errors)."""
    monkeypatch.chdir(tmp_path)

    def run(system, *arguments, node="node.yaml", time="01:00:00", nodes=2,
            config=experiment):  # fmt: skip
        node = [] if node is None else ["--node", node]
        given = ["jobs", "render", system, config.name, *node]
        code = main([*map(str, [*given, "--nodes", nodes, "--time", time, *arguments])])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def programs(tmp_path):
    """Make programs that come before all others in the job: programs(scontrol="echo ...")."""
    folder = tmp_path / "programs"
    folder.mkdir()

    def make(**sources):
        for name, source in sources.items():
            path = folder / name
            path.write_text(f"#!/bin/bash\n{source}\n")
            path.chmod(0o755)
        return folder

    return make

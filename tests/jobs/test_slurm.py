"""A rendered job on a real Slurm: preempted by its time limit, back in the queue, finished.

About a minute and a half: Slurm looks at time limits every 30 s.
"""

import json
import re
import shlex
import sys
import time
from pathlib import Path

import pytest
from launchers import program
from slurm import slurm, slurm_lacks
from tiny import TINY, write_tiny

from gan3d.cli import main

pytestmark = [
    pytest.mark.distributed("waiting"),
    pytest.mark.skipif(slurm_lacks() is not None, reason=str(slurm_lacks())),
]

TRAINING = Path(__file__).parents[1] / "training"
SYSTEM = Path(__file__).parents[2] / "jobs" / "systems" / "slurm.yaml"
EPOCH_STEPS = 10
"""80 showers in batches of 4 on two ranks."""
CONFIG = f"""{TINY}
validation: {{epoch_showers: 0}}
run: {{checkpoint_steps: 7}}
training: {{batch_size: 4, warmup_epochs: 0, response_degree: 1, epochs: """
NODE = """
node: {name: test, workers_per_node: 2, intra_op_threads: 1, inter_op_threads: 1}
horovod: {gloo_timeout_seconds: 120}
"""
LONGEST = 420
"""Seconds; other work on the machine may make it slow."""


def write_experiment(folder, epochs):
    (folder / "experiment.yaml").write_text(f"{CONFIG}{epochs}}}\n")


def newest_step(run):
    steps = sorted((run / "checkpoints").glob("step-*"))
    return int(steps[-1].name.partition("-")[2]) if steps else 0


@pytest.fixture
def programs(tmp_path):
    """A folder with the launcher and a `gan3d` that trains networks of the tests, 5 steps a second.

    Faster steps would keep the cores of the machine busy while Slurm takes its time.
    """
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "horovodrun").symlink_to(program("horovodrun"))
    command = shlex.join([sys.executable, str(TRAINING / "noting_rank.py"), "0.2"])
    (folder / "gan3d").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (folder / "gan3d").chmod(0o755)
    return folder


def test_a_job_out_of_time_goes_on_where_it_was_until_it_is_finished(
    tmp_path, monkeypatch, programs, labelled_architectures
):
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path / "train.h5", 80, seed=1)
    write_tiny(tmp_path / "heldout.h5", 4, seed=2)
    # More epochs than it has time for, however fast the machine is.
    write_experiment(tmp_path, 10_000)
    (tmp_path / "node.yaml").write_text(NODE)
    (tmp_path / "system.yaml").write_text(
        f"extends: {SYSTEM}\nbin: {programs}\nwarning_seconds: 240\n"
    )
    call = ["jobs", "render", "system.yaml", "experiment.yaml", "--node", "node.yaml"]
    assert main([*call, "--nodes", "1", "--time", "00:20:00", "-o", "job.sh"]) == 0
    run = tmp_path / "runs" / "experiment"
    log = tmp_path / "gan3d-experiment-1.log"

    with slurm() as cluster:
        began = time.monotonic()
        number = cluster.run("sbatch", "--parsable", "job.sh", cwd=tmp_path).strip()
        stopped_at: int | None = None
        shortened = False
        while (job := cluster.job(number))["JobState"] in ("PENDING", "RUNNING", "COMPLETING"):
            told = f"{job}\n{log.read_text() if log.exists() else ''}\n{cluster.logs()}"
            assert time.monotonic() - began < LONGEST, told
            if not shortened and newest_step(run):
                # It trains: now its time is so short that the warning is due.
                cluster.run("scontrol", "update", f"JobId={number}", "TimeLimit=4")
                shortened = True
            if stopped_at is None and job["JobState"] == "PENDING" and job["Restarts"] == "1":
                assert json.loads((run / "status.json").read_text())["status"] == "requeue", told
                stopped_at = newest_step(run)
                epochs = stopped_at // EPOCH_STEPS + 2
                write_experiment(tmp_path, epochs)
                # It would be two minutes until Slurm starts it again, with as little time. At once
                # is too early: the node refuses a job that it ended in the same second.
                cluster.run(
                    "scontrol", "update", f"JobId={number}", "StartTime=now+10", "TimeLimit=20"
                )
            time.sleep(0.5)
        said = log.read_text()
        assert job["JobState"] == "COMPLETED", f"{job}\n{said}\n{cluster.logs()}"

    assert json.loads((run / "status.json").read_text())["status"] == "finished"
    assert stopped_at is not None, said
    assert stopped_at > 0
    assert said.count("job: out of time, back into the queue") == 1
    assert "DUE TO TIME LIMIT" not in said
    # It went on at the next step.
    epoch, step = divmod(stopped_at, EPOCH_STEPS)
    going_on = rf"training from epoch {epoch + 1}" + (rf", step {step + 1}:" if step else "[:,]")
    assert re.search(going_on, said), said
    # Not a step was lost or done twice.
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [(each["epoch"], each["step"]) for each in history] == [
        (epoch, epoch * EPOCH_STEPS) for epoch in range(1, epochs + 1)
    ]
    assert json.loads((run / "environment.json").read_text())["world_size"] == 2
    # The files that were trained on were copies, and the node is as it was.
    data = json.loads((run / "data.json").read_text())
    stage = Path(data["files"][0]["path"]).parents[1]
    assert re.fullmatch(r"/tmp/gan3d-\w+-[0-9a-f]{12}", str(stage))
    assert not stage.exists()

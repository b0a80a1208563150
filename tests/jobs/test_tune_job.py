"""The job of a hyper-parameter study: what becomes of it when its time is over."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

JOB = Path(__file__).parents[2] / "jobs" / "tune.sbatch"
COORDINATOR = """#!/bin/bash
echo "$@" >called
trap 'exit 75' USR1
for i in $(seq 300); do sleep 0.1; done
"""


@pytest.fixture
def submit(tmp_path):
    """Start the job with a `gan3d` and a `scontrol` that only leave word."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {
        "gan3d": COORDINATOR,
        "scontrol": '#!/bin/bash\necho "$@" >requeued\n',
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "17",
        "HOME": str(tmp_path),
    }  # fmt: skip

    def start(*arguments):
        process = subprocess.Popen(["bash", JOB, *arguments], cwd=tmp_path, env=environment)
        while not (tmp_path / "called").exists() and process.poll() is None:
            time.sleep(0.05)
        return process

    return start


def test_out_of_time_it_goes_back_into_the_queue(submit, tmp_path):
    process = submit("study.yaml", "runs/study", "4", "--node", "node.yaml")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 0
    assert (tmp_path / "requeued").read_text() == "requeue 17\n"
    assert (tmp_path / "called").read_text() == (
        "tune study.yaml --run runs/study --block-size 4 --node node.yaml\n"
    )


def test_a_coordinator_that_is_stopped_otherwise_is_not_requeued(submit, tmp_path):
    process = submit("study.yaml", "runs/study")
    assert "--block-size 1\n" in (tmp_path / "called").read_text()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in map(int, children):
        if "gan3d" in Path(f"/proc/{child}/cmdline").read_text():
            os.kill(child, signal.SIGUSR1)
    assert process.wait(30) == 75
    assert not (tmp_path / "requeued").exists()


def test_without_a_study_it_says_what_it_wants(submit):
    assert submit().wait(10) != 0

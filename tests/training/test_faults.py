"""What becomes of a run when a rank fails, hangs, or is told to make room; with real ranks."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launchers import LAUNCHERS, launch
from processes import find_rank
from tiny import TINY, write_tiny

pytestmark = pytest.mark.distributed

# No test waits for the end of so many epochs.
CONFIG = f"""{TINY}
training: {{epochs: 100000, batch_size: 4, warmup_epochs: 0, response_degree: 1}}
node: {{intra_op_threads: 1, inter_op_threads: 1}}
validation: {{epoch_showers: 0}}
run: {{commit_steps: 3, keep_checkpoints: null}}
"""
HERE = Path(__file__).parent
# An epoch is ten steps on two ranks: most of its time it is between two of them.
TRAIN = [sys.executable, HERE / "noting_rank.py", "0.05", "train", "experiment.yaml"]


@pytest.fixture
def start(tmp_path):
    """Start a command in a folder with an experiment; its output goes to out.txt."""
    write_tiny(tmp_path / "train.h5", 80, seed=1)
    write_tiny(tmp_path / "heldout.h5", 4, seed=2)
    (tmp_path / "experiment.yaml").write_text(CONFIG)
    jobs = []

    def run(*command, ranks, launcher="horovodrun"):
        with (tmp_path / "out.txt").open("w") as out:
            jobs.append(
                subprocess.Popen(
                    [*(launch(ranks, launcher) if ranks > 1 else []), *map(str, command)],
                    cwd=tmp_path, stdout=out, stderr=subprocess.STDOUT,
                    env={**os.environ, "COLUMNS": "80"}, start_new_session=True,
                )
            )  # fmt: skip
        return jobs[-1]

    yield run
    for job in jobs:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)


def wait_for(job, folder, pattern):
    """What the job has said, once it matches `pattern`."""
    for _ in range(2400):
        said = (folder / "out.txt").read_text()
        if re.search(pattern, said):
            return said
        assert job.poll() is None, said
        time.sleep(0.1)
    raise AssertionError(said)


def newest(folder):
    checkpoint = max((folder / "run" / "checkpoints").glob("step-*"))
    return json.loads((checkpoint / "state.json").read_text())


def status(folder):
    return json.loads((folder / "run" / "status.json").read_text())["status"]


def failing(fault, rank, step):
    """Training in which a step of one rank fails as failing_rank.py says."""
    return [
        sys.executable, HERE / "failing_rank.py", fault, rank, step, "train", "experiment.yaml",
    ]  # fmt: skip


def finish_epoch(gan3d, state, resume, ranks=None):
    """Go on with the run to the end of the epoch that `state` is of; alone, or on `ranks`."""
    epochs = f"training.epochs={state['epoch'] + 1}"
    return gan3d("train", "experiment.yaml", "--run", "run", resume, "--set", epochs, ranks=ranks)


@pytest.mark.parametrize(
    ("fault", "rank", "message"),
    [
        ("nan", 1, r"\[rank 1\] gan3d: error: epoch 2, step 3: generator.loss is nan"),
        ("memory", 0, r"gan3d: error: unexpected MemoryError: no memory"),
    ],
)
def test_a_rank_that_fails_ends_all_and_says_why(start, tmp_path, fault, rank, message):
    job = start(*failing(fault, rank, 12), "--run", "run", ranks=2)
    said = wait_for(job, tmp_path, message)
    # A hang would be ended by nobody.
    assert job.wait(60) != 0
    # What is good is from before the fault.
    assert newest(tmp_path)["global_step"] == 10, said
    assert status(tmp_path) == "failed"


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_is_killed_costs_no_more_than_the_steps_since_the_last_commit(
    start, tmp_path, labelled_gan3d, victim
):
    job = start(*TRAIN, "--run", "run", ranks=2)
    wait_for(job, tmp_path, r"epoch +2/")
    before = newest(tmp_path)["global_step"]
    os.kill(find_rank(tmp_path, victim), signal.SIGKILL)
    said = wait_for(
        job, tmp_path, "another rank has ended; .*step-\\d+ written, go on with --resume"
    )
    assert job.wait(60) != 0
    state = newest(tmp_path)
    assert state["global_step"] >= before
    assert state["global_step"] % 10 in (0, 3, 6, 9)
    assert status(tmp_path) == "failed"
    again = finish_epoch(labelled_gan3d, state, "--auto-resume")
    assert again.returncode == 0, said + again.stdout + again.stderr
    assert status(tmp_path) == "finished"


def test_steps_that_take_longer_than_the_launcher_waits_lose_no_more_than_a_commit(start, tmp_path):
    job = start(*failing("very slow", 1, 16), "--run", "run", ranks=2)
    while not (tmp_path / "asleep").exists():
        assert job.poll() is None, (tmp_path / "out.txt").read_text()
        time.sleep(0.05)
    time.sleep(0.5)  # what rank 0 had to do before it waits is done
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) != 0
    # horovodrun has killed both ranks before the step was over.
    assert newest(tmp_path)["global_step"] == 16
    assert status(tmp_path) == "requeue"


def test_a_slow_rank_is_named_and_the_others_wait_for_it(start, tmp_path):
    job = start(*failing("slow", 1, 0), "--run", "run", "--set", "training.epochs=2", ranks=2)
    said = wait_for(job, tmp_path, "run: run")
    assert job.wait(60) == 0
    record = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[1])
    (slow,) = record["stragglers"]
    assert slow["rank"] == 1
    assert slow["factor"] > 1.2
    assert f"slow: rank 1 on {slow['host']} takes {slow['factor']:.2f} times" in said
    # In ten steps rank 1 sleeps for 2 s, which are rank 0's waiting: 1 s in the mean over ranks.
    assert 0.5 < record["rank_wait_seconds"] < record["seconds"]
    assert record["compute_seconds"] > 1.0
    parts = "compute_seconds", "all_reduce_seconds", "rank_wait_seconds", "data_wait_seconds"
    assert sum(record[part] for part in parts) <= record["seconds"]


@pytest.mark.distributed("waiting")
def test_a_rank_that_hangs_is_ended_by_the_watchdog_and_nothing_is_lost(
    start, tmp_path, labelled_gan3d
):
    job = start(
        *TRAIN, "--run", "run",
        # The first step of a slow machine is no hang; Gloo itself would give up after 30 s.
        "--set", "run.watchdog_seconds=30", "--set", "horovod.gloo_timeout_seconds=120", ranks=2,
    )  # fmt: skip
    wait_for(job, tmp_path, r"epoch +2/")
    before = newest(tmp_path)["global_step"]
    victim = find_rank(tmp_path, 1)
    os.kill(victim, signal.SIGSTOP)
    said = wait_for(job, tmp_path, "no step has ended for")
    job.wait(60)
    assert re.search(r"gan3d: error: no step has ended for 3\d s .*step-\d+ written", said), said
    state = newest(tmp_path)
    # The last commit: at most three steps before the end.
    assert state["global_step"] >= before
    assert state["global_step"] % 10 in (0, 3, 6, 9)
    assert status(tmp_path) == "requeue"
    again = finish_epoch(labelled_gan3d, state, "--auto-resume", ranks=2)
    assert again.returncode == 0, again.stdout + again.stderr
    assert newest(tmp_path)["global_step"] == 10 * (state["epoch"] + 1)
    assert status(tmp_path) == "finished"


def test_a_batch_systems_signal_ends_one_process_with_a_code_to_act_on(start, tmp_path):
    command = *TRAIN, "--run", "run", "--auto-resume"
    job = start(*command, ranks=1)
    wait_for(job, tmp_path, r"epoch +1/")
    job.send_signal(signal.SIGTERM)  # SIGUSR1: below, to one of two ranks
    assert job.wait(60) == 75
    assert status(tmp_path) == "requeue"
    state = newest(tmp_path)
    # The same command goes on at the same step.
    again = start(*command, "--set", f"training.epochs={state['epoch'] + 1}", ranks=1)
    assert again.wait(120) == 0
    where = f"from epoch {state['epoch'] + 1}, step {state['step_in_epoch'] + 1}:"
    assert where in (tmp_path / "out.txt").read_text()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_signal_to_one_of_two_ranks_stops_both_after_the_same_step(
    start, tmp_path, labelled_gan3d, launcher
):
    job = start(*TRAIN, "--run", "run", ranks=2, launcher=launcher)
    wait_for(job, tmp_path, r"epoch +1/")
    os.kill(find_rank(tmp_path, 1), signal.SIGUSR1)
    assert job.wait(60) != 0
    assert "checkpoint written in run" in (tmp_path / "out.txt").read_text()
    assert status(tmp_path) == "requeue"
    state = newest(tmp_path)
    assert state["divisions"] in ([], [[4 * state["step_in_epoch"]] * 2])
    again = finish_epoch(labelled_gan3d, state, "--resume", ranks=2)
    assert again.returncode == 0, again.stdout + again.stderr
    assert newest(tmp_path)["global_step"] == 10 * (state["epoch"] + 1)

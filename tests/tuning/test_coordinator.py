"""A study with a function for a training: the same coordinator, blocks and processes."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from launchers import launch, program
from optuna.trial import TrialState

from gan3d.errors import ConfigError, Interrupted, Preempted, TrainingError
from gan3d.runtime import Signals
from gan3d.tuning import block, claims
from gan3d.tuning.link import ORPHANED, Server, read_address
from gan3d.tuning.results import load_results
from gan3d.tuning.run import open_queues
from gan3d.tuning.storage import outcome

from .conftest import calls

pytestmark = pytest.mark.distributed("waiting")

BRANIN = {
    "objective": {"function": "branin"},
    "search": {"x": {"float": [-5, 10]}, "y": {"float": [0, 15]}},
}


def test_a_known_optimum_is_found(run_study):
    results, said = run_study(**BRANIN, budget={"trials": 40}, blocks={"count": 2})
    # 0.398 is the minimum; of 40 random points one in three is not below 1.5.
    assert results.best.values[0] < 1.5
    assert len(results.done) == 40
    # Points gather about the minima: the median of 20 random ones is below 12 once in a thousand.
    assert np.median([trial.values[0] for trial in results.done[20:]]) < 12
    assert {trial.user_attrs["block"] for trial in results.done} == {0, 1}
    # Processes stay: two have started.
    assert sum("is up after" in line for line in said) == 2


def test_points_go_by_the_seed_and_not_by_interruptions(run_study, tmp_path):
    whole, _ = run_study(**BRANIN, budget={"trials": 4})
    points = [trial.params for trial in whole.done]
    (tmp_path / "study").rename(tmp_path / "whole")
    run_study(**BRANIN, budget={"trials": 2})
    again, _ = run_study(**BRANIN, budget={"trials": 4})
    assert [trial.params for trial in again.done] == points


REASONS = {
    "diverges": "epoch 1, step 3: generator.loss is nan",
    "memory": "out of memory (cannot allocate 1 TB)",
    "killed": "killed (SIGKILL) (tried twice)",
    "crashes": "ended by SIGABRT",
    "hangs": "took more than 0.05 min (trial.max_minutes)",
}


def test_blocks_that_fail_are_recorded_and_replaced(run_study):
    results, _ = run_study(
        search={"fault": {"choice": ["none", *REASONS]}},
        budget={"trials": 6, "failures": 6},
        trial={"max_minutes": 0.05},
        blocks={"count": 2},
    )
    told = {trial.params["fault"]: trial for trial in results.trials}
    # Each point once, whatever became of the others.
    assert set(told) == {"none", *REASONS}
    assert told["none"].state == TrialState.COMPLETE
    for fault, reason in REASONS.items():
        assert outcome(told[fault]) == ("diverged" if fault == "diverges" else "failed")
        assert told[fault].user_attrs["reason"].startswith(reason)
        assert bool(told[fault].user_attrs.get("memory")) == ("memory" in reason)
    # Without the advice to somebody who trains by hand.
    assert told["diverges"].user_attrs["reason"] == REASONS["diverges"]
    assert results.counts() == "6 trials: 1 done, 1 diverged, 4 failed (1 out of memory)"


def test_a_study_in_which_all_fails_ends_early(run_study):
    search = {"fault": {"choice": ["diverges"]}, "a": {"float": [-5, 10]}}
    with pytest.raises(TrainingError, match=r"the first 3 trials have all failed or .*loss is nan"):
        run_study(search=search, budget={"trials": 50})


def test_blocks_that_do_not_start_end_the_study(run_study, monkeypatch):
    monkeypatch.setattr(
        "gan3d.tuning.block.launch_command", lambda *_: [sys.executable, "-c", "no"]
    )
    with pytest.raises(TrainingError, match=r"failed 3 times in a row .*NameError"):
        run_study(budget={"trials": 2}, blocks={"restart_seconds": 0})


def test_a_block_that_does_not_start_is_given_up_and_the_others_go_on(run_study, monkeypatch):
    real = block.launch_command
    monkeypatch.setattr(
        block,
        "launch_command",
        lambda plan, *others: [sys.executable, "-c", "no"] if plan.number else real(plan, *others),
    )
    results, said = run_study(
        objective={"function": "sphere", "seconds": 0.2},
        budget={"trials": 10},
        blocks={"count": 2, "restart_seconds": 0.01, "starts": 2},
    )
    assert [trial.user_attrs["block"] for trial in results.done] == [0] * 10
    assert sum("block 2 did not start" in line for line in said) == 2
    assert sum("block 2 is given up" in line for line in said) == 1


def test_failures_one_after_the_other_end_a_study(run_study):
    with pytest.raises(TrainingError, match=r"2 trials have failed one after the other"):
        run_study(
            search={"fault": {"choice": ["none", "memory"]}, "a": {"float": [0, 1]}},
            budget={"trials": 20, "failures_in_a_row": 2, "failures": 20},
            sampler={"name": "random"},
        )


def test_a_coordinator_that_was_taken_for_dead_lets_go_of_its_trials(
    run_study, tmp_path, monkeypatch
):
    monkeypatch.setattr(claims, "_BEAT_SECONDS", 0.2)
    taken = []

    def take_up(studies):
        """What another does that has not heard of it for long."""
        if taken:
            return
        folder = tmp_path / "study"
        checked = load_results(folder).checked
        other = claims.Claim(folder / "coordinators")
        other.name = "other"
        for path in (folder / "coordinators").iterdir():
            path.unlink()
        (queue, _) = open_queues(checked, folder, other)
        taken.extend(queue.recover())

    results, said = run_study(
        on_told=take_up,
        objective={"function": "sphere", "seconds": 1.0},
        budget={"trials": 4},
        blocks={"count": 2},
    )
    assert len(taken) == 1
    assert (
        f"trial {taken[0]}: another call has taken it up, as this one was silent for long" in said
    )
    assert len(results.done) == len(results.trials) == 4


def test_trials_that_are_behind_are_pruned(run_study):
    results, _ = run_study(
        objective={"function": "sphere", "seconds": 0.4, "epochs": 4},
        pruner={"name": "median", "startup_trials": 2},
        budget={"trials": 8},
    )
    pruned = [trial for trial in results.trials if trial.state == TrialState.PRUNED]
    assert pruned
    # A pruned trial is none that failed; what it had reported stays.
    assert not any(trial.state == TrialState.FAIL for trial in results.trials)
    assert all(1 <= max(trial.intermediate_values) < 4 for trial in pruned)
    assert min(t.intermediate_values[1] for t in pruned) > min(
        t.intermediate_values[1] for t in results.done
    )


def test_a_budget_of_node_hours_stops_the_study_and_it_goes_on(run_study):
    sections = {"objective": {"function": "sphere", "seconds": 0.5}}
    results, said = run_study(**sections, budget={"trials": 20, "node_hours": 1.2 / 3600})
    assert 1 <= len(results.done) <= 3
    assert any("budget.node_hours" in line for line in said)
    results, _ = run_study(**sections, budget={"trials": 4})
    assert len(results.done) == 4


def test_discrete_points_are_not_tried_twice(run_study, tmp_path):
    results, said = run_study(
        search={"a": {"int": [1, 3]}, "b": {"choice": [True, False]}}, budget={"trials": 20}
    )
    assert len(results.done) == 6
    assert len(set(calls(tmp_path))) == len(calls(tmp_path)) == 6
    assert "all 6 points of the search have been tried" in said


@pytest.mark.parametrize(
    ("attribute", "error"), [("preempted", Preempted), ("interrupted", Interrupted)]
)
def test_a_signal_puts_running_trials_back(run_study, tmp_path, attribute, error):
    signals = Signals()
    sections = {"objective": {"function": "sphere", "seconds": 1.0}, "budget": {"trials": 3}}
    with pytest.raises(error):
        run_study(signals, lambda _: setattr(signals, attribute, True), **sections)
    results, _ = run_study(**sections)
    assert len(results.done) == 3


def test_a_trial_that_ends_with_its_job_is_none_that_failed(run_study, tmp_path):
    class Late(Signals):
        """The batch system tells the coordinator, too, a moment after its ranks."""

        def wait(self, seconds):
            self.preempted = True
            return set()

    sections = {"search": {"fault": {"choice": ["cancelled"]}}, "budget": {"trials": 1}}
    with pytest.raises(Preempted):
        run_study(Late(), **sections)
    (trial,) = load_results(tmp_path / "study").trials
    assert outcome(trial) == "waiting"
    # Where only the rank is told, it has failed.
    results, _ = run_study(**sections)
    (trial,) = results.trials
    assert (outcome(trial), trial.user_attrs["reason"]) == (
        "failed",
        "ended by SIGTERM (tried twice)",
    )


def test_another_study_in_the_folder_is_refused(run_study):
    run_study(budget={"trials": 1})
    with pytest.raises(ConfigError, match="has other values of search"):
        run_study(search={"a": {"float": [-5, 11]}}, budget={"trials": 2})


STUDY = """
objective: {function: sphere, seconds: SECONDS}
search: {a: {float: [-5, 10]}, b: {int: [0, 100]}}
pruner: {name: none}
budget: {trials: TRIALS}
blocks: BLOCKS
storage: STORAGE
"""


def start(folder, trials, seconds, size=1, storage="journal"):
    text = (
        STUDY.replace("STORAGE", storage)
        .replace("SECONDS", str(seconds))
        .replace("TRIALS", str(trials))
    )
    blocks = "{size: 2}" if size == 2 else "{count: 2}"
    (folder / "study.yaml").write_text(text.replace("BLOCKS", blocks))
    return subprocess.Popen(
        [program("gan3d"), "tune", "study.yaml", "--run", "study"],
        cwd=folder, stdout=(folder / f"out-{time.time_ns()}").open("w"), stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


def blocks_in(folder):
    """Processes of blocks of a study in `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_text().split("\0")
            here = (entry / "cwd").readlink()
        except OSError:
            continue
        # Not the launcher, which has it as an argument.
        if words[1:3] == ["-m", "gan3d.cli.tune_block"] and here == folder:
            found.append(int(entry.name))
    return found


def read(folder):
    """The table as it is, which is not written after each trial."""
    path = folder / "study"
    return load_results(path).rows() if (path / "study.yaml").exists() else []


def wait_until(what, process):
    for _ in range(600):
        if what():
            return
        assert process.poll() is None
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def test_a_study_that_is_killed_goes_on_without_losing_or_repeating(tmp_path):
    process = start(tmp_path, trials=5, seconds=1)
    wait_until(lambda: sum(row["state"] == "complete" for row in read(tmp_path)) >= 2, process)
    time.sleep(0.5)
    assert len(blocks_in(tmp_path)) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {row["trial"]: row for row in read(tmp_path) if row["state"] == "complete"}
    left = load_results(tmp_path / "study")
    running = [trial for trial in left.trials if trial.state == TrialState.RUNNING]
    interrupted = [(left.parameters(trial), trial.user_attrs["folder"]) for trial in running]
    assert interrupted
    # The kernel closes their connections; nothing stays that nobody waits for.
    for _ in range(50):
        if not blocks_in(tmp_path):
            break
        time.sleep(0.1)
    assert blocks_in(tmp_path) == []
    assert start(tmp_path, trials=5, seconds=1).wait(120) == 0
    rows = read(tmp_path)
    assert [row["state"] for row in rows] == ["complete"] * 5
    # None is lost, and none has run twice.
    assert {row["trial"]: row for row in rows if row["trial"] in before} == before
    points = [tuple(row["parameters"].items()) for row in rows]
    assert len(set(points)) == 5
    # Those that were running go on, in the folders where their checkpoints are.
    assert all(one in [(row["parameters"], row["folder"]) for row in rows] for one in interrupted)
    assert len({row["folder"] for row in rows}) == 5


def test_ranks_end_with_their_coordinator_through_a_launcher(tmp_path):
    process = start(tmp_path, trials=3, seconds=60, size=2)
    wait_until(lambda: len(blocks_in(tmp_path)) == 2 and read_log(tmp_path), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(100):
        if not blocks_in(tmp_path):
            break
        time.sleep(0.1)
    assert blocks_in(tmp_path) == []


def read_log(folder):
    """Whether a trial has begun."""
    return any("trial 0 on" in path.read_text() for path in folder.glob("out-*"))


def test_a_rank_that_is_killed_is_recorded_and_its_block_replaced(run_study, monkeypatch):
    monkeypatch.setattr(
        "gan3d.tuning.block.launch_command", lambda plan, launcher, worker: [*launch(2), *worker]
    )
    results, said = run_study(
        search={"fault": {"choice": ["killed", "none"]}},
        budget={"trials": 2},
        blocks={"size": 2},
    )
    failed = [trial for trial in results.trials if trial.state == TrialState.FAIL]
    assert {trial.params["fault"] for trial in failed} == {"killed"}
    assert all(trial.user_attrs["retried"] for trial in failed)
    assert not any(trial.user_attrs["memory"] for trial in failed)
    assert len(results.done) == 1
    # Both ranks have done it, and one has told.
    assert sum("is up after" in line for line in said) >= 2


def test_coordinators_side_by_side_share_the_work(tmp_path):
    processes = [start(tmp_path, trials=8, seconds=0.2) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    rows = read(tmp_path)
    assert [row["state"] for row in rows] == ["complete"] * 8
    assert len({tuple(row["parameters"].items()) for row in rows}) == 8
    assert len({row["folder"] for row in rows}) == 8
    # Both have worked.
    logs = list((tmp_path / "study" / "blocks").iterdir())
    assert len(logs) == 2


def test_a_database_serves_coordinators_side_by_side_and_outlives_them(run_study, tmp_path):
    processes = [start(tmp_path, trials=6, seconds=0.5, storage="sqlite") for _ in range(2)]
    wait_until(lambda: sum(row["state"] == "complete" for row in read(tmp_path)) >= 2, processes[0])
    # A lock of one that is killed with it would be waited for (test_proposals.py).
    wait_until(lambda: not (tmp_path / "study" / "turn.lock").is_symlink(), processes[0])
    for process in processes:
        process.send_signal(signal.SIGKILL)
    for process in processes:
        process.wait()
    left = load_results(tmp_path / "study")
    assert (tmp_path / "study" / "study.db").exists()
    done = {trial.number: (trial.params, trial.values) for trial in left.done}
    running = [trial.params for trial in left.trials if outcome(trial) == "running"]
    again, _ = run_study(**yaml.safe_load((tmp_path / "study.yaml").read_text()))
    assert len(again.done) == len(again.trials) == 6
    found = {trial.number: (trial.params, trial.values) for trial in again.done}
    # None is lost, no point is tried twice, and those that were running are taken up again.
    assert found.items() >= done.items()
    points = [trial.params for trial in again.done]
    assert len({tuple(each.items()) for each in points}) == 6
    assert all(each in points for each in running)


LISTEN = """
import sys, time
from pathlib import Path
from gan3d.tuning import link
link._SILENT_SECONDS = 0.5
link.Line(link.read_address(Path(sys.argv[1])), 0)
time.sleep(60)
"""


def test_a_rank_ends_that_hears_nothing_of_its_coordinator(tmp_path):
    server = Server(local=True)
    server.write_address(tmp_path / "address", 0)
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, tmp_path / "address"], stderr=subprocess.PIPE, text=True
    ) as rank:
        heard = []
        while rank.poll() is None and time.monotonic() < began + 30:
            heard += [message["kind"] for _, message in server.poll(0.05) if message]
            if len(heard) < 20 and heard:
                server.beat()  # for a second
                heard.append("beat")
        assert rank.returncode == ORPHANED
        assert rank.stderr.read() == "gan3d: the coordinator has gone\n"
    # Not while it was told that somebody is there.
    assert heard == ["hello"] + ["beat"] * 19
    server.shutdown()


def test_a_rank_that_is_late_is_none_of_a_block_that_was_started_again(tmp_path):
    server = Server(local=True)
    addresses = []
    for name in ("first", "second"):
        server.write_address(tmp_path / name, 4)
        addresses.append(read_address(tmp_path / name))
    known = []
    for address in addresses:
        with socket.create_connection(("127.0.0.1", address["port"])) as link:
            hello = {"kind": "hello", "token": address["token"], "rank": 0, "pid": 1, "host": ""}
            link.sendall(json.dumps(hello).encode() + b"\n")
            for _ in range(4):
                known += [each.block for each, message in server.poll(0.05) if message]
    assert known == [4]
    server.revoke(4)
    assert not server._tokens
    server.shutdown()


def test_a_block_does_not_listen_to_strangers(tmp_path):
    server = Server(local=True)
    server.write_address(tmp_path / "address", 0)
    assert (tmp_path / "address").stat().st_mode & 0o077 == 0
    address = read_address(tmp_path / "address")
    heard = []

    def poll():
        for _ in range(20):
            heard.extend(server.poll(0.05))

    listening = threading.Thread(target=poll)
    listening.start()
    with socket.create_connection(("127.0.0.1", address["port"])) as link:
        link.sendall(b'{"kind": "hello", "token": "guessed", "block": 0, "rank": 0}\n')
        assert link.recv(1) == b""
    listening.join()
    assert heard == []
    server.shutdown()

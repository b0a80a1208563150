import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.bench import scaling
from gan3d.bench.all_reduce import fit_line
from gan3d.bench.pinned import cores_of, pinned
from gan3d.bench.processes import Process, run_together
from gan3d.bench.scaling import (
    Case,
    Settings,
    measure_scaling,
    plan,
    read_run,
    run_overrides,
    summarise,
)
from gan3d.config import load_experiment
from gan3d.config.systems import load_system
from gan3d.errors import DataError, RunError, TrainingError, UsageError

CONFIGS = Path(__file__).parents[2] / "configs"
CONFIG = CONFIGS / "ecal25.yaml"
STUB = Path(__file__).with_name("scaling_stub.py")


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """Programs that only write histories; returns how they were called."""
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {STUB} "$@"\n')
    program.chmod(0o755)
    log = tmp_path / "calls.jsonl"
    monkeypatch.setenv("STUB_LOG", str(log))
    monkeypatch.setattr(scaling, "_program", lambda name: str(program))
    monkeypatch.setattr(
        scaling,
        "worker_processes",
        lambda config, overrides, folder, workers: [
            Process([str(program), "mwms", str(folder), str(rank)]) for rank in range(workers)
        ],
    )
    monkeypatch.setattr(scaling, "_check_cores", lambda settings: None)
    monkeypatch.setattr("gan3d.bench.pinned.cores_of", lambda rank, cores: os.sched_getaffinity(0))

    def calls():
        return [json.loads(line) for line in log.read_text().splitlines()]

    return calls


def test_each_kind_of_run_takes_its_turn_and_is_compared_with_one_rank(stubs):
    said = []
    settings = Settings(modes=("weak", "strong"), mwms=True, steps=4, rounds=2, pin=False)
    systems = [load_system(CONFIGS / "systems" / "stampede2.yaml")]
    figures = measure_scaling(CONFIG, (), settings, systems, said.append)
    kinds = [
        (line["trainer"], line["mode"], line["ranks"], line["batch_size"])
        for line in figures["measured"]
    ]
    assert kinds == [
        ("gan3d", "weak", 1, 8),
        ("gan3d", "weak", 2, 8),
        ("mwms", "weak", 2, 8),
        ("gan3d", "strong", 2, 4),
    ]
    assert [line["showers_per_second"] for line in figures["measured"]] == [10.0, 19.0, 15.0, 19.0]
    assert [line["efficiency"] for line in figures["measured"]] == [1.0, 0.95, 0.75, 0.95]
    # Four kinds in each round, one after the other, then the all-reduce.
    assert [line.partition(":")[0] for line in said[:-1]] == ["round 1 of 2"] * 4 + [
        "round 2 of 2"
    ] * 4
    assert said[0] == "round 1 of 2: gan3d train (weak, 1 rank x batch 8)"
    split = figures["measured"][1]["share_of_time"]
    assert split == {"data wait": 0.05, "compute": 0.9, "all-reduce": 0.02, "rank wait": 0.03}
    assert figures["all_reduce"]["latency_us"] == pytest.approx(20.0, rel=1e-3)
    assert figures["all_reduce"]["bandwidth_gb_s"] == pytest.approx(2.0, rel=1e-3)
    here = figures["model_here"]["projected"]
    assert [point["ranks"] for point in here] == [1, 2]
    assert 0.9 < here[1]["efficiency"] < 1.0
    assert figures["projections"][0]["parameters"]["spread"] == 0.01
    assert figures["projections"][0]["parameters"]["gradient_mb"] == 8.0


def test_one_rank_runs_alone_and_more_under_horovodrun(stubs):
    measure_scaling(CONFIG, ("run.seed=7",), Settings(steps=4, rounds=1, pin=False))
    alone, two = stubs()
    assert alone[:2] == ["train", str(CONFIG)]
    assert two[:3] == ["--gloo", "-np", "2"]
    assert two[4:6] == ["train", str(CONFIG)]
    for call in (alone, two):
        assert "run.seed=7" in call
        assert "node.intra_op_threads=1" in call
        assert "training.epochs=3" in call


def test_ranks_are_kept_on_cores_of_their_own(stubs):
    measure_scaling(CONFIG, (), Settings(steps=4, rounds=1, threads=2))
    _, two = stubs()
    assert two[3:8] == [sys.executable, "-m", "gan3d.bench.pinned", "2", "launched"]


def test_one_rank_alone_gives_no_projection(stubs):
    systems = [load_system(CONFIGS / "systems" / "stampede2.yaml")]
    figures = measure_scaling(CONFIG, (), Settings(ranks=(1,), rounds=1, pin=False), systems)
    assert figures["all_reduce"] is None
    assert figures["model_here"] is None
    assert figures["projections"] == []


def test_a_run_that_fails_ends_the_benchmark_with_its_own_words(stubs, monkeypatch):
    monkeypatch.setenv("STUB", "fail")
    with pytest.raises(TrainingError) as failed:
        measure_scaling(CONFIG, (), Settings(rounds=1, pin=False))
    assert str(failed.value) == (
        "gan3d train (weak, 1 rank x batch 8) ended with exit code 3: "
        "[rank 1] gan3d: error: rank 1 has no data"
    )


@given(batch=st.integers(1, 64), ranks=st.integers(2, 16))
def test_a_batch_is_divided_only_where_that_works_out(batch, ranks):
    settings = Settings(ranks=(ranks,), modes=("strong",))
    if batch % ranks:
        with pytest.raises(UsageError, match="cannot be divided"):
            plan(settings, batch)
    else:
        assert plan(settings, batch) == [
            Case("gan3d", "weak", 1, batch),
            Case("gan3d", "strong", ranks, batch // ranks),
        ]


@given(ranks=st.integers(1, 4), steps=st.integers(2, 20))
def test_a_run_trains_as_many_steps_as_were_asked_for(ranks, steps):
    from gan3d.data import divide, survey_files

    case = Case("gan3d", "weak", ranks, 8)
    overrides = run_overrides(case, Settings(steps=steps), load_experiment(CONFIG), 1600)
    experiment = load_experiment(CONFIG, overrides)
    division = divide(survey_files(experiment.data), experiment.data.split)
    assert len(division.train) == steps * ranks * 8


def test_an_experiment_that_goes_by_its_judgement_can_be_measured():
    goes_by = ("training.early_stopping={}", "training.decay={kind: plateau}")
    case, settings = Case("gan3d", "weak", 1, 8), Settings(steps=5)
    overrides = run_overrides(case, settings, load_experiment(CONFIG, goes_by), 1600)
    training = load_experiment(CONFIG, (*goes_by, *overrides)).training
    assert training.early_stopping is None
    assert training.decay.kind == "constant"


def test_more_steps_than_there_are_showers_are_refused():
    with pytest.raises(DataError, match=r"take 1600 showers, and one is held out, .* have 1600"):
        run_overrides(
            Case("gan3d", "weak", 2, 8), Settings(steps=100), load_experiment(CONFIG), 1600
        )


def test_more_threads_than_there_are_cores_are_refused():
    with pytest.raises(UsageError, match=r"9999 ranks with 1 thread\(s\) each need"):
        measure_scaling(CONFIG, (), Settings(ranks=(1, 9999)))


def test_the_epoch_that_compiles_is_not_counted(tmp_path):
    write_history(tmp_path, [1.0, 10.0, 30.0])
    # 10 showers/s for 3 s and 30 for 1 s.
    assert read_run(tmp_path, "mwms")["showers_per_second"] == pytest.approx(15.0)
    assert read_run(tmp_path, "mwms")["step_seconds"] == pytest.approx(4.0 / 8)


def test_a_history_that_lacks_something_is_refused(tmp_path):
    write_history(tmp_path, [1.0, 10.0])
    with pytest.raises(RunError, match="no data_wait_seconds for epoch 2"):
        read_run(tmp_path, "gan3d")
    write_history(tmp_path, [1.0])
    with pytest.raises(RunError, match="no epoch after the first"):
        read_run(tmp_path, "mwms")


def write_history(folder, rates):
    lines = [
        json.dumps({"epoch": n, "steps": 4, "seconds": 30.0 / rate, "showers_per_second": rate})
        for n, rate in enumerate(rates, start=1)
    ]
    (folder / "history.jsonl").write_text("\n".join(lines) + "\n")


def test_efficiencies_are_ratios_within_a_round():
    # The machine is half as fast in the second round: that is no matter of scaling.
    runs = {
        Case("mwms", "weak", 1, 8): [rate(10.0), rate(5.0), rate(10.0)],
        Case("mwms", "weak", 2, 8): [rate(18.0), rate(9.5), rate(19.0)],
    }
    assert [line["efficiency"] for line in summarise(runs)] == [1.0, 0.95]


def rate(showers_per_second):
    return {"showers_per_second": showers_per_second, "step_seconds": 1.0}


@given(start=st.floats(1e-5, 1e-2), bandwidth=st.floats(1e8, 1e11))
def test_latency_and_bandwidth_are_found_from_exact_times(start, bandwidth):
    size = np.array([1e3, 1e5, 1e6, 4e6])
    found, per_byte = fit_line(size, start + size / bandwidth)
    assert found == pytest.approx(start, rel=1e-6)
    assert per_byte == pytest.approx(1 / bandwidth, rel=1e-3)


def test_ranks_share_no_core():
    usable = os.sched_getaffinity(0)
    taken = [cores_of(rank, 1) for rank in range(len(usable))]
    assert set.union(*taken) == usable
    assert sum(map(len, taken)) == len(usable)
    with pytest.raises(UsageError, match="would need 1 core"):
        cores_of(len(usable), 1)


@pytest.mark.parametrize(("rank", "launched"), [(0, {}), (None, {"HOROVOD_RANK": "0"})])
def test_a_pinned_program_sees_its_cores_alone(tmp_path, rank, launched):
    target = tmp_path / "seen"
    script = f"import os; open({str(target)!r}, 'w').write(str(os.sched_getaffinity(0)))"
    environment = {
        f"HOROVOD_{name}": "0" if "RANK" in name else "2"
        for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
        if launched
    }
    command = pinned([sys.executable, "-c", script], 1, rank)
    run_together([Process(command, environment)], "a test", tmp_path)
    assert target.read_text() == str(cores_of(0, 1))


def test_when_one_process_fails_the_others_end(tmp_path):
    waiting = [sys.executable, "-c", "import time; time.sleep(600)"]
    failing = [sys.executable, "-c", "print('one\\ntwo\\n\\nthree\\nfour'); raise SystemExit(5)"]
    with pytest.raises(TrainingError, match=r"^a test ended with exit code 5: two / three / four$"):
        run_together([Process(waiting), Process(failing)], "a test", tmp_path)


def test_an_interruption_ends_all_processes(tmp_path):
    note = tmp_path / "pid"
    script = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"

    def interrupt():
        while not note.exists() or not note.read_text():
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_together([Process([sys.executable, "-c", script])], "a test", tmp_path)
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)

"""Which candidates are tried, how the time is used, and the node file that comes of it."""

from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from machines import describe

from gan3d.bench import sweep as sweeping
from gan3d.bench.processes import Process, run_together
from gan3d.bench.sweep import (
    Candidate,
    Tried,
    candidates,
    compare_batches,
    describe_batches,
    measure,
    sort_tries,
    sweep,
    write_node,
)
from gan3d.cli.bench.step import command
from gan3d.config import Node, load_experiment
from gan3d.config.threads import choose_threads
from gan3d.errors import DataError, TrainingError, UsageError
from gan3d.runtime import check_workers, placed_cores, read_topology, recommend


@given(count=st.integers(1, 64), domains=st.integers(1, 4), threads=st.integers(1, 4))
def test_candidates_fit_the_node_and_begin_with_what_auto_does(count, domains, threads):
    check_candidates(describe([count] * domains, threads))


def test_candidates_fit_unlike_domains_and_a_quota():
    check_candidates(describe([18, 18, 16, 16], 4))
    topology = replace(describe([48], 2), quota=24.0)
    assert all(each.workers * each.intra_op <= 24 * 2 for each in candidates(topology, 8))


def check_candidates(topology):
    found = candidates(topology, 8)
    assert len(found) == len(set(found))
    best = recommend(topology)
    assert found[0] == Candidate(best.workers, best.threads.intra_op, best.threads.inter_op, 8)
    for each in found:
        node = Node(
            affinity="cores",
            workers_per_node=each.workers,
            intra_op_threads=each.intra_op,
            inter_op_threads=each.inter_op,
        )
        check_workers(node, topology, each.workers)
        own = [placed_cores(node, topology, rank, each.workers) for rank in range(each.workers)]
        assert sum(cores.physical for cores in own) > 0.89 * topology.physical
        for cores in own:
            choose_threads(node, cores)  # would refuse
    assert {each.batch_size for each in found} == {8}


class Clock:
    """Time that passes only when something runs."""

    now = 0.0

    def __call__(self):
        return self.now


def ways(*speeds):
    """Candidates with batch 8 whose intra-op threads are as many as their showers/s; auto first."""
    return [Candidate(1, each, 1, 8) for each in speeds]


def speed(candidate):
    return candidate.intra_op * {4: 0.5, 8: 1.0, 16: 1.5}[candidate.batch_size]


def runs(tries):
    return {each.candidate.intra_op: len(each.showers_per_second) for each in tries}


@given(st.floats(1, 500), st.lists(st.floats(1, 20), min_size=1, max_size=9))
def test_time_is_kept_to_and_used(seconds, durations):
    clock = Clock()

    def run(each, limit):
        duration = durations[each.intra_op - 1]
        assert clock.now == 0.0 or clock.now + limit <= seconds + max(durations) + 1e-6
        clock.now += duration
        return 1.0

    tries, missed = measure(ways(*range(1, 1 + len(durations))), run, seconds, clock=clock)
    longest = max(durations[each.candidate.intra_op - 1] for each in tries)
    # A run is as long as it is; what is known is that one more would have come too late.
    assert clock.now <= seconds + longest
    assert clock.now + longest > seconds
    assert len(tries) + missed == len(durations)


def test_the_faster_half_and_what_is_recommended_are_run_again():
    clock = Clock()

    def run(each, _):
        clock.now += 1.0
        return speed(each)

    tries, _ = measure(ways(1, 2, 3, 4, 5, 6), run, 14.0, clock=clock)
    assert runs(tries) == {1: 3, 2: 1, 3: 1, 4: 3, 5: 3, 6: 3}


@pytest.mark.parametrize(
    "node",
    [describe([24, 24], 2), describe([16] * 8, 2), describe([96, 96], 2)],
    ids=["2x24", "2x64", "2x96"],
)
def test_a_large_node_is_explored_in_a_dozen_runs(node):
    clock, tried = Clock(), []

    def run(each, _):
        clock.now += 1.0
        tried.append(each)
        return 100.0 - abs(each.workers - 3)  # few ranks are best

    space = candidates(node, 8)
    measure(space, run, 12.0, clock=clock)
    best = recommend(node)
    assert tried[0] == Candidate(best.workers, best.threads.intra_op, best.threads.inter_op, 8)
    numbers = [each.workers for each in tried]
    assert len(set(numbers)) >= 4
    assert min(numbers) < best.workers < max(numbers)
    # And with one of them, the fastest, other threads.
    assert max(len({w.intra_op for w in tried if w.workers == n}) for n in numbers) >= 2


def test_the_descent_goes_on_from_what_is_faster():
    clock = Clock()

    def run(each, _):
        clock.now += 1.0
        return 1.0 / each.workers + 0.1 * each.inter_op

    tries, missed = measure(candidates(describe([16] * 8, 2), 8), run, 1000.0, clock=clock)
    first = sort_tries(tries, 8)[0].candidate
    assert (first.workers, first.inter_op, missed) == (1, 2, 0)


def test_a_share_of_the_time_is_kept_for_other_batches():
    clock, batches = Clock(), []

    def run(each, _):
        clock.now += 1.0
        batches.append(each.batch_size)
        return 1.0

    measure(candidates(describe([96, 96], 2), 8), run, 12.0, (4,), clock=clock)
    assert batches[8:11] == [8, 4, 4]


def test_a_hang_takes_what_is_left_and_not_more():
    clock = Clock()

    def run(each, limit):
        if each.intra_op == 2:
            clock.now += limit
            raise TrainingError("was ended")
        clock.now += 10.0
        return 1.0

    tries, missed = measure(ways(1, 2, 3), run, 100.0, clock=clock)
    assert (clock.now, missed, runs(tries)) == (110.0, 1, {1: 1, 2: 0})


def test_a_first_run_that_hangs_is_ended():
    def run(_, limit):
        clock.now += limit
        raise TrainingError("was ended")

    for seconds in (1.0, 1000.0):
        clock = Clock()
        measure(ways(1, 2), run, seconds, clock=clock)
        assert clock.now == max(seconds, 600.0)


def test_processes_that_take_too_long_are_ended(tmp_path):
    with pytest.raises(TrainingError, match="it was ended, as it took more than 0 s"):
        run_together([Process(["sleep", "60"])], "it", tmp_path, 0.3)


def test_gpus_limit_the_ranks():
    topology = replace(describe([16, 16]), gpus=("one", "two"))
    assert {each.workers for each in candidates(topology, 8)} == {1, 2}


def test_what_fails_is_left_out_and_the_others_are_run_on():
    clock = Clock()

    def run(each, _):
        clock.now += 1.0
        # One fails at once, another the second time.
        if each.intra_op == 2 or (clock.now > 4 and each.intra_op == 4):
            raise TrainingError("no memory")
        return float(each.intra_op)

    tries, _ = measure(ways(1, 2, 3, 4), run, 10.0, clock=clock)
    assert [each.failed for each in tries] == ["", "no memory", "", "no memory"]
    assert runs(tries) == {1: 3, 2: 0, 3: 4, 4: 1}


def test_where_all_fail_the_time_is_not_waited_for():
    clock = Clock()

    def run(*_):
        clock.now += 1.0
        raise TrainingError("no memory")

    measure(ways(1, 2), run, 1000.0, clock=clock)
    assert clock.now == 2.0


def test_other_batches_are_tried_with_the_two_fastest_after_all_ways_have_been():
    clock, order = Clock(), []

    def run(each, _):
        clock.now += 1.0
        order.append((each.intra_op, each.batch_size))
        return speed(each)

    measure(ways(30, 10, 50, 40), run, 15.0, (4, 16), clock=clock)
    assert order[:4] == [(each, 8) for each in (30, 40, 50, 10)]  # from auto, near ones first
    others = [(50, 4), (50, 16), (40, 4), (40, 16)]
    assert order[4:8] == others
    # Then what matters again: the faster half, what is recommended, the other batches.
    assert order[8:] == [(50, 8), (40, 8), (30, 8), *others]


def test_without_time_for_other_batches_there_are_none():
    clock = Clock()

    def run(each, _):
        clock.now += 1.0
        return speed(each)

    tries, missed = measure(ways(30, 10, 50), run, 1.5, (4, 16), clock=clock)
    assert (runs(tries), missed) == ({30: 1}, 4)
    assert [each["batch_size"] for each in compare_batches(sort_tries(tries, 8))] == [8]


def test_a_batch_that_fails_is_left_out():
    clock = Clock()

    def run(each, _):
        clock.now += 1.0
        if each.batch_size == 16:
            raise TrainingError("no memory")
        return speed(each)

    tries, _ = measure(ways(30, 50), run, 20.0, (4, 16), clock=clock)
    ranked = [each.candidate for each in sort_tries(tries, 8)]
    assert [(each.intra_op, each.batch_size) for each in ranked] == [
        (50, 8), (30, 8), (50, 4), (30, 4),
    ]  # fmt: skip
    assert {each.candidate.batch_size for each in tries if each.failed} == {16}


@pytest.fixture
def short_sweep(monkeypatch, tmp_path):
    """A sweep in which nothing is run, and what is tried last is the fastest: (figures, said)."""

    def run(batch_size, batches=()):
        path, said = tmp_path / "mine.yaml", []
        path.write_text(f"data: {{files: [a.h5]}}\ntraining: {{batch_size: {batch_size}}}\n")
        figures = sweep(path, seconds=1.0, batch_sizes=batches, say=said.append)
        return figures, said

    def measured(ways, _run, _seconds, batch_sizes, _fits):
        tried = [*ways, *(replace(ways[0], batch_size=batch) for batch in batch_sizes)]
        return [Tried(each, showers_per_second=[2.0 + n]) for n, each in enumerate(tried)], 0

    monkeypatch.setattr(sweeping, "count_showers", lambda _: 100)
    monkeypatch.setattr(sweeping, "read_topology", lambda: describe([2]))
    monkeypatch.setattr(sweeping, "measure", measured)
    return run


@pytest.mark.parametrize(
    ("batch_size", "named", "tried"),
    [(4, (), [2, 4, 8]), (1, (), [1, 2]), (4, (4, 6, 6), [4, 6]), (4, (4,), [4])],
)
def test_half_and_twice_the_batch_are_tried_unless_others_are_named(
    short_sweep, batch_size, named, tried
):
    figures, said = short_sweep(batch_size, named)
    assert [each["batch_size"] for each in figures["batches"]] == tried
    assert said == []


def test_ranks_that_the_showers_are_not_enough_for_are_left_out_and_told(short_sweep, monkeypatch):
    # 100 showers: four steps of two ranks with batches of 16 take 128.
    figures, said = short_sweep(8)
    assert {(each["workers"], each["batch_size"]) for each in figures["tried"]} == {
        (1, 4), (1, 8), (2, 8), (1, 16),
    }  # fmt: skip
    why = "4 steps x 2 rank(s) x batch 16 = 128 showers, and one is held out, but"
    assert said == [
        f"batch 16 is not tried with 2 ranks or more: {why} the experiment's data.files have 100"
    ]
    _, said = short_sweep(16, (8,))
    assert len(said) == 1
    with pytest.raises(DataError, match=r"batch 32 = 128 showers.* have 100; leave it out of --b"):
        short_sweep(8, (32,))
    with pytest.raises(DataError, match=r"= 128 showers.*; lower training.batch_size or name more"):
        short_sweep(32)
    # As on the nodes of large machines, with the bundled showers.
    monkeypatch.setattr(sweeping, "count_showers", lambda _: 1600)
    monkeypatch.setattr(sweeping, "read_topology", lambda: describe([28, 28], 2))
    figures, said = short_sweep(8, (8,))
    assert max(each["workers"] for each in figures["tried"]) == 28
    assert said[0].startswith("batch 8 is not tried with 51 ranks or more: 4 steps x 51 rank(s) x")


def test_the_best_and_what_is_recommended_are_of_the_experiments_batch(short_sweep):
    figures, _ = short_sweep(4)
    best, auto = figures["tried"][0], figures["tried"][-1]
    assert best["batch_size"] == 4
    own = [each for each in figures["tried"] if each["batch_size"] == 4]
    assert best["showers_per_second"] == max(each["showers_per_second"] for each in own)
    # Another batch was faster.
    assert auto["batch_size"] == 8
    assert auto["recommended"]
    assert auto["showers_per_second"] > best["showers_per_second"]
    (auto,) = (each for each in own if each["recommended"])
    share = auto["showers_per_second"] / best["showers_per_second"]
    assert figures["recommended_over_best"] == pytest.approx(share, rel=1e-3)


def figures():
    tries = [Tried(each) for each in (*ways(6, 5), Candidate(1, 6, 1, 16))]
    tries = [
        replace(each, showers_per_second=rates)
        for each, rates in zip(tries, ([5.0, 7.0], [4.0], [7.5]), strict=True)
    ]
    ranked = sort_tries(tries, 8)
    return {
        "experiment": {"architecture": "ecal25"},
        "machine": {"cpu": "a processor", "cores": 2},
        "batch_size": 8,
        "tried": [each.as_dict() for each in ranked],
        "failed": [],
        "not_tried": 3,
        "batches": compare_batches(ranked),
    }


def test_the_fastest_becomes_a_node_file_with_its_table(tmp_path):
    path = tmp_path / "mine.yaml"
    write_node(figures(), path)
    base = tmp_path / "base.yaml"
    base.write_text("data: {files: [a.h5]}\nmodel: {architecture: ecal25}\n")
    experiment = load_experiment(base, (), path)
    node = experiment.node
    assert (node.name, node.workers_per_node, node.affinity) == ("mine", 1, "cores")
    assert (node.intra_op_threads, node.inter_op_threads) == (6, 1)
    text = path.read_text()
    # The fastest of all has another batch, which is told and not set.
    assert list(yaml.safe_load(text)) == ["node"]
    said = "Showers/s with other batches of a rank than the experiment's 8: 16 gives +25.0%"
    assert describe_batches(figures()) == said
    assert f"# {said}.\n# A batch is the experiment's" in text
    assert "ranks  intra-op  inter-op  batch  showers/s  runs" in text
    assert "#      1         6         1      8          6     2" in text
    assert "no time for 3 more" in text
    with pytest.raises(UsageError, match=r"mine\.yaml: is there already"):
        write_node(figures(), path)


def test_bad_calls_are_refused_before_anything_runs(tmp_path):
    there = tmp_path / "there.yaml"
    there.touch()
    for arguments, said in (
        (["--sweep", "-o", str(there)], "is there already"),
        (["--sweep", "--batch", "8,x"], "--batch 8,x: expected showers"),
        (["--sweep", "--arch", "ecal25"], "--arch is not for --sweep"),
        (["--sweep", "--baseline"], "--baseline is not for --sweep"),
        (["-o", str(tmp_path / "new.yaml")], "-o is for --sweep"),
        (["--minutes", "3"], "--minutes is for --sweep"),
        (["--batch", "8,16"], "--batch 8,16: several are for --sweep"),
    ):
        done = CliRunner().invoke(command, arguments)
        assert isinstance(done.exception, UsageError)
        assert said in str(done.exception)


def test_a_folder_that_cannot_be_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeping, "sweep", lambda *_, **__: pytest.fail("has run"))
    (tmp_path / "file").touch()
    done = CliRunner().invoke(command, ["--sweep", "-o", str(tmp_path / "file" / "x.yaml")])
    assert isinstance(done.exception, DataError), done.exception
    # As root one may write in /proc, says access(2), and then cannot.
    done = CliRunner().invoke(command, ["--sweep", "-o", "/proc/nothing/x.yaml"])
    assert isinstance(done.exception, DataError), done.exception


def test_the_folder_is_made_and_the_table_told_before_the_file_is_written(tmp_path, monkeypatch):
    measured = figures() | {"recommended_over_best": 1.0}

    def swept(*_, **__):
        assert (tmp_path / "new").is_dir()
        return measured

    def full(*_):
        raise DataError("disk full")

    monkeypatch.setattr(sweeping, "sweep", swept)
    monkeypatch.setattr(sweeping, "write_node", full)
    done = CliRunner().invoke(command, ["--sweep", "-o", str(tmp_path / "new" / "x.yaml")])
    assert isinstance(done.exception, DataError)
    assert "showers/s" in done.output
    assert "the fastest" not in done.output


@pytest.mark.distributed
def test_a_real_sweep_writes_a_node_file(gan3d, tmp_path):
    done = gan3d("bench", "step", "--sweep", "--minutes", "0.1", "-o", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "auto" in done.stdout
    overrides = "data.files=[a.h5]", "model.architecture=ecal25"
    node = load_experiment(tmp_path / "mine.yaml", overrides).node
    assert node.workers_per_node == recommend(read_topology()).workers

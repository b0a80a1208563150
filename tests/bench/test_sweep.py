"""Which candidates are tried, how the time is used, and the node file that comes of it."""

from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from machines import describe

from gan3d.bench.sweep import Candidate, Tried, candidates, measure, write_node
from gan3d.cli.bench.step import command
from gan3d.config import Node, load_experiment
from gan3d.config.threads import choose_threads
from gan3d.errors import TrainingError, UsageError
from gan3d.runtime import check_workers, placed_cores, read_topology, recommend


@given(count=st.integers(1, 64), domains=st.integers(1, 4), threads=st.integers(1, 4))
def test_candidates_fit_the_node_and_begin_with_what_auto_does(count, domains, threads):
    check_candidates(describe([count] * domains, threads))


def test_candidates_fit_unlike_domains_and_a_quota():
    check_candidates(describe([18, 18, 16, 16], 4))
    topology = replace(describe([48], 2), quota=24.0)
    assert all(each.workers * each.intra_op <= 24 * 2 for each in candidates(topology, (8,)))


def check_candidates(topology):
    found = candidates(topology, (8, 16))
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
    assert {each.batch_size for each in found} == {8, 16}


class Clock:
    """Time that passes only when something runs."""

    now = 0.0

    def __call__(self):
        return self.now


def tried(*batches):
    return [Tried(Candidate(1, 1, 1, batch), recommended=batch == 1) for batch in batches]


@given(st.floats(1, 500), st.lists(st.floats(1, 20), min_size=1, max_size=9))
def test_time_is_kept_to_and_used(seconds, durations):
    tries, clock = tried(*range(1, 1 + len(durations))), Clock()

    def run(each):
        clock.now += durations[each.candidate.batch_size - 1]
        return 1.0

    measure(tries, run, seconds, clock)
    longest = max(d for d, each in zip(durations, tries, strict=True) if each.showers_per_second)
    # A run is as long as it is; what is known is that one more would have come too late.
    assert clock.now <= max(seconds, 0.0) + longest
    assert clock.now + longest > seconds


def test_the_faster_half_and_what_is_recommended_are_run_again():
    tries, clock = tried(1, 2, 3, 4, 5, 6), Clock()

    def run(each):
        clock.now += 1.0
        return float(each.candidate.batch_size)

    measure(tries, run, 14.0, clock)
    assert [len(each.showers_per_second) for each in tries] == [3, 1, 1, 3, 3, 3]


def test_gpus_limit_the_ranks():
    topology = replace(describe([16, 16]), gpus=("one", "two"))
    assert {each.workers for each in candidates(topology, (8,))} == {1, 2}


def test_what_fails_is_left_out_and_the_others_are_run_on():
    tries, clock = tried(1, 2, 3, 4), Clock()

    def run(each):
        clock.now += 1.0
        # One fails at once, another the second time.
        if each.candidate.batch_size == 2 or (clock.now > 4 and each.candidate.batch_size == 4):
            raise TrainingError("no memory")
        return float(each.candidate.batch_size)

    measure(tries, run, 10.0, clock)
    assert [each.failed for each in tries] == ["", "no memory", "", "no memory"]
    assert [len(each.showers_per_second) for each in tries] == [3, 0, 4, 1]


def test_where_all_fail_the_time_is_not_waited_for():
    tries, clock = tried(1, 2), Clock()

    def run(each):
        clock.now += 1.0
        raise TrainingError("no memory")

    measure(tries, run, 1000.0, clock)
    assert clock.now == 2.0


def figures():
    tries = tried(8, 16)
    tries = [
        replace(each, showers_per_second=rates)
        for each, rates in zip(tries, ([5.0, 7.0], [4.0]), strict=True)
    ]
    return {
        "experiment": {"architecture": "ecal25"},
        "machine": {"cpu": "a processor", "cores": 2},
        "tried": [each.as_dict() for each in tries],
        "failed": [],
        "not_tried": 3,
    }


def test_the_fastest_becomes_a_node_file_with_its_table(tmp_path):
    path = tmp_path / "mine.yaml"
    write_node(figures(), path)
    base = tmp_path / "base.yaml"
    base.write_text("data: {files: [a.h5]}\nmodel: {architecture: ecal25}\n")
    experiment = load_experiment(base, (), path)
    node = experiment.node
    assert (node.name, node.workers_per_node, node.affinity) == ("mine", 1, "cores")
    assert (node.intra_op_threads, node.inter_op_threads) == (1, 1)
    assert experiment.training.batch_size == 8
    text = path.read_text()
    assert "ranks  intra-op  inter-op  batch  showers/s  runs" in text
    assert "#      1         1         1      8          6     2" in text
    assert "no time for 3 more" in text
    with pytest.raises(UsageError, match=r"mine\.yaml: is there already"):
        write_node(figures(), path)


def test_bad_calls_are_refused_before_anything_runs(tmp_path):
    there = tmp_path / "there.yaml"
    there.touch()
    for arguments, said in (
        (["--sweep", "-o", str(there)], "is there already"),
        (["--sweep", "--batch", "8,x"], "--batch 8,x: expected showers"),
        ([], "--sweep tries"),
    ):
        done = CliRunner().invoke(command, arguments)
        assert isinstance(done.exception, UsageError)
        assert said in str(done.exception)


@pytest.mark.distributed
def test_a_real_sweep_writes_a_node_file(gan3d, tmp_path):
    done = gan3d("bench", "step", "--sweep", "--minutes", "0.1", "-o", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "auto" in done.stdout
    overrides = "data.files=[a.h5]", "model.architecture=ecal25"
    node = load_experiment(tmp_path / "mine.yaml", overrides).node
    assert node.workers_per_node == recommend(read_topology()).workers

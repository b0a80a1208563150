"""The node files that come with the project."""

import re
from pathlib import Path

import pytest
from machines import build

from gan3d.config import load_experiment
from gan3d.config.threads import choose_threads
from gan3d.errors import ConfigError
from gan3d.runtime import Launch, rank_cores
from gan3d.runtime.node import check_workers, recommend
from gan3d.runtime.topology import read_topology

CONFIGS = Path(__file__).parents[2] / "configs"

MACHINES = {
    "stampede2-skx": {"domains": [24, 24], "threads": 2},
    "stampede2-knl": {"domains": [68], "threads": 4},
    "piz-daint-gpu": {"domains": [12], "threads": 2, "gpus": 1},
    "piz-daint-mc": {"domains": [18, 18], "threads": 2},
    "cpu-numa": {"domains": [24, 24], "threads": 2},
    "gpu": {"domains": [32, 32], "threads": 2, "gpus": 4},
    "laptop": {"domains": [4], "threads": 2},
    "auto": {"domains": [24, 24], "threads": 2},
}


@pytest.fixture(params=MACHINES)
def fitted(request, tmp_path):
    """A node section on the machine that it is for: (name, node, topology, ranks)."""
    name = request.param
    topology = read_topology(tmp_path, build(tmp_path, **MACHINES[name]))
    experiment = load_experiment(CONFIGS / "ecal25.yaml", (), CONFIGS / "nodes" / f"{name}.yaml")
    node = experiment.node
    return name, node, topology, node.workers_per_node or recommend(topology).workers


def test_every_node_file_is_here():
    assert {path.stem for path in (CONFIGS / "nodes").glob("*.yaml")} == set(MACHINES)


def test_a_node_file_fits_the_machine_it_is_for(fitted, monkeypatch):
    name, node, topology, ranks = fitted
    monkeypatch.setattr("gan3d.runtime.node.is_bound", lambda: False)
    assert node.name == name
    check_workers(node, topology, ranks)
    if node.affinity == "none":
        return
    taken = set()
    for rank in range(ranks):
        cores = rank_cores(node, topology, Launch("horovodrun", rank, ranks, rank, ranks))
        assert cores.cpus is not None
        assert taken.isdisjoint(cores.cpus)
        taken |= cores.cpus
        threads = choose_threads(node, cores)
        assert threads.inter_op * threads.omp <= cores.physical
    assert len(taken) >= 0.95 * topology.hardware_threads


def test_what_is_published_of_stampede2_comes_out_of_auto(tmp_path):
    """11 and 2 threads for each of 4 workers, 2 in a NUMA domain, without a word about them."""
    topology = read_topology(tmp_path, build(tmp_path, **MACHINES["stampede2-skx"]))
    published = load_experiment(
        CONFIGS / "ecal25.yaml", (), CONFIGS / "nodes" / "stampede2-skx.yaml"
    ).node
    best = recommend(topology)
    assert best.workers == published.workers_per_node == 4
    assert best.threads.intra_op == published.intra_op_threads == 11
    assert best.threads.inter_op == published.inter_op_threads == 2
    assert best.threads.omp == published.omp_num_threads == 6


def test_a_node_file_wins_over_the_experiment_and_set_over_both(tmp_path):
    node = tmp_path / "mine.yaml"
    node.write_text("node: {name: mine}\nhorovod: {cycle_time_ms: 3}\n")
    config = CONFIGS / "ecal25.yaml"
    assert load_experiment(config).horovod.cycle_time_ms == 10
    laid = load_experiment(config, (), node)
    assert (laid.node.name, laid.horovod.cycle_time_ms) == ("mine", 3)
    assert laid.data.files == load_experiment(config).data.files
    assert load_experiment(config, ("horovod.cycle_time_ms=4",), node).horovod.cycle_time_ms == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mine.yaml:1: is empty; a node file holds node, horovod, data.workers, data.reader"),
        ("node: {name: a}\ntraining:\n  epochs: 3\n", "mine.yaml:3: training.epochs is not a mach"),
        ("node: {name: a}\ntraining:\n", "mine.yaml:2: training is not a machine's"),
        ("data:\n  workers: 2\n  files: [a.h5]\n", "mine.yaml:3: data.files is not a machine's"),
        ("nodes: {name: a}\n", "mine.yaml:1: nodes.name is not a machine's"),
    ],
)
def test_a_node_file_says_nothing_of_the_experiment(tmp_path, text, said):
    node = tmp_path / "mine.yaml"
    node.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_experiment(CONFIGS / "ecal25.yaml", (), node)
    node.write_text("data: {workers: 2, reader_niceness: 0}\nnode: {name: a}\n")
    assert load_experiment(CONFIGS / "ecal25.yaml", (), node).data.reader_niceness == 0


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_every_value_says_its_reason_or_its_source(name):
    lines = (CONFIGS / "nodes" / f"{name}.yaml").read_text().splitlines()
    values = [line for line in lines if re.match(r"  \w+: *\S", line)]
    assert len(values) > 3
    assert [v for v in values if "#" not in v and not v.startswith("  name:")] == []

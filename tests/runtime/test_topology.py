"""Sockets, NUMA domains, cores and GPUs of described machines, and where ranks are put."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import build, describe

from gan3d.config import Node
from gan3d.errors import NodeError
from gan3d.runtime.launch import Launch, LauncherProcess
from gan3d.runtime.node import check_workers, plan, rank_cores, recommend
from gan3d.runtime.topology import Core, place_rank, read_topology

MACHINES = {
    # name: (domains and so on, workers, cores of each, intra-op, inter-op)
    "skx": ({"domains": [24, 24], "threads": 2}, 4, 12, 11, 2),
    "knl-quadrant": ({"domains": [68], "threads": 4, "memory_only": 1}, 4, 17, 16, 2),
    "knl-snc4": (
        {"domains": [18, 18, 16, 16], "per_socket": 4, "threads": 4, "memory_only": 4},
        4, 16, 15, 2,
    ),
    "epyc": ({"domains": [16] * 8, "per_socket": 4, "threads": 2}, 8, 16, 15, 2),
    "daint-mc": ({"domains": [18, 18], "threads": 2}, 2, 18, 17, 2),
    "daint-gpu": ({"domains": [12], "threads": 2, "gpus": 1}, 1, 12, 11, 2),
    "eight-gpus": ({"domains": [32, 32], "threads": 2, "gpus": 8}, 8, 8, 7, 2),
    "laptop": ({"domains": [4], "threads": 2}, 1, 4, 4, 2),
    "two-cores": ({"domains": [2]}, 1, 2, 2, 1),
}  # fmt: skip


@pytest.fixture(params=MACHINES)
def machine(request, tmp_path):
    described, *expected = MACHINES[request.param]
    mask = build(tmp_path, **described)
    return described, read_topology(tmp_path, mask), expected


def test_a_machine_is_read_as_it_is(machine):
    described, topology, _ = machine
    domains = described["domains"]
    assert [len(domain) for domain in topology.by_domain()] == domains
    assert topology.sockets == len(domains) // described.get("per_socket", 1)
    assert topology.hardware_threads == sum(domains) * described.get("threads", 1)
    assert topology.gpus == ("Tesla P100-PCIE-16GB",) * described.get("gpus", 0)
    assert topology.memory_bytes == sum(d.memory_bytes for d in topology.domains)
    alone = [domain for domain in topology.domains if not domain.cpus]
    assert len(alone) == described.get("memory_only", 0)
    assert all(domain.memory_bytes == 16 * 2**30 for domain in alone)


def test_the_published_rule_of_thumb_and_its_like_come_out(machine):
    _, topology, expected = machine
    best = recommend(topology)
    assert [best.workers, best.cores.physical, best.threads.intra_op, best.threads.inter_op] == (
        expected
    )
    assert best.threads.inter_op * best.threads.omp <= best.cores.physical


def test_the_recommended_ranks_have_cores_of_one_domain_to_themselves(machine):
    _, topology, (workers, *_) = machine
    placed = [place_rank(topology, rank, workers) for rank in range(workers)]
    everyone = [core for cores in placed for core in cores]
    assert len(everyone) == len(set(everyone)) >= 0.96 * len(topology.cores)
    assert all(len({core.domain for core in cores}) == 1 for cores in placed)


def test_a_container_of_three_cores_has_one_worker(tmp_path):
    build(tmp_path, [24, 24], threads=2)
    by_mask = read_topology(tmp_path, {0, 1, 24})
    assert [len(domain) for domain in by_mask.by_domain()] == [2, 1]
    by_time = replace(read_topology(tmp_path, set(range(48))), quota=3.5)
    for topology in (by_mask, by_time):
        best = recommend(topology)
        assert (best.workers, best.cores.physical) == (1, 3)


def test_only_the_hardware_threads_of_the_mask_count(tmp_path):
    build(tmp_path, [2, 2], threads=2)
    topology = read_topology(tmp_path, {1, 5, 2})
    assert topology.cores == (Core(0, 0, (1, 5)), Core(1, 1, (2,)))
    assert topology.hardware_threads == 3


def test_without_numa_domains_all_cores_are_in_one(tmp_path):
    mask = build(tmp_path, [4])
    for each in (tmp_path / "sys/devices/system/node").rglob("*"):
        if each.is_file():
            each.unlink()
    assert [len(domain) for domain in read_topology(tmp_path, mask).by_domain()] == [4]


def test_a_cpu_that_linux_does_not_tell_of_is_an_error(tmp_path):
    build(tmp_path, [2])
    with pytest.raises(NodeError, match=r"cpu7/topology: says nothing of CPU 7"):
        read_topology(tmp_path, {0, 7})


def test_this_machine_is_read():
    topology = read_topology()
    cpus = {cpu for core in topology.cores for cpu in core.cpus}
    assert cpus == os.sched_getaffinity(0)


@given(
    domains=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    ranks=st.integers(1, 12),
    per_domain=st.none() | st.integers(1, 6),
)
def test_ranks_never_share_a_core(domains, ranks, per_domain):
    topology = describe(domains)
    try:
        placed = [place_rank(topology, rank, ranks, per_domain) for rank in range(ranks)]
    except NodeError:
        # Refused only where they cannot fit.
        if per_domain is None:
            assert ranks > sum(domains)
        else:
            assert per_domain > min(domains) or ranks > per_domain * len(domains)
        return
    cores = [core for each in placed for core in each]
    assert len(cores) == len(set(cores))
    assert all(placed)
    for rank, each in enumerate(placed):
        if per_domain is not None:
            assert {core.domain for core in each} == {rank // per_domain}
        elif ranks >= len(domains):
            assert len({core.domain for core in each}) == 1


@pytest.mark.parametrize(
    ("domains", "ranks", "expected"),
    [
        ([12, 24], 3, [12, 12, 12]),
        ([8, 2], 2, [4, 4]),
        ([18, 18, 16, 16], 4, [18, 18, 16, 16]),
        ([2, 2, 2, 2, 2, 2, 1, 1], 8, [2, 2, 2, 2, 2, 2, 1, 1]),
        ([24, 24, 1, 1], 4, [12, 12, 12, 12]),
        ([5, 5, 5, 5, 4, 4, 4, 4], 2, [20, 16]),
        ([4] * 32, 8, [16] * 8),
        ([1, 1, 1, 40], 2, [20, 20]),
    ],
)
def test_the_rank_with_the_fewest_cores_has_many(domains, ranks, expected):
    topology = describe(domains)
    assert [len(place_rank(topology, rank, ranks)) for rank in range(ranks)] == expected


@pytest.mark.parametrize(
    ("domains", "workers", "fewest"),
    [
        ([18, 18, 16, 16], 4, 16),
        ([12, 24], 3, 12),
        ([20, 6], 1, 26),
        ([12, 1], 1, 13),
        ([2, 2, 2, 2, 2, 2, 1, 1], 1, 14),
        ([4] * 32, 8, 16),
        ([24, 24, 3], 4, 12),
        ([8, 8], 2, 8),
    ],
)
def test_what_is_recommended_of_unlike_domains_is_what_ranks_get(domains, workers, fewest):
    topology = describe(domains, 2)
    best = recommend(topology)
    assert (best.workers, best.cores.physical) == (workers, fewest)
    assert min(len(place_rank(topology, rank, workers)) for rank in range(workers)) == fewest


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_the_recommendation_is_had_by_every_rank(domains):
    topology = describe(domains)
    best = recommend(topology)
    node = Node(
        affinity="cores", workers_per_node=best.workers, intra_op_threads=best.threads.intra_op
    )
    assert plan(node, topology, best.workers)[0] == best.cores


def test_a_plan_holds_the_threads_against_every_rank():
    topology, node = describe([18, 18, 16, 16]), Node(affinity="cores", intra_op_threads=17)
    with pytest.raises(NodeError, match=r"17, but a rank has 16 .* as number 2 of 4 here"):
        plan(node, topology, 4)
    two = Node(affinity="cores", workers_per_numa_domain=1, intra_op_threads=8)
    with pytest.raises(NodeError, match=r"a rank has 4 hardware .* as number 1 of 2 here"):
        plan(two, describe([8, 2], 2), 2)


def test_what_does_not_fit_is_refused_with_the_arithmetic():
    topology = describe([2, 2])
    with pytest.raises(NodeError, match=r"= 2 x 2 = 4; start fewer"):
        place_rank(topology, 0, 5, per_domain=2)
    with pytest.raises(NodeError, match=r"3 ranks share NUMA domain 0, which has 2 core"):
        place_rank(topology, 0, 6)
    with pytest.raises(NodeError, match=r"workers_per_node is 5, but there are 4 core"):
        check_workers(Node(workers_per_node=5), topology, 1)
    with pytest.raises(NodeError, match=r"3 ranks were started on this node, but .* is 2"):
        check_workers(Node(workers_per_node=2), topology, 3)
    with pytest.raises(NodeError, match=r"a GPU for each of 2 rank\(s\), but this node has none"):
        check_workers(Node(gpu="required"), topology, 2)


@pytest.mark.parametrize(
    ("visible", "shown"),
    [
        (None, 4),
        ("0", 1),
        ("2,3", 2),
        (" 3 , 0 ", 2),
        ("GPU-1a2b-11,GPU-2", 2),
        # Empty, and everything from the first that is not there: CUDA ends there.
        ("", 0),
        ("-1", 0),
        ("0,1,-1,2", 2),
        ("1,4,2", 1),
        ("GPU-9,0", 0),
        ("MIG-77f0c3", 0),  # there are none
        ("NoDevFiles", 0),  # Slurm, where a job has asked for none
    ],
)
def test_only_the_gpus_that_cuda_shows_count(tmp_path, visible, shown):
    mask = build(tmp_path, [32, 32], gpus=4)
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    topology = read_topology(tmp_path, mask, environ)
    assert (len(topology.gpus), topology.hidden_gpus) == (shown, 4 - shown)
    assert recommend(topology).workers == (shown or 4)
    needy = Node(gpu="required")
    if shown:
        check_workers(needy, topology, shown)
    told = "start fewer" if visible is None else f"={visible} shows {shown} of the 4 on this node"
    with pytest.raises(NodeError, match=told):
        check_workers(needy, topology, shown + 1)


@pytest.mark.parametrize(
    ("visible", "mig", "shown"),
    [
        (None, True, 1),
        ("0", True, 1),
        ("1", False, 1),
        ("1,2", False, 2),
        ("1,0", True, 1),
        ("MIG-77f0c3", True, 1),
        ("MIG-77f0c3,MIG-88", True, 1),
        ("MIG-GPU-0a2b-11/7/0", True, 1),
        ("MIG-GPU-1a2b-11/7/0", False, 0),  # not split
    ],
)
def test_cuda_shows_one_mig_instance_and_nothing_else(tmp_path, visible, mig, shown):
    mask = build(tmp_path, [32, 32], gpus=3, mig=[7])
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    topology = read_topology(tmp_path, mask, environ)
    assert (topology.mig, len(topology.gpus)) == (mig, shown)
    assert len(topology.gpus) + topology.hidden_gpus == 7 + 2
    if mig:
        check_workers(Node(gpu="required"), topology, 1)
        with pytest.raises(NodeError, match=r"one MIG instance .* one of the 9 .* of its own"):
            check_workers(Node(gpu="required"), topology, 2)


def test_ranks_may_each_have_a_gpu_that_their_launcher_has_named(tmp_path, monkeypatch):
    mask = build(tmp_path, [32, 32], gpus=1, mig=[4])
    topology = read_topology(tmp_path, mask, {"CUDA_VISIBLE_DEVICES": "MIG-77f0c3"})
    node = Node(gpu="required")
    for name, value in {"RANK": 1, "SIZE": 4, "LOCAL_RANK": 1, "LOCAL_SIZE": 4}.items():
        monkeypatch.setenv(f"HOROVOD_{name}", str(value))
    for had, own in ((None, True), ("MIG-77f0c3,MIG-88", True), ("MIG-77f0c3", False)):
        environ = {} if had is None else {"CUDA_VISIBLE_DEVICES": had}
        found = LauncherProcess("", environ)
        monkeypatch.setattr("gan3d.runtime.node.find_launcher", lambda found=found: found)
        if own:
            check_workers(node, topology, 4)
            with pytest.raises(NodeError, match="a GPU for each of 5"):
                check_workers(node, topology, 5)
        else:  # the launcher's own, which all ranks have alike
            with pytest.raises(NodeError, match="of its own"):
                check_workers(node, topology, 4)


def test_a_binding_that_is_there_stays(monkeypatch):
    topology, two = describe([4]), Launch("horovodrun", 1, 2, 1, 2)
    node = Node(affinity="cores")
    monkeypatch.setattr("gan3d.runtime.node.is_bound", lambda: False)
    assert rank_cores(node, topology, two).cpus == {2, 3}
    assert rank_cores(Node(), topology, two).cpus is None
    # A control group's time is no cores: bound to some, all its containers would meet on the first.
    assert rank_cores(node, replace(topology, quota=2.0), two).cpus is None
    monkeypatch.setattr("gan3d.runtime.node.is_bound", lambda: True)
    assert rank_cores(node, topology, two).cpus is None

"""Cores and memory under affinity masks and control groups, in made-up file systems."""

from pathlib import Path

import pytest

from gan3d.config.threads import Cores
from gan3d.runtime import cores
from gan3d.runtime.cores import is_bound, memory_bytes, usable_cores
from gan3d.runtime.launch import LauncherProcess


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A node of `cpus` CPUs, siblings paired, this rank bound to `mask`, with control groups."""

    def build(cpus, mask=None, siblings=1, group="/job", files=None):
        read = cores._read
        topology = {
            f"/sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": str(n // siblings)
            for n in range(cpus)
        }
        (tmp_path / "job").mkdir(exist_ok=True)
        for name, text in (files or {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

        def fake(path: Path):
            if str(path) == "/proc/self/cgroup":
                return group if ":" in group else f"0::{group}"
            if str(path).startswith(str(tmp_path)):
                return read(path)
            return topology.get(str(path))

        monkeypatch.setattr(cores, "_read", fake)
        monkeypatch.setattr(cores, "_CGROUPS", tmp_path)
        monkeypatch.setattr(cores.os, "cpu_count", lambda: cpus)
        monkeypatch.setattr(
            cores.os, "sched_getaffinity", lambda _: set(mask if mask is not None else range(cpus))
        )

    return build


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_unbound_ranks_share_the_node(machine, ranks):
    machine(8)
    assert usable_cores(ranks) == Cores(physical=8 // ranks, logical=8 // ranks)


def test_hyper_threads_are_no_physical_cores(machine):
    machine(16, siblings=2)
    assert usable_cores() == Cores(physical=8, logical=16)


def test_ranks_bound_to_cores_of_their_own_keep_them(machine):
    machine(8, mask=[2, 3])
    assert usable_cores(4) == Cores(physical=2, logical=2)


def test_ranks_bound_to_a_socket_share_it(machine):
    # Stampede2: 4 workers on 2 sockets of 24 cores, 2 hyper-threads each.
    machine(96, mask=range(48), siblings=2)
    assert usable_cores(4) == Cores(physical=12, logical=24)


def test_ranks_inside_a_cpuset_share_it(machine):
    # 2 ranks in a job of 4 of the node's 64 CPUs: nobody has bound them.
    machine(64, mask=range(4), files={"job/cpuset.cpus.effective": "0-2,63"})
    assert usable_cores(2) == Cores(physical=2, logical=2)


@pytest.mark.parametrize(
    ("launcher", "mask", "ranks", "bound", "each"),
    [
        # taskset -c 0,1 horovodrun -np 2 on 8 CPUs: they have the two together.
        ("0,1", [0, 1], 2, False, 1),
        ("0-7", [0, 1], 4, True, 2),
        # taskset -c 0-3 mpirun, which binds two ranks to each half of these four.
        ("0-3", [2, 3], 4, True, 1),
        # The launcher is elsewhere, and /proc tells of none: only the machine is known.
        ("0,1", [2, 3], 4, True, 2),
        (None, [0, 1], 4, True, 2),
        # slurmstepd is outside of the job's control group, which has 8 CPUs here.
        ("0-63", range(8), 4, False, 2),
    ],
)
def test_ranks_share_what_their_launcher_is_kept_on(
    machine, monkeypatch, launcher, mask, ranks, bound, each
):
    machine(8, mask=mask)
    found = launcher and LauncherProcess(f"PPid:\t1\nCpus_allowed_list:\t{launcher}\n", {})
    monkeypatch.setattr(cores, "find_launcher", lambda: found)
    assert is_bound() == bound
    assert usable_cores(ranks) == Cores(physical=each, logical=each)


@pytest.mark.parametrize(
    ("limit", "expected"), [("250000 100000", 2), ("50000 100000", 1), ("max 100000", 8)]
)
def test_a_quota_limits_the_cores(machine, limit, expected):
    machine(8, files={"job/cpu.max": limit})
    assert usable_cores() == Cores(physical=expected, logical=expected)


def test_a_quota_is_of_cores_and_not_of_their_hyper_threads(machine):
    # docker run --cpus=3
    machine(8, siblings=2, files={"job/cpu.max": "300000 100000"})
    assert usable_cores() == Cores(physical=3, logical=3)
    machine(96, siblings=2, files={"job/cpu.max": "2400000 100000"})
    assert usable_cores(2) == Cores(physical=12, logical=12)


def test_a_quota_is_shared_by_the_ranks(machine):
    machine(8, files={"job/cpu.max": "400000 100000"})
    assert usable_cores(2).physical == 2


def test_the_quota_of_a_parent_group_counts(machine):
    machine(
        8, group="/job/step", files={"job/cpu.max": "300000 100000", "job/step/cpu.max": "max 1"}
    )
    assert usable_cores().physical == 3


def test_version_1_control_groups(machine):
    quota = {"cpu/job/cpu.cfs_quota_us": "200000", "cpu/job/cpu.cfs_period_us": "100000"}
    machine(8, group="3:cpu:/job", files=quota)
    assert usable_cores().physical == 2
    machine(8, group="3:cpu:/job", files=quota | {"cpu/job/cpu.cfs_quota_us": "-1"})
    assert usable_cores().physical == 8


def test_there_is_always_one_core(machine):
    machine(2)
    assert usable_cores(5) == Cores(physical=1, logical=1)


def test_memory_is_the_control_groups_limit_where_that_is_smaller(machine):
    machine(2)
    whole = memory_bytes()
    machine(2, files={"job/memory.max": "1048576"})
    assert memory_bytes() == 1048576
    machine(2, files={"job/memory.max": "max"})
    assert memory_bytes() == whole

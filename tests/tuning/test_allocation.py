"""Hosts, slots and blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.errors import UsageError
from gan3d.tuning.allocation import (
    Host,
    divide_into_blocks,
    expand_nodes,
    parse_hosts,
    read_hostfile,
    slurm_hosts,
)
from gan3d.tuning.block import choose_launcher, launch_command

HOSTS = st.lists(st.integers(1, 9), min_size=1, max_size=6).map(
    lambda slots: [Host(f"n{number}", count) for number, count in enumerate(slots)]
)


@given(HOSTS, st.integers(1, 12), st.none() | st.integers(1, 5))
def test_blocks_have_their_ranks_and_share_no_slot(hosts, size, count):
    try:
        blocks = divide_into_blocks(hosts, size, count)
    except UsageError:
        assert not any(host.slots >= size for host in hosts)
        return
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert all(block.size == size for block in blocks)
    assert count is None or len(blocks) <= count
    for host in hosts:
        here = [(b, p) for b in blocks for p in b.places if p.host == host]
        assert sum(place.ranks for _, place in here) <= host.slots
        assert sum(place.share for _, place in here) <= 1 + 1e-9
        # Those of a host know of one another; a block of several hosts has them for itself.
        assert {block.parts for block, _ in here} <= {len(here)}
        assert [block.part for block, _ in here] == list(range(len(here)))


def test_a_block_larger_than_a_host_takes_several():
    (block,) = divide_into_blocks(parse_hosts("a:2,b:2,c:1"), 4)
    assert [(place.host.name, place.ranks) for place in block.places] == [("a", 2), ("b", 2)]
    assert (block.parts, block.nodes) == (1, 2.0)


def test_too_few_slots_are_told():
    with pytest.raises(UsageError, match=r"a block has 8 rank\(s\) .*only 3 slot\(s\) on 2 host"):
        divide_into_blocks(parse_hosts("a:2,b"), 8)


@pytest.mark.parametrize("text", ["a:x", "a:0", ":3", "a:1,a:2", "a:1,,b:1"])
def test_hosts_that_cannot_be_are_refused(text):
    with pytest.raises(UsageError, match="--hosts"):
        parse_hosts(text)


def test_a_hostfile_is_read_as_horovodrun_and_open_mpi_do(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("# nodes\nnode1 slots=4\nnode2:2\n\nnode3  # one\nn4 slots=2 max_slots=4\n")
    assert read_hostfile(path) == (
        Host("node1", 4), Host("node2", 2), Host("node3", 1), Host("n4", 2),
    )  # fmt: skip
    path.write_text("node1 4\n")
    with pytest.raises(UsageError, match=r"hosts:1: expected 'HOST slots=N', got 'node1 4'"):
        read_hostfile(path)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("login", ["login"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[08-10,12],gpu7", ["n08", "n09", "n10", "n12", "gpu7"]),
        ("r[1-2]n[5,7]", ["r1n5", "r1n7", "r2n5", "r2n7"]),
        ("c1-n[1-2]-ib,x", ["c1-n1-ib", "c1-n2-ib", "x"]),
    ],
)
def test_lists_of_slurm_are_expanded(text, names):
    assert expand_nodes(text) == names


def test_a_job_of_slurm_is_an_allocation():
    job = {"SLURM_JOB_NODELIST": "n[1-3]", "SLURM_TASKS_PER_NODE": "4(x2),2"}
    assert slurm_hosts(job) == (Host("n1", 4), Host("n2", 4), Host("n3", 2))
    assert slurm_hosts({}) == ()
    with pytest.raises(UsageError, match="is of 2 node"):
        slurm_hosts({**job, "SLURM_TASKS_PER_NODE": "4(x2)"})
    with pytest.raises(UsageError, match="cannot be read; give --hosts"):
        slurm_hosts({**job, "SLURM_JOB_NODELIST": "n[1-"})


def test_what_starts_the_ranks_goes_by_where_they_are(monkeypatch):
    monkeypatch.setattr("gan3d.tuning.block._program", lambda name: f"/bin/{name}")
    here, there = (divide_into_blocks([Host(name, 1)], 1)[0] for name in ("localhost", "far"))
    both = divide_into_blocks(parse_hosts("a:1,b:1"), 2)[0]
    assert choose_launcher(here, "auto", {}) == "none"
    assert choose_launcher(there, "auto", {}) == "horovodrun"
    assert choose_launcher(there, "auto", {"SLURM_JOB_ID": "1"}) == "srun"
    assert choose_launcher(both, "auto", {"SLURM_JOB_ID": "1"}) == "horovodrun"
    command = launch_command(both, "horovodrun", ["work"])
    assert command == ["/bin/horovodrun", "--gloo", "-np", "2", "-H", "a:1,b:1", "work"]
    command = launch_command(both, "srun", ["work"])
    assert {"--ntasks=2", "--nodelist=a,b", "--nodes=2", "--overlap"} <= set(command)


def test_a_launcher_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr("gan3d.tuning.block._program", lambda name: None)
    (far,) = divide_into_blocks([Host("far", 2)], 2)
    with pytest.raises(UsageError, match="need horovodrun, which is not installed"):
        choose_launcher(far, "auto", {})

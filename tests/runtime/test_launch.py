"""What launchers say, read from their environment variables."""

from types import SimpleNamespace

import pytest

from gan3d.errors import NodeError
from gan3d.runtime import distributed
from gan3d.runtime.launch import Launch, find_launcher, read_launch

SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
HOROVODRUN = {
    "HOROVOD_RANK": "3",
    "HOROVOD_SIZE": "4",
    "HOROVOD_LOCAL_RANK": "1",
    "HOROVOD_LOCAL_SIZE": "2",
}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Launch(None)),
        (HOROVODRUN, Launch("horovodrun", 3, 4, 1, 2)),
        (OPEN_MPI, Launch("mpirun (Open MPI)", 1, 2, 1, 2)),
        (SRUN, Launch("srun", 5, 8, 1, 4)),
        (
            SRUN
            | {"SLURM_LOCALID": "4", "SLURM_STEP_TASKS_PER_NODE": "1(x2),5,2", "SLURM_NODEID": "2"},
            Launch("srun", 5, 8, 4, 5),
        ),
        (SRUN | OPEN_MPI, Launch("mpirun (Open MPI)", 1, 2, 1, 2)),
        (
            {"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"},
            Launch("an MPI launcher (PMI)", 0, 2, 0, 2),
        ),
        (
            {"PMI_RANK": "1", "PMI_SIZE": "2"}
            | {f"MV2_COMM_WORLD_{name}": "1" for name in ("RANK", "LOCAL_RANK")}
            | {f"MV2_COMM_WORLD_{name}": "2" for name in ("SIZE", "LOCAL_SIZE")},
            Launch("mpirun (MVAPICH2)", 1, 2, 1, 2),
        ),
        # A batch script with 8 tasks asked for runs once: only srun starts a step of 8.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, Launch(None)),
        # An interactive shell in a step of one task, in which horovodrun starts ranks.
        (SRUN | {"SLURM_STEP_NUM_TASKS": "1"}, Launch(None)),
        (SRUN | {"SLURM_STEP_NUM_TASKS": "1"} | HOROVODRUN, Launch("horovodrun", 3, 4, 1, 2)),
    ],
)
def test_the_place_among_ranks(environ, expected):
    assert read_launch(environ) == expected


def test_nonsense_is_an_error():
    with pytest.raises(NodeError, match="HOROVOD_SIZE=two: expected a number"):
        read_launch(HOROVODRUN | {"HOROVOD_SIZE": "two"})


def test_a_rank_that_does_not_know_its_place_on_the_node_is_an_error():
    pmi = {"PMI_RANK": "1", "PMI_SIZE": "2"}
    with pytest.raises(NodeError, match=r"none of MPI_LOCALRANKID, .* set MPI_LOCALRANKID \(from"):
        read_launch(pmi)
    with pytest.raises(NodeError, match=r"none of MPI_LOCALNRANKS, "):
        read_launch(pmi | {"MPI_LOCALRANKID": "1"})
    with pytest.raises(NodeError, match="is number 2 of 2 on this node, which cannot be"):
        read_launch(HOROVODRUN | {"HOROVOD_LOCAL_RANK": "2"})


@pytest.fixture
def processes(tmp_path):
    """A tree in /proc: processes(rank, its parent, ..., the first) by environment and CPUs.

    An environment of None cannot be read, as another user's cannot. The rank is /proc/self.
    """

    def build(*described):
        for number, (environ, cpus) in enumerate(described):
            folder = tmp_path / "proc" / ("self" if number == 0 else str(100 - number))
            folder.mkdir(parents=True)
            parent = 99 - number if number + 1 < len(described) else 0
            (folder / "status").write_text(f"PPid:\t{parent}\nCpus_allowed_list:\t{cpus}\n")
            if environ is not None:
                text = "\0".join(f"{name}={value}" for name, value in environ.items())
                (folder / "environ").write_text(text)
        return tmp_path

    return build


PLAIN = {"PATH": "/bin"}
BATCH_STEP = SRUN | {"SLURM_STEP_NUM_TASKS": "1"}


@pytest.mark.parametrize(
    ("environ", "described", "cpus"),
    [
        (HOROVODRUN, [(HOROVODRUN, "0"), (PLAIN, "0-1"), (PLAIN, "0-3")], "0-1"),
        # Shells and wrappers around the rank were started for it, and may have bound it.
        (HOROVODRUN, [(HOROVODRUN, "0"), (HOROVODRUN, "0"), (PLAIN, "0-3")], "0-3"),
        # Another user's: a container's runtime, or the launcher. The next that is told decides.
        (HOROVODRUN, [(HOROVODRUN, "0"), (None, "0"), (PLAIN, "0-3")], "0-3"),
        (SRUN, [(SRUN, "0"), (None, "0-7"), (None, "0-7")], None),
        # A program that wrote its own title over its environment.
        (SRUN, [(SRUN, "0"), ({}, "0"), (PLAIN, "0-7")], "0-7"),
        # horovodrun in a batch script has the script's own variables, of another launcher.
        (BATCH_STEP | HOROVODRUN, [(HOROVODRUN, "0"), (BATCH_STEP, "0-1"), (PLAIN, "0-3")], "0-1"),
        # What a rank starts is of that rank.
        (OPEN_MPI, [(OPEN_MPI, "2"), (OPEN_MPI, "2"), (OPEN_MPI, "2"), (PLAIN, "2-3")], "2-3"),
        # Nobody launched it; a container with processes of its own; no /proc.
        ({}, [(PLAIN, "0"), (PLAIN, "0-3")], None),
        (OPEN_MPI, [(OPEN_MPI, "0")], None),
        (OPEN_MPI, [], None),
    ],
)
def test_the_launcher_is_the_nearest_ancestor_that_is_of_no_rank(
    processes, environ, described, cpus
):
    found = find_launcher(environ, processes(*described))
    assert (found and found.status.partition("Cpus_allowed_list:\t")[2].strip()) == cpus


def test_where_proc_hides_the_parent_the_launcher_is_not_known(processes):
    root = processes((HOROVODRUN, "0"), (PLAIN, "0-3"))
    (root / "proc/99/status").unlink()
    assert find_launcher(HOROVODRUN, root) is None


@pytest.mark.parametrize("place", [(0, 2), (1, 4)])
def test_a_place_on_the_node_that_horovod_sees_otherwise_is_an_error(monkeypatch, place):
    horovod = SimpleNamespace(
        size=lambda: 4, local_rank=lambda: place[0], local_size=lambda: place[1]
    )
    monkeypatch.setattr(distributed, "launched", lambda: Launch("horovodrun", 3, 4, 1, 2))
    monkeypatch.setattr(distributed, "start_horovod", lambda *_: horovod)
    said = rf"number 1 of 2 on this node .* number {place[0]} of {place[1]} to Horovod"
    with pytest.raises(NodeError, match=said):
        distributed.connect()

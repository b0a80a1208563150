"""What launchers say, read from their environment variables."""

import pytest

from gan3d.errors import NodeError
from gan3d.runtime.launch import Launch, read_launch

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
        (SRUN | OPEN_MPI, Launch("mpirun (Open MPI)", 1, 2, 1, 2)),
        (
            {"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"},
            Launch("an MPI launcher (PMI)", 0, 2, 0, 2),
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

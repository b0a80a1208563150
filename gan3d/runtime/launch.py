"""What the launcher (horovodrun, mpirun, srun) told this process, read from its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from gan3d.errors import NodeError


@dataclass(frozen=True)
class Launch:
    """One process among those that one launcher started together."""

    launcher: str | None
    """None: nothing launched us, we are alone."""
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


@dataclass(frozen=True)
class _Names:
    """Variables that a launcher sets; of several, the first that is set counts."""

    launcher: str
    rank: str
    size: str
    local_rank: tuple[str, ...]
    local_size: tuple[str, ...]


# Several may be there at once: mpirun inside a Slurm job sees SLURM_* of the batch step as well,
# so the innermost launcher comes first.
_LAUNCHERS = (
    _Names(
        "horovodrun",
        "HOROVOD_RANK",
        "HOROVOD_SIZE",
        ("HOROVOD_LOCAL_RANK",),
        ("HOROVOD_LOCAL_SIZE",),
    ),
    _Names(
        "mpirun (Open MPI)",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        ("OMPI_COMM_WORLD_LOCAL_RANK",),
        ("OMPI_COMM_WORLD_LOCAL_SIZE",),
    ),
    _Names(
        "an MPI launcher (PMI)",
        "PMI_RANK",
        "PMI_SIZE",
        ("MPI_LOCALRANKID", "PMI_LOCAL_RANK", "SLURM_LOCALID"),
        ("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE", "SLURM_STEP_TASKS_PER_NODE"),
    ),
    _Names(
        "srun",
        "SLURM_PROCID",
        "SLURM_STEP_NUM_TASKS",
        ("SLURM_LOCALID",),
        ("SLURM_STEP_TASKS_PER_NODE",),
    ),
)


def read_launch(environ: Mapping[str, str] = os.environ) -> Launch:
    """The place of this process among its ranks.

    Raises:
        NodeError: the launcher's variables hold no numbers.

    """
    for names in _LAUNCHERS:
        if names.rank not in environ or names.size not in environ:
            continue
        rank, size = _number(environ, names.rank), _number(environ, names.size)
        if size == 1:
            # A single-task srun or batch step is no distributed run.
            continue
        local_rank = _first(environ, names.local_rank, default=0)
        local_size = _first(environ, names.local_size, default=1)
        return Launch(names.launcher, rank, size, local_rank, local_size)
    return Launch(None)


def _first(environ: Mapping[str, str], names: tuple[str, ...], default: int) -> int:
    return next((_number(environ, name) for name in names if name in environ), default)


def _number(environ: Mapping[str, str], name: str) -> int:
    # Slurm writes tasks per node as "4(x8)" or "4,3"; nodes that differ are rare, and there the
    # first node's count only sets the default number of threads.
    text = environ[name].partition("(")[0].partition(",")[0]
    try:
        return int(text)
    except ValueError:
        raise NodeError(
            f"{name}={environ[name]}: expected a number from the launcher; unset it to train alone"
        ) from None

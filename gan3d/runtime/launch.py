"""What the launcher (horovodrun, mpirun, srun) told this process, read from its environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
    # Before PMI, which it sets as well, but without a local rank.
    _Names(
        "mpirun (MVAPICH2)",
        "MV2_COMM_WORLD_RANK",
        "MV2_COMM_WORLD_SIZE",
        ("MV2_COMM_WORLD_LOCAL_RANK",),
        ("MV2_COMM_WORLD_LOCAL_SIZE",),
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
        NodeError: the launcher's variables hold no numbers, or nothing says the place among the
            ranks of this node: taken for the first, all would be put on the same cores.

    """
    names = _names(environ)
    if names is None:
        return Launch(None)
    rank, size = _number(environ, names.rank), _number(environ, names.size)
    local_rank = _first(environ, names.local_rank, names, rank)
    local_size = _first(environ, names.local_size, names, rank)
    if not 0 <= local_rank < local_size <= size:
        raise NodeError(
            f"rank {rank} of {size} by {names.launcher} is number {local_rank} of {local_size} on "
            f"this node, which cannot be; set {names.local_rank[0]} (from 0) and "
            f"{names.local_size[0]} rightly for every rank"
        )
    return Launch(names.launcher, rank, size, local_rank, local_size)


@dataclass(frozen=True)
class LauncherProcess:
    """The process on this node that started the ranks here."""

    status: str
    """Its /proc/PID/status."""
    environ: Mapping[str, str]
    """Its environment when it started."""


def find_launcher(
    environ: Mapping[str, str] = os.environ, root: Path = Path("/")
) -> LauncherProcess | None:
    """The nearest ancestor of this process that is not of a rank, as `root`/proc tells it.

    An ancestor that has a rank's variables in its environment, such as a shell or a wrapper around
    the rank, was started for the rank. One whose environment cannot be read, as it is another
    user's, may be either: it is passed over. None: nobody launched us, or /proc does not tell.
    """
    names = _names(environ)
    status = _read(root / "proc/self/status") if names else None
    while names and status:
        parent = re.search(r"^PPid:\s+(\d+)$", status, re.MULTILINE)
        if parent is None or parent[1] == "0":
            return None
        folder = root / "proc" / parent[1]
        status, told = _read(folder / "status"), _read(folder / "environ")
        # Programs that write their own title may have overwritten it with nothing.
        variables = [each for each in (told or "").split("\0") if each]
        found = dict(each.partition("=")[::2] for each in variables)
        if status and found and names.rank not in found:
            return LauncherProcess(status, found)
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return None


def _names(environ: Mapping[str, str]) -> _Names | None:
    """The variables of the launcher that started this process; None: there is none."""
    for names in _LAUNCHERS:
        there = names.rank in environ and names.size in environ
        # A single-task srun or batch step is no distributed run.
        if there and _number(environ, names.size) != 1:
            return names
    return None


def _first(environ: Mapping[str, str], wanted: tuple[str, ...], names: _Names, rank: int) -> int:
    for name in wanted:
        if name in environ:
            return _number(environ, name)
    raise NodeError(
        f"rank {rank} was started by {names.launcher}, but none of {', '.join(wanted)} says its "
        f"place on this node: set {names.local_rank[0]} (from 0) and {names.local_size[0]} for "
        "every rank, or start them with horovodrun"
    )


def _number(environ: Mapping[str, str], name: str) -> int:
    # Slurm writes tasks per node as "4(x8)" or "4,3", in the order of the step's nodes.
    counts: list[str] = []
    for part in environ[name].split(","):
        count, _, times = part.partition("(x")
        counts += [count] * (int(times[:-1]) if times[:-1].isdecimal() else 1)
    node = environ.get("SLURM_NODEID", "")
    text = counts[min(int(node) if node.isdecimal() else 0, len(counts) - 1)]
    try:
        return int(text)
    except ValueError:
        raise NodeError(
            f"{name}={environ[name]}: expected a number from the launcher; unset it to train alone"
        ) from None

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
    names = _names(environ)
    if names is None:
        return Launch(None)
    return Launch(
        names.launcher,
        _number(environ, names.rank),
        _number(environ, names.size),
        _first(environ, names.local_rank, default=0),
        _first(environ, names.local_size, default=1),
    )


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

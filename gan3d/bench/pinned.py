"""Run a program on cores of its own: `python -m gan3d.bench.pinned CORES RANK PROGRAM ...`.

RANK is a number, or `launched` for the local rank that a launcher gave. A rank alone would
otherwise spread over cores that it has to leave to others when there are more of them: its reader
and Horovod's thread would run beside it for nothing, and ranks would seem to scale badly.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from gan3d.errors import UsageError
from gan3d.runtime.launch import read_launch
from gan3d.runtime.topology import read_topology


def pinned(command: Sequence[str], cores: int, rank: int | None = None) -> list[str]:
    """Return the command line that runs `command` on the cores of `rank` (None: as launched)."""
    number = "launched" if rank is None else str(rank)
    return [sys.executable, "-m", __name__, str(cores), number, *command]


def cores_of(rank: int, cores: int) -> set[int]:
    """Return the CPUs of the local rank `rank`, of those that this process may use.

    Hyper-threads of a core come after all cores. Raises UsageError where there are too few.
    """
    threads = [core.cpus for core in read_topology().cores]
    most = max(map(len, threads))
    ordered = [cpus[number] for number in range(most) for cpus in threads if number < len(cpus)]
    mine = ordered[rank * cores : (rank + 1) * cores]
    if len(mine) < cores:
        raise UsageError(
            f"rank {rank} would need {cores} core(s) after those of the ranks before it, but there "
            f"are {len(ordered)}"
        )
    return set(mine)


def _main() -> None:
    cores, rank, *command = sys.argv[1:]
    number = read_launch().local_rank if rank == "launched" else int(rank)
    os.sched_setaffinity(0, cores_of(number, int(cores)))
    os.execvp(command[0], command)


if __name__ == "__main__":
    _main()

"""How many threads a rank gets: one arithmetic for the node and for the job that goes there."""

from __future__ import annotations

from dataclasses import dataclass

from gan3d.config.schema import Node
from gan3d.errors import NodeError

# From this many cores on, two operations side by side pay: the networks have two branches.
_CORES_FOR_TWO_OPERATIONS = 4

# From this many cores on, one is left to the reader, to Horovod and to the system: 11 threads on
# the 12 cores of a worker on Stampede2 (CERN openlab workshop, January 2019).
_CORES_FOR_A_FREE_ONE = 8


@dataclass(frozen=True)
class Cores:
    """Cores of one rank, from its affinity mask and its control group's limits."""

    physical: int
    """Physical cores for this rank."""
    logical: int
    """Hardware threads for this rank, hyper-threads included."""
    cpus: frozenset[int] | None = None
    """Those that it is to be kept on; None: as it is."""


@dataclass(frozen=True)
class Threads:
    """Thread counts of one rank."""

    intra_op: int
    inter_op: int
    omp: int


def choose_threads(node: Node, cores: Cores, where: str = "here") -> Threads:
    """Thread counts for one rank that has `cores`; `where`, in words, for messages.

    Raises:
        NodeError: more threads are asked for than the rank has hardware threads.

    """
    free = 1 if cores.physical >= _CORES_FOR_A_FREE_ONE else 0
    intra = node.intra_op_threads or cores.physical - free
    inter = node.inter_op_threads or (2 if cores.physical >= _CORES_FOR_TWO_OPERATIONS else 1)
    omp = node.omp_num_threads or min(intra, max(1, cores.physical // inter))
    for key, count in (
        ("intra_op_threads", intra),
        ("inter_op_threads", inter),
        ("omp_num_threads", omp),
    ):
        if count > cores.logical:
            raise NodeError(
                f"node.{key} is {count}, but a rank has {cores.logical} hardware thread(s) "
                f"{where}; set at most {cores.logical}, or null"
            )
    # OpenMP starts a team for each operation that runs (Vallecorsa et al., ISC 2018).
    if inter * omp > cores.physical and (node.omp_num_threads or node.inter_op_threads):
        raise NodeError(
            f"node.inter_op_threads x node.omp_num_threads = {inter} x {omp} = {inter * omp}, but "
            f"a rank has {cores.physical} core(s) {where}; lower one of them, or set null"
        )
    return Threads(intra, inter, omp)

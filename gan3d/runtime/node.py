"""The `node` section, applied to this process before TensorFlow starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gan3d.config import Node
from gan3d.config.threads import Cores, Threads, choose_threads
from gan3d.errors import NodeError
from gan3d.runtime.cores import is_bound, usable_cores
from gan3d.runtime.launch import Launch, find_launcher, read_launch
from gan3d.runtime.memory_policy import set_memory_policy
from gan3d.runtime.quiet import import_tensorflow, start_xla
from gan3d.runtime.topology import Topology, cpus_of, place_rank, read_topology

# CUDA compute capabilities (CUDA C++ Programming Guide, "Compute Capabilities").
_TENSOR_CORES_FLOAT16 = (7, 0)
_TENSOR_CORES_BFLOAT16 = (8, 0)

# Clusters of what XLA calls fusible (operations on single cells, reductions, batch normalisation)
# and of looking up in tables; convolutions and matrix products stay oneDNN's.
_XLA_ELEMENTWISE = (
    "--tf_xla_auto_jit=2",
    "--tf_xla_cpu_global_jit=true",
    "--tf_xla_ops_to_cluster=FUSIBLE,GatherV2",
)

_CORES_PER_WORKER = 12
"""What a rank is best given: 4 workers on the 48 cores of a Stampede2 node (the same source)."""

_LARGEST_FREE_SHARE = 0.04
"""The largest share of a domain's cores that is left free so that workers have equally many."""


LARGEST_IDLE_SHARE = 0.1
"""The largest share of the node's cores that may be without a rank unsaid."""


@dataclass(frozen=True)
class AppliedNode:
    """What was set on this process."""

    node: Node
    cores: Cores
    threads: Threads
    environment: dict[str, str]
    """Environment variables that were set."""
    gpu: str | None
    """The GPU of this rank."""
    precision: str
    """Keras's dtype policy."""
    topology: Topology
    affinity: str
    """cores: this rank was put on `cpus`; none: they are what the launcher or the system gave it,
    also where `node.affinity` is cores."""
    cpus: tuple[int, ...]
    """Hardware threads that this rank is kept on, or may use."""
    memory: tuple[str, tuple[int, ...]]
    """Memory policy and its NUMA domains."""

    def as_dict(self) -> dict[str, Any]:
        """For the records (JSON)."""
        return {
            "name": self.node.name,
            "threads": asdict(self.threads),
            "environment": self.environment,
            "gpu": self.gpu,
            "precision": self.precision,
            "affinity": self.affinity,
            "cpus": list(self.cpus),
            "memory_policy": self.memory[0],
            "memory_domains": list(self.memory[1]),
            "topology": self.topology.as_dict(),
            "deterministic": self.node.deterministic,
        }


_applied: AppliedNode | None = None


def applied_node() -> AppliedNode | None:
    """What `apply_node` did in this process, if it was called."""
    return _applied


def apply_node(node: Node) -> AppliedNode:
    """Set cores, memory, threads, kernels and GPU as `node` says; import TensorFlow quietly.

    Applying the same settings again does nothing.

    Raises:
        NodeError: the settings do not fit this machine, TensorFlow is already running with
            others, or it cannot be imported.

    """
    global _applied
    if _applied is not None and _applied.node == node:
        return _applied
    if "tensorflow" in sys.modules:
        raise NodeError(
            "the node section must be applied before TensorFlow is imported, and only once in a "
            "process; start a new one"
        )
    launch, topology = read_launch(), read_topology()
    check_workers(node, topology, launch.local_size, bound=is_bound())
    cores = rank_cores(node, topology, launch)
    threads = choose_threads(node, cores, rank_words(launch))
    if cores.cpus is not None:
        keep_on(cores.cpus)
    memory = _apply_memory_policy(node)
    environment = _environment(node, threads)
    os.environ.update(environment)
    try:
        tf = import_tensorflow()
    except ImportError as error:
        raise NodeError(
            f"TensorFlow cannot be imported ({error}); `gan3d doctor` says more"
        ) from error
    tf.config.threading.set_intra_op_parallelism_threads(threads.intra_op)
    tf.config.threading.set_inter_op_parallelism_threads(threads.inter_op)
    gpu = _choose_gpu(tf, node, launch)
    details = {} if gpu is None else dict(tf.config.experimental.get_device_details(gpu))
    precision = choose_precision(node, details.get("compute_capability"))
    import keras  # only now: it imports TensorFlow

    keras.config.set_dtype_policy(precision)
    if node.deterministic:
        tf.config.experimental.enable_op_determinism()
    if node.xla:
        start_xla(tf)
    affinity = "none" if cores.cpus is None else "cores"
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    name = None if gpu is None else str(details.get("device_name", gpu.name))
    _applied = AppliedNode(
        node, cores, threads, environment, name, precision, topology, affinity, cpus, memory
    )
    return _applied


def is_bound_rank(launch: Launch) -> bool:
    """Whether a launcher keeps this rank on a part of what the ranks of this node have."""
    return launch.launcher is not None and is_bound()


def rank_words(launch: Launch) -> str:
    """Where a rank has its cores, for messages: what a launcher has bound it to is to be seen."""
    if not is_bound_rank(launch):
        return "here"
    cpus = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
    return (
        f"here ({launch.launcher} has bound this rank to CPU(s) {cpus}; --bind-to none or "
        "--cpu-bind=none lets gan3d place it)"
    )


def check_workers(node: Node, topology: Topology, local_size: int, *, bound: bool = False) -> None:
    """Raise NodeError if the ranks that `node` asks for, or that were started, do not fit here.

    `bound`: `topology` is only what a launcher keeps this rank on.
    """
    asked, gpus = node.workers_per_node, len(topology.gpus)
    # Cores that a launcher has bound this rank to are not all that the ranks have.
    limited, most = not (bound or node.oversubscribe), topology.physical
    if asked is not None and asked > most and limited:
        raise NodeError(
            f"node.workers_per_node is {asked}, but there are {_cores_told(topology)} here; "
            f"set at most {most}, or null"
        )
    if local_size > most and limited:
        raise NodeError(
            f"{local_size} ranks on this node, but there are {_cores_told(topology)} for them; "
            f"start at most {most}, or let them take turns with node.oversubscribe: true"
        )
    if asked is not None and local_size > asked:
        raise NodeError(
            f"{local_size} ranks were started on this node, but node.workers_per_node is {asked}; "
            "start fewer, or change it"
        )
    # With auto a node without GPUs is fine, and one with too few is not.
    wanted = max(asked or 1, local_size) if node.gpu == "required" else local_size
    few = wanted > gpus and (gpus > 0 or node.gpu == "required")
    if node.gpu != "none" and few and not (gpus and _has_own_gpu(topology, wanted)):
        raise NodeError(_too_few_gpus(node, topology, wanted))
    memory = {domain.number for domain in topology.domains}
    domain = node.memory_domain
    if node.memory_policy != "none" and domain is not None and domain not in memory:
        raise NodeError(
            f"node.memory_domain is {domain}, but the NUMA domains here are "
            f"{', '.join(map(str, sorted(memory))) or 'not told'}; set one of them, or null"
        )
    if node.precision == "mixed_float16" and (node.gpu == "none" or not gpus):
        raise NodeError(
            "node.precision is mixed_float16, which TensorFlow has no fast kernels for on a "
            "processor (a step of ecal25 takes minutes); set mixed_bfloat16 or auto, or take a GPU"
        )


def _cores_told(topology: Topology) -> str:
    cores = len(topology.cores)
    if topology.physical == cores:
        return f"{cores} core(s)"
    return f"{topology.physical} core(s), as the control group grants {topology.quota:g} of {cores}"


def _has_own_gpu(topology: Topology, ranks: int) -> bool:
    """Whether the launcher has named for this rank one of the node's GPUs, enough for `ranks`."""
    named = topology.visible_devices
    if not read_launch().launcher or not named or "," in named:
        return False
    launcher = find_launcher()
    # What the launcher has itself, it gives to all ranks alike.
    inherited = launcher is not None and launcher.environ.get("CUDA_VISIBLE_DEVICES") == named
    return not inherited and ranks <= len(topology.gpus) + topology.hidden_gpus


def _too_few_gpus(node: Node, topology: Topology, ranks: int) -> str:
    """Why there are not enough GPUs for so many ranks, and what to do."""
    shown, hidden = len(topology.gpus), topology.hidden_gpus
    begin = f"node.gpu is {node.gpu}, a GPU for each of {ranks} rank(s), but"
    if topology.mig:
        return (
            f"{begin} CUDA shows one MIG instance to a process; give each rank one of the "
            f"{shown + hidden} on this node by a CUDA_VISIBLE_DEVICES of its own, or start one rank"
        )
    if hidden:
        return (
            f"{begin} CUDA_VISIBLE_DEVICES={topology.visible_devices} shows {shown} of the "
            f"{shown + hidden} on this node; unset it, or start fewer"
        )
    if shown:
        return (
            f"{begin} this node has {shown}; start fewer (node.workers_per_node: {shown}), or set "
            "node.gpu to none"
        )
    return f"{begin} this node has none; set node.gpu to auto, or take a node with GPUs"


def rank_cores(node: Node, topology: Topology, launch: Launch) -> Cores:
    """The cores of this rank, with the CPUs to keep it on where `node.affinity` asks for that.

    A launcher's binding stays, and so does what a control group grants as time and not as cores.
    Raises NodeError where the ranks do not fit.
    """
    if node.affinity == "none" or is_bound() or topology.quota < len(topology.cores):
        return usable_cores(launch.local_size)
    return placed_cores(node, topology, launch.local_rank, launch.local_size)


def placed_cores(node: Node, topology: Topology, local_rank: int, local_size: int) -> Cores:
    """Cores of a rank's own, where `node` wants them. Raises NodeError where they do not fit."""
    cores = place_rank(topology, local_rank, local_size, node.workers_per_numa_domain)
    cpus = cpus_of(cores)
    return Cores(len(cores), len(cpus), frozenset(cpus))


def shared_cores(topology: Topology, local_size: int) -> Cores:
    """What a rank has of a node that it shares equally with others; at least 1."""
    share = max(1, topology.physical // local_size)
    return Cores(share, max(share, topology.hardware_threads // local_size))


def shares(node: Node, topology: Topology, workers: int) -> list[Cores]:
    """What each of so many ranks would have here, unless a launcher binds them.

    Raises NodeError where they do not fit.
    """
    # What a control group grants as time is shared: nobody is put anywhere.
    if node.affinity == "none" or topology.quota < len(topology.cores):
        return [shared_cores(topology, workers)] * workers
    return [placed_cores(node, topology, rank, workers) for rank in range(workers)]


def plan(node: Node, topology: Topology, workers: int) -> tuple[Cores, Threads]:
    """Cores and threads that so many ranks would have here; those of the rank with fewest cores.

    Raises NodeError where they do not fit, one of the ranks' threads included.
    """
    check_workers(node, topology, workers)
    each = shares(node, topology, workers)
    for rank, cores in enumerate(each):
        where = "here" if workers == 1 else f"as number {rank} of {workers} here"
        choose_threads(node, cores, where)
    smallest = min(each, key=lambda cores: cores.physical)
    return smallest, choose_threads(node, smallest)


@dataclass(frozen=True)
class Recommendation:
    """How a node is best used."""

    workers: int
    """Ranks on the node."""
    cores: Cores
    """Of each rank; the smallest where they differ."""
    threads: Threads
    workers_per_numa_domain: int | None
    """`node.workers_per_numa_domain` that puts them where they are put; None: null does."""


def recommend(topology: Topology) -> Recommendation:
    """One rank for each GPU, or else for about 12 cores of a NUMA domain.

    A domain's cores are shared equally; not more than 4 % of them stay free. Domains of less than
    half of that are no rank's own: one has several, or they stay free.
    """
    workers = len(topology.gpus) or _workers(topology)
    own = Node(affinity="cores" if workers <= len(topology.cores) else "none")
    cores = min(shares(own, topology, workers), key=lambda each: each.physical)
    domains = topology.by_domain()
    # Where one number goes for all domains it may be written down, else ranks are to be spread.
    even = workers % len(domains) == 0 and len({len(domain) for domain in domains}) == 1
    per_domain = workers // len(domains) if even else None
    return Recommendation(workers, cores, choose_threads(Node(), cores), per_domain)


def _workers(topology: Topology) -> int:
    """How many workers share a node without GPUs."""
    # A few cores that happen to lie in several domains are not worth several ranks.
    if topology.physical <= _CORES_PER_WORKER:
        return 1
    if topology.physical < len(topology.cores):
        return _workers_of(topology.physical)
    counts = [len(domain) for domain in topology.by_domain()]
    large = [count for count in counts if 2 * count >= _CORES_PER_WORKER]
    most = sum(map(_workers_of, large)) or sum(counts) // _CORES_PER_WORKER
    for free in (_LARGEST_FREE_SHARE, LARGEST_IDLE_SHARE):
        for workers in range(most, most // 2, -1):
            if idle_share(Node(affinity="cores"), topology, workers) <= free:
                return workers
    return 1


def idle_share(node: Node, topology: Topology, workers: int) -> float:
    """Share of the cores that none of so many ranks has. Raises NodeError where they don't fit."""
    if node.affinity == "none" or topology.quota < len(topology.cores):
        return 0.0
    taken = sum(cores.physical for cores in shares(node, topology, workers))
    return 1.0 - taken / len(topology.cores)


def idle_cores(node: Node, topology: Topology, workers: int) -> str | None:
    """What to say where so many ranks leave more than a tenth of the cores idle; None: nothing."""
    share, cores = idle_share(node, topology, workers), len(topology.cores)
    if share <= LARGEST_IDLE_SHARE:
        return None
    key = "null" if node.workers_per_numa_domain is None else str(node.workers_per_numa_domain)
    return (
        f"{round(share * cores)} of {cores} cores ({share:.0%}) have no rank: {workers} rank(s), "
        f"{len(topology.by_domain())} NUMA domain(s), node.workers_per_numa_domain {key}"
    )


def _workers_of(count: int) -> int:
    """How many workers share a domain of `count` cores."""
    for workers in range(count // _CORES_PER_WORKER, 1, -1):
        if count % workers <= _LARGEST_FREE_SHARE * count:
            return workers
    return 1


def keep_on(cpus: Set[int]) -> None:
    """Keep all threads of this process on `cpus`; those to come inherit it."""
    for thread in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), cpus)
        except ProcessLookupError:  # it has ended meanwhile
            continue
        except OSError as error:
            raise NodeError(
                f"node.affinity: CPUs {sorted(cpus)} cannot be taken ({error.strerror}); set none"
            ) from error


def _apply_memory_policy(node: Node) -> tuple[str, tuple[int, ...]]:
    """Set the policy for the domains of the cores that this process is on by now."""
    topology = read_topology()
    domains = {core.domain for core in topology.cores}
    if node.memory_domain is not None:
        domains = {node.memory_domain}
    # With one domain in the machine there is no choice, and containers may refuse the call.
    no_choice = len(domains) > 1 or len(topology.domains) < 2
    if node.memory_policy == "none" or (node.memory_policy == "preferred" and no_choice):
        return "none", ()
    set_memory_policy(node.memory_policy, domains)
    return node.memory_policy, tuple(sorted(domains))


def _environment(node: Node, threads: Threads) -> dict[str, str]:
    settings: dict[str, object | None] = {
        "OMP_NUM_THREADS": threads.omp,
        "KMP_BLOCKTIME": node.kmp_blocktime,
        "KMP_AFFINITY": node.kmp_affinity,
        "KMP_SETTINGS": 1 if node.kmp_settings else None,
        "TF_ENABLE_ONEDNN_OPTS": int(node.onednn),
        "KERAS_BACKEND": "tensorflow",
    }
    if node.xla == "elementwise":
        # Behind what is there already: of two flags of one name the last one counts.
        settings["TF_XLA_FLAGS"] = " ".join([os.environ.get("TF_XLA_FLAGS", ""), *_XLA_ELEMENTWISE])
    return {name: str(value).strip() for name, value in settings.items() if value is not None}


def choose_precision(node: Node, capability: tuple[int, int] | None) -> str:
    """Keras's dtype policy for a GPU of this CUDA compute capability; None: no GPU."""
    if node.precision != "auto":
        return node.precision
    if capability is None or capability < _TENSOR_CORES_FLOAT16:
        return "float32"
    return "mixed_bfloat16" if capability >= _TENSOR_CORES_BFLOAT16 else "mixed_float16"


def _choose_gpu(tf: Any, node: Node, launch: Launch) -> Any:
    """One GPU per rank, by local rank; None: none."""
    gpus = tf.config.list_physical_devices("GPU")
    if node.gpu == "none":
        tf.config.set_visible_devices([], "GPU")
        return None
    if not gpus:
        if node.gpu == "required":
            raise NodeError(
                "node.gpu is required, but TensorFlow sees no GPU; `gan3d doctor` says why"
            )
        return None
    topology = read_topology()
    # Each rank may also be in a container, or a control group, with a card of its own.
    contained = topology.visible_devices is None and len(topology.gpus) >= launch.local_size
    own = len(gpus) == 1 and (contained or _has_own_gpu(topology, launch.local_size))
    if launch.local_size > len(gpus) and not own:
        raise NodeError(_too_few_gpus(node, topology, launch.local_size))
    gpu = gpus[launch.local_rank] if len(gpus) > 1 else gpus[0]
    tf.config.set_visible_devices(gpu, "GPU")
    tf.config.experimental.set_memory_growth(gpu, node.gpu_memory_growth)
    tf.config.experimental.enable_tensor_float_32_execution(node.tf32)
    return gpu

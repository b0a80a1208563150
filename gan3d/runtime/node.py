"""The `node` section, applied to this process before TensorFlow starts."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from typing import Any

from gan3d.config import Node
from gan3d.errors import NodeError
from gan3d.runtime.cores import Cores, usable_cores
from gan3d.runtime.launch import Launch, read_launch
from gan3d.runtime.quiet import import_tensorflow

# From this many cores on, two operations side by side pay: the networks have two branches.
_CORES_FOR_TWO_OPERATIONS = 4


@dataclass(frozen=True)
class Threads:
    """Thread counts of one rank."""

    intra_op: int
    inter_op: int
    omp: int


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

    def as_dict(self) -> dict[str, Any]:
        """For the records (JSON)."""
        return {
            "name": self.node.name,
            "threads": asdict(self.threads),
            "environment": self.environment,
            "gpu": self.gpu,
            "deterministic": self.node.deterministic,
        }


_applied: AppliedNode | None = None


def applied_node() -> AppliedNode | None:
    """What `apply_node` did in this process, if it was called."""
    return _applied


def apply_node(node: Node) -> AppliedNode:
    """Set threads, kernels and GPU as `node` says, and import TensorFlow quietly.

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
    launch = read_launch()
    cores = usable_cores(launch.local_size)
    threads = choose_threads(node, cores)
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
    gpu = _choose_gpu(tf, launch)
    if node.deterministic:
        tf.config.experimental.enable_op_determinism()
    _applied = AppliedNode(node, cores, threads, environment, gpu)
    return _applied


def choose_threads(node: Node, cores: Cores) -> Threads:
    """Thread counts for one rank that has `cores`.

    Raises:
        NodeError: more threads are asked for than the rank has hardware threads.

    """
    intra = node.intra_op_threads or cores.physical
    inter = node.inter_op_threads or (2 if cores.physical >= _CORES_FOR_TWO_OPERATIONS else 1)
    omp = node.omp_num_threads or intra
    for key, count in (
        ("intra_op_threads", intra),
        ("inter_op_threads", inter),
        ("omp_num_threads", omp),
    ):
        if count > cores.logical:
            raise NodeError(
                f"node.{key} is {count}, but a rank has {cores.logical} hardware thread(s) here; "
                f"set at most {cores.logical}, or null"
            )
    return Threads(intra, inter, omp)


def _environment(node: Node, threads: Threads) -> dict[str, str]:
    settings: dict[str, object | None] = {
        "OMP_NUM_THREADS": threads.omp,
        "KMP_BLOCKTIME": node.kmp_blocktime,
        "KMP_AFFINITY": node.kmp_affinity,
        "TF_ENABLE_ONEDNN_OPTS": int(node.onednn),
        "KERAS_BACKEND": "tensorflow",
    }
    return {name: str(value) for name, value in settings.items() if value is not None}


def _choose_gpu(tf: Any, launch: Launch) -> str | None:
    """One GPU per rank, by local rank, with memory taken as it is needed."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return None
    if launch.local_size > len(gpus) and len(gpus) > 1:
        raise NodeError(
            f"{launch.local_size} ranks on this node, but {len(gpus)} GPUs: start at most one "
            f"rank per GPU"
        )
    # A single visible GPU: the launcher has given every rank its own (srun --gpus-per-task=1).
    gpu = gpus[launch.local_rank] if len(gpus) > 1 else gpus[0]
    tf.config.set_visible_devices(gpu, "GPU")
    tf.config.experimental.set_memory_growth(gpu, True)
    details = tf.config.experimental.get_device_details(gpu)
    return str(details.get("device_name", gpu.name))

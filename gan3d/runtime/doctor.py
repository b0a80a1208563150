"""What this node is, what is installed, what is wrong and how to mend it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gan3d.config import Horovod, Node
from gan3d.config.threads import choose_threads
from gan3d.errors import NodeError
from gan3d.runtime.cores import is_bound, memory_bytes, usable_cores
from gan3d.runtime.distributed import HOROVOD_REMEDY, horovod_lacks
from gan3d.runtime.environment import cpu_flags, cpu_model, installed_version, source_state
from gan3d.runtime.launch import read_launch
from gan3d.runtime.node import (
    check_workers,
    choose_precision,
    idle_cores,
    is_bound_rank,
    plan,
    rank_cores,
    rank_words,
    recommend,
)
from gan3d.runtime.quiet import has_gpu
from gan3d.runtime.topology import Topology, read_topology

# ecal25 at batch 8 and TensorFlow itself take about 2 GiB; twice that leaves room for data.
_MEMORY_GIB = 4.0

_ENOUGH_SECONDS = 300
"""Loading TensorFlow from a busy network file system takes minutes at worst."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "warning", "problem"]
    """`problem` prevents training; with a `warning` it goes on without something."""
    detail: str
    remedy: str | None = None
    """The command, or a sentence, that mends it."""


def diagnose(node: Node | None = None, settings: Horovod | None = None) -> list[Finding]:
    """Look at the machine and the installation, TensorFlow and Horovod in another process.

    With `node` and `settings`, sections of a node file, also whether they can be had here.
    """
    lacks = horovod_lacks()
    tensorflow, horovod, failure = _probe()
    topology = read_topology()
    asked = (
        [] if node is None else _asked(node, settings or Horovod(), topology, tensorflow, horovod)
    )
    return [
        _package(),
        _cpu(),
        _topology(topology),
        _cores(),
        _recommended(topology),
        _memory(),
        _tensorflow(tensorflow, failure),
        _gpu(tensorflow, topology),
        _horovod(lacks, tensorflow, horovod, failure),
        _horovodrun(),
        _library("h5py", "problem", "shower files cannot be read"),
        _library("matplotlib", "warning", "`gan3d validate` cannot draw"),
        *asked,
    ]


def _asked(
    node: Node,
    settings: Horovod,
    topology: Topology,
    tensorflow: dict[str, Any] | None,
    horovod: dict[str, Any] | None,
) -> list[Finding]:
    """Whether this node and this Horovod have what a node file asks for."""
    name = f"node {node.name}"
    launch, idle = read_launch(), None
    try:
        if is_bound_rank(launch):
            # What the other ranks have cannot be seen from here.
            ranks = launch.local_size
            check_workers(node, topology, ranks, bound=True)
            cores = rank_cores(node, topology, launch)
            threads = choose_threads(node, cores, rank_words(launch))
        else:
            ranks = node.workers_per_node or recommend(topology).workers
            cores, threads = plan(node, topology, ranks)
            idle = idle_cores(node, topology, ranks)
        precision = _precision(node, tensorflow)
        text = (
            f"{_count(ranks, 'rank')} of {_count(cores.physical, 'core')}: {threads.intra_op} "
            f"intra-op, {threads.inter_op} inter-op, {threads.omp} OpenMP threads, {precision}"
        )
        found = [Finding(name, "ok", text)]
        if idle is not None:
            remedy = "Set node.workers_per_node and node.workers_per_numa_domain as recommended."
            found = [Finding(name, "warning", f"{text}; {idle}", remedy)]
    except NodeError as error:
        remedy = "Change the node file, or take another node."
        found = [Finding(name, "problem", str(error), remedy)]
    return found + _asked_of_horovod(name, node, settings, horovod)


def _asked_of_horovod(
    name: str, node: Node, settings: Horovod, horovod: dict[str, Any] | None
) -> list[Finding]:
    """What Horovod was built without, of what a node file asks for, whatever the node is."""
    there = {each.lower() for each in horovod["controllers"]} if horovod else set()
    if horovod and horovod["nccl"]:
        there.add("nccl")
    found = []
    for what, script in (
        ("gloo", HOROVOD_REMEDY),
        ("mpi", "jobs/install-mpi.sh"),
        ("nccl", "jobs/install-gpu.sh"),
    ):
        if what in there:
            continue
        title = f"{name}: {'Gloo' if what == 'gloo' else what.upper()}"
        if what in settings.needs:
            said = "horovod.needs asks for it, but Horovod was built without"
            found.append(Finding(title, "problem", said, script))
        elif what == "mpi" and settings.op == "adasum":
            found.append(Finding(title, "problem", "horovod.op: adasum needs it", script))
        elif what == "nccl" and node.gpu == "required":
            said = "Horovod was built without it: gradients go through the processor's memory"
            found.append(Finding(title, "warning", said, script))
    return found


def _precision(node: Node, tensorflow: dict[str, Any] | None) -> str:
    gpus = tensorflow["gpus"] if tensorflow and node.gpu != "none" else []
    capability = gpus[0].get("compute_capability") if gpus else None
    return choose_precision(node, tuple(capability) if capability else None)


def _package() -> Finding:
    source = source_state()
    commit = f", commit {source['commit'][:10]}" if source else ""
    changed = " with local changes" if source and source["changed"] else ""
    python = ".".join(map(str, sys.version_info[:3]))
    return Finding("gan3d", "ok", f"{installed_version('gan3d')}{commit}{changed}; Python {python}")


def _cpu() -> Finding:
    flags = cpu_flags()
    if flags and "avx" not in flags:
        return Finding(
            "processor",
            "problem",
            f"{cpu_model()}: no AVX, which TensorFlow's packages need",
            "Use another node, or a TensorFlow built for this processor.",
        )
    # What oneDNN chooses its kernels by.
    known = [
        name for name in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile") if name in flags
    ]
    return Finding("processor", "ok", f"{cpu_model()} ({' '.join(known) or 'flags unknown'})")


def _topology(topology: Topology) -> Finding:
    domains = topology.by_domain()
    counts = sorted({len(domain) for domain in domains})
    each = " or ".join(map(str, counts))
    threads = f"{topology.hardware_threads} hardware threads"
    text = (
        f"{_count(topology.sockets, 'socket')}, {_count(len(domains), 'NUMA domain')} of {each} "
        f"core(s), {len(topology.cores)} in all, {threads}"
    )
    with_memory_alone = [domain for domain in topology.domains if not domain.cpus]
    for domain in with_memory_alone:
        text += f"; NUMA domain {domain.number}: {domain.memory_bytes / 2**30:.0f} GiB, no cores"
    if topology.quota < len(topology.cores):
        text += f"; the control group grants {topology.quota:g} of them"
    return Finding("topology", "ok", text)


def _cores() -> Finding:
    launch = read_launch()
    cores = usable_cores(launch.local_size)
    ranks = f"; rank {launch.rank} of {launch.size} by {launch.launcher}" if launch.launcher else ""
    if launch.launcher:
        ranks += ", bound to them" if is_bound() else ", not bound: ranks share what is here"
    return Finding(
        "cores", "ok", f"{cores.physical} ({cores.logical} hardware threads) for this rank{ranks}"
    )


def _recommended(topology: Topology) -> Finding:
    if is_bound_rank(read_launch()):
        text = (
            "nothing for the node, of which this rank sees what its launcher has bound it to "
            f"({_count(len(topology.cores), 'core')}): ask outside of the launcher"
        )
        return Finding("recommended", "ok", text)
    best = recommend(topology)
    threads = best.threads
    text = (
        f"{_count(best.workers, 'rank')} on this node, {_count(best.cores.physical, 'core')} "
        f"each: {threads.intra_op} intra-op, {threads.inter_op} inter-op, {threads.omp} OpenMP "
        "threads"
    )
    per_domain = best.workers_per_numa_domain
    text += (
        f"; workers_per_node: {best.workers}, workers_per_numa_domain: "
        f"{'null' if per_domain is None else per_domain}"
    )
    start = f"horovodrun -np {best.workers} gan3d train" if best.workers > 1 else "gan3d train"
    return Finding("recommended", "ok", f"{text}; {start} CONFIG --node configs/nodes/auto.yaml")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _memory() -> Finding:
    gib = memory_bytes() / 2**30
    if gib < _MEMORY_GIB:
        return Finding(
            "memory",
            "warning",
            f"{gib:.1f} GiB; a rank of ecal25 wants {_MEMORY_GIB:g}",
            "Ask for more memory, or lower training.batch_size.",
        )
    return Finding("memory", "ok", f"{gib:.1f} GiB")


def _tensorflow(found: dict[str, Any] | None, failure: str) -> Finding:
    if found is None:
        return Finding("TensorFlow", "problem", failure, "uv sync --reinstall-package tensorflow")
    onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") not in ("0", "false")
    kernels = "oneDNN on" if onednn else "oneDNN off (TF_ENABLE_ONEDNN_OPTS)"
    return Finding(
        "TensorFlow", "ok", f"{found['version']}, Keras {installed_version('keras')}, {kernels}"
    )


def _gpu(found: dict[str, Any] | None, topology: Topology) -> Finding:
    gpus = found["gpus"] if found else []
    if gpus:
        kinds = dict.fromkeys(
            f"{gpu.get('device_name', gpu['name'])}, compute capability "
            f"{'.'.join(map(str, gpu.get('compute_capability', ['unknown'])))}"
            for gpu in gpus
        )
        text = f"{len(gpus)} seen by TensorFlow: {'; '.join(kinds)}"
        if topology.mig and topology.hidden_gpus:
            text += (
                f"; {1 + topology.hidden_gpus} MIG instances here, of which CUDA shows one to a "
                "process: several ranks each need a CUDA_VISIBLE_DEVICES of their own"
            )
        elif topology.hidden_gpus:
            text += f"; CUDA_VISIBLE_DEVICES={topology.visible_devices} hides the others"
        return Finding("GPU", "ok", text)
    if topology.hidden_gpus and not topology.gpus:
        return Finding(
            "GPU",
            "warning",
            f"CUDA_VISIBLE_DEVICES={topology.visible_devices} hides the {topology.hidden_gpus} of "
            "this node",
            "unset CUDA_VISIBLE_DEVICES",
        )
    if has_gpu():
        return Finding(
            "GPU",
            "warning",
            "there is one, but TensorFlow does not see it: its CUDA libraries are missing",
            "jobs/install-gpu.sh",
        )
    return Finding("GPU", "ok", "none; training runs on the processor")


def _horovod(
    lacks: str | None,
    tensorflow: dict[str, Any] | None,
    found: dict[str, Any] | None,
    failure: str,
) -> Finding:
    missing = lacks
    if missing is None and found is None:
        missing = failure if tensorflow else "not looked at, as TensorFlow does not load"
    if missing is not None:
        # Without a launcher one process trains alone; with one, nothing can be trained.
        launched = read_launch().size > 1
        return Finding(
            "Horovod",
            "problem" if launched else "warning",
            f"{missing}; only single-process training works",
            HOROVOD_REMEDY,
        )
    assert found is not None
    controllers = " and ".join(found["controllers"])
    nccl = ", NCCL" if found["nccl"] else ""
    return Finding(
        "Horovod", "ok", f"{installed_version('horovod')} for TensorFlow, {controllers}{nccl}"
    )


def _horovodrun() -> Finding:
    beside = Path(sys.executable).with_name("horovodrun")
    found = shutil.which("horovodrun")
    if found:
        return Finding("horovodrun", "ok", "on PATH")
    if beside.exists():
        # `uv run` and an activated environment both put it on PATH.
        return Finding(
            "horovodrun", "ok", "installed; start it as `uv run horovodrun`, it is not on PATH"
        )
    return Finding(
        "horovodrun", "warning", "not installed; mpirun and srun still start ranks", HOROVOD_REMEDY
    )


def _library(name: str, status: Literal["warning", "problem"], loss: str) -> Finding:
    version = installed_version(name)
    if version is None:
        return Finding(name, status, f"not installed: {loss}", "uv sync")
    return Finding(name, "ok", version)


def _probe() -> tuple[dict[str, Any] | None, dict[str, Any] | None, str]:
    """What TensorFlow and Horovod say of themselves, and why one of them says nothing."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gan3d.runtime.probe"],
            capture_output=True, text=True, timeout=_ENOUGH_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, None, f"loading took more than {_ENOUGH_SECONDS} s"
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    tensorflow, horovod, *_ = [*said, None, None]
    if done.returncode < 0:
        return tensorflow, horovod, f"loading crashes ({signal.Signals(-done.returncode).name})"
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return tensorflow, horovod, f"does not load: {last}"

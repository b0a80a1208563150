"""What ran where: the record that a run keeps of its surroundings."""

from __future__ import annotations

import platform
import socket
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gan3d.config import Horovod
from gan3d.runtime.cores import memory_bytes, usable_cores
from gan3d.runtime.distributed import Communicator
from gan3d.runtime.horovod_settings import horovod_settings
from gan3d.runtime.launch import read_launch
from gan3d.runtime.node import applied_node

_OURS = {"op", "compression", "backward_passes_per_step"}
"""What the section `horovod` sets on us, and not on Horovod's environment."""

PACKAGES = ("gan3d", "tensorflow", "keras", "horovod", "numpy", "h5py")


def describe_environment(
    communicator: Communicator | None = None, horovod: Horovod | None = None
) -> dict[str, Any]:
    """Versions, machine, source commit, ranks, node and Horovod's settings, as JSON-able values."""
    launch = read_launch()
    cores = usable_cores(communicator.local_size if communicator else launch.local_size)
    applied = applied_node()
    return {
        "versions": {"python": platform.python_version()}
        | {name: installed_version(name) for name in PACKAGES},
        "host": socket.gethostname(),
        "system": platform.platform(),
        "cpu": cpu_model(),
        "cores_per_rank": cores.physical,
        "hardware_threads_per_rank": cores.logical,
        "memory_gib": round(memory_bytes() / 2**30, 2),
        "source": source_state(),
        "launcher": launch.launcher,
        "world_size": communicator.size if communicator else launch.size,
        "ranks_on_node": communicator.local_size if communicator else launch.local_size,
        "node": applied.as_dict() if applied else None,
        "horovod": horovod_settings() | (horovod.model_dump(include=_OURS) if horovod else {}),
    }


def installed_version(package: str) -> str | None:
    """Version of an installed package, None if it is not there; imports nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_model() -> str:
    """The processor's name, as the kernel tells it."""
    return _cpu_info("model name") or platform.machine()


def cpu_flags() -> set[str]:
    """Instruction sets of the processor (Linux names: avx2, avx512f, ...); empty if unknown."""
    return set(_cpu_info("flags").split())


def _cpu_info(key: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in pairs if name.strip() == key), "")


def source_state() -> dict[str, Any] | None:
    """Git commit of the checkout that this package runs from; None when it is no checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no") != ""
    except (OSError, subprocess.SubprocessError):
        # No git, or not our checkout: the record does without.
        return None
    return {"commit": commit, "changed": changed}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return done.stdout.strip()

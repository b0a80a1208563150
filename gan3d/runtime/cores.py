"""The processor cores and memory that this process may use (Linux)."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from gan3d.config.threads import Cores
from gan3d.runtime.launch import find_launcher

_CPUS = Path("/sys/devices/system/cpu")
_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(local_size: int = 1) -> Cores:
    """The share of one of `local_size` ranks in this node's cores; at least 1.

    Launchers may bind every rank to cores of its own, or all ranks of a socket to that socket, or
    none at all. In each case the masks together tile what the control group allows, or what the
    launcher itself is kept on, so `local_size * mask / allowed` ranks share one mask.
    """
    mask = os.sched_getaffinity(0)
    allowed = max(len(mask), _cpus_of_all_ranks(mask))
    sharing = max(1, math.ceil(local_size * len(mask) / allowed))
    # Time of one hardware thread is a core's, as long as there are cores without one.
    granted = cpu_quota() / local_size

    def share(count: int) -> int:
        return max(1, math.floor(min(count / sharing, granted) + 1e-9))

    return Cores(physical=share(_physical(mask)), logical=share(len(mask)))


def _physical(mask: set[int]) -> int:
    siblings = [_CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list" for cpu in mask]
    return len({_read(path) or str(path) for path in siblings})


def is_bound() -> bool:
    """Whether somebody, as a rule the launcher, keeps this rank on some of the ranks' CPUs.

    Ranks that are kept on the same CPUs as their launcher (`taskset -c 0-7 horovodrun ...`) are
    not bound: they have those together.
    """
    mask = os.sched_getaffinity(0)
    return len(mask) < _cpus_of_all_ranks(mask)


def _cpus_of_all_ranks(mask: set[int]) -> int:
    """How many CPUs the launcher had for the ranks of this node, as far as Linux tells."""
    launcher = find_launcher()
    told = launcher and re.search(r"^Cpus_allowed_list:\s+(\S+)$", launcher.status, re.MULTILINE)
    cpus = set(parse_cpu_list(told[1])) if told else set()
    # A launcher that puts ranks where it is not itself says nothing of what they have together.
    return min(len(cpus), _allowed_cpus()) if mask <= cpus else _allowed_cpus()


def _allowed_cpus() -> int:
    for folder in _own_groups("cpuset"):
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"):
            text = _read(folder / name)
            if text:
                return len(parse_cpu_list(text))
    return os.cpu_count() or 1


def parse_cpu_list(text: str) -> list[int]:
    """Return the CPUs that a list of the kernel names, such as `0-3,8`."""
    ends = [part.partition("-") for part in text.split(",") if part.strip()]
    return [cpu for first, _, last in ends for cpu in range(int(first), int(last or first) + 1)]


def cpu_quota() -> float:
    """CPU time per time that the control group grants; infinite without a limit."""
    limits = [math.inf]
    for folder in _own_groups("cpu"):
        text = _read(folder / "cpu.max")
        if text is None:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
            text = f"{quota} {period}" if quota and period and quota != "-1" else "max"
        if not text.startswith("max"):
            granted, per = text.split()
            limits.append(int(granted) / int(per))
    return min(limits)


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or the control group's limit if smaller."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for folder in _own_groups("memory"):
        text = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        if text and text != "max":
            sizes.append(int(text))
    return min(sizes)


def _own_groups(controller: str) -> Iterator[Path]:
    """Folders of this process's control group and its parents, innermost first (v1 and v2)."""
    for line in (_read(Path("/proc/self/cgroup")) or "").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUPS / controller if controllers else _CGROUPS
        folder = root / group.lstrip("/")
        # In a container the path is often the host's and does not exist inside.
        for parent in (folder, *folder.parents):
            if parent.is_dir():
                yield parent
            if parent == root:
                break


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None

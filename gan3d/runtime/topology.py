"""What a node has: sockets, NUMA domains, cores, memory and GPUs, as Linux tells it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from gan3d.errors import NodeError
from gan3d.runtime.cores import cpu_quota, memory_bytes, parse_cpu_list


@dataclass(frozen=True)
class Core:
    """A physical core that this process may use."""

    domain: int
    """Number of its NUMA domain."""
    socket: int
    cpus: tuple[int, ...]
    """Its hardware threads that may be used, by Linux's numbers of CPUs, ascending."""


@dataclass(frozen=True)
class Domain:
    """A NUMA domain: memory, and the cores that are near to it."""

    number: int
    memory_bytes: int
    """Memory of the machine in this domain; 0: not told."""
    cpus: tuple[int, ...]
    """All hardware threads of the machine in this domain; none where it is memory alone, as is the
    MCDRAM of a KNL in flat mode."""


@dataclass(frozen=True)
class Topology:
    """What a process may use of its node."""

    cores: tuple[Core, ...]
    """In the order of domains, sockets and CPUs."""
    domains: tuple[Domain, ...]
    """All of the machine, ascending."""
    quota: float
    """CPU time per time that the control group grants, in cores; infinite without a limit."""
    memory_bytes: int
    """The machine's memory, or the control group's limit where that is smaller."""
    gpus: tuple[str, ...]
    """Names of the NVIDIA GPUs that CUDA shows to a process here: those of the kernel's driver that
    CUDA_VISIBLE_DEVICES names, or one MIG instance."""
    hidden_gpus: int = 0
    """GPUs of the node, MIG instances where a card is split, that CUDA does not show."""
    mig: bool = False
    """Whether `gpus` is a MIG instance."""
    visible_devices: str | None = None
    """CUDA_VISIBLE_DEVICES; None: not set."""

    @property
    def sockets(self) -> int:
        """Sockets with cores that may be used."""
        return len({core.socket for core in self.cores})

    @property
    def hardware_threads(self) -> int:
        """Hyper-threads included."""
        return sum(len(core.cpus) for core in self.cores)

    @property
    def physical(self) -> int:
        """How many cores can be busy at once; at least 1."""
        return max(1, math.floor(min(len(self.cores), self.quota) + 1e-9))

    def by_domain(self) -> list[tuple[Core, ...]]:
        """The cores of each NUMA domain that has any."""
        return [tuple(cores) for _, cores in groupby(self.cores, key=lambda core: core.domain)]

    def as_dict(self) -> dict[str, Any]:
        """For the records (JSON)."""
        return {
            "sockets": self.sockets,
            "cores": len(self.cores),
            "hardware_threads": self.hardware_threads,
            "cpu_quota": None if math.isinf(self.quota) else self.quota,
            "memory_gib": round(self.memory_bytes / 2**30, 2),
            "numa_domains": [
                {
                    "number": domain.number,
                    "hardware_threads": len(domain.cpus),
                    "memory_gib": round(domain.memory_bytes / 2**30, 2),
                }
                for domain in self.domains
            ],
            "gpus": list(self.gpus),
            "hidden_gpus": self.hidden_gpus,
            "cuda_visible_devices": self.visible_devices,
        }


def read_topology(
    root: Path = Path("/"),
    mask: Set[int] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Topology:
    """Read what `root`/sys and `root`/proc tell, of the CPUs in `mask`.

    null is the mask of this process, and its control group limits it further. `environ` may hold
    CUDA_VISIBLE_DEVICES. Raises NodeError where /sys does not know a CPU of the mask.
    """
    own = mask is None
    cpus = os.sched_getaffinity(0) if mask is None else mask
    domains = tuple(_domains(root / "sys/devices/system/node"))
    domain_of = {cpu: domain.number for domain in domains for cpu in domain.cpus}
    found: dict[tuple[int, int, str], list[int]] = {}
    for cpu in sorted(cpus):
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        # Cores are told apart by their siblings: numbers of cores repeat from die to die.
        siblings = _read(folder / "thread_siblings_list") or _read(folder / "core_cpus_list")
        socket = _read(folder / "physical_package_id")
        if siblings is None or socket is None:
            raise NodeError(f"{folder}: says nothing of CPU {cpu}; gan3d needs /sys of Linux")
        # Virtual machines may say -1.
        key = domain_of.get(cpu, 0), max(int(socket), 0), siblings
        found.setdefault(key, []).append(cpu)
    cards, visible = list(_cards(root / "proc/driver/nvidia")), environ.get("CUDA_VISIBLE_DEVICES")
    shown = cards if visible is None else _visible(cards, visible)
    # CUDA shows one compute instance and then nothing else (NVIDIA MIG User Guide).
    split = next((card for card in shown if card.instances), None)
    gpus = (f"{split.name}, MIG instance",) if split else tuple(card.name for card in shown)
    cores = [Core(domain, socket, tuple(cpus)) for (domain, socket, _), cpus in found.items()]
    return Topology(
        tuple(sorted(cores, key=lambda core: (core.domain, core.socket, core.cpus))),
        domains,
        cpu_quota() if own else math.inf,
        memory_bytes() if own else sum(domain.memory_bytes for domain in domains),
        gpus,
        sum(card.instances or 1 for card in cards) - len(gpus),
        split is not None,
        visible,
    )


def _domains(folder: Path) -> Iterator[Domain]:
    numbers = sorted(int(each.name[4:]) for each in folder.glob("node[0-9]*"))
    for number in numbers:
        cpus = parse_cpu_list(_read(folder / f"node{number}" / "cpulist") or "")
        total = re.search(
            r"MemTotal:\s+(\d+) kB", _read(folder / f"node{number}" / "meminfo") or ""
        )
        yield Domain(number, int(total[1]) * 1024 if total else 0, tuple(cpus))


@dataclass(frozen=True)
class _Card:
    """A graphics card."""

    name: str
    uuid: str
    instances: int
    """MIG compute instances that it is split into; 0: none."""


def _cards(folder: Path) -> Iterator[_Card]:
    """Yield the cards that the driver's `folder` in /proc tells of, by PCI address.

    CUDA numbers cards so where they are alike; else it puts the fastest first.
    """
    for each in sorted(folder.glob("gpus/*/information")):
        lines = [line.partition(":")[::2] for line in (_read(each) or "").splitlines()]
        told = {key.strip(): value.strip() for key, value in lines}
        minor = told.get("Device Minor", "none")
        instances = len(list(folder.glob(f"capabilities/gpu{minor}/mig/gi*/ci*")))
        yield _Card(told.get("Model") or "NVIDIA GPU", told.get("GPU UUID", ""), instances)


def _visible(cards: Sequence[_Card], devices: str) -> list[_Card]:
    """The cards that CUDA_VISIBLE_DEVICES names; CUDA ends at the first that is not there."""
    shown = []
    for entry in map(str.strip, devices.split(",")):
        if entry.isdecimal():
            found = list(cards[int(entry) :][:1])
        elif entry.startswith("GPU-"):  # may be abbreviated
            found = [card for card in cards if card.uuid.startswith(entry)]
        else:
            # MIG-UUID is the instance's own, so any card may have it; older drivers name the card:
            # MIG-GPU-UUID/GPU instance/compute instance.
            uuid = entry.removeprefix("MIG-").partition("/")[0]
            split = [card for card in cards if card.instances and entry.startswith("MIG-")]
            found = [c for c in split if not uuid.startswith("GPU-") or c.uuid.startswith(uuid)]
        if not found:
            break
        shown.append(found[0])
    return shown


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def place_rank(
    topology: Topology, local_rank: int, local_size: int, per_domain: int | None = None
) -> tuple[Core, ...]:
    """The cores of the local rank `local_rank` of `local_size`, none shared with another.

    Ranks fill the NUMA domains one after the other, `per_domain` in each, and share a domain's
    cores equally; what does not divide stays free. None: so that the rank with the fewest cores,
    for which the others wait, has as many as can be: more ranks in larger domains, none in very
    small ones, whole domains where ranks are fewer. Raises NodeError, with the arithmetic, where
    they do not fit.
    """
    domains = topology.by_domain()
    if per_domain is not None:
        if local_size > per_domain * len(domains):
            raise NodeError(
                f"{local_size} ranks on this node, but node.workers_per_numa_domain x NUMA domains "
                f"= {per_domain} x {len(domains)} = {per_domain * len(domains)}; start fewer, or "
                "set null"
            )
        sharing = [per_domain] * len(domains)
    else:
        sharing = _spread(tuple(map(len, domains)), local_size)
        smallest = min(len(d) // n for d, n in zip(domains, sharing, strict=True) if n)
        if groups := _joined(domains, local_size, at_least=smallest):
            return groups[local_rank]
    index, number = local_rank, 0
    while index >= sharing[number]:
        index -= sharing[number]
        number += 1
    cores = domains[number]
    share = len(cores) // sharing[number]
    if share == 0:
        raise NodeError(
            f"{sharing[number]} ranks share NUMA domain {cores[0].domain}, which has {len(cores)} "
            "core(s) for them; start fewer, or set node.affinity to none"
        )
    return cores[index * share : (index + 1) * share]


@lru_cache
def _spread(counts: tuple[int, ...], ranks: int) -> list[int]:
    """How many ranks each domain of so many cores has, for the largest smallest share."""
    sharing = [0] * len(counts)
    for _ in range(ranks):
        best = max(
            range(len(counts)), key=lambda n: (counts[n] / (sharing[n] + 1), -sharing[n], -n)
        )
        sharing[best] += 1
    return sharing


def _joined(
    domains: Sequence[tuple[Core, ...]], ranks: int, at_least: int
) -> list[tuple[Core, ...]] | None:
    """Neighbouring domains for each rank, as even as can be; None: fewer cores than `at_least`."""
    if ranks >= len(domains):
        return None
    for wanted in range(sum(map(len, domains)) // ranks, max(at_least, 1) - 1, -1):
        groups: list[tuple[Core, ...]] = [()]
        for domain in domains:
            if len(groups[-1]) >= wanted:
                groups.append(())
            groups[-1] += domain
        if len([group for group in groups if len(group) >= wanted]) >= ranks:
            return groups[:ranks]
    return None


def cpus_of(cores: Iterable[Core]) -> set[int]:
    """All hardware threads of `cores`."""
    return {cpu for core in cores for cpu in core.cpus}

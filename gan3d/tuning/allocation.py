"""Hosts and slots of an allocation, and how they are divided into blocks of ranks."""

from __future__ import annotations

import os
import re
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gan3d.errors import UsageError

LOCAL = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Host:
    """A machine of the allocation."""

    name: str
    slots: int
    """Ranks that it takes."""

    @property
    def is_local(self) -> bool:
        """Whether it is this machine."""
        mine = socket.gethostname()
        return self.name in (*LOCAL, mine, mine.partition(".")[0])


@dataclass(frozen=True)
class Place:
    """The ranks of a block on one host."""

    host: Host
    ranks: int
    share: float
    """Of the host's slots."""


@dataclass(frozen=True)
class BlockPlan:
    """Where a block's ranks run."""

    number: int
    """From 0."""
    places: tuple[Place, ...]
    part: int = 0
    """Which of the blocks of its host this is, from 0."""
    parts: int = 1
    """How many blocks share its host."""

    @property
    def size(self) -> int:
        """Ranks."""
        return sum(place.ranks for place in self.places)

    @property
    def is_local(self) -> bool:
        """Whether all ranks are on this machine."""
        return all(place.host.is_local for place in self.places)

    @property
    def nodes(self) -> float:
        """Nodes that it takes, in parts where it shares one."""
        return sum(place.share for place in self.places)

    def __str__(self) -> str:
        where = ", ".join(f"{place.host.name}:{place.ranks}" for place in self.places)
        share = f", share {self.part + 1} of {self.parts} of its cores and GPUs"
        return f"block {self.number + 1}: {where}{share if self.parts > 1 else ''}"


def parse_hosts(text: str, option: str = "--hosts") -> tuple[Host, ...]:
    """Hosts of `node1:4,node2:4`, the syntax of horovodrun -H; without a number, one slot.

    Raises UsageError, with the part that is wrong.
    """
    return _checked([_parse_host(part.strip(), option) for part in text.split(",")], option)


def read_hostfile(path: Path) -> tuple[Host, ...]:
    """Hosts of a file as horovodrun and Open MPI take it: `node1 slots=4` in each line.

    Raises UsageError, with the line.
    """
    hosts = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"--hostfile {path}: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = re.fullmatch(r"(\S+?)(?:(?:\s+slots\s*=\s*|:)(\d+))?(?:\s+max[_-]slots=\d+)?", text)
        if match is None or match[2] == "0":
            raise UsageError(f"{path}:{number}: expected 'HOST slots=N', got '{text}'")
        hosts.append(Host(match[1], int(match[2] or 1)))
    return _checked(hosts, str(path))


def slurm_hosts(environ: Mapping[str, str] = os.environ) -> tuple[Host, ...]:
    """Hosts of the job of Slurm that this is in; none outside of one.

    A slot is a task (`--ntasks-per-node`). Raises UsageError where its variables say nonsense.
    """
    nodes = environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST")
    if not nodes:
        return ()
    names = expand_nodes(nodes)
    tasks = environ.get("SLURM_TASKS_PER_NODE", "1")
    slots: list[int] = []
    for part in tasks.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            raise UsageError(f"SLURM_TASKS_PER_NODE={tasks}: expected numbers such as 4(x2),3")
        slots += [int(match[1])] * int(match[2] or 1)
    if len(slots) != len(names):
        raise UsageError(
            f"SLURM_TASKS_PER_NODE={tasks} is of {len(slots)} node(s), but "
            f"SLURM_JOB_NODELIST={nodes} of {len(names)}; give --hosts"
        )
    return tuple(Host(name, count) for name, count in zip(names, slots, strict=True))


def expand_nodes(text: str) -> list[str]:
    """Names that a list of Slurm stands for: `n[01-03,7],login`. Raises UsageError."""
    names: list[str] = []
    for part in re.findall(r"[^,\[]+(?:\[[^\]]*\][^,\[]*)*|\[", text):
        names += _expanded(part, text)
    if not names:
        raise UsageError(f"SLURM_JOB_NODELIST={text}: names no node")
    return names


def _expanded(part: str, text: str) -> list[str]:
    match = re.search(r"\[([^\]]*)\]", part)
    if match is None:
        if "[" in part or "]" in part:
            raise UsageError(f"SLURM_JOB_NODELIST={text}: cannot be read; give --hosts")
        return [part]
    numbers: list[str] = []
    for piece in match[1].split(","):
        first, dash, last = piece.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"SLURM_JOB_NODELIST={text}: cannot be read; give --hosts")
        numbers += [
            str(number).zfill(len(first)) for number in range(int(first), int(last or first) + 1)
        ]
    before, after = part[: match.start()], part[match.end() :]
    return [name for number in numbers for name in _expanded(f"{before}{number}{after}", text)]


def _parse_host(part: str, option: str) -> Host:
    name, colon, slots = part.partition(":")
    if not name or (colon and not slots.isdecimal()) or slots == "0":
        raise UsageError(f"{option} {part}: expected HOST:SLOTS, such as node1:4,node2:4")
    return Host(name, int(slots or 1))


def _checked(hosts: Sequence[Host], option: str) -> tuple[Host, ...]:
    names = [host.name for host in hosts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise UsageError(f"{option}: {f'names {twice[0]} twice' if twice else 'names no host'}")
    return tuple(hosts)


def divide_into_blocks(
    hosts: Sequence[Host], size: int, count: int | None = None
) -> tuple[BlockPlan, ...]:
    """Blocks of `size` ranks, at most `count`, on hosts in their order.

    A block that fits on a host is on one host; slots of a host that are too few for another block
    stay free. A larger one has hosts of its own, as many as it takes. Raises UsageError where not
    one fits.
    """
    blocks: list[BlockPlan] = []
    gathered: list[Place] = []
    for host in hosts:
        if size <= host.slots and not gathered:
            parts = host.slots // size
            blocks += [
                BlockPlan(0, (Place(host, size, 1.0),), part, parts) for part in range(parts)
            ]
            continue
        # The slots that a block leaves free on its last host are no other block's: it would have
        # to wait for this one's ranks there.
        left = size - sum(place.ranks for place in gathered)
        gathered.append(Place(host, min(left, host.slots), 1.0))
        if left <= host.slots:
            blocks.append(BlockPlan(0, tuple(gathered)))
            gathered = []
    if not blocks:
        slots = sum(host.slots for host in hosts)
        raise UsageError(
            f"a block has {size} rank(s) (blocks.size), but there are only {slots} slot(s) on "
            f"{len(hosts)} host(s); take smaller blocks or more hosts"
        )
    chosen = blocks[:count]
    # Those that are left out leave their part of a host to the others.
    sharing = Counter(block.places[0].host.name for block in chosen if block.parts > 1)
    numbered = []
    for number, block in enumerate(chosen):
        parts = sharing.get(block.places[0].host.name, 1)
        shares = [replace(each, share=1 / parts) for each in block.places] if parts > 1 else None
        numbered.append(BlockPlan(number, tuple(shares or block.places), block.part, parts))
    return tuple(numbered)

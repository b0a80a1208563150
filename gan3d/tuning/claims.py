"""Which coordinators are alive, on this machine and on others that share the study's folder."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from gan3d.training.records import write_json

_BEAT_SECONDS = 10.0
"""A coordinator shows this often that it lives."""

_DEAD_SECONDS = 120.0
"""One on another machine that has not for so long is taken for dead. Its ranks have ended by then
(`gan3d.tuning.link`), and a file system may tell of a beat a minute late (NFS: acregmax)."""


class Claim:
    """A coordinator among those of a study."""

    def __init__(self, folder: Path) -> None:
        """Say in `folder` that this coordinator lives."""
        self._folder = folder
        self.name = f"{socket.gethostname()}-{os.getpid()}-{started(os.getpid())}"
        self._beats, self._next = 0, 0.0
        self._seen: dict[str, tuple[int, float]] = {}
        folder.mkdir(exist_ok=True)
        self.beat()

    def beat(self) -> bool:
        """Show that it still lives, when it is time to; returns whether it was."""
        if time.monotonic() < self._next:
            return False
        self._beats += 1
        self._next = time.monotonic() + _BEAT_SECONDS
        content = {
            "machine": machine(),
            "pid": os.getpid(),
            "started": started(os.getpid()),
            "beats": self._beats,
            "time": time.time(),
        }
        write_json(self._folder / f"{self.name}.json", content)
        return True

    def release(self) -> None:
        """Say that it has ended."""
        (self._folder / f"{self.name}.json").unlink(missing_ok=True)

    def is_dead(self, name: str) -> bool:
        """Whether the coordinator of that name has ended, however it did.

        On this machine at once; on another, when its beats have not gone on for two minutes as
        seen from here: clocks of machines differ.
        """
        if name == self.name:
            return False
        try:
            content = self._read(name)
        except FileNotFoundError:
            return True
        except (OSError, ValueError):
            return False  # being replaced, or a file system that is slow: the next look will tell
        if content["machine"] == machine():
            return started(int(content["pid"])) != int(content["started"])
        now = time.monotonic()
        beats, since = self._seen.get(name, (-1, now))
        if content["beats"] != beats:
            self._seen[name] = (content["beats"], now)
            return False
        return now - since >= _DEAD_SECONDS

    def last_beat(self, name: str) -> float | None:
        """When that coordinator lived last (time.time of its machine); None: not known."""
        try:
            return float(self._read(name)["time"])
        except (OSError, ValueError, KeyError):
            return None

    def neighbours(self) -> int:
        """How many other coordinators of the study live on this machine."""
        here = 0
        for path in self._folder.glob("*.json"):
            try:
                content = self._read(path.stem)
            except (OSError, ValueError):
                continue
            mine = path.stem == self.name or content["machine"] != machine()
            here += not mine and not self.is_dead(path.stem)
        return here

    def _read(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(
            (self._folder / f"{name}.json").read_text(encoding="utf-8")
        )
        return content


def machine() -> str:
    """A boot of a machine, and a container of it: where process numbers mean the same."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"


def started(pid: int) -> int:
    """When a process started (clock ticks since boot); -1: there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    fields = stat.rpartition(")")[2].split()
    # A zombie does nothing any more; only its parent has not looked yet.
    return -1 if fields[0] == "Z" else int(fields[19])

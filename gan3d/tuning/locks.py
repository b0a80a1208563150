"""A lock that processes of several machines share, and that does not outlive its holder."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gan3d.errors import RunError
from gan3d.tuning.claims import machine, started

_FOREIGN_SECONDS = 45.0
"""A lock that the same holder, of another machine, has had for so long is of one that was killed:
what is done with one takes milliseconds, on a slow shared file system seconds."""

_LONG_SECONDS = 5.0
"""Who waits longer is told for whom."""

_SLEEPS = 0.001, 0.25
"""Between two looks (s): at first, and at most."""


class Lock:
    """A symbolic link beside a file, which file systems make for one of many callers.

    What it points to says who holds it, which process of which machine, and is new each time. So
    that one whose holder was killed is seen at once on its machine, from others after 45 s, and one
    that passes from hand to hand is never taken for one that is stuck. It is what Optuna's journal
    wants of a lock.
    """

    def __init__(self, path: Path) -> None:
        """The lock of `path`, which need not exist; its folder does."""
        self._path = Path(f"{path.absolute()}.lock")
        self._mine = ""
        self._guards: dict[str, float] = {}

    def acquire(self) -> bool:
        """Wait until this process has it."""
        self._mine = f"{machine()}|{os.getpid()}|{started(os.getpid())}|{secrets.token_hex(8)}"
        began = since = time.monotonic()
        seen, sleep, told = "", _SLEEPS[0], False
        while not _link(self._mine, self._path):
            holder, now = _holder(self._path), time.monotonic()
            if holder != seen:
                seen, since = holder, now
            if holder and (_is_dead(holder) or now - since > _FOREIGN_SECONDS):
                self._break(holder)
                continue
            if not told and now - began > _LONG_SECONDS:
                told = True
                sys.stderr.write(f"gan3d: waiting for {self._path}, which another call holds\n")
            time.sleep(sleep)
            sleep = min(2 * sleep, _SLEEPS[1])
        return True

    def release(self) -> None:
        """Give it back; another's, who has taken this process for dead, stays."""
        if _holder(self._path) == self._mine:
            with suppress(FileNotFoundError):
                self._path.unlink()

    def _break(self, holder: str) -> None:
        """Remove the lock of a dead holder, and only that, whoever else is about to."""
        guard = Path(f"{self._path}.break")
        if not _link(self._mine, guard):
            other, now = _holder(guard), time.monotonic()
            since = self._guards.setdefault(other, now)
            if other and (_is_dead(other) or now - since > _FOREIGN_SECONDS):
                with suppress(FileNotFoundError):
                    guard.unlink()
            time.sleep(_SLEEPS[1])
            return
        try:
            if _holder(self._path) == holder:
                self._path.unlink()
        finally:
            guard.unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have it for the time of a `with`."""
        self.acquire()
        try:
            yield
        finally:
            self.release()


def _link(target: str, path: Path) -> bool:
    """Make a link, unless one is there."""
    try:
        path.symlink_to(target)
    except FileExistsError:
        return False
    except OSError as error:
        raise RunError(
            f"{path}: cannot be made ({error.strerror}); a study's folder must be writable, and on "
            "a file system that has symbolic links"
        ) from error
    return True


def _holder(path: Path) -> str:
    """Who has the lock; empty: nobody."""
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _is_dead(holder: str) -> bool:
    """Whether a holder was a process of this machine that has ended."""
    where, _, rest = holder.partition("|")
    pid, _, rest = rest.partition("|")
    began = rest.partition("|")[0]
    if where != machine() or not pid.isdecimal():
        return False
    return str(started(int(pid))) != began

"""The end of a run that does not go on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from gan3d.errors import Preempted

# How often it looks (s), at most.
_LOOK_EVERY = 1.0


class Watchdog:
    """A thread that ends this process, with exit code 75, when nothing has happened for too long.

    A rank that waits for one that is gone can wait for ever inside Horovod, where no exception
    reaches it (horovod/horovod #3494). Use as a context manager.
    """

    def __init__(self, seconds: float | None, rescue: Callable[[float], None]) -> None:
        """Call `rescue` with the seconds passed, and exit, after `seconds` without `progress`.

        None: never. `rescue` is called in the watchdog's thread.
        """
        self._seconds = seconds
        self._rescue = rescue
        self._seen = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gan3d-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self.progress()
        if self._seconds is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()

    def progress(self) -> None:
        """Something has happened."""
        self._seen = time.monotonic()

    def _watch(self) -> None:
        assert self._seconds is not None
        while not self._ended.wait(min(_LOOK_EVERY, self._seconds / 4)):
            idle = time.monotonic() - self._seen
            if idle < self._seconds:
                continue
            try:
                self._rescue(idle)
            finally:
                # Not sys.exit: the main thread would not end, it hangs.
                os._exit(Preempted.exit_code)

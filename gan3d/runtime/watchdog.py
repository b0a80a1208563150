"""The end of a run that does not go on."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from gan3d.errors import Preempted

# How often it looks (s), at most.
_LOOK_EVERY = 1.0


class Watchdog:
    """A thread that ends this process when nothing has happened for too long.

    The exit code is 75 where the state could be saved, else 1.

    A rank that waits for one that is gone can wait for ever inside Horovod, where no exception
    reaches it (horovod/horovod #3494). Use as a context manager.
    """

    def __init__(self, seconds: float | None, rescue: Callable[[float], bool]) -> None:
        """Call `rescue` with the seconds passed, and exit, after `seconds` without `progress`.

        None: never. `rescue` is called in the watchdog's thread and says whether the run can go on
        from what is saved.
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
            code = 1
            try:
                if self._rescue(idle):
                    code = Preempted.exit_code
            except Exception as error:  # noqa: BLE001 - nobody above: it must be said, and end
                sys.stderr.write(f"gan3d: error: {type(error).__name__}: {error}\n")
            finally:
                sys.stderr.flush()
                # Not sys.exit: the main thread would not end, it hangs.
                os._exit(code)

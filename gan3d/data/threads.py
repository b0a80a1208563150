"""Threads that read ahead.

Threads and not processes: decompression and NumPy work outside Python's global lock, so threads use
several cores, while forked processes are unsafe beside MPI and TensorFlow and spawned ones would
cost every rank the memory of more interpreters.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from gan3d.errors import DataError

Result = TypeVar("Result")

# How often someone who waits looks whether the threads are still there (s).
_LOOK_EVERY = 0.2


class Task(Generic[Result]):
    """Something to be done by a thread, and what came of it."""

    def __init__(self, work: Callable[[], Result], what: str) -> None:
        """`what` says in words what is being done, for messages."""
        self.what = what
        self._work = work
        self._done = threading.Event()
        self._result: Result | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        """Do it, and keep the result or the exception for who waits."""
        try:
            self._result = self._work()
        except Exception as error:  # noqa: BLE001 (raised again in the thread that waits)
            self._error = error
        self._done.set()

    def wait(self, seconds: float) -> bool:
        """Whether it is done, after at most `seconds`."""
        return self._done.wait(seconds)

    def result(self) -> Result:
        """What came of it; raises what the work raised."""
        if self._error is not None:
            raise self._error
        assert self._done.is_set()
        return self._result  # type: ignore[return-value]


class ReaderThreads:
    """A few threads that do tasks in the order in which they come."""

    def __init__(self, count: int, *, stall_seconds: float, niceness: int = 0) -> None:
        """Start `count` threads; with 0, tasks are done by who waits for them.

        On Linux they are nicer than the thread that calls this by `niceness`, up to 19 in all.
        After `stall_seconds` in which no task was finished although one is waited for, waiting ends
        with an error.
        """
        self._stall_seconds = stall_seconds
        self._niceness = niceness
        self._tasks: queue.SimpleQueue[Task[object] | None] = queue.SimpleQueue()
        self._finished_at = time.monotonic()
        # Daemons: a thread that hangs in a dead file system must not keep the process.
        self.threads = [
            threading.Thread(target=self._work, name=f"gan3d-reader-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self.threads:
            thread.start()

    def submit(self, work: Callable[[], Result], what: str) -> Task[Result]:
        """Have `work` done; `what` says in words what it is."""
        task = Task(work, what)
        if self.threads:
            self._tasks.put(task)  # type: ignore[arg-type]
        return task

    def wait(self, task: Task[Result]) -> Result:
        """Return what came of `task`, or raise what it raised.

        Raises DataError where a thread has died or nothing has been finished for too long.
        """
        if not self.threads and not task.wait(0):
            task.run()
        began = time.monotonic()
        while not task.wait(_LOOK_EVERY):
            dead = [thread.name for thread in self.threads if not thread.is_alive()]
            if dead:
                raise DataError(
                    f"{task.what}: a thread that reads ahead has died ({', '.join(dead)}); "
                    "resume the run from its last checkpoint"
                )
            idle = time.monotonic() - max(began, self._finished_at)
            if idle > self._stall_seconds:
                raise DataError(
                    f"{task.what}: nothing has been read for {idle:.0f} s; does the file system "
                    "answer? (data.stall_seconds)"
                )
        return task.result()

    def close(self) -> None:
        """End the threads after what they are doing; tasks that wait are dropped."""
        while not self._tasks.empty():
            try:
                self._tasks.get_nowait()
            except queue.Empty:
                break
        for _ in self.threads:
            self._tasks.put(None)
        for thread in self.threads:
            thread.join(timeout=5.0)

    def _work(self) -> None:
        # Elsewhere a niceness is of the whole process.
        if sys.platform == "linux":
            thread = threading.get_native_id()
            own = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(own + self._niceness, 19))
        while (task := self._tasks.get()) is not None:
            task.run()
            self._finished_at = time.monotonic()

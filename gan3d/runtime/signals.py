"""Signals that end a run between two steps."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_PREEMPTING = (signal.SIGTERM, signal.SIGUSR1)
"""What batch systems send before they take a node away (Slurm: SIGTERM, or what --signal names)."""


_NOTED = {int(number) for number in (signal.SIGINT, *_PREEMPTING)}


class Signals:
    """The signals that have come."""

    def __init__(self, told: Callable[[], bool] = lambda: False) -> None:
        """`told` says whether somebody has told this rank otherwise to make room."""
        self.interrupted = False
        """SIGINT (Ctrl-C) came."""
        self._preempted = False
        self._told = told
        self._wake: int | None = None

    @property
    def preempted(self) -> bool:
        """SIGTERM or SIGUSR1 came. horovodrun passes a Ctrl-C on to its ranks as SIGTERM."""
        return self._preempted or self._told()

    @preempted.setter
    def preempted(self, came: bool) -> None:
        self._preempted = came

    def wait(self, seconds: float) -> set[int]:
        """Wait so long at most for a signal that is noted; return the numbers of those that came.

        For another thread: Python's handlers, which set the notes, run in the main one, when it is
        back from an operation of TensorFlow.
        """
        if self._wake is None:
            time.sleep(seconds)
            return set()
        ready, _, _ = select.select([self._wake], [], [], seconds)
        return set(os.read(self._wake, 64)) & _NOTED if ready else set()


@contextmanager
def noted_signals(told: Callable[[], bool] = lambda: False) -> Iterator[Signals]:
    """Turn SIGINT, SIGTERM and SIGUSR1 into a note, so that they can fall between two steps.

    What `told` says counts as SIGTERM.

    Repeated, SIGTERM and SIGUSR1 are the same note: batch systems signal all processes of a step,
    launchers pass it on, scripts repeat it; what kills comes after them. A second Ctrl-C does what
    it always does.
    """
    signals = Signals(told)
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, *_PREEMPTING)}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def note(number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            signals.preempted = True
        elif signals.interrupted:
            restore()
            signal.raise_signal(number)
        else:
            signals.interrupted = True

    # What is written to is told by the system's own handler, at once.
    signals._wake, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in usual:
        signal.signal(number, note)
    try:
        yield signals
    finally:
        restore()
        signal.set_wakeup_fd(before)
        os.close(signals._wake)
        os.close(write_end)
        signals._wake = None

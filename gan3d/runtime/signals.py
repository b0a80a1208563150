"""Signals that end a run between two steps."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PREEMPTING = (signal.SIGTERM, signal.SIGUSR1)
"""What batch systems send before they take a node away (Slurm: SIGTERM, or what --signal names)."""


class Signals:
    """The signals that have come."""

    def __init__(self) -> None:
        self.interrupted = False
        """SIGINT (Ctrl-C) came."""
        self.preempted = False
        """SIGTERM or SIGUSR1 came. horovodrun passes a Ctrl-C on to its ranks as SIGTERM."""


@contextmanager
def noted_signals() -> Iterator[Signals]:
    """Turn the first SIGINT, SIGTERM or SIGUSR1 into a note, so that it can fall between two steps.

    The next one does what it always does.
    """
    signals = Signals()
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, *_PREEMPTING)}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def note(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signals.interrupted = True
        else:
            signals.preempted = True
        restore()

    for number in usual:
        signal.signal(number, note)
    try:
        yield signals
    finally:
        restore()

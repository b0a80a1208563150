"""Processes that belong together: when one fails, all end, and its last words are the error."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gan3d.errors import TrainingError

# Between looks at the processes; far below what is measured, which they measure themselves.
_LOOK_EVERY = 0.1

# What is left after this long (s) is killed: horovodrun needs a moment to end its ranks.
_PATIENCE = 15.0

_LAST_LINES = 3


@dataclass(frozen=True)
class Process:
    """A program to run."""

    command: Sequence[str]
    """Program and arguments."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables on top of this process's own."""


def run_together(
    processes: Sequence[Process], what: str, folder: Path, seconds: float = math.inf
) -> None:
    """Run all processes at once until all have ended; what they print goes to files in `folder`.

    Raises TrainingError, with the last lines that the first one to fail printed, and ends the
    others; so does everything that interrupts the waiting, and taking longer than `seconds`.
    """
    began = time.monotonic()
    logs = [folder / f"process-{number}.log" for number in range(len(processes))]
    with _started(processes, logs) as running:
        while any(process.poll() is None for process in running):
            _raise_for_failed(running, logs, what)
            if time.monotonic() - began > seconds:
                raise TrainingError(f"{what} was ended, as it took more than {seconds:.0f} s")
            time.sleep(_LOOK_EVERY)
        _raise_for_failed(running, logs, what)


def _raise_for_failed(
    running: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path], what: str
) -> None:
    for process, log in zip(running, logs, strict=True):
        if process.poll():
            raise TrainingError(f"{what} ended with exit code {process.returncode}: {_last(log)}")


def _last(log: Path) -> str:
    """The errors that gan3d printed; without any, the last lines."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    lines = [line for line in lines if line]
    told = list(dict.fromkeys(line for line in lines if "gan3d: error:" in line))
    return " / ".join(told or lines[-_LAST_LINES:]) or "it printed nothing"


@contextmanager
def _started(
    processes: Sequence[Process], logs: Sequence[Path]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    try:
        for process, log in zip(processes, logs, strict=True):
            with log.open("wb") as output:
                running.append(
                    subprocess.Popen(
                        process.command,
                        env={**os.environ, **process.environment},
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        yield running
    finally:
        _end(running)


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    patience = time.monotonic() + _PATIENCE
    for process in running:
        try:
            process.wait(max(0.0, patience - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

"""Where the command's output goes, and how it says that something is wrong."""

from __future__ import annotations

import os

import click
from rich.console import Console

from gan3d.errors import NodeError


def make_console() -> Console:
    """Standard output, for results and progress; colours and bars only on a terminal."""
    # Open MPI gives rank 0 a terminal of its own and passes on what is written there, to a file
    # or to the launcher's terminal, line by line.
    passed_on = "OMPI_COMM_WORLD_RANK" in os.environ
    return Console(highlight=False, force_terminal=False if passed_on else None)


def print_error(message: str) -> None:
    """One line `gan3d: error: ...` on standard error for each line of the message."""
    for line in message.splitlines() or [""]:
        click.echo(f"{_rank_prefix()}gan3d: error: {line}", err=True)


def _rank_prefix() -> str:
    """`[rank 1] ` on all ranks but the first."""
    # Here, as only what goes wrong needs it.
    from gan3d.runtime.launch import read_launch

    try:
        rank = read_launch().rank
    except NodeError:
        return ""
    return f"[rank {rank}] " if rank else ""

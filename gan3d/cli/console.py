"""Where the command's output goes, and how it says that something is wrong."""

from __future__ import annotations

import click
from rich.console import Console

from gan3d.errors import NodeError


def make_console() -> Console:
    """Standard output, for results and progress; colours and bars only on a terminal."""
    return Console(highlight=False)


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

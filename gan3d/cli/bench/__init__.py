"""`gan3d bench`: benchmarks. Each subcommand is a module of this package."""

from __future__ import annotations

import click

from gan3d.cli import LazyGroup

COMMANDS = {
    "data": "Measure how fast showers come from files.",
    "scaling": "Measure 1, 2, ... ranks, and project to large machines.",
    "step": "Find the fastest ranks, threads and batch for this node.",
}
"""Subcommands and their one-line help."""

EXAMPLE = """\b
Examples:
  gan3d bench data
  gan3d bench data 'shards/*.parquet' --as-is --workers 1
  gan3d bench scaling configs/ecal25.yaml --ranks 1,2 --also mwms
"""


@click.group(cls=LazyGroup, package=__name__, subcommands=COMMANDS, epilog=EXAMPLE)
def command() -> None:
    """Measure what this machine does; figures are printed as JSON."""

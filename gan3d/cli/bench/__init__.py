"""`gan3d bench`: benchmarks. Each subcommand is a module of this package."""

from __future__ import annotations

import os

import click

from gan3d.cli import LazyGroup
from gan3d.errors import UsageError

COMMANDS = {
    "data": "Measure how fast showers come from files.",
    "generate": "Measure how fast showers are generated.",
    "options": "Train with options, and compare the physics.",
    "scaling": "Measure 1, 2, ... ranks, and project to large machines.",
    "step": "Measure the training step, or find the fastest ranks and threads.",
    "tune": "Measure what a study costs beyond its trainings.",
    "validation": "Measure how long a validation takes.",
}
"""Subcommands and their one-line help."""

EXAMPLE = """\b
Examples:
  gan3d bench data
  gan3d bench data 'shards/*.parquet' --as-is --workers 1
  gan3d bench generate RUN RUN/generator.onnx
  gan3d bench options mine.yaml --steps 5000 --options response,average -o out
  gan3d bench scaling configs/ecal25.yaml --ranks 1,2 --also mwms
  gan3d bench step --arch ecal25 --baseline
  gan3d bench tune
  gan3d bench validation
"""


@click.group(cls=LazyGroup, package=__name__, subcommands=COMMANDS, epilog=EXAMPLE)
def command() -> None:
    """Measure what this machine does; figures are printed as JSON."""


def parse_numbers(option: str, text: str, what: str, *, lowest: int = 1) -> tuple[int, ...]:
    """The whole numbers, not below `lowest`, of an option such as 1,2,4.

    Raises UsageError, which says that the option wants `what`.
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < lowest:
        raise UsageError(f"{option} {text}: expected {what}")
    return numbers


def check_threads(threads: int | None) -> None:
    """Raise UsageError where --threads is more than this process has hardware threads."""
    most = len(os.sched_getaffinity(0))
    if threads is not None and threads > most:
        raise UsageError(f"--threads {threads}: this process may use {most}")

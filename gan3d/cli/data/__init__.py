"""`gan3d data`: shower files. Each subcommand is a module of this package."""

from __future__ import annotations

import click

from gan3d.cli import LazyGroup

COMMANDS = {
    "info": "Say what shower files hold.",
    "check": "Read shower files whole and say what is wrong with them.",
    "convert": "Write showers as shards of another format.",
    "split": "Divide showers into files to train on and others.",
    "fetch": "Fetch a public data set, whole and verified.",
}
"""Subcommands and their one-line help."""

EXAMPLE = """\b
Examples:
  gan3d data info 'data/EleEscan_*.h5'
  gan3d data check 'data/EleEscan_*.h5'
  gan3d data convert 'data/EleEscan_*.h5' --to parquet -o shards
  gan3d data fetch calochallenge-2 -o data/calochallenge-2
"""


@click.group(cls=LazyGroup, package=__name__, subcommands=COMMANDS, epilog=EXAMPLE)
def command() -> None:
    """Look at shower files, check, convert, split and fetch them."""

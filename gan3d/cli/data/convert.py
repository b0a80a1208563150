"""`gan3d data convert`: showers from any format into another."""

from __future__ import annotations

from pathlib import Path

import click

from gan3d.cli.data.options import shard_options
from gan3d.cli.data.shards import write

EXAMPLE = """\b
Examples:
  gan3d data convert 'data/EleEscan_*.h5' --to parquet -o shards
  gan3d data convert dataset_2_1.hdf5 --to lcd -o lcd --showers-per-file 5000
"""


@click.command(name="convert", epilog=EXAMPLE)
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--to",
    "layout",
    type=click.Choice(["lcd", "parquet", "challenge"]),
    required=True,
    help="Format to write.",
)
@click.option(
    "--name", default="showers", show_default=True, help="Beginning of the shards' names."
)
@shard_options
def command(
    files: tuple[str, ...],
    layout: str,
    name: str,
    folder: Path,
    showers_per_file: int,
    compression_level: int,
    chunk_showers: int,
    pdg_id: int,
    shape: tuple[int, int, int] | None,
    workers: int | None,
    force: bool,
) -> None:
    """Write the showers of FILES (names or quoted patterns) as shards of another format.

    The shards NAME-00000-of-00007 etc. hold the showers in the order of the sorted files, with all
    that the files say of each: bit for bit, unless MeV become GeV or the reverse, or double
    precision becomes single. A shard has its name only when it is whole. Run the same command
    again after an interruption: what is there stays.
    """
    from gan3d.data import expand_patterns, whole
    from gan3d.data.conversion import ShardFormat, open_sources, plan_shards

    form = ShardFormat(layout, showers_per_file, compression_level, chunk_showers, pdg_id)
    sources = open_sources(expand_patterns(files), shape)
    shards = plan_shards(name, whole(sources.entries), sources, folder, form)
    write(shards, sources, form, names=[name], workers=workers, force=force)

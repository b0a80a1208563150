"""`gan3d data split`: training, validation and test showers into files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from gan3d.cli.data.options import shard_options
from gan3d.cli.data.shards import write
from gan3d.errors import UsageError

EXAMPLE = """\b
Examples:
  gan3d data split 'data/EleEscan_*.h5' -o divided
  gan3d data split 'data/*.h5' -o d --train 0.8 --validation 0.1 --test 0.1
"""


@click.command(name="split", epilog=EXAMPLE)
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--train",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    default=0.9,
    show_default=True,
    help="Fraction to train on.",
)
@click.option(
    "--validation",
    type=click.FloatRange(0.0, 1.0),
    default=0.1,
    show_default=True,
    help="Fraction held out.",
)
@click.option(
    "--test",
    type=click.FloatRange(0.0, 1.0),
    default=0.0,
    show_default=True,
    help="Fraction that training never sees, of what the other two leave.",
)
@click.option(
    "--by",
    type=click.Choice(["row", "file"]),
    default="row",
    show_default=True,
    help="Divide single showers, or keep every file whole on one side.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--to",
    "layout",
    type=click.Choice(["lcd", "parquet", "challenge"]),
    help="Format to write; default: that of FILES.",
)
@shard_options
def command(
    files: tuple[str, ...],
    train: float,
    validation: float,
    test: float,
    by: Literal["row", "file"],
    seed: int,
    layout: str | None,
    folder: Path,
    showers_per_file: int,
    compression_level: int,
    chunk_showers: int,
    pdg_id: int,
    shape: tuple[int, int, int] | None,
    workers: int | None,
    force: bool,
) -> None:
    """Divide the showers of FILES into files train-*, validation-* and test-*.

    An experiment with the same FILES and data.split = {by, train, validation, seed} trains on the
    same showers as are in train-* and holds out those in validation-*. Showers keep their order and
    all that the files say of them. Run the same command again after an interruption: what is there
    stays.
    """
    from gan3d.config import Split
    from gan3d.data import expand_patterns
    from gan3d.data.conversion import ShardFormat, open_sources
    from gan3d.data.splitting import SIDES, plan_split

    if train + validation + test > 1.0 + 1e-9:
        raise UsageError(
            f"train + validation + test = {train + validation + test:g}, must not exceed 1"
        )
    sources = open_sources(expand_patterns(files), shape)
    if layout is None and len(sources.layouts) > 1:
        raise UsageError(f"FILES are of several formats ({', '.join(sources.layouts)}): name --to")
    form = ShardFormat(
        layout or sources.layouts[0], showers_per_file, compression_level, chunk_showers, pdg_id
    )
    split = Split(by=by, train=train, validation=validation, seed=seed)
    shards = plan_split(sources, split, folder, form, test=test)
    write(shards, sources, form, names=SIDES, workers=workers, force=force)

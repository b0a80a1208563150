"""`gan3d bench data`: how fast showers come from files."""

from __future__ import annotations

import json
from typing import Any

import click

from gan3d.cli.bench import parse_numbers
from gan3d.cli.data.options import shape_option
from gan3d.errors import UsageError

EXAMPLE = """\b
Examples:
  gan3d bench data
  gan3d bench data 'data/EleEscan_*.h5' --showers 10000 --format lcd-gzip
  gan3d bench data 'shards/*.parquet' --as-is --workers 1
  horovodrun -np 2 gan3d bench data 'shards/*.parquet' --as-is
"""


@click.command(name="data", epilog=EXAMPLE)
@click.argument("files", nargs=-1)
@click.option("--as-is", is_flag=True, help="Read an epoch of FILES once, as they are.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME",
    help="Only this format (may be repeated): lcd-gzip, lcd-plain, challenge-gzip, parquet.",
)
@click.option(
    "--workers",
    default="0,1,2",
    show_default=True,
    metavar="N,...",
    help="Numbers of threads that read ahead.",
)
@click.option(
    "--showers", type=click.IntRange(min=100), default=10_000, show_default=True,
    help="Showers of each file to measure; fewer given ones are repeated.",
)  # fmt: skip
@click.option(
    "--rounds", type=click.IntRange(min=1), default=5, show_default=True,
    help="Measurements of each kind; medians are printed.",
)  # fmt: skip
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=32, show_default=True,
    help="Showers of a batch.",
)  # fmt: skip
@click.option(
    "--window", type=click.IntRange(min=1), default=2048, show_default=True,
    help="Showers that are shuffled together.",
)  # fmt: skip
@shape_option()
def command(
    files: tuple[str, ...],
    as_is: bool,
    formats: tuple[str, ...],
    workers: str,
    showers: int,
    rounds: int,
    batch_size: int,
    window: int,
    shape: tuple[int, int, int] | None,
) -> None:
    """Measure showers/s of each rank from FILES, beside a plain read of the same files.

    The showers of FILES (without: of the sample that ships with gan3d) are written in each format
    into a temporary folder, and read with cold and warm cache by the training's reader with 0, 1
    and 2 workers, and by h5py (Parquet: pyarrow) alone. With --as-is nothing is copied: FILES are
    read once with each number of workers, and the peak memory is printed; under horovodrun every
    rank reads its share.
    """
    from gan3d.bench.data import FORMATS, Settings, measure_files, measure_formats
    from gan3d.runtime import launched
    from gan3d.samples import sample_files

    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"--format {name}: expected {', '.join(FORMATS)}")
    settings = Settings(
        formats=formats or FORMATS,
        workers=parse_numbers("--workers", workers, "numbers of threads, such as 0,1,2", lowest=0),
        showers=showers,
        rounds=rounds,
        batch_size=batch_size,
        shuffle_window=window,
    )
    launch = launched()
    patterns = [*files] or [str(path) for path in sample_files()[:2]]
    if as_is:
        figures = measure_files(patterns, settings, shape=shape, rank=launch.rank, size=launch.size)
        figures = {"rank": launch.rank, "ranks": launch.size, **figures}
    else:
        if launch.size > 1:
            raise UsageError("several ranks read files --as-is; copies are measured by one process")
        figures = {
            "formats": measure_formats(patterns, settings, lambda line: click.echo(line, err=True))
        }
    click.echo(json.dumps({"machine": _machine(), **figures}, indent=None if as_is else 2))


def _machine() -> dict[str, Any]:
    import h5py
    import numpy as np
    import pyarrow as pa

    from gan3d.runtime import usable_cores

    return {
        "cores": usable_cores().physical,
        "h5py": h5py.__version__,
        "hdf5": h5py.version.hdf5_version,
        "pyarrow": pa.__version__,
        "numpy": np.__version__,
    }

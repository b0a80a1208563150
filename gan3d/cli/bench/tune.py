"""`gan3d bench tune`: what the machinery of a study costs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import click

EXAMPLE = """\b
Examples:
  gan3d bench tune
  gan3d bench tune --trials 100 --seconds 1 --blocks 4 --parameters 12
"""

_START = "from gan3d.config import Node; from gan3d.runtime import apply_node; apply_node(Node())"


@click.command(name="tune", epilog=EXAMPLE)
@click.option("--trials", type=click.IntRange(min=2), default=40, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0.0), default=1.0, show_default=True,
    help="How long a trial sleeps.",
)  # fmt: skip
@click.option("--blocks", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--parameters", type=click.IntRange(min=1), default=6, show_default=True)
def command(trials: int, seconds: float, blocks: int, parameters: int) -> None:
    """Measure what a trial costs beyond its training.

    A study of trials that only sleep goes through the real coordinator and blocks. What is left of
    a block's time beyond the sleep is printed, and its share where a trial takes 30 s. A block
    loads TensorFlow once for all its trials: that is measured apart.
    """
    from gan3d.bench.tune import measure_overhead
    from gan3d.cli.tune_block import WORKER
    from gan3d.data.aside import temporary_folder

    began = time.monotonic()
    subprocess.run([sys.executable, "-c", _START], check=True)
    tensorflow = time.monotonic() - began
    with temporary_folder("gan3d-bench-tune-") as folder:
        overhead = measure_overhead(
            Path(folder) / "study", WORKER, trials=trials, seconds=seconds, blocks=blocks,
            parameters=parameters, tensorflow_seconds=tensorflow,
        )  # fmt: skip
    click.echo(json.dumps(overhead.as_dict(), indent=1))

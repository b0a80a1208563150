"""`gan3d bench generate`: milliseconds per shower, of networks and of exported models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from gan3d.cli.bench import check_threads, parse_numbers
from gan3d.cli.generate import check_batch
from gan3d.errors import UsageError

if TYPE_CHECKING:
    from gan3d.export import ExportedModel
    from gan3d.generation import TrainedRun

EXAMPLE = """\b
Examples:
  gan3d bench generate
  gan3d bench generate ecal25 ecal25-compact --batch 128
  gan3d bench generate RUN RUN/generator.onnx RUN/generator.tflite --batch 1,8
"""


@click.command(name="generate", epilog=EXAMPLE)
@click.argument("models", nargs=-1)
@click.option(
    "--batch", "batches", default="1,8,128,1024", show_default=True, help="Batch sizes, in turn."
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True,
    help="Measurements of each, in turn; medians are printed.",
)  # fmt: skip
@click.option(
    "--write", "written", type=click.IntRange(min=0), default=2000, show_default=True,
    help="Showers of trained models that are also written to a file; 0: none.",
)  # fmt: skip
@click.option(
    "--to", "layout", type=click.Choice(["lcd", "parquet"]), default="lcd", show_default=True,
    help="Layout of that file.",
)  # fmt: skip
@click.option(
    "--xla",
    is_flag=True,
    help="With node.xla elementwise; models of other runtimes take no notice.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Default: all cores of this process.")
def command(
    models: tuple[str, ...],
    batches: str,
    rounds: int,
    written: int,
    layout: str,
    xla: bool,
    threads: int | None,
) -> None:
    """Measure how long MODELS take for a shower, beside Geant4 and the published 3DGAN.

    MODELS are runs, models that `gan3d export` has written, or names of architectures, whose
    weights are then random: as fast as trained ones, but they light nearly all cells, so that the
    time for writing them is not measured. Default: ecal25 and ecal25-compact.
    """
    sizes = parse_numbers("--batch", batches, "batch sizes such as 1,8,128")
    from gan3d.bench.generate import Settings, measure_generation
    from gan3d.config import Node
    from gan3d.models import architecture_names
    from gan3d.runtime import apply_node, usable_cores

    named = models or ("ecal25", "ecal25-compact")
    for name in named:
        if name not in architecture_names() and not Path(name).exists():
            raise UsageError(
                f"{name}: neither a run, nor an exported model, nor an architecture "
                f"({', '.join(architecture_names())})"
            )
    check_threads(threads)
    cores = threads or usable_cores().physical
    words: Literal["elementwise", False] = "elementwise" if xla else False
    node = apply_node(Node(intra_op_threads=cores, inter_op_threads=1, xla=words))
    loaded = [(name, _load(name, cores)) for name in dict.fromkeys(named)]
    for _, model in loaded:
        check_batch(model, max(sizes))
    figures = measure_generation(
        loaded,
        cores,
        Settings(batches=sizes, rounds=rounds, written=written, layout=layout),
        lambda line: click.echo(line, err=True),
    )
    # Networks are TensorFlow's; models of other runtimes know of neither.
    applied = {"xla": words, "precision": node.precision}
    click.echo(json.dumps({**figures, **applied}, indent=2))


def _load(name: str, threads: int) -> TrainedRun | ExportedModel:
    from gan3d.bench.generate import untrained
    from gan3d.export import is_exported, load_exported
    from gan3d.generation import load_run
    from gan3d.models import architecture_names

    path = Path(name)
    if name in architecture_names() and not path.exists():
        return untrained(name)
    return load_exported(path, threads=threads) if is_exported(path) else load_run(path)

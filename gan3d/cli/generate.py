"""`gan3d generate`: showers from a trained run into a file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from gan3d.cli.console import make_console
from gan3d.cli.progress import ProgressDisplay
from gan3d.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gan3d.data import Showers
    from gan3d.export import ExportedModel
    from gan3d.generation import TrainedRun

EXAMPLE = """\b
Examples:
  gan3d generate runs/quickstart -n 10000 --energy 10:100 -o showers.h5
  gan3d generate runs/quickstart -n 500 --energy 50 --seed 7 -o 50GeV.h5
  gan3d generate generator.onnx -n 10000 --energy 10:100 -o showers.h5
"""


class EnergyRange(click.ParamType[Any]):
    """`LOW:HIGH` or one energy, in GeV."""

    name = "low:high"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Turn the text into (low, high); equal bounds are one energy."""
        low, colon, high = str(value).partition(":")
        try:
            return float(low), float(high if colon else low)
        except ValueError:
            self.fail(f"'{value}' is no energy or LOW:HIGH in GeV, such as 10:100", param, ctx)


class CheckpointChoice(click.ParamType[Any]):
    """`last`, `best` or the number of a step."""

    name = "last|best|step"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        """Turn a number into an int and leave the two words."""
        text = str(value)
        if text in ("last", "best"):
            return text
        if text.isdecimal():
            return int(text)
        return self.fail(f"'{text}' is neither last, best nor the number of a step", param, ctx)


@click.command(name="generate", epilog=EXAMPLE)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-n", "count", type=click.IntRange(min=1), required=True, help="Number of showers.")
@click.option("--energy", type=EnergyRange(), help="GeV; default: the range trained on.")
@click.option("-o", "output", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=128, show_default=True)
@click.option("--checkpoint", type=CheckpointChoice(), default="last", show_default=True)
def command(
    run: Path,
    count: int,
    energy: tuple[float, float] | None,
    output: Path,
    seed: int,
    batch_size: int,
    checkpoint: Literal["last", "best"] | int,
) -> None:
    """Generate showers with the trained network in the folder RUN.

    RUN may also be a model that `gan3d export` has written. From the same latents, which it has
    where they are its input, it gives the same showers as the run.

    Writes the LCD schema (ECAL and target, GeV), with the seed and the model's identity as
    attributes. The same seed gives the same showers in batches of any size.
    """
    if not output.parent.is_dir():
        raise UsageError(f"{output}: its folder does not exist; make it first")
    trained = _load(run, checkpoint)
    energy_n = trained.draw_energies(count, energy, seed)
    with ProgressDisplay(make_console()) as display:
        low, high = trained.energy_range_gev
        if energy_n.min() < low or energy_n.max() > high:
            display.say(f"note: the network was trained with {low:.4g} to {high:.4g} GeV only")
        write_generated(trained, energy_n, output, display, seed=seed, batch_size=batch_size)


def _load(path: Path, checkpoint: Literal["last", "best"] | int) -> TrainedRun | ExportedModel:
    from gan3d.config import Node
    from gan3d.export import is_exported, load_exported
    from gan3d.generation import find_checkpoint, load_run
    from gan3d.runtime import apply_node, usable_cores

    if not is_exported(path):
        find_checkpoint(path, checkpoint)
        apply_node(Node())
        return load_run(path, checkpoint)
    if checkpoint != "last":
        raise UsageError(f"{path}: an exported model has one checkpoint; leave --checkpoint out")
    if path.suffix != ".onnx":
        apply_node(Node())  # TensorFlow runs it
    return load_exported(path, threads=usable_cores().physical)


def write_generated(
    trained: TrainedRun | ExportedModel,
    energy_n: NDArray[np.float32],
    output: Path,
    display: ProgressDisplay,
    *,
    seed: int,
    batch_size: int = 128,
) -> None:
    """Write a shower for each incident energy (GeV) to `output`, and say how long it took."""
    from gan3d.data import write_showers

    display.begin("generating", len(energy_n), "showers")
    began = time.monotonic()

    def blocks() -> Iterator[Showers]:
        for block in trained.stream(energy_n, seed=seed, batch_size=batch_size):
            display.advance(len(block))
            yield block

    write_showers(output, blocks(), attributes=trained.attributes(seed))
    milliseconds = 1000 * (time.monotonic() - began) / len(energy_n)
    display.say(
        f"{output}: {len(energy_n)} showers by {trained.identity}, seed {seed}, "
        f"{milliseconds:.1f} ms each with the writing"
    )

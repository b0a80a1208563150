"""`gan3d export`: the generator of a run for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from gan3d.cli.console import make_console
from gan3d.cli.generate import CheckpointChoice
from gan3d.errors import UsageError
from gan3d.export.targets import FORMATS, SUFFIXES, Format

EXAMPLE = """\b
Examples:
  gan3d export runs/quickstart --format onnx
  gan3d export runs/quickstart --format tflite --latent inside -o ecal.tflite
  gan3d export runs/quickstart --format onnx --int8
"""


@click.command(name="export", epilog=EXAMPLE)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(FORMATS), required=True)
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path),
    help="File, or folder of a SavedModel, to write. Default: RUN/generator.onnx, .tflite or "
    ".savedmodel.",
)
@click.option("--checkpoint", type=CheckpointChoice(), default="last", show_default=True)
@click.option(
    "--latent",
    type=click.Choice(["input", "inside"]),
    default="input",
    show_default=True,
    help="Latents as an input, or drawn inside from an input `seed`.",
)
@click.option(
    "--int8", is_flag=True, help="Layers in 8 bits (onnx), and what that costs in physics."
)
@click.option(
    "--reference",
    metavar="GLOB",
    multiple=True,
    help="With --int8: Monte Carlo to calibrate with and to judge by. Default: the run's held-out "
    "showers.",
)
@click.option(
    "--calibration",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="With --int8: showers to calibrate with.",
)
@click.option(
    "--float-layers",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="With --int8: how many of the last layers stay in float32; they make the cell energies.",
)
@click.pass_context
def command(
    context: click.Context,
    run: Path,
    kind: Format,
    output: Path | None,
    checkpoint: Literal["last", "best"] | int,
    latent: Literal["input", "inside"],
    int8: bool,
    reference: tuple[str, ...],
    calibration: int,
    float_layers: int,
) -> None:
    """Write the generator of RUN for another runtime.

    The model maps `latent` (N, draws), standard normal, and `energy` (N, 1) in GeV to `cells`
    (N, x, y, layer) in GeV, as `gan3d generate` writes them; of several images
    of a shower (N, cells, 1, 1), one after the other. With --latent inside, `seed` (N, 2),
    two integers that name a shower, takes the place of `latent`. Geometry, units, the energies and
    files it was trained with and its version are inside the file.

    `gan3d generate MODEL -n 1000 -o showers.h5` generates with it.
    """
    from gan3d.export import check_path, check_target

    if int8 and kind != "onnx":
        raise UsageError(f"--int8 is for --format onnx: {_NO_INT8[kind]}")
    given = [name for name in _FOR_INT8 if _is_given(context, name)]
    if given and not int8:
        raise UsageError(f"--{given[0].replace('_', '-')} is for --int8")
    from gan3d.config import load_experiment
    from gan3d.data import refuse_several
    from gan3d.generation import find_checkpoint

    find_checkpoint(run, checkpoint)
    if int8:
        refuse_several(load_experiment(run / "config.yaml").data, run, "--int8")
    suffix = SUFFIXES[kind] or ".savedmodel"
    path = output or run / f"generator{'-int8' if int8 else ''}{suffix}"
    check_target(kind)
    check_path(path, kind)
    from gan3d.config import Node
    from gan3d.export import export_run
    from gan3d.generation import load_run
    from gan3d.runtime import apply_node, quietly

    if int8:
        from gan3d.cli.export_int8 import export_int8

        export_int8(
            run,
            path,
            checkpoint=checkpoint,
            latent=latent,
            reference=reference,
            calibration=calibration,
            float_layers=float_layers,
        )
        return
    apply_node(Node())
    trained = load_run(run, checkpoint)
    with quietly():
        agreement = export_run(trained, path, kind, latent)
    make_console().print(
        f"{path}: {trained.identity}, {size_of(path) / 1e6:.2f} MB; energies of "
        f"{agreement.showers} showers by {agreement.runtime} agree with the run's own to "
        f"{agreement.energy:.1g}, cells to {agreement.cells:.1g} of the largest",
        markup=False,
        soft_wrap=True,
    )


_FOR_INT8 = ("reference", "calibration", "float_layers")

_NO_INT8 = {
    "tflite": "TensorFlow Lite's CONV_3D computes in float32 alone",
    "savedmodel": "a SavedModel computes in float32",
}


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT

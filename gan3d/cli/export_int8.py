"""`gan3d export --int8`: a quantised model, with what it loses against the one in float32."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gan3d.cli.console import make_console
from gan3d.cli.reference import NotedLabels, naming, reference_blocks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gan3d.data import Showers
    from gan3d.export import ExportedModel
    from gan3d.validation import Judgement

BATCH = 128


@dataclass
class _Timed:
    """A model that generates, and what its batches took."""

    model: ExportedModel
    seconds: list[float] = field(default_factory=list)
    """Per shower, of each batch."""

    def generate(
        self,
        energy_n: NDArray[np.float32],
        columns: dict[str, NDArray[Any]],
        seed: int,
        first: int,
    ) -> Showers:
        from gan3d.data import Showers

        noise = self.model.draw_noise(seed, first, len(energy_n))
        began = time.perf_counter()
        images_nxyz = self.model.run(noise, energy_n, columns)
        self.seconds.append((time.perf_counter() - began) / len(energy_n))
        return Showers(images_nxyz, energy_n, columns)


def export_int8(
    folder: Path,
    path: Path,
    *,
    checkpoint: Literal["last", "best"] | int,
    latent: Literal["input", "inside"],
    reference: Sequence[str],
    calibration: int,
    float_layers: int,
) -> None:
    """Write the quantised model of a run to `path` and print what it loses.

    Both models, in float32 and quantised, generate the incident energies of the reference from the
    same latents, and are judged against it as `gan3d validate` does.
    """
    import numpy as np

    from gan3d.config import Node, load_experiment
    from gan3d.data import temporary_folder
    from gan3d.export import export_run, load_exported
    from gan3d.generation import load_run
    from gan3d.runtime import apply_node, quietly, usable_cores
    from gan3d.validation import judge, summarise

    own = load_experiment(folder / "config.yaml")
    noted = NotedLabels(own.model.labels)
    blocks, source = reference_blocks(own.data, reference, own.model.labels)
    geometry, settings = own.data.model_geometry, own.validation
    with naming({"Reference": source}):
        theirs = summarise(noted.passing(blocks), geometry, settings)
    energies = theirs.observables.energy_n.astype(np.float32)
    if calibration > len(energies):
        click.echo(f"note: calibrated with the {len(energies)} showers that there are", err=True)
        calibration = len(energies)
    apply_node(Node())
    from gan3d.export.quantisation import quantise, write_quantised

    trained = load_run(folder, checkpoint)
    with temporary_folder("gan3d-int8-") as temporary:
        plain, rounded = temporary / "float32.onnx", temporary / "int8.onnx"
        with quietly():
            export_run(trained, plain, "onnx", latent)
        threads = usable_cores().physical
        single = load_exported(plain, threads=threads)
        # Another seed than the comparison's: what it is judged by, it is not calibrated with.
        rows = np.arange(len(energies))
        chosen = np.random.default_rng(settings.seed).permutation(rows)[:calibration]
        batches = (
            single.inputs(
                single.draw_noise(settings.seed + 1, first, len(part)),
                energies[part],
                noted.columns(part),
            )
            for first, part in _parts(chosen, 8)
        )
        layers = quantise(plain, rounded, batches, float_layers)
        models = [_Timed(single), _Timed(load_exported(rounded, threads=threads))]
        count = settings.showers or len(energies)
        click.echo(f"generating {count} showers with each", err=True)
        showers: list[list[Showers]] = [[], []]
        # Batches in turn, so that what else the machine does slows both.
        for first, part in _parts(np.resize(rows, count), BATCH):
            columns = noted.columns(part)
            for timed, made in zip(models, showers, strict=True):
                made.append(timed.generate(energies[part], columns, settings.seed, first))
        judgements = []
        for words, made in zip(("float32", "int8"), showers, strict=True):
            with naming({"Generated": f"{path}, in {words}", "Reference": source}):
                judgements.append(judge(made, theirs, geometry, settings))
        metadata = single.metadata.model_copy(
            update={
                "int8": {
                    "layers": layers,
                    "calibration": f"{calibration} incident energies of {source}",
                    "reference": source,
                    "showers": count,
                    "batch": BATCH,
                    "threads": threads,
                    **_loss(judgements, models, (plain, rounded)),
                }
            }
        )
        sizes = [file.stat().st_size for file in (plain, rounded)]
        write_quantised(rounded, metadata, path)
    console = make_console()
    _show(judgements, models, sizes, console)
    console.print(
        f"{path}: {trained.identity}, {len(layers)} layers in int8; this table is in its metadata",
        markup=False,
        soft_wrap=True,
    )


def _parts(rows_n: NDArray[np.int64], size: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    for first in range(0, len(rows_n), size):
        yield first, rows_n[first : first + size]


def _loss(
    judgements: Sequence[Judgement], models: Sequence[_Timed], files: Sequence[Path]
) -> dict[str, Any]:
    plain, rounded = judgements
    return {
        "size_bytes": {"float32": files[0].stat().st_size, "int8": files[1].stat().st_size},
        "ms_per_shower": {
            name: round(1e3 * median(timed.seconds), 4)
            for name, timed in zip(("float32", "int8"), models, strict=True)
        },
        "metrics": {
            verdict.name: {
                "float32": plain.metrics[verdict.name],
                "int8": rounded.metrics[verdict.name],
                "perfect": verdict.estimate.noise,
            }
            for verdict in plain.verdicts
            if verdict.name in rounded.metrics
        },
    }


def _show(
    judgements: Sequence[Judgement],
    models: Sequence[_Timed],
    sizes: Sequence[int],
    console: Console,
) -> None:
    from gan3d.validation.report import show

    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, caption_justify="left")
    table.add_column("metric", overflow="fold")
    for column in ("float32", "int8", "perfect"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_row("size, MB", *(f"{size / 1e6:.2f}" for size in sizes))
    table.add_row("ms per shower", *(f"{1e3 * median(timed.seconds):.2f}" for timed in models))
    table.add_section()
    plain, rounded = ({each.name: each for each in found.verdicts} for found in judgements)
    for name, verdict in plain.items():
        if name not in rounded:
            continue
        kind = verdict.metric.kind
        values = [show(kind, each.estimate.value) for each in (verdict, rounded[name])]
        table.add_row(name, *values, show(kind, verdict.estimate.noise))
    table.caption = (
        "Both against the reference, with its incident energies, from the same latents; perfect: "
        "what a perfect generator has on average in samples of these sizes."
    )
    console.print(table)

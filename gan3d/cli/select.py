"""`gan3d validate RUN --select`: every checkpoint of a run against Monte Carlo, the best noted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gan3d.cli.console import make_console
from gan3d.cli.reference import NotedLabels, naming, reference_blocks
from gan3d.errors import UsageError

if TYPE_CHECKING:
    from gan3d.config import Experiment
    from gan3d.data import Showers
    from gan3d.generation import Checkpoint
    from gan3d.validation import Selection

FOLDER = "selection"

# Metrics in the table beside the one that checkpoints are chosen by, with their column's head.
_COLUMNS = {
    "sampling_fraction.rel_error": "ECAL/Ep",
    "profile.longitudinal.rel_error": "layers",
    "moments.rel_error": "moments",
    "hits.separation": "hits",
}


def select(
    generated: Sequence[str],
    reference: Sequence[str],
    *,
    folder: Path | None,
    experiment: Experiment | None,
    showers: int | None,
    as_json: bool,
) -> None:
    """Judge all checkpoints of the one run in `generated`, write its `selection`, note the best.

    `experiment` has the settings to use (None: the run's own), `showers` is how many each
    checkpoint generates (None: as `validation.showers` says).
    """
    if len(generated) != 1 or not Path(generated[0]).is_dir():
        raise UsageError(f"{', '.join(generated)}: --select is for the folder of one run")
    if folder is not None:
        raise UsageError(f"--select writes into RUN/{FOLDER}; leave --out out")
    import numpy as np

    from gan3d.config import Node, load_experiment
    from gan3d.data import check_folder
    from gan3d.generation import find_checkpoint, find_checkpoints, stream_checkpoints
    from gan3d.runtime import apply_node
    from gan3d.training.records import BEST, read_history, read_status, write_json
    from gan3d.validation import observe_images, select_checkpoint, write_selection
    from gan3d.validation.selection import METRIC, usable_bins

    path = Path(generated[0])
    find_checkpoint(path)
    checkpoints = find_checkpoints(path)
    check_folder(path / FOLDER)
    history = read_history(path)
    own = load_experiment(path / "config.yaml")
    settings = (experiment or own).validation
    if read_status(path) == "training":
        click.echo(
            f"note: {path}: training, or killed; if it still runs, it will note its own best again",
            err=True,
        )
    geometries = own.data.geometries
    noted = NotedLabels(own.model.labels)
    blocks, source = reference_blocks(own.data, reference, own.model.labels)
    with naming({"Reference": source}):
        theirs = observe_images(
            noted.passing(blocks), geometries, settings, label="reference showers"
        )
    energy_n = next(iter(theirs.values())).energy_n
    count = showers or settings.showers or len(energy_n)
    usable_bins(energy_n, count, settings)
    apply_node(Node())
    rows = np.resize(np.arange(len(energy_n)), count)
    made = stream_checkpoints(path, energy_n[rows], seed=settings.seed, columns=noted.columns(rows))
    streams = _announced(made, len(checkpoints), count)
    selection = select_checkpoint(streams, theirs, geometries, settings)
    facts = {"run": str(path), "architecture": own.model.architecture, "reference": source}
    written = write_selection(selection, path / FOLDER, facts=facts, history=history)
    best = selection.best
    # The keys that training writes; whole epochs, as in the history.
    best_noted = {"epoch": int(best.epoch), "step": best.step, f"validation.{METRIC}": best.metric}
    write_json(path / BEST, best_noted)
    if as_json:
        click.echo(json.dumps(selection.as_dict(), indent=1))
    else:
        show_selection(selection, path, written, make_console(), list(geometries))


def _announced(
    streams: Iterable[tuple[Checkpoint, Iterator[Showers]]], total: int, showers: int
) -> Iterator[tuple[Checkpoint, Iterator[Showers]]]:
    """Say what is being generated; on standard error, as it may take hours."""
    for number, (checkpoint, blocks) in enumerate(streams, start=1):
        click.echo(
            f"generating {showers} showers with {checkpoint.path.name} ({number} of {total})",
            err=True,
        )
        yield checkpoint, blocks


def show_selection(
    selection: Selection, path: Path, written: Path, console: Console, images: Sequence[str]
) -> None:
    """Print the table of checkpoints, which one is the best, and what has been written."""
    from gan3d.validation.selection import METRIC

    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 2), pad_edge=False, caption_justify="left")
    for column in ("epoch", "step", "metric", "above best", *_COLUMNS.values()):
        table.add_column(column, justify="right", no_wrap=True)
    for each in selection.candidates:
        values = [each.metrics[name] for name in _COLUMNS]
        best = each is selection.best
        above = (
            "best" if best else f"{_percent(each.above_best)} ± {_percent(each.above_best_error)}"
        )
        table.add_row(
            f"{each.epoch:.4g}",
            str(each.step),
            _percent(each.metric),
            above,
            *map(_percent, values),
            style="bold" if best else None if each.as_good else "dim",
        )
    noise = [selection.noise[METRIC], *(selection.noise[name] for name in _COLUMNS)]
    table.add_section()
    table.add_row("noise", "", _percent(noise[0]), "", *map(_percent, noise[1:]))
    table.caption = (
        "All in %, 0 is perfect. metric: the optimisation metric. ±: one standard error of the "
        "difference. noise: of a perfect generator, drawn from the reference."
    )
    if len(images) > 1:
        table.caption += (
            f" Of several images: metric is the mean over {' and '.join(images)}, the columns "
            f"after it are of {images[0]}; selection.json has all."
        )
    console.print(table)
    for line in conclusions(selection):
        console.print(line, markup=False, soft_wrap=True)
    console.print(
        f"written: {written}, the curve beside it, and {path / 'best.json'}; generate with\n"
        f"  gan3d generate {path} --checkpoint best ...",
        markup=False,
        soft_wrap=True,
    )


def conclusions(selection: Selection) -> list[str]:
    """What the table says: the best, and whether others are as good within chance."""
    best, limit = selection.best, selection.settings.alike_within_errors
    lines = [f"best: epoch {best.epoch:.4g}, step {best.step}"]
    if len(selection.candidates) == 1:
        return [
            *lines,
            "note: this is the only checkpoint that was kept, so there was nothing to choose; "
            "run.keep_checkpoints=null keeps all",
        ]
    alike = [each for each in selection.candidates if each.as_good and each is not best]
    if alike:
        epochs = ", ".join(f"{each.epoch:.4g}" for each in alike)
        lines.append(f"as good within {limit:g} standard errors: epoch {epochs}")
    else:
        lines.append(f"all others are worse by more than {limit:g} standard errors")
    return lines


def _percent(value: float) -> str:
    return f"{100.0 * value:.2f}"

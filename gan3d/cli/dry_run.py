"""`gan3d train --dry-run`: what would run, after everything that can be checked has been."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from gan3d.cli.console import make_console
from gan3d.config import Experiment

if TYPE_CHECKING:
    from gan3d.training.schedule import LearningRateSchedule
    from gan3d.training.session import Found

_WIDTH, _HEIGHT = 60, 11
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def dry_run(experiment: Experiment, folder: Path, *, ranks: int, resume: bool) -> None:
    """Check the experiment, its data and this node as `gan3d train` does, and print what would run.

    Nothing is written and TensorFlow is not loaded. Raises the errors that training would raise.
    """
    from gan3d.models import check_architecture
    from gan3d.runtime import choose_threads, horovod_environment, launched, usable_cores
    from gan3d.training.schedule import LearningRateSchedule
    from gan3d.training.session import find

    check_architecture(experiment.model.architecture)
    cores = usable_cores(launched().local_size)
    threads = choose_threads(experiment.node, cores)
    found = find(experiment, folder, ranks, resume=resume)
    schedule = LearningRateSchedule.of(experiment, ranks)

    console = make_console()
    for skipped in found.files.skipped:
        console.print(f"skipped: {skipped.reason}", markup=False, highlight=False, soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "run": f"{folder} ({'to be resumed' if resume else 'new'})",
        "architecture": experiment.model.architecture,
        **_data(experiment, found, ranks),
        "node": (
            f"{experiment.node.name}: {threads.intra_op} + {threads.inter_op} threads (intra + "
            f"inter) of the {cores.logical} that a rank started like this process has"
        ),
        "horovod": _horovod(experiment, horovod_environment(experiment.horovod)),
        "learning rate": _rate(experiment, schedule),
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    console.print(table)
    console.print()
    for line in draw_curve(schedule, experiment.training.epochs):
        console.print(line, markup=False, highlight=False)
    if experiment.training.decay.kind == "plateau":
        console.print("When a plateau lowers the rate depends on the run: it is drawn without.")
    console.print("Dry run: nothing was started or written.")


def _data(experiment: Experiment, found: Found, ranks: int) -> dict[str, str]:
    from gan3d.data import divide
    from gan3d.training.session import rank_batch

    division = divide(found.files, experiment.data.split)
    train, heldout = len(division.train), len(division.validation)
    passes = experiment.horovod.backward_passes_per_step
    together = ranks * rank_batch(experiment)
    steps, left = divmod(train, together)
    files = len(found.files.files)
    each = f"{experiment.training.batch_size}" + (
        f" x {passes} backward passes" if passes > 1 else ""
    )
    return {
        "showers": f"{train} to train on from {files} file{'s' if files > 1 else ''}, "
        f"{heldout} held out",
        "ranks": f"{ranks}, each with batches of {each}: {together} showers a step",
        "epochs": f"{experiment.training.epochs} of {steps} steps"
        + (f"; {left} showers sit each one out, others every time" if left else ""),
    }


def _horovod(experiment: Experiment, environment: dict[str, str]) -> str:
    horovod = experiment.horovod
    said = [f"op {horovod.op}", f"compression {horovod.compression}"]
    return ", ".join([*said, *(f"{name}={value}" for name, value in environment.items())])


def _rate(experiment: Experiment, schedule: LearningRateSchedule) -> str:
    training = experiment.training
    text = f"{schedule.base:g}"
    if schedule.scale != 1.0:
        text += f" x {schedule.scale:.4g} ({training.learning_rate_scaling}) = {schedule.peak:.4g}"
        if training.warmup_epochs:
            text += f" after {training.warmup_epochs:g} epochs of warm-up"
    return f"{text}, then {training.decay.kind}"


def draw_curve(rate: Callable[[float], float], epochs: int) -> Sequence[str]:
    """Lines of a chart of `rate` over `epochs`: a column of blocks for every sixtieth."""
    values = [rate((column + 0.5) / _WIDTH * epochs) for column in range(_WIDTH)]
    top = max(rate(column / _WIDTH * epochs) for column in range(_WIDTH + 1))
    filled = [round(value / top * _HEIGHT * 8) for value in values]
    lines = []
    for row in reversed(range(_HEIGHT)):
        label = f"{top * (row + 1) / _HEIGHT:.3g}" if row in (_HEIGHT - 1, _HEIGHT // 2) else ""
        blocks = "".join(_EIGHTHS[min(max(count - 8 * row, 0), 8)] for count in filled)
        lines.append(f"{label:>9} ┤{blocks}".rstrip())
    lines.append(f"{'0':>9} └{'─' * _WIDTH}")
    lines.append(f"{'epoch':>9}  0{epochs / 2:>{_WIDTH // 2}g}{epochs:>{_WIDTH // 2 - 1}}")
    return lines

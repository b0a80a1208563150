"""Progress of training and generation: bars on a terminal, plain lines elsewhere, rank 0 alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from gan3d.training.records import GENERATED_EMPTY

# Without a terminal a line appears at most this often (s): enough to see that it lives.
_LINE_EVERY = 15.0


class ProgressDisplay:
    """One bar, or a line now and then. Use as a context manager."""

    def __init__(self, console: Console, *, shown: bool = True) -> None:
        """Show on `console`; nothing at all unless `shown` (ranks other than 0)."""
        self.console = console
        self.shown = shown
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._done = 0
        self._what = ""
        self._unit = ""
        self._last_line = time.monotonic()
        if shown and console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(compact=True),
                console=console,
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, what: str, total: int, unit: str) -> None:
        """Start counting `total` `unit`s of `what`."""
        self._what, self._total, self._unit, self._done = what, total, unit, 0
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(what, total=total, note=unit)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count on; `note` is shown beside the count."""
        self._done += count
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=count, note=note or self._unit)
        elif self.shown and time.monotonic() - self._last_line >= _LINE_EVERY:
            self.say(f"{self._what}: {self._done}/{self._total} {self._unit}  {note}".rstrip())

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self.shown:
            self._last_line = time.monotonic()
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)


class TrainingProgress:
    """Shows training as a bar for the epoch under way and a table with a row for each done.

    Its last columns say where the time went, in the mean over ranks: waiting for data, computing,
    all-reducing gradients, waiting for slower ranks.
    """

    def __init__(
        self,
        display: ProgressDisplay,
        heard: Callable[[Mapping[str, Any]], None] = lambda record: None,
    ) -> None:
        """Show on `display`; `heard` is told every epoch's record, too."""
        self._display = display
        self._heard = heard
        self._epochs = 0
        self._steps = 0

    def started(
        self, *, first_epoch: int, first_step: int, epochs: int, steps_per_epoch: int, ranks: int
    ) -> None:
        """Say what begins."""
        self._epochs, self._steps = epochs, steps_per_epoch
        if first_epoch >= epochs:
            self._display.say(f"nothing to do: all {epochs} epochs are done")
            return
        goes_on = first_epoch or first_step
        where = f" from epoch {first_epoch + 1}, step {first_step + 1}" if goes_on else ""
        self._display.say(
            f"training{where}: {epochs} epochs of {steps_per_epoch} steps, "
            f"{ranks} rank{'s' if ranks > 1 else ''}"
        )
        self._display.say(self._header())
        self._begin(first_epoch)
        self._display.advance(first_step)

    def step_done(self, *, epoch: int, step: int, losses: Mapping[str, float]) -> None:
        """Move the bar."""
        self._display.advance(1, _losses(losses))

    def epoch_done(self, record: Mapping[str, Any]) -> None:
        """Print the epoch's row of the table."""
        epoch = record["epoch"]
        self._heard(record)
        self._display.say(self._row(record))
        if record.get("empty_steps"):
            self._display.say(
                f"empty: in {record['empty_steps']} of {record['steps']} steps all generated "
                "showers were without energy (a lower rate makes that rarer)"
            )
        if record.get(GENERATED_EMPTY):
            self._display.say(
                "empty: all showers that were generated to be judged; a lower rate may help"
            )
        for slow in record["stragglers"]:
            self._display.say(
                f"slow: rank {slow['rank']} on {slow['host']} takes {slow['factor']:.2f} times "
                "as long as the median rank"
            )
        for reason in record.get("newly_skipped", ()):
            self._display.say(f"skipped: {reason}")
        if record.get("skipped_files"):
            count = record["skipped_files"]
            self._display.say(
                f"going on without {count} bad file{'s' if count > 1 else ''}; "
                f"{record['lost_showers']} showers of this epoch were lost, "
                f"{record['untrained_showers']} not trained on"
            )
        if epoch < self._epochs:
            self._begin(epoch)

    def _row(self, record: Mapping[str, Any]) -> str:
        metric = record.get("validation.optimisation_metric")
        parts = [record[f"{name}_seconds"] for name in _TIMES]
        whole = sum(parts) or 1.0
        return (
            f"epoch {record['epoch']:>{len(str(self._epochs))}}/{self._epochs}"
            f"{record['showers_per_second']:10.1f} {_short(_discriminator(record))}"
            f" {_short(record['generator.loss'])}{'-' if metric is None else f'{metric:.3f}':>8}"
            f"{record['learning_rate']:10.2g}  "
            + "".join(f"{100 * part / whole:4.0f}%" for part in parts)
        )

    def _header(self) -> str:
        epochs = " " * (7 + 2 * len(str(self._epochs)))
        return (
            f"{epochs}{'showers/s':>10}{'D loss':>9}{'G loss':>9}{'physics':>8}{'rate':>10}  "
            + "".join(f"{name:>5}" for name in _TIMES.values())
        )

    def _begin(self, epoch: int) -> None:
        self._display.begin(f"epoch {epoch + 1}/{self._epochs}", self._steps, "steps")


# Where the time of an epoch goes, by the history's names: shares of their sum.
_TIMES = {"data_wait": "data", "compute": "comp", "all_reduce": "redu", "rank_wait": "wait"}


def _discriminator(losses: Mapping[str, float]) -> float:
    return (losses["discriminator.real.loss"] + losses["discriminator.fake.loss"]) / 2


def _short(loss: float) -> str:
    """In eight characters, whatever it is."""
    return f"{loss:8.2f}" if abs(loss) < 9999.995 else f"{loss:8.2g}"


def _losses(losses: Mapping[str, float]) -> str:
    return f"D {_discriminator(losses):6.2f}  G {losses['generator.loss']:6.2f}"

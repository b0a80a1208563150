"""A run from its experiment to its end, on one rank: what is looked for first, then training.

Importing this module loads no TensorFlow: what can be checked without it is checked before.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan3d.config import Experiment
from gan3d.data import (
    ShowerLoader,
    Showers,
    Survey,
    check_unchanged,
    count_steps,
    divide,
    leave_out,
    read_part,
    survey_files,
)
from gan3d.errors import TrainingError
from gan3d.runtime import Signals, Watchdog, describe_environment, share_text
from gan3d.training.records import (
    check_resumable,
    check_run_folder,
    read_response,
    read_survey,
    write_status,
)
from gan3d.training.response import Response, measure_response

if TYPE_CHECKING:
    from gan3d.runtime import Communicator
    from gan3d.training.trainer import Examine, Listener, Trainer

# Rank 0 writes the last checkpoint; were another rank to end first, the launcher would end rank 0.
_GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class Found:
    """What rank 0 finds before training."""

    files: Survey
    response: Response
    heldout: Showers | None


def find(experiment: Experiment, folder: Path, ranks: int, *, resume: bool) -> Found:
    """Look at the run's folder, at its shower files and at showers of each.

    Files that turn out to be bad end this, or are left out where that is asked for.
    """
    check_run_folder(folder, resume=resume)
    if resume:
        check_resumable(folder, experiment)
    data, showers = experiment.data, experiment.validation.epoch_showers
    skip = data.on_bad_file == "skip"
    files = read_survey(folder) if resume else survey_files(data)
    response = read_response(folder) if resume else None
    if resume:
        check_unchanged(files, data)
    while True:
        bad: dict[Path, str] = {}
        division = divide(files, data.split)
        count_steps(division.train, batch_size=rank_batch(experiment), size=ranks)
        if not resume:
            response = measure_response(division.train, experiment, bad if skip else None)
        heldout = None
        if showers:
            heldout = read_part(division.validation, data, limit=showers, bad=bad if skip else None)
        if response is not None and (resume or not bad):
            # A run that goes on keeps its list of files, by which its position counts; held-out
            # files are not counted by it.
            if bad and files.validation_files is not None:
                files = leave_out(files, bad)
            return Found(files, response, heldout)
        files = leave_out(files, bad)


def rank_batch(experiment: Experiment) -> int:
    """Showers of a step on one rank, in all its backward passes."""
    return experiment.training.batch_size * experiment.horovod.backward_passes_per_step


class Session:
    """One rank's part in a run, while ranks come and go: the work of `gan3d.runtime.run_ranks`."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        found: Found | None,
        *,
        resume: bool,
        signals: Signals,
        begin: Callable[[Session], tuple[Listener, Examine | None]],
    ) -> None:
        """`found` is what rank 0 has found, None on others.

        `begin` is called whenever training begins or goes on, and gives who is to be told of it and
        who compares showers.
        """
        self.experiment = experiment
        self.folder = folder
        self.found = found
        self.communicator: Communicator | None = None
        self._resume = resume
        self._signals = signals
        self._begin = begin
        self._trainer: Trainer | None = None
        self._watchdog = Watchdog(experiment.run.watchdog_seconds, self._rescue)

    @property
    def trainer(self) -> Trainer:
        """The trainer, from the first `join` on."""
        assert self._trainer is not None
        return self._trainer

    def __enter__(self) -> Session:
        self._watchdog.__enter__()
        return self

    def __exit__(self, *what: Any) -> None:
        self._watchdog.__exit__(*what)
        if self._trainer is not None:
            self._trainer.loader.close()

    def join(self, communicator: Communicator) -> None:
        """Take on rank 0's state; build the networks when it is the first time."""
        self.communicator = communicator
        self._watchdog.progress()
        first = communicator.rank == 0
        if first and self.found is None and self._trainer is None:
            # An elastic run whose first rank was lost before it could say what it had found.
            self.found = find(self.experiment, self.folder, communicator.size, resume=self._resume)
        files, response = self._share(communicator)
        begins = self._trainer is None
        if begins:
            self._trainer = self._build(communicator, files, response)
            if first and self._resume:
                self._trainer.load()
        self.trainer.join(communicator)
        if first:
            environment = describe_environment(communicator)
            self.trainer.describe(environment, resumed=self._resume or not begins)
            write_status(self.folder, "training")

    def work(self) -> None:
        """Train to the end."""
        listener, examine = self._begin(self)
        self.trainer.train(listener, examine, self._signals)

    def restore(self) -> None:
        """Go back to the last commit."""
        if self._trainer is not None:
            self._trainer.restore()

    def _build(self, communicator: Communicator, files: Survey, response: Response) -> Trainer:
        # Only now: this imports Keras and TensorFlow.
        from gan3d.training.trainer import Trainer

        experiment = self.experiment
        loader = ShowerLoader(
            divide(files, experiment.data.split).train,
            experiment.data,
            batch_size=rank_batch(experiment),
            rank=communicator.rank,
            size=communicator.size,
            seed=experiment.run.seed,
            last_epoch=experiment.training.epochs - 1,
        )
        heldout = self.found.heldout if self.found else None
        trainer = Trainer(experiment, self.folder, files, loader, heldout, communicator, response)
        trainer.progress = self._watchdog.progress
        return trainer

    def _share(self, communicator: Communicator) -> tuple[Survey, Response]:
        """Give all ranks what rank 0 has found, or has been training with."""
        mine: list[Mapping[str, Any]] = []
        if self._trainer is not None:
            mine = [self._trainer.files.as_dict(), self._trainer.response.as_dict()]
        elif self.found is not None:
            mine = [self.found.files.as_dict(), self.found.response.as_dict()]
        files, response = json.loads(share_text(communicator, json.dumps(mine)))
        return Survey.from_dict(files), Response.from_dict(response)

    def _rescue(self, idle: float) -> None:
        """Save what rank 0 holds, in the watchdog's thread."""
        if self.communicator is not None and self.communicator.rank > 0:
            time.sleep(_GRACE_SECONDS)
            return
        said = f"no step has ended for {idle:.0f} s (run.watchdog_seconds)"
        if self._trainer is not None:
            try:
                checkpoint = self._trainer.save_commit()
            except TrainingError as error:
                said += f"; the state could not be saved: {error}"
            else:
                said += f"; {checkpoint} written, go on with --resume"
            write_status(self.folder, "requeue", said)
        # Nothing else can print: the main thread hangs.
        sys.stderr.write(f"gan3d: error: {said}\n")
        sys.stderr.flush()

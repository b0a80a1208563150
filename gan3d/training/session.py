"""A run from its experiment to its end, on one rank: what is looked for first, then training.

Importing this module loads no TensorFlow: what can be checked without it is checked before.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
import threading
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
from gan3d.models import architecture_of, told_labels
from gan3d.models.weights import has_checkpoint
from gan3d.runtime import Signals, Watchdog, describe_environment, memory_bytes, share_text
from gan3d.training.checks import check_angle_bins, check_heldout
from gan3d.training.records import (
    check_resumable,
    check_run_folder,
    check_sums,
    holds_run,
    read_message,
    read_response,
    read_status,
    read_survey,
    write_status,
)
from gan3d.training.response import Response, measure_response
from gan3d.training.transfer import Start, find_start

if TYPE_CHECKING:
    from gan3d.runtime import Communicator
    from gan3d.training.judging import Examine
    from gan3d.training.trainer import Listener, Trainer

# Rank 0 writes the last checkpoint; were another rank to end first, the launcher would end rank 0.
_GRACE_SECONDS = 30.0

# When a rank is lost or a signal comes, launchers leave others a few seconds (horovodrun: 5). What
# a rank has in memory is written within them, by another rank if rank 0 does not.
_TURN_SECONDS = 1.5
_WRITERS_ON_A_NODE = 2

# How often the thread that waits for signals looks whether it is still needed (s).
_LOOK_EVERY = 0.25


@dataclass(frozen=True)
class Found:
    """What rank 0 finds before training."""

    files: Survey
    response: Response
    heldout: Showers | None
    start: Start | None = None
    """The weights of another run to begin with, where there are some."""


def find(experiment: Experiment, folder: Path, ranks: int, *, resume: bool) -> Found:
    """Look at the run's folder, at its shower files and at showers of each.

    Files that turn out to be bad end this, or are left out where that is asked for.
    """
    check_run_folder(folder, resume=resume)
    if resume:
        check_resumable(folder, experiment)
    # A run that goes on has weights of its own; one that has none yet begins anew.
    start = None if resume and has_checkpoint(folder) else find_start(experiment)
    data, showers = experiment.data, experiment.validation.epoch_showers
    check_heldout(data, experiment.validation, memory_bytes())
    labels = told_labels(architecture_of(experiment), experiment.model)
    skip = data.on_bad_file == "skip"
    files = read_survey(folder) if resume else survey_files(data, labels)
    response = read_response(folder) if resume else None
    if resume and response is not None:
        check_sums(folder, response, experiment)
        check_unchanged(files, data, labels)
    while True:
        bad: dict[Path, str] = {}
        division = divide(files, data.split)
        count_steps(division.train, batch_size=rank_batch(experiment), size=ranks)
        check_angle_bins(experiment.validation, division.validation, data)
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
            return Found(files, response, heldout, start)
        files = leave_out(files, bad)


def forget_networks() -> None:
    """Free what an earlier run in this process has left in Keras and TensorFlow.

    The next one then draws and names everything as in a fresh process.
    """
    import keras

    keras.utils.clear_session()
    gc.collect()


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
        self._ended = threading.Event()
        self._word = threading.Lock()
        self._told_at: float | None = None
        self._lost = False
        self._stand_in = threading.Thread(target=self._stand_by, name="gan3d-stand-in", daemon=True)

    @property
    def trainer(self) -> Trainer:
        """The trainer, from the first `join` on."""
        assert self._trainer is not None
        return self._trainer

    def __enter__(self) -> Session:
        self._watchdog.__enter__()
        self._stand_in.start()
        return self

    def __exit__(self, *what: Any) -> None:
        self._watchdog.__exit__(*what)
        self._ended.set()
        self._stand_in.join()
        if self._trainer is not None:
            self._trainer.loader.close()

    def join(self, communicator: Communicator) -> None:
        """Take on rank 0's state; build the networks when it is the first time."""
        self.communicator = communicator
        self._watchdog.progress()
        if self._trainer is not None and read_status(self.folder) == "failed":
            # In an elastic run Horovod takes a rank that has failed for one that was lost.
            raise TrainingError(f"another rank has failed: {read_message(self.folder)}")
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
            environment = describe_environment(communicator, self.experiment.horovod)
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
            labels=experiment.model.labels,
        )
        heldout = self.found.heldout if self.found else None
        start = self.found.start if self.found else None
        trainer = Trainer(
            experiment, self.folder, files, loader, heldout, communicator, response, start
        )
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

    def save_last(self, turn_seconds: float = _TURN_SECONDS) -> Path | None:
        """Write what this rank had together with the others last, unless another rank has.

        Rank 0 does so at once, the first ranks of every node if it has not after `turn_seconds`.
        Returns the newest checkpoint's folder; None: there is none. Raises TrainingError where the
        state is not good.
        """
        if self._trainer is None or self.communicator is None:
            return None
        if self.communicator.rank > 0:
            time.sleep(turn_seconds)
            if self.communicator.local_rank >= _WRITERS_ON_A_NODE:
                return None
        return self._trainer.save_commit()

    def _stand_by(self) -> None:
        """After a signal, write the last commit while the step under way takes its time.

        A step may take longer than the launcher waits; the checkpoint between two steps replaces
        this one if it comes.
        """
        while not self._ended.is_set():
            came = self._signals.wait(_LOOK_EVERY)
            if not came:
                continue
            with self._word:
                self._told_at = time.monotonic()
                writes = self._trainer is not None and self._is_first()
                if writes and came != {signal.SIGINT} and not self._lost:
                    write_status(self.folder, "requeue", "told to stop by a signal")
            if writes and not self._ended.wait(_TURN_SECONDS):
                try:
                    self.save_last()
                except (TrainingError, OSError) as error:
                    # The main thread says what becomes of the run, if it comes to it.
                    sys.stderr.write(f"gan3d: the last commit cannot be written: {error}\n")
            return

    def rank_lost(self, said: str) -> str:
        """Save what there is and leave word, as another rank is lost; returns what to say of it.

        Where that rank has left word itself, the state may not be good and nothing is saved.
        """
        with self._word:
            self._lost = True
            # A launcher tells the others to stop when one is lost; told to stop itself, it kills
            # them all after some seconds, one after the other: then it is not why this one ends.
            if self._told_at is not None and time.monotonic() - self._told_at >= _TURN_SECONDS:
                return said
        if not holds_run(self.folder) or read_status(self.folder) == "failed":
            return said
        try:
            saved = self.save_last()
        except TrainingError as error:
            saved, said = None, f"{said}; the state could not be saved: {error}"
        if saved is not None:
            said = f"{said}; {saved} written, go on with --resume"
        if read_status(self.folder) != "failed":
            write_status(self.folder, "failed", said)
        return said

    def _is_first(self) -> bool:
        return self.communicator is not None and self.communicator.rank == 0

    def _rescue(self, idle: float) -> bool:
        """Save what this rank holds, in the watchdog's thread."""
        said = f"no step has ended for {idle:.0f} s (run.watchdog_seconds)"
        saved = None
        try:
            saved = self.save_last(_GRACE_SECONDS)
        except TrainingError as error:
            said += f"; the state could not be saved: {error}"
        if saved is not None:
            said += f"; {saved} written, go on with --resume"
        # Another rank that has seen the same may have left word already.
        if holds_run(self.folder) and read_status(self.folder) == "training":
            write_status(self.folder, "requeue" if saved is not None else "failed", said)
        # Nothing else can print: the main thread hangs.
        sys.stderr.write(f"gan3d: error: {said}\n")
        sys.stderr.flush()
        return saved is not None

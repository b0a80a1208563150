"""The story of a run: data, networks, first state, epochs, checkpoints."""

from __future__ import annotations

import json
import math
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gan3d.config import Experiment, dump_experiment
from gan3d.data import (
    ShowerLoader,
    Showers,
    Survey,
    label_inputs,
    make_folder,
)
from gan3d.errors import (
    DataError,
    DivergedError,
    Interrupted,
    Preempted,
    RunError,
    TrainingError,
)
from gan3d.models import architecture_of
from gan3d.models.weights import CHECKPOINTS, checkpoint_folders, checkpoint_step, read_json
from gan3d.runtime import Signals, ended_ranks_named, gather_text, memory_bytes, share_text
from gan3d.training.checkpoint import (
    Position,
    Snapshot,
    random_states,
    recover_checkpoints,
    restore_checkpoint,
    save_checkpoint,
    state_variables,
)
from gan3d.training.checks import (
    check_energies,
    check_grid,
    check_memory,
    too_few,
    unseen_categories,
)
from gan3d.training.judging import Examine, Judge
from gan3d.training.monitor import stop_reason
from gan3d.training.records import (
    BEST,
    CONFIG,
    DATA,
    ENVIRONMENT,
    INIT,
    RESPONSE,
    read_history,
    write_history,
    write_json,
    write_text,
)
from gan3d.training.response import Response
from gan3d.training.schedule import LearningRateSchedule, count_reductions
from gan3d.training.step import AdversarialStep, without_remapper
from gan3d.training.tensorboard import TensorBoard
from gan3d.training.timing import StepTimes
from gan3d.training.transfer import Start, Transfer, take_weights

if TYPE_CHECKING:
    from gan3d.runtime import Communicator


_EMPTY = "the generated showers were all empty (the ECAL loss is 100 %)"


class Listener(Protocol):
    """Told of the progress, on every rank; what to show is the listener's business."""

    def started(
        self, *, first_epoch: int, first_step: int, epochs: int, steps_per_epoch: int, ranks: int
    ) -> None:
        """Training begins, or goes on, at `first_step` of `first_epoch` (both from 0)."""

    def step_done(self, *, epoch: int, step: int, losses: Mapping[str, float]) -> None:
        """A step of this rank is done; `losses` are its own."""

    def epoch_done(self, record: Mapping[str, Any]) -> None:
        """An epoch is done; `record` is its line of history."""


@dataclass(frozen=True)
class _Skipped:
    """What an epoch went on without."""

    showers: int = 0
    """Showers that could not be read."""
    files: tuple[int, ...] = ()
    """Files that have become bad, by their number in the run's list."""
    reasons: tuple[str, ...] = ()
    """What is wrong with them."""

    def and_before(self, before: _Skipped | None) -> _Skipped:
        """Add what had been skipped before the epoch began anew."""
        if before is None:
            return self
        return _Skipped(
            before.showers + self.showers,
            before.files + self.files,
            before.reasons + self.reasons,
        )


class _Place(NamedTuple):
    """Where this rank is in the data, before the batch that it has in hand."""

    passed: int
    lost: dict[int, int]


class Trainer:
    """One rank's part in training both networks."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        files: Survey,
        loader: ShowerLoader,
        heldout: Showers | None,
        communicator: Communicator,
        response: Response,
        start: Start | None = None,
    ) -> None:
        """Build the networks from the seed; nothing is exchanged before `join`.

        `folder` is the run's, `files` what `loader` has this rank's showers from, `heldout` those
        that rank 0 compares the generator with after every epoch (None: it reads them when it needs
        them), `response` that of the training showers, the same on all ranks, `start` the weights
        of another run that rank 0 begins with, and the others by it.
        """
        self.experiment = experiment
        self.folder = folder
        self.files = files
        self.loader = loader
        self.judge = Judge(experiment, files, heldout)
        self.communicator = communicator
        self.position = Position()
        self.history: list[dict[str, Any]] = []
        self.committed: Snapshot | None = None
        """What all ranks had together last."""
        self.progress: Callable[[], None] = lambda: None
        """Called whenever something has been done."""
        self.notes = unseen_categories(files, experiment.model.labels)
        """What a user should know before training begins."""
        self.stopped_early = ""
        """Why training has ended before its last epoch, and how to go on; empty where it has not,
        or for other reasons."""
        self._empty_steps = 0  # in a row
        self._saving = threading.Lock()
        self._hosts: list[str] = []
        self._lost_before: tuple[dict[str, int], dict[str, str]] = ({}, {})
        self._compiled = False
        self._board = TensorBoard(folder)

        architecture = architecture_of(experiment)
        check_grid(architecture, experiment.data)
        self.architecture = architecture
        self.response = response
        check_energies(experiment.training, response)
        keras.utils.set_random_seed(experiment.run.seed)
        self.step = self._build_step()
        check_memory(
            self.step.generator,
            self.step.discriminator,
            experiment.training,
            memory_bytes() // communicator.local_size,
        )
        self.transfer: Transfer | None = None
        """What was taken from another run."""
        if communicator.rank == 0:  # the others get its weights
            self._begin_weights(start)

    def _begin_weights(self, start: Start | None) -> None:
        """What the networks begin with besides what the seed has drawn."""
        networks = self.step.generator, self.step.discriminator
        if start is not None:
            self.transfer = take_weights(start, *networks)
        # After it: what is measured is of these showers, not of the other run's.
        if self.architecture.adapt is not None:
            data = self.experiment.data
            showers = self.loader.sample(data.statistics_showers)
            scaled_n1 = showers.energy_n[:, None] / np.float32(data.energy_scale_gev)
            labels = self._labels(showers)
            self.architecture.adapt(*networks, showers.images_nxyz, scaled_n1, *labels)
            self.notes += too_few(showers, self.experiment.model.labels)
        if self.transfer is not None:
            self.transfer = self.transfer.note_measured(*networks)
            self.notes.append(f"init_from: {self.transfer}")
            split = self.experiment.data.split
            self.notes += self.transfer.start.knows_heldout(self.files, split)
        self.step.begin_average()

    def _labels(self, showers: Showers) -> list[NDArray[np.float32]]:
        """The conditions beside the energy, one (N, C) as the networks see them; or none."""
        return label_inputs(showers.columns, self.experiment.model.labels)

    def _build_step(self) -> AdversarialStep:
        """Both networks and their optimisers, in their first state."""
        experiment, architecture = self.experiment, self.architecture
        return AdversarialStep(
            architecture,
            architecture.build_generator(experiment.model),
            architecture.build_discriminator(experiment.model),
            experiment.training,
            self.response,
            self.communicator,
            experiment.run.seed,
            experiment.horovod,
            xla=experiment.node.xla is True,
            cell_scale=experiment.data.cell_scale,
        )

    def load(self) -> None:
        """Go back to the newest good checkpoint of the run's folder. Rank 0 calls it.

        A run that ended before its first begins anew. Raises RunError where none is good.
        """
        folder = self.folder / CHECKPOINTS
        recover_checkpoints(folder)
        damaged: list[RunError] = []
        for checkpoint in reversed(checkpoint_folders(folder)):
            try:
                self.position = restore_checkpoint(checkpoint, self.step)
            except RunError as error:
                damaged.append(error)
                continue
            for other, why in zip(reversed(checkpoint_folders(folder)), damaged, strict=False):
                aside = other.rename(folder / f"damaged-{other.name}-{time.time_ns()}")
                self.notes.append(f"note: {why}")
                self.notes.append(f"note: it is {aside.name} now; going on from {checkpoint.name}")
            return
        if damaged:
            raise damaged[0]

    def join(self, communicator: Communicator) -> None:
        """Take on rank 0's state as a rank of `communicator`. All ranks call it.

        Where other ranks shared the epoch under way, what is left of it is divided anew.
        """
        self.communicator = communicator
        self.position = self._share_position()
        self._broadcast()
        self._hosts = gather_text(communicator, f"{socket.gethostname()}\n").split()
        _check_precision(communicator)
        self.loader.exclude(self.position.skipped_files)
        self._divide()
        self.schedule = LearningRateSchedule.of(self.experiment, communicator.size)
        self.step.join(
            communicator,
            synchronized=self.experiment.model.synchronized_batch_norm and communicator.size > 1,
        )
        if communicator.rank == 0:
            self.history = [
                record
                for record in read_history(self.folder)
                if record["epoch"] <= self.position.epoch
            ]
        self._compiled = False
        self._commit()

    def restore(self) -> None:
        """Go back to what all ranks had together last."""
        if self.committed is not None:
            self.committed.put_into(self.step)
            self.position = self.committed.position

    def describe(self, environment: Mapping[str, Any], *, resumed: bool) -> None:
        """Write what the run is into its folder. Rank 0 calls it."""
        if resumed:
            path = self.folder / ENVIRONMENT
            earlier = (
                [read_json(path)] if path.exists() else []
            )  # a record: a run can go on without
            before = [each for record in earlier for each in record.pop("earlier", [])]
            environment = {**environment, "earlier": [*before, *earlier]}
        else:
            make_folder(self.folder)
            write_json(self.folder / RESPONSE, self.response.as_dict())
            write_json(self.folder / DATA, self.files.as_dict())
        if self.transfer is not None:
            write_json(self.folder / INIT, self.transfer.as_dict())
        write_json(self.folder / ENVIRONMENT, environment)
        # The config comes last: a folder with a config is a run.
        write_text(self.folder / CONFIG, dump_experiment(self.experiment))

    def train(
        self, listener: Listener, examine: Examine | None = None, signals: Signals | None = None
    ) -> None:
        """Train to the last epoch, with a checkpoint and a line of history after each.

        `examine` turns (generated, held-out) showers into numbers for the history, after every
        `validation.every_epochs` epochs and the last one; with
        `optimisation_metric` among them, the best epoch is noted in best.json. `signals` are looked
        at before every step. Where `training.early_stopping` ends it, also before the first step of
        a run that goes on, `stopped_early` says why. Raises DivergedError where losses are not
        finite or the generated showers are empty; Interrupted or Preempted, with a checkpoint
        written, after a signal to any rank.
        """
        training, began, signals = self.experiment.training, time.monotonic(), signals or Signals()
        self.stopped_early = self._stop_reason()
        if self.stopped_early:
            return
        listener.started(
            first_epoch=self.position.epoch,
            first_step=self.position.step_in_epoch,
            epochs=training.epochs,
            steps_per_epoch=self.position.division_start + self.loader.steps(self.position.epoch),
            ranks=self.communicator.size,
        )
        with without_remapper():
            while self.position.epoch < training.epochs:
                record = self._epoch(listener, signals)
                self.step.average_statistics()
                if self.communicator.rank == 0:
                    self._keep(record, examine)
                listener.epoch_done(record)
                interrupted, preempted = self._any_rank(signals.interrupted, signals.preempted)
                self._commit()
                self._raise_if(interrupted, preempted)
                self.stopped_early = self._stop_reason()
                if self.stopped_early or self.position.epoch == training.epochs:
                    break
                if self._out_of_time(began):
                    break
                self._leave_out(self.position.skipped_files, record.get("newly_skipped", ()))
                self.communicator.check_hosts()

    def save_commit(self) -> Path | None:
        """Write what all ranks had together last as a checkpoint, whatever the state is now.

        Where that, or something newer, is there already, nothing is written. For any rank, and for
        a thread of its own while the main one is in a step. Returns the newest checkpoint's folder;
        None: the run has not done a step.
        """
        committed, folder = self.committed, self.folder / CHECKPOINTS
        with self._saving:
            newest = next(reversed(checkpoint_folders(folder)), None)
            if committed is None or committed.position.global_step == 0:
                return newest
            if newest is not None and checkpoint_step(newest) >= committed.position.global_step:
                return newest
            step = self._build_step()
            committed.put_into(step)
            return self._write(step, committed.position)

    def _keep(self, record: dict[str, Any], examine: Examine | None) -> None:
        """Write the epoch's checkpoint and its line of history, to which `examine` adds."""
        self._save(self.step, self.position)
        self.history.append(record)
        write_history(self.folder, self.history)
        if examine is not None and self.judge.is_due(record["epoch"]):
            # After the checkpoint: an examination that fails must not cost the epoch.
            record |= self.judge.compare(self.step, examine, self._board, record["epoch"])
            write_history(self.folder, self.history)
            self._note_best()
        self._board.write_epoch(record)

    def _epoch(
        self,
        listener: Listener,
        signals: Signals,
        skipped_before: _Skipped | None = None,
    ) -> dict[str, Any]:
        """The rest of the epoch under way; returns its line of history, averaged over ranks."""
        position, run = self.position, self.experiment.run
        epoch, first_step, began = position.epoch, position.step_in_epoch, time.monotonic()
        average = self.experiment.training.weight_average
        decay = average.decay if average is not None and epoch >= average.start_epoch else 0.0
        totals = np.array([position.totals.get(name, 0.0) for name in self.step.loss_names])
        passed = position.divisions[-1][self.communicator.rank] if position.divisions else 0
        reductions = self._reductions()
        self._lost_before = position.lost_showers, position.lost_reasons
        waited, times = self.loader.waited, StepTimes()
        batches = self.loader.epoch(epoch, passed)
        rate, index, empty_steps = 0.0, first_step, 0
        place, showers = self._next(batches)
        # All ranks stop before the same step, whichever of them was told to or, where files had to
        # be skipped, has no batch left: each says so in the exchanges of the step before.
        ended, interrupted, preempted = self._any_rank(
            showers is None, signals.interrupted, signals.preempted
        )
        while showers is not None and not ended:
            if index > first_step:  # before that, the last checkpoint says it all
                saves = run.checkpoint_steps is not None and index % run.checkpoint_steps == 0
                commits = (index - first_step) % run.commit_steps == 0
                if interrupted or preempted or saves:
                    self._save_within_epoch(totals, place)
                    self._raise_if(interrupted, preempted)
                elif commits:
                    self._commit(totals, place)
                if commits:
                    self.communicator.check_hosts()
            read = self.loader.waited
            place, upcoming = self._next(batches)
            flags = upcoming is None, signals.interrupted, signals.preempted
            stepped = time.monotonic()
            rate = self.schedule(self._in_epochs(index), reductions)
            where = f"epoch {epoch + 1}, step {index + 1}"
            losses = self._run_step(showers, rate, decay, flags, where)
            self._check(losses, where)
            empty_steps += self._empty_steps > 0
            exchange = self.step.exchange_seconds
            if self._compiled:
                work = time.monotonic() - stepped - exchange
                times.add(compute=work, exchange=exchange, data_wait=self.loader.waited - read)
                if self.communicator.rank == 0:
                    waited_now = self.loader.waited - read
                    self._board.write_step(self.position.global_step, work, exchange, waited_now)
            self._compiled = True
            totals += list(losses.values())
            index += 1
            self.position = replace(
                self.position, step_in_epoch=index, global_step=self.position.global_step + 1
            )
            self.progress()
            listener.step_done(epoch=epoch, step=index - 1, losses=losses)
            showers = upcoming
            ended, interrupted, preempted = self.step.flagged
            if self.communicator.size == 1:  # nobody to agree with: what came meanwhile counts
                interrupted, preempted = signals.interrupted, signals.preempted
        seconds = time.monotonic() - began
        skipped = self._bad_files().and_before(skipped_before)
        if index == 0:
            # A rank could not read a single batch: the epoch begins anew without those files.
            if not skipped.files:
                raise DataError(f"epoch {epoch + 1}: no rank got a whole batch of showers")
            self._leave_out(skipped.files, skipped.reasons)
            return self._epoch(listener, signals, skipped)
        ranks = self.communicator.size
        means = self.communicator.sum(totals / index) / ranks
        waits = self.communicator.sum(np.array([self.loader.waited - waited])) / ranks
        self.position = Position(
            epoch=epoch + 1,
            global_step=self.position.global_step,
            skipped_files=sorted({*self.loader.skipped, *skipped.files}),
        )
        behind = sum(map(sum, position.divisions[:-1]))
        behind += (index - position.division_start) * self.loader.batch_size * ranks
        done = (index - first_step) * self.loader.batch_size * ranks
        return {
            "epoch": epoch + 1,
            "step": self.position.global_step,
            "steps": index,
            "ranks": ranks,
            "learning_rate": rate,
            "seconds": round(seconds, 3),
            "showers_per_second": round(done / seconds, 3),
            "data_wait_seconds": round(float(waits[0]), 4),
            "data_wait_share": round(float(waits[0]) / seconds, 6),
            **times.summary(self.communicator, self._hosts, straggler_factor=run.straggler_factor),
            "gradient_mb": round(self.step.gradient_mb, 3) if ranks > 1 else 0.0,
            "exchanges": self.step.exchanges if ranks > 1 else 0,
            "empty_steps": empty_steps,
            "peak_memory_mb": round(self._peak_memory_mb(), 1),
            **self._skipped_record(skipped, self.loader.showers - behind),
            **dict(zip(self.step.loss_names, means.tolist(), strict=True)),
        }

    def _in_epochs(self, index: int) -> float:
        """Epochs done before step `index` of the one under way; divided anew, it goes on evenly."""
        position = self.position
        steps = max(self.loader.steps(position.epoch), 1)
        share = min((index - position.division_start) / steps, 1.0)
        return position.epoch + position.division_share + (1.0 - position.division_share) * share

    def _divide(self) -> None:
        """Share out the epoch under way, anew if it was shared by another number of ranks."""
        position, ranks = self.position, self.communicator
        divisions = position.divisions
        goes_on = bool(divisions) and len(divisions[-1]) == ranks.size
        behind = divisions[:-1] if goes_on else divisions
        self.loader.join(ranks.rank, ranks.size, epoch=position.epoch, divisions=behind)
        if divisions and not goes_on:
            share = self._share_done(divisions)
            self.position = replace(
                position,
                divisions=[*divisions, [0] * ranks.size],
                division_start=position.step_in_epoch,
                division_share=share,
            )

    def _share_done(self, divisions: list[list[int]]) -> float:
        """Share of the epoch's showers that all ranks have behind them."""
        whole = self.loader.steps_per_epoch * self.loader.batch_size * self.communicator.size
        return min(sum(map(sum, divisions)) / whole, 1.0)

    def _share_position(self) -> Position:
        return Position(
            **json.loads(share_text(self.communicator, json.dumps(asdict(self.position))))
        )

    def _reductions(self) -> int:
        """How often a plateau has lowered the rate; rank 0 has the history."""
        mine = 0
        if self.communicator.rank == 0:
            mine = count_reductions(self.history, self.experiment.training.decay)
        return int(self.communicator.sum(np.array([mine], np.float64))[0])

    def _stop_reason(self) -> str:
        """Why training ends before its last epoch, the same on all ranks; empty: it goes on."""
        training = self.experiment.training
        if training.early_stopping is None or self.position.epoch >= training.epochs:
            return ""
        first = self.communicator.rank == 0  # which has the history
        mine = stop_reason(self.history, training.early_stopping) if first else ""
        return share_text(self.communicator, mine)

    def _commit(
        self, totals: NDArray[np.float64] | None = None, place: _Place | None = None
    ) -> None:
        """Copy the state, the same on all ranks. All ranks call it; `totals` within an epoch."""
        self.step.average_statistics()
        if totals is not None and place is not None:
            self._note_position(totals, place)
        self.committed = Snapshot.of(self.step, self.position)
        self.progress()

    def _note_position(self, totals: NDArray[np.float64], place: _Place) -> None:
        """Put into the position where all ranks are in the data. All ranks call it."""
        rows = self.communicator.gather(np.array([[place.passed, *totals]], np.float64))
        # The mean over ranks, so that what every rank resumes from adds up to the sum.
        shared = rows[:, 1:].mean(axis=0).tolist()
        self.position = replace(
            self.position,
            totals=dict(zip(self.step.loss_names, shared, strict=True)),
            divisions=[*self.position.divisions[:-1], [int(each) for each in rows[:, 0]]],
            skipped_files=list(self.loader.skipped),
        )
        self.position = replace(self.position, **self._lost(place.lost))

    def _raise_if(self, interrupted: bool, preempted: bool) -> None:
        if preempted:
            raise Preempted
        if interrupted:
            raise Interrupted

    def _peak_memory_mb(self) -> float:
        """The largest resident memory (MB) that any rank has had."""
        # In KiB on Linux.
        mine = np.array([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6])
        return float(self.communicator.gather(mine).max())

    def _save_within_epoch(self, totals: NDArray[np.float64], place: _Place) -> None:
        """Write a checkpoint in the middle of an epoch. All ranks call it."""
        self._commit(totals, place)
        if self.communicator.rank == 0:
            self._save(self.step, self.position)
        self.communicator.barrier()
        self.progress()

    def _bad_files(self) -> _Skipped:
        """The files that any rank could not read in this epoch; the same on all ranks."""
        if self.experiment.data.on_bad_file != "skip":
            return _Skipped()
        lost = self._lost(self.loader.lost)
        showers, reasons = lost["lost_showers"], lost["lost_reasons"]
        return _Skipped(
            sum(showers.values()), tuple(sorted(map(int, showers))), tuple(reasons.values())
        )

    def _lost(self, mine: Mapping[int, int]) -> dict[str, Any]:
        """What the epoch has lost on all ranks, with `mine` on this one, as in a position."""
        if self.experiment.data.on_bad_file != "skip":
            return {}
        lost_f = np.zeros(len(self.files.files))
        for file, count in mine.items():
            lost_f[file] = count
        lost_f = self.communicator.sum(lost_f)
        lines = "".join(f"{json.dumps([f, why])}\n" for f, why in self.loader.reasons.items())
        # Several ranks may know of a file; one reason is enough.
        said = dict(map(json.loads, gather_text(self.communicator, lines).splitlines()))
        showers, reasons = dict(self._lost_before[0]), dict(self._lost_before[1])
        for file, reason in said.items():
            showers[str(file)] = showers.get(str(file), 0) + int(lost_f[file])
            reasons.setdefault(str(file), reason)
        return {"lost_showers": showers, "lost_reasons": reasons}

    def _leave_out(self, files: Sequence[int], reasons: Sequence[str]) -> None:
        """Make the following epochs without `files`. Raises DataError if too little is left."""
        if set(files) <= set(self.loader.skipped):
            return
        try:
            self.loader.exclude(files)
        except DataError as error:
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            raise DataError(f"{reasons[0]}{more}; without bad files, {error}") from error

    def _skipped_record(self, skipped: _Skipped, untrained: int) -> dict[str, Any]:
        """What history says of files that are left out: nothing unless they may be."""
        if self.experiment.data.on_bad_file != "skip":
            return {}
        return {
            "skipped_files": len(self.position.skipped_files) + len(self.files.skipped),
            "lost_showers": skipped.showers,
            "untrained_showers": untrained,
            "newly_skipped": list(skipped.reasons),
        }

    def _next(self, batches: Iterator[Showers]) -> tuple[_Place, Showers | None]:
        """Where this rank is in the data before the next batch, and that batch; None: no more."""
        return _Place(self.loader.passed, dict(self.loader.lost)), next(batches, None)

    def _run_step(
        self, showers: Showers, rate: float, decay: float, flags: Sequence[bool], where: str
    ) -> Mapping[str, float]:
        try:
            with ended_ranks_named():
                return self.step(
                    showers.images_nxyz,
                    showers.energy_n[:, None] / np.float32(self.experiment.data.energy_scale_gev),
                    *self._labels(showers),
                    step=self.position.global_step,
                    learning_rate=rate,
                    average_decay=decay,
                    flags=flags,
                )
        except tf.errors.InvalidArgumentError as error:
            # An index computed from a number that is not finite, for example.
            first = str(error.message).splitlines()[0]
            raise DivergedError(f"{where}: the step failed ({first}); {self._advice()}") from error

    def _check(self, losses: Mapping[str, float], where: str) -> None:
        """Stop a run that cannot recover, while the last checkpoint is still good."""
        for name, value in losses.items():
            if not math.isfinite(value):
                raise DivergedError(f"{where}: {name} is {value}; {self._advice()}")
        # A batch of empty showers gives its generator no gradient, but the next one's latents may
        # light cells again, and at high rates do, many times in the first epochs.
        self._empty_steps = self._empty_steps + 1 if losses["generator.ecal_gev"] == 0.0 else 0
        if self._empty_steps == self.experiment.training.empty_steps:
            raise DivergedError(
                f"{where}: {_EMPTY} in {self._empty_steps} steps in a row; {self._advice()}"
            )

    def _advice(self) -> str:
        """What to do when training cannot go on."""
        checkpoints = checkpoint_folders(self.folder / CHECKPOINTS)
        if checkpoints:
            return (
                f"{checkpoints[-1]} is good: --resume with a lower "
                f"training.optimizer.learning_rate, or start anew with another run.seed"
            )
        return "start anew with a lower training.optimizer.learning_rate or another run.seed"

    def _any_rank(self, *flags: bool) -> list[bool]:
        """Whether each of `flags` is set on any rank; the same answer on all."""
        return [bool(number) for number in self.communicator.sum(np.array(flags, np.float64))]

    def _note_best(self) -> None:
        name = "validation.optimisation_metric"
        # `gan3d validate --select` may have chosen another since, and protected that alone.
        there = {checkpoint_step(each) for each in checkpoint_folders(self.folder / CHECKPOINTS)}
        judged = [
            record
            for record in self.history
            if record.get(name) is not None and record["step"] in there
        ]
        if judged:
            best = min(judged, key=lambda record: record[name])
            keys = ("epoch", "step", name)
            write_json(self.folder / BEST, {key: best[key] for key in keys})

    def _save(self, step: AdversarialStep, position: Position) -> Path:
        with self._saving:
            return self._write(step, position)

    def _write(self, step: AdversarialStep, position: Position) -> Path:
        weights = [*step.generator.weights, *step.discriminator.weights]
        if not all(np.isfinite(weight.numpy()).all() for weight in weights):
            raise DivergedError(
                f"step {position.global_step}: a weight is not finite; {self._advice()}"
            )
        return save_checkpoint(
            self.folder / CHECKPOINTS,
            step,
            position,
            keep=self.experiment.run.keep_checkpoints,
            protected=_best_step(self.folder),
        )

    def _out_of_time(self, began: float) -> bool:
        """Whether `run.max_minutes` are over, by rank 0's clock."""
        limit = self.experiment.run.max_minutes
        if limit is None:
            return False
        return self._any_rank(
            self.communicator.rank == 0 and time.monotonic() - began >= 60.0 * limit
        )[0]

    def _broadcast(self) -> None:
        """Give all ranks rank 0's weights, optimisers, averages and random states."""
        step = self.step
        self.communicator.broadcast(state_variables(step))
        # All ranks now hold rank 0's random states, but their dropout masks must differ.
        for state in random_states(step.generator, step.discriminator):
            value = np.asarray(state.numpy())
            value[0] += self.communicator.rank
            state.assign(value)


def _best_step(folder: Path) -> int | None:
    path = folder / BEST
    return int(read_json(path)["step"]) if path.is_file() else None


def _check_precision(communicator: Communicator) -> None:
    """Raise TrainingError where ranks compute in different precision, as on unlike GPUs."""
    policies = gather_text(communicator, f"{keras.config.dtype_policy().name}\n").split()
    if len(set(policies)) > 1:
        said = ", ".join(f"rank {rank}: {policy}" for rank, policy in enumerate(policies))
        raise TrainingError(
            f"ranks compute in different precision ({said}); set node.precision to one of them"
        )

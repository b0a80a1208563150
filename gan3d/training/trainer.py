"""The story of a run: data, networks, first state, epochs, checkpoints."""

from __future__ import annotations

import json
import math
import resource
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gan3d.config import Experiment, dump_experiment
from gan3d.data import ShowerLoader, Showers, Survey, make_folder
from gan3d.errors import ConfigError, DataError, TrainingError
from gan3d.models import get_architecture
from gan3d.models.sampling import sample_images
from gan3d.models.weights import CHECKPOINTS, checkpoint_folders, read_json
from gan3d.runtime import RANK_ENDED, gather_text, share_text
from gan3d.training.checkpoint import (
    Position,
    random_states,
    restore_checkpoint,
    save_checkpoint,
)
from gan3d.training.records import (
    BEST,
    CONFIG,
    DATA,
    ENVIRONMENT,
    RESPONSE,
    read_history,
    write_history,
    write_json,
    write_text,
)
from gan3d.training.response import Response
from gan3d.training.schedule import LearningRateSchedule
from gan3d.training.step import AdversarialStep, without_remapper

if TYPE_CHECKING:
    from gan3d.runtime import Communicator

# How far beyond the training showers' energies generated ones may go, as a share of the range.
_ENERGY_MARGIN = 0.05

# Showers generated at a time for a comparison; only memory depends on it.
_EXAMINE_BATCH = 64

Examine = Callable[[Showers, Showers], Mapping[str, float]]


_EMPTY = "the generated showers have become empty (the ECAL loss is 100 %)"


class Interrupted(KeyboardInterrupt):
    """A signal ended training, between two steps, with a checkpoint written."""


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
    reasons: tuple[str, ...] = ()

    def and_before(self, before: _Skipped | None) -> _Skipped:
        """Add what had been skipped before the epoch began anew."""
        if before is None:
            return self
        return _Skipped(before.showers + self.showers, before.reasons + self.reasons)


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
    ) -> None:
        """Build the networks from the seed.

        `folder` is the run's, `files` what `loader` has this rank's showers from, `heldout` those
        that rank 0 compares the generator with after every epoch, `response` that of the training
        showers, the same on all ranks.
        """
        self.experiment = experiment
        self.folder = folder
        self.files = files
        self.loader = loader
        self.heldout = heldout
        self.communicator = communicator
        self.position = Position(world_size=communicator.size)
        self.history: list[dict[str, Any]] = []
        self._tensorboard: Any = None

        architecture = get_architecture(experiment.model.architecture)
        seen = experiment.data.model_geometry.shape
        if architecture.image_shape != seen:
            raise ConfigError(
                f"model.architecture: {architecture.name} makes images of "
                f"{architecture.image_shape} cells, but the networks would see {seen} "
                "(data.geometry.shape, or data.grid where files are cropped or padded)"
            )
        self.architecture = architecture
        keras.utils.set_random_seed(experiment.run.seed)
        generator = architecture.build_generator(experiment.model)
        discriminator = architecture.build_discriminator(experiment.model)
        if architecture.adapt is not None and communicator.rank == 0:  # the others get its weights
            showers = loader.sample(experiment.data.statistics_showers)
            scaled_n1 = showers.energy_n[:, None] / np.float32(experiment.data.energy_scale_gev)
            architecture.adapt(generator, discriminator, showers.images_nxyz, scaled_n1)
            del showers
        self.response = response
        self._check_energies()
        self.step = AdversarialStep(
            architecture,
            generator,
            discriminator,
            experiment.training,
            self.response,
            communicator,
            experiment.run.seed,
        )
        self.schedule = self._make_schedule()

    def start(self, environment: Mapping[str, Any]) -> None:
        """Give all ranks rank 0's first state and write what the run is into its folder."""
        self._broadcast()
        if self.communicator.rank == 0:
            make_folder(self.folder)
            write_json(self.folder / RESPONSE, self.response.as_dict())
            write_json(self.folder / DATA, self.files.as_dict())
            # The config comes last: a folder with a config is a run.
            self._describe(environment)

    def resume(self, environment: Mapping[str, Any]) -> None:
        """Go on from the newest checkpoint of the run's folder, or start if there is none yet.

        Only rank 0 reads; the others get its state. Raises RunError where the folder's files are
        damaged, TrainingError where other ranks shared the epoch under way.
        """
        position = self.position
        if self.communicator.rank == 0:
            checkpoints = checkpoint_folders(self.folder / CHECKPOINTS)
            if checkpoints:
                position = restore_checkpoint(checkpoints[-1], self.step)
            self.history = [
                record for record in read_history(self.folder) if record["epoch"] <= position.epoch
            ]
            earlier = read_json(self.folder / ENVIRONMENT)
            self._describe({**environment, "earlier": [*earlier.pop("earlier", []), earlier]})
        self._broadcast()
        shared = json.loads(share_text(self.communicator, json.dumps(asdict(position))))
        position = Position(**shared)
        if position.step_in_epoch and position.world_size != self.communicator.size:
            raise TrainingError(
                f"{self.folder}: the checkpoint lies in the middle of an epoch that "
                f"{position.world_size} ranks shared, now there are {self.communicator.size}; "
                f"resume with {position.world_size}"
            )
        self.position = replace(position, world_size=self.communicator.size)
        self.loader.exclude(position.skipped_files)
        self.schedule = self._make_schedule()

    def train(self, listener: Listener, examine: Examine | None = None) -> None:
        """Train to the last epoch, with a checkpoint and a line of history after each.

        `examine` turns (generated, held-out) showers into numbers for the history; with
        `optimisation_metric` among them, the best epoch is noted in best.json.
        Raises TrainingError where losses are not finite or the generated showers are empty;
        Interrupted, with a checkpoint written, after SIGINT (Ctrl-C) or SIGTERM to any rank.
        """
        training, began = self.experiment.training, time.monotonic()
        listener.started(
            first_epoch=self.position.epoch,
            first_step=self.position.step_in_epoch,
            epochs=training.epochs,
            steps_per_epoch=self.loader.steps_per_epoch,
            ranks=self.communicator.size,
        )
        with without_remapper(), _signals_noted() as signalled:
            while self.position.epoch < training.epochs:
                record = self._epoch(listener, signalled)
                if self.communicator.rank == 0:
                    self._keep(record, examine)
                listener.epoch_done(record)
                if self._any_rank(signalled())[0]:
                    raise Interrupted
                if self._out_of_time(began):
                    break

    def _keep(self, record: dict[str, Any], examine: Examine | None) -> None:
        """Write the epoch's checkpoint and its line of history, to which `examine` adds."""
        self._save()
        self.history.append(record)
        write_history(self.folder, self.history)
        if examine is not None and self.heldout is not None:
            # After the checkpoint: an examination that fails must not cost the epoch.
            record |= self._examine(examine, self.heldout)
            write_history(self.folder, self.history)
            self._note_best()
        self._write_tensorboard(record)

    def _epoch(
        self,
        listener: Listener,
        signalled: Callable[[], bool],
        skipped_before: _Skipped | None = None,
    ) -> dict[str, Any]:
        """The rest of the epoch under way; returns its line of history, averaged over ranks."""
        position, training = self.position, self.experiment.training
        epoch, first_step, began = position.epoch, position.step_in_epoch, time.monotonic()
        average = training.weight_average
        decay = average.decay if average is not None and epoch >= average.start_epoch else 0.0
        totals = np.array([position.totals.get(name, 0.0) for name in self.step.loss_names])
        passed = position.passed[self.communicator.rank] if position.passed else 0
        waited = self.loader.waited
        batches = self.loader.epoch(epoch, passed)
        rate, index = 0.0, first_step
        while True:
            passed = self.loader.passed
            showers = next(batches, None)
            # All ranks stop before the same step, whichever of them was told to or, where files
            # had to be skipped, has no batch left.
            ended, stop = self._any_rank(showers is None, signalled())
            if ended or showers is None:
                break
            if stop and index > first_step:  # before that, the last checkpoint says it all
                self._save_within_epoch(totals, passed)
                raise Interrupted
            rate = self.schedule(epoch, index)
            losses = self._run_step(showers, rate, decay, f"epoch {epoch + 1}, step {index + 1}")
            self._check(losses, epoch, index)
            totals += list(losses.values())
            index += 1
            self.position = replace(
                self.position, step_in_epoch=index, global_step=self.position.global_step + 1
            )
            listener.step_done(epoch=epoch, step=index - 1, losses=losses)
        seconds = time.monotonic() - began
        skipped = self._exclude_bad_files().and_before(skipped_before)
        if index == 0:
            # A rank could not read a single batch: the epoch begins anew without those files.
            if not skipped.showers:
                raise DataError(f"epoch {epoch + 1}: no rank got a whole batch of showers")
            return self._epoch(listener, signalled, skipped)
        ranks = self.communicator.size
        means = self.communicator.sum(totals / index) / ranks
        waits = self.communicator.sum(np.array([self.loader.waited - waited])) / ranks
        self.position = Position(
            epoch=epoch + 1,
            global_step=self.position.global_step,
            world_size=ranks,
            skipped_files=list(self.loader.skipped),
        )
        done = (index - first_step) * training.batch_size * ranks
        return {
            "epoch": epoch + 1,
            "step": self.position.global_step,
            "ranks": ranks,
            "learning_rate": rate,
            "seconds": round(seconds, 3),
            "showers_per_second": round(done / seconds, 3),
            "data_wait_seconds": round(float(waits[0]), 4),
            "data_wait_share": round(float(waits[0]) / seconds, 6),
            "peak_memory_mb": round(self._peak_memory_mb(), 1),
            **self._skipped_record(skipped),
            **dict(zip(self.step.loss_names, means.tolist(), strict=True)),
        }

    def _peak_memory_mb(self) -> float:
        """The largest resident memory (MB) that any rank has had."""
        # In KiB on Linux.
        mine = np.array([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6])
        return float(self.communicator.gather(mine).max())

    def _save_within_epoch(self, totals: NDArray[np.float64], passed: int) -> None:
        """Write a checkpoint in the middle of an epoch. All ranks call it."""
        # The mean over ranks, so that what every rank resumes from adds up to the sum.
        shared = self.communicator.sum(totals) / self.communicator.size
        everyone = self.communicator.gather(np.array([passed], np.float64))
        self.position = replace(
            self.position,
            totals=dict(zip(self.step.loss_names, shared.tolist(), strict=True)),
            passed=[int(each) for each in everyone],
            skipped_files=list(self.loader.skipped),
        )
        if self.communicator.rank == 0:
            self._save()
        self.communicator.barrier()

    def _make_schedule(self) -> LearningRateSchedule:
        return LearningRateSchedule.of(
            self.experiment.training, self.communicator.size, self.loader.steps_per_epoch
        )

    def _exclude_bad_files(self) -> _Skipped:
        """Leave out, on all ranks alike, the files that any rank could not read in this epoch."""
        if self.experiment.data.on_bad_file != "skip":
            return _Skipped()
        lost_f = np.zeros(len(self.files.files))
        for file, showers in self.loader.lost.items():
            lost_f[file] = showers
        lost_f = self.communicator.sum(lost_f)
        lines = "".join(f"{json.dumps([f, why])}\n" for f, why in self.loader.reasons.items())
        # Several ranks may know of a file; one reason is enough.
        reasons = dict(map(json.loads, gather_text(self.communicator, lines).splitlines()))
        if lost_f.any():
            self.loader.exclude([int(file) for file in np.flatnonzero(lost_f)])
            self.schedule = self._make_schedule()
        return _Skipped(int(lost_f.sum()), tuple(reasons.values()))

    def _skipped_record(self, skipped: _Skipped) -> dict[str, Any]:
        """What history says of files that are left out: nothing unless they may be."""
        if self.experiment.data.on_bad_file != "skip":
            return {}
        return {
            "skipped_files": len(self.loader.skipped) + len(self.files.skipped),
            "lost_showers": skipped.showers,
            "newly_skipped": list(skipped.reasons),
        }

    def _run_step(
        self, showers: Showers, rate: float, decay: float, where: str
    ) -> Mapping[str, float]:
        try:
            return self.step(
                showers.images_nxyz,
                showers.energy_n[:, None] / np.float32(self.experiment.data.energy_scale_gev),
                step=self.position.global_step,
                learning_rate=rate,
                average_decay=decay,
            )
        except tf.errors.UnknownError as error:
            if "Horovod has been shut down" not in str(error.message):
                raise
            raise TrainingError(f"{where}: {RANK_ENDED}") from error
        except tf.errors.InvalidArgumentError as error:
            # An index computed from a number that is not finite, for example.
            first = str(error.message).splitlines()[0]
            raise TrainingError(f"{where}: the step failed ({first}); {self._advice()}") from error

    def _check(self, losses: Mapping[str, float], epoch: int, step: int) -> None:
        """Stop a run that cannot recover, while the last checkpoint is still good."""
        where = f"epoch {epoch + 1}, step {step + 1}"
        for name, value in losses.items():
            if not math.isfinite(value):
                raise TrainingError(f"{where}: {name} is {value}; {self._advice()}")
        if losses["generator.ecal_gev"] == 0.0:
            raise TrainingError(f"{where}: {_EMPTY}; {self._advice()}")

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

    def _examine(self, examine: Examine, heldout: Showers) -> dict[str, float | None]:
        """Compare showers of the held-out incident energies with the held-out showers."""
        with self.step.average_in_generator():
            images_nxyz = np.concatenate(
                list(
                    sample_images(
                        self.step.generator,
                        heldout.energy_n,
                        self.experiment.data,
                        latent_dim=self.architecture.latent_dim,
                        seed=self.experiment.run.seed,
                        batch_size=_EXAMINE_BATCH,
                    )
                )
            )
        if not images_nxyz.any():
            raise TrainingError(f"epoch {self.position.epoch}: {_EMPTY}; {self._advice()}")
        generated = Showers(images_nxyz=images_nxyz, energy_n=heldout.energy_n)
        # JSON has no NaN; null says that a metric could not be computed.
        return {
            f"validation.{name}": value if math.isfinite(value) else None
            for name, value in examine(generated, heldout).items()
        }

    def _note_best(self) -> None:
        name = "validation.optimisation_metric"
        judged = [record for record in self.history if record.get(name) is not None]
        if judged:
            best = min(judged, key=lambda record: record[name])
            keys = ("epoch", "step", name)
            write_json(self.folder / BEST, {key: best[key] for key in keys})

    def _save(self) -> None:
        weights = [*self.step.generator.weights, *self.step.discriminator.weights]
        if not all(np.isfinite(weight.numpy()).all() for weight in weights):
            raise TrainingError(
                f"step {self.position.global_step}: a weight is not finite; {self._advice()}"
            )
        save_checkpoint(
            self.folder / CHECKPOINTS,
            self.step,
            self.position,
            keep=self.experiment.run.keep_checkpoints,
            protected=_best_step(self.folder),
        )

    def _write_tensorboard(self, record: Mapping[str, Any]) -> None:
        if self._tensorboard is None:
            self._tensorboard = tf.summary.create_file_writer(str(self.folder / "tensorboard"))
        with self._tensorboard.as_default(step=record["epoch"]):
            for name, value in record.items():
                if isinstance(value, int | float):
                    tf.summary.scalar(name.replace(".", "/"), value)
        self._tensorboard.flush()

    def _out_of_time(self, began: float) -> bool:
        """Whether `run.max_minutes` are over, by rank 0's clock."""
        limit = self.experiment.run.max_minutes
        if limit is None:
            return False
        return self._any_rank(
            self.communicator.rank == 0 and time.monotonic() - began >= 60.0 * limit
        )[0]

    def _describe(self, environment: Mapping[str, Any]) -> None:
        write_json(self.folder / ENVIRONMENT, environment)
        write_text(self.folder / CONFIG, dump_experiment(self.experiment))

    def _check_energies(self) -> None:
        """Refuse incident energies at which the response is not known."""
        asked = self.experiment.training.incident_energy_gev
        low, high = self.response.energy_range_gev
        # Uniform energies of n showers end about a range / n before the ends of their range.
        margin = _ENERGY_MARGIN * (high - low)
        if asked is not None and not low - margin <= asked[0] < asked[1] <= high + margin:
            raise ConfigError(
                f"training.incident_energy_gev: {asked[0]:g} to {asked[1]:g} GeV, but the training "
                f"showers, to which the response is fitted, have {low:.4g} to {high:.4g} GeV"
            )

    def _broadcast(self) -> None:
        """Give all ranks rank 0's weights, optimisers, averages and random states."""
        step = self.step
        self.communicator.broadcast(
            [
                *(v.value for v in step.generator.variables),
                *(v.value for v in step.discriminator.variables),
                *(v.value for v in step.generator_optimizer.variables),
                *(v.value for v in step.discriminator_optimizer.variables),
                *step.average_weights,
            ]
        )
        # All ranks now hold rank 0's random states, but their dropout masks must differ.
        for state in random_states(step.generator, step.discriminator):
            value = np.asarray(state.numpy())
            value[0] += self.communicator.rank
            state.assign(value)


def _best_step(folder: Path) -> int | None:
    path = folder / BEST
    return int(read_json(path)["step"]) if path.is_file() else None


@contextmanager
def _signals_noted() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a flag, so that it falls between two steps.

    The second does what it always does. Yields a function that says whether one came. horovodrun
    passes a Ctrl-C on to its ranks as SIGTERM.
    """
    came = False
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def note(_signal: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True
        restore()

    for number in usual:
        signal.signal(number, note)
    try:
        yield lambda: came
    finally:
        restore()

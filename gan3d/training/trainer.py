"""The story of a run: data, networks, first state, epochs, checkpoints."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from gan3d.config import Experiment, dump_experiment
from gan3d.data import ShardLoader, Showers, make_folder
from gan3d.errors import ConfigError, TrainingError
from gan3d.models import get_architecture
from gan3d.models.sampling import sample_images
from gan3d.models.weights import CHECKPOINTS, checkpoint_folders
from gan3d.training.checkpoint import (
    Position,
    random_states,
    restore_checkpoint,
    save_checkpoint,
)
from gan3d.training.records import (
    BEST,
    CONFIG,
    ENVIRONMENT,
    RESPONSE,
    read_history,
    write_history,
    write_json,
    write_text,
)
from gan3d.training.response import Response, fit_response
from gan3d.training.schedule import LearningRateSchedule
from gan3d.training.step import AdversarialStep, without_remapper

if TYPE_CHECKING:
    from gan3d.runtime import Communicator

# Showers generated at a time for a comparison; only memory depends on it.
_EXAMINE_BATCH = 64

Examine = Callable[[Showers, Showers], Mapping[str, float]]


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


class Trainer:
    """One rank's part in training both networks."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        loader: ShardLoader,
        heldout: Showers | None,
        communicator: Communicator,
    ) -> None:
        """Build the networks from the seed and fit the response to the showers of all ranks.

        `folder` is the run's, `loader` this rank's showers, `heldout` those that rank 0 compares
        the generator with after every epoch.
        """
        self.experiment = experiment
        self.folder = folder
        self.loader = loader
        self.heldout = heldout
        self.communicator = communicator
        self.position = Position(world_size=communicator.size)
        self.history: list[dict[str, Any]] = []

        architecture = get_architecture(experiment.model.architecture)
        if architecture.image_shape != experiment.data.geometry.shape:
            raise ConfigError(
                f"model.architecture: {architecture.name} makes images of "
                f"{architecture.image_shape} cells, data.geometry.shape is "
                f"{experiment.data.geometry.shape}"
            )
        self.architecture = architecture
        keras.utils.set_random_seed(experiment.run.seed)
        generator = architecture.build_generator(experiment.model)
        discriminator = architecture.build_discriminator(experiment.model)
        if architecture.adapt is not None:
            scaled_n1 = loader.energies[:, None] / experiment.data.energy_scale_gev
            architecture.adapt(
                generator, discriminator, loader.images, scaled_n1.astype(np.float32)
            )
        self.response = self._fit_response()
        self.step = AdversarialStep(
            architecture,
            generator,
            discriminator,
            experiment.training,
            self.response,
            communicator,
            experiment.run.seed,
        )
        self.schedule = LearningRateSchedule.of(
            experiment.training, communicator.size, loader.steps_per_epoch
        )

    def start(self, environment: Mapping[str, Any]) -> None:
        """Give all ranks rank 0's first state and write what the run is into its folder."""
        self._broadcast()
        if self.communicator.rank == 0:
            make_folder(self.folder)
            write_json(self.folder / ENVIRONMENT, environment)
            write_json(self.folder / RESPONSE, self.response.as_dict())
            # Last: a folder with a config is a run.
            write_text(self.folder / CONFIG, dump_experiment(self.experiment))

    def resume(self) -> None:
        """Go on from the newest checkpoint of the run's folder, or start if there is none yet.

        Only rank 0 reads; the others get its state.
        """
        position = self.position
        if self.communicator.rank == 0:
            checkpoints = checkpoint_folders(self.folder / CHECKPOINTS)
            if checkpoints:
                position = restore_checkpoint(checkpoints[-1], self.step)
            self.history = [
                record for record in read_history(self.folder) if record["epoch"] <= position.epoch
            ]
        self._broadcast()
        names = self.step.loss_names
        shared = [position.epoch, position.step_in_epoch, position.global_step, position.world_size]
        totals = [position.totals.get(name, 0.0) for name in names]
        # Everyone but rank 0 adds zeros: a broadcast of plain numbers.
        numbers = np.array([*shared, *totals], np.float64) * (self.communicator.rank == 0)
        numbers = self.communicator.sum(numbers)
        epoch, step_in_epoch, global_step, world_size = (int(n) for n in numbers[:4])
        if step_in_epoch and world_size != self.communicator.size:
            raise TrainingError(
                f"{self.folder}: the checkpoint lies in the middle of an epoch that {world_size} "
                f"ranks shared, now there are {self.communicator.size}; resume with {world_size}"
            )
        self.position = Position(
            epoch=epoch,
            step_in_epoch=step_in_epoch,
            global_step=global_step,
            world_size=self.communicator.size,
            totals=dict(zip(names, numbers[4:].tolist(), strict=True)) if step_in_epoch else {},
        )

    def train(self, listener: Listener, examine: Examine | None = None) -> None:
        """Train to the last epoch, with a checkpoint and a line of history after each.

        `examine` turns (generated, held-out) showers into numbers for the history; with
        `optimisation_metric` among them, the best epoch is noted in best.json.
        Raises TrainingError where losses are not finite or the generated showers are empty;
        KeyboardInterrupt, with a checkpoint written, after Ctrl-C.
        """
        training, began = self.experiment.training, time.monotonic()
        listener.started(
            first_epoch=self.position.epoch,
            first_step=self.position.step_in_epoch,
            epochs=training.epochs,
            steps_per_epoch=self.loader.steps_per_epoch,
            ranks=self.communicator.size,
        )
        with without_remapper(), _interruptible() as interrupted:
            while self.position.epoch < training.epochs:
                record = self._epoch(listener, interrupted)
                if self.communicator.rank == 0:
                    if examine is not None and self.heldout is not None:
                        record |= self._examine(examine, self.heldout)
                    self.history.append(record)
                    write_history(self.folder, self.history)
                    self._write_tensorboard(record)
                    self._save()
                    # After its checkpoint: best.json never names one that is not there.
                    self._note_best()
                listener.epoch_done(record)
                if interrupted():
                    raise KeyboardInterrupt
                if self._out_of_time(began):
                    break

    def _epoch(self, listener: Listener, interrupted: Callable[[], bool]) -> dict[str, Any]:
        """The rest of the epoch under way; returns its line of history, averaged over ranks."""
        position, training = self.position, self.experiment.training
        epoch, first_step, began = position.epoch, position.step_in_epoch, time.monotonic()
        average = training.weight_average
        decay = average.decay if average is not None and epoch >= average.start_epoch else 0.0
        totals = np.array([position.totals.get(name, 0.0) for name in self.step.loss_names])
        rate = 0.0
        for index, showers in enumerate(self.loader.epoch(epoch, first_step), start=first_step):
            rate = self.schedule(epoch, index)
            losses = self.step(
                showers.images_nxyz,
                showers.energy_n[:, None] / np.float32(self.experiment.data.energy_scale_gev),
                step=self.position.global_step,
                learning_rate=rate,
                average_decay=decay,
            )
            self._check(losses, epoch, index)
            totals += list(losses.values())
            self.position = Position(
                epoch=epoch,
                step_in_epoch=index + 1,
                global_step=self.position.global_step + 1,
                world_size=self.communicator.size,
                totals=dict(zip(losses, totals.tolist(), strict=True)),
            )
            listener.step_done(epoch=epoch, step=index, losses=losses)
            if interrupted() and index + 1 < self.loader.steps_per_epoch:
                if self.communicator.rank == 0:
                    self._save()
                raise KeyboardInterrupt
        seconds = time.monotonic() - began
        steps = self.loader.steps_per_epoch
        means = self.communicator.sum(totals / steps) / self.communicator.size
        self.position = Position(
            epoch=epoch + 1,
            global_step=self.position.global_step,
            world_size=self.communicator.size,
        )
        done = (steps - first_step) * training.batch_size * self.communicator.size
        return {
            "epoch": epoch + 1,
            "step": self.position.global_step,
            "ranks": self.communicator.size,
            "learning_rate": rate,
            "seconds": round(seconds, 3),
            "showers_per_second": round(done / seconds, 3),
            **dict(zip(self.step.loss_names, means.tolist(), strict=True)),
        }

    def _check(self, losses: Mapping[str, float], epoch: int, step: int) -> None:
        """Stop a run that cannot recover, while the last checkpoint is still good."""
        where = f"epoch {epoch + 1}, step {step + 1}"
        for name, value in losses.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"{where}: {name} is {value}; the last checkpoint in "
                    f"{self.folder / CHECKPOINTS} is good: resume with a lower learning rate"
                )
        if losses["generator.ecal_gev"] == 0.0:
            raise TrainingError(_empty(where, self.folder))

    def _examine(self, examine: Examine, heldout: Showers) -> dict[str, float]:
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
            raise TrainingError(_empty(f"epoch {self.position.epoch}", self.folder))
        generated = Showers(images_nxyz=images_nxyz, energy_n=heldout.energy_n)
        return {f"validation.{name}": value for name, value in examine(generated, heldout).items()}

    def _note_best(self) -> None:
        name = "validation.optimisation_metric"
        judged = [r for r in self.history if r.get(name) is not None and math.isfinite(r[name])]
        if judged:
            best = min(judged, key=lambda record: record[name])
            keys = ("epoch", "step", name)
            write_json(self.folder / BEST, {key: best[key] for key in keys})

    def _save(self) -> None:
        weights = [*self.step.generator.weights, *self.step.discriminator.weights]
        if not all(np.isfinite(weight.numpy()).all() for weight in weights):
            raise TrainingError(
                f"step {self.position.global_step}: a weight is not finite; the last checkpoint in "
                f"{self.folder / CHECKPOINTS} is good: resume with a lower learning rate"
            )
        save_checkpoint(
            self.folder / CHECKPOINTS,
            self.step,
            self.position,
            keep=self.experiment.run.keep_checkpoints,
            protected=_best_step(self.folder),
        )

    def _write_tensorboard(self, record: Mapping[str, Any]) -> None:
        writer = tf.summary.create_file_writer(str(self.folder / "tensorboard"))
        with writer.as_default(step=record["epoch"]):
            for name, value in record.items():
                tf.summary.scalar(name.replace(".", "/"), value)
        writer.close()

    def _out_of_time(self, began: float) -> bool:
        """Whether `run.max_minutes` are over, by rank 0's clock."""
        limit = self.experiment.run.max_minutes
        if limit is None:
            return False
        over = self.communicator.rank == 0 and time.monotonic() - began >= 60.0 * limit
        return bool(self.communicator.sum(np.array([float(over)]))[0])

    def _fit_response(self) -> Response:
        ecal_n = self.loader.images.sum(axis=(1, 2, 3), dtype=np.float64)
        mine = np.stack([ecal_n, self.loader.energies.astype(np.float64)], axis=1)
        ecal_n, energy_n = self.communicator.gather(mine).T
        return fit_response(
            ecal_n,
            energy_n,
            degree=self.experiment.training.response_degree,
            energy_scale_gev=self.experiment.data.energy_scale_gev,
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


def _empty(where: str, folder: Path) -> str:
    return (
        f"{where}: the generated showers have become empty (the ECAL loss is 100 %); the last "
        f"checkpoint in {folder / CHECKPOINTS} is good: start again with another run.seed or a "
        f"lower learning rate"
    )


def _best_step(folder: Path) -> int | None:
    path = folder / BEST
    return int(json.loads(path.read_text())["step"]) if path.is_file() else None


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag, so that it falls between two steps; the second is usual.

    Yields a function that says whether it came.
    """
    came = False

    def note(_signal: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, usual)

    usual = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, usual)

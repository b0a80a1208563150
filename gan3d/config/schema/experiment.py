"""The whole of an experiment, and its section `run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from gan3d.config.schema.data import Data
from gan3d.config.schema.model import Model
from gan3d.config.schema.node import Horovod, Node
from gan3d.config.schema.section import PositiveFloat, PositiveInt, Section
from gan3d.config.schema.training import Training
from gan3d.config.schema.validation import Validation


class Run(Section):
    """Where the run is kept and how it is repeated."""

    folder: Path | None = None
    """The run's folder, relative to the current folder; null: runs/NAME, NAME being the YAML
    file's."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of initial weights, noise, label flips, dropout and order of the showers."""
    keep_checkpoints: PositiveInt | None = 3
    """How many checkpoints stay on disk, and the best one; the oldest is removed first. null: all,
    so that `gan3d validate RUN --select` can judge every epoch; one of `ecal25` takes 7.4 MB."""
    checkpoint_steps: PositiveInt | None = None
    """A checkpoint on disk after so many steps within an epoch; null: after every epoch, and when
    a signal or a fault ends training. For epochs that take hours."""
    commit_steps: PositiveInt = 20
    """A copy of the state in memory after so many steps of an epoch: what an elastic run goes on
    from when a rank is lost, and what is saved when another rank is lost without one, when a step
    takes longer than a launcher waits after a signal, and by the watchdog. So at most this many
    steps are lost, and commit_steps x batch_size x backward_passes_per_step x ranks showers of the
    epoch are seen again. A copy takes milliseconds."""
    watchdog_seconds: PositiveFloat | None = 1800.0
    """When no step has ended for this long (s), the last copy of the state becomes a checkpoint and
    the run ends with exit code 75: Horovod can wait for ever for ranks that are gone. Longer than a
    step, the examination after an epoch and the first compilation together; null: no watchdog."""
    straggler_factor: Annotated[float, Field(gt=1.0)] = 1.2
    """A rank whose reading and computing take this many times those of the median rank is named
    after the epoch."""
    max_minutes: PositiveFloat | None = None
    """Training ends, with a checkpoint, at the first epoch that ends after this many minutes."""


class Experiment(Section):
    """A whole experiment, as `gan3d train` runs it."""

    data: Data
    """Shower files and preprocessing."""
    model: Model = Model()
    """Networks."""
    training: Training = Training()
    """Recipe."""
    node: Node = Node()
    """Machine."""
    horovod: Horovod = Horovod()
    """Exchange between ranks."""
    validation: Validation = Validation()
    """Judgement."""
    run: Run = Run()
    """Folder and seed."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.data.validation_files is None and self.data.split.validation == 0.0:
            raise ValueError(
                "data.split.validation is 0 and there are no data.validation_files: "
                "nothing would be held out"
            )
        unknown = set(self.training.loss_weights.further_sums) - set(self.data.further_images)
        if unknown:
            raise ValueError(
                f"training.loss_weights.further_sums: {min(unknown)} is none of "
                f"data.further_images ({', '.join(self.data.further_images) or 'there are none'})"
            )
        if self.node.xla is True and self.model.synchronized_batch_norm:
            raise ValueError(
                "node.xla and model.synchronized_batch_norm exclude each other: XLA cannot compile "
                "the exchanges between ranks that lie inside the passes"
            )
        for key, name in self.training.monitored.items():
            if name.startswith("validation.") and not self.validation.epoch_showers:
                raise ValueError(
                    f"{key}: {name}, but validation.epoch_showers is 0, so no epoch would have it"
                )
        return self

"""Checkpoints: all that training needs to go on as if it had not stopped.

A checkpoint is a folder `step-NNNNNNNN` with Keras weight files, the optimisers' and random
generators' variables as plain HDF5 arrays, and `state.json`. It is written under another name,
synced and renamed, so a folder with the final name is complete. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from gan3d.errors import RunError
from gan3d.models.weights import (
    AVERAGE_WEIGHTS,
    DISCRIMINATOR_WEIGHTS,
    GENERATOR_WEIGHTS,
    REPLACED,
    STATE,
    checkpoint_folders,
    checkpoint_name,
    read_json,
)
from gan3d.training.optimizers import inner_variables, loss_scale_variables
from gan3d.training.step import AdversarialStep

FORMAT = 2
VARIABLES = "variables.h5"
LOSS_SCALE = "loss_scale"


@dataclass(frozen=True)
class Position:
    """Where training stands: the next step to do. The schedule and all noise follow from it."""

    epoch: int = 0
    """Epochs done."""
    step_in_epoch: int = 0
    """Steps done of the epoch under way."""
    global_step: int = 0
    """Steps done in all."""
    totals: dict[str, float] = field(default_factory=dict)
    """Sums of the losses over the steps done of the epoch under way; the mean over ranks."""
    divisions: list[list[int]] = field(default_factory=list)
    """Showers of the epoch under way that each rank has behind it, for each number of ranks that
    has shared the epoch; the last is under way. Empty where no epoch is."""
    division_start: int = 0
    """Steps of the epoch that were done when it was last divided."""
    division_share: float = 0.0
    """Share of the epoch that was done then: the learning rate goes on from there."""
    skipped_files: list[int] = field(default_factory=list)
    """Files, by their number in the run's list, that the epoch is made without."""
    lost_showers: dict[str, int] = field(default_factory=dict)
    """Showers of the epoch under way that could not be read, by the number of their file."""
    lost_reasons: dict[str, str] = field(default_factory=dict)
    """What is wrong with these files."""


@dataclass(frozen=True)
class Snapshot:
    """A copy in memory of all that a checkpoint holds."""

    position: Position
    values: list[np.ndarray[Any, Any]]
    """The values of `state_variables`."""

    @classmethod
    def of(cls, step: AdversarialStep, position: Position) -> Snapshot:
        """Copy the state of `step`."""
        return cls(position, [np.array(variable.numpy()) for variable in state_variables(step)])

    def put_into(self, step: AdversarialStep) -> None:
        """Give `step`, made alike, this state."""
        for variable, value in zip(state_variables(step), self.values, strict=True):
            variable.assign(value)


def state_variables(step: AdversarialStep) -> list[Any]:
    """All that changes in training: weights, optimisers, averages and random states (tf.Variable).

    In an order that is the same in all processes.
    """
    return [
        *(v.value for v in step.generator.variables),
        *(v.value for v in step.discriminator.variables),
        *(v.value for v in step.generator_optimizer.variables),
        *(v.value for v in step.discriminator_optimizer.variables),
        *step.average_weights,
    ]


def save_checkpoint(
    folder: Path,
    step: AdversarialStep,
    position: Position,
    *,
    keep: int | None,
    protected: int | None = None,
) -> Path:
    """Write `folder`/step-NNNNNNNN atomically and remove all but the newest `keep` (None: none).

    The checkpoint of global step `protected` stays too. Returns the new checkpoint's folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / checkpoint_name(position.global_step)
    own = f"{socket.gethostname()}.{os.getpid()}"
    aside = folder / f".{final.name}.{own}.partial"
    # Of this process alone: another rank may be writing what it has before all ends.
    for left_over in folder.glob(f".step-*.{own}.partial"):
        shutil.rmtree(left_over)
    aside.mkdir()
    step.generator.save_weights(aside / GENERATOR_WEIGHTS)
    step.discriminator.save_weights(aside / DISCRIMINATOR_WEIGHTS)
    if step.average_weights:
        with step.average_in_generator():
            step.generator.save_weights(aside / AVERAGE_WEIGHTS)
    with h5py.File(aside / VARIABLES, "w") as file:
        for name, variable in _named_variables(step):
            file.create_dataset(name, data=_value(variable))
    state = {"format": FORMAT, **asdict(position)}
    (aside / STATE).write_text(json.dumps(state, indent=2) + "\n")
    for path in [*aside.iterdir(), aside]:
        _sync(path)
    replaced = folder / f".{final.name}.{own}{REPLACED}"
    if final.exists():
        final.rename(replaced)  # `recover_checkpoints` puts it back if this is where we end
    aside.rename(final)
    _sync(folder)
    if replaced.exists():
        shutil.rmtree(replaced)
    kept = checkpoint_name(protected) if protected is not None else None
    for old in checkpoint_folders(folder)[:-keep] if keep is not None else []:
        if old.name != kept:
            shutil.rmtree(old)
    return final


def recover_checkpoints(folder: Path) -> None:
    """Put back what was being replaced when a run was killed, and remove what is half-written.

    Nobody may be writing there.
    """
    for replaced in folder.glob(f".step-*{REPLACED}"):
        final = folder / replaced.name[1:].partition(".")[0]
        if final.exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(final)
    for left_over in folder.glob(".step-*.partial"):
        shutil.rmtree(left_over)


def restore_checkpoint(checkpoint: Path, step: AdversarialStep) -> Position:
    """Put the state of a checkpoint's folder into `step` and return the position in training.

    Raises RunError where the folder does not fit the networks or cannot be read.
    """
    try:
        state = read_json(checkpoint / STATE)
        if state.pop("format", None) != FORMAT:
            raise RunError(f"{checkpoint}: not a checkpoint of format {FORMAT}; train anew")
        if step.average_weights:
            # Through the generator, whose own weights come after.
            step.generator.load_weights(checkpoint / AVERAGE_WEIGHTS)
            for average, weight in zip(step.average_weights, step.generator.weights, strict=True):
                average.assign(weight.value)
        step.generator.load_weights(checkpoint / GENERATOR_WEIGHTS)
        step.discriminator.load_weights(checkpoint / DISCRIMINATOR_WEIGHTS)
        with h5py.File(checkpoint / VARIABLES, "r") as file:
            for name, variable in _named_variables(step):
                # A run that goes on in another precision begins with the scale of its own.
                if name in file or LOSS_SCALE not in name:
                    variable.assign(np.asarray(file[name]))
        return Position(**state)
    except (OSError, KeyError, ValueError, TypeError) as error:
        first = str(error).partition("\n")[0]
        raise RunError(
            f"{checkpoint}: the checkpoint cannot be read or belongs to another experiment "
            f"({first}); remove it to go on from the one before"
        ) from error


def random_states(*models: keras.Model) -> list[keras.Variable]:
    """The seed variables of the models' random layers (dropout): state that is not a weight."""
    return [
        variable
        for model in models
        for variable in model.variables
        if not any(variable is weight for weight in model.weights)
    ]


def _named_variables(step: AdversarialStep) -> Iterable[tuple[str, keras.Variable]]:
    """Optimiser and random-generator variables, under names that do not depend on the process."""
    optimizers = {
        "generator_optimizer": step.generator_optimizer,
        "discriminator_optimizer": step.discriminator_optimizer,
    }
    scales = {
        f"{owner}_{LOSS_SCALE}": loss_scale_variables(each) for owner, each in optimizers.items()
    }
    for owner, variables in (
        *((owner, inner_variables(each)) for owner, each in optimizers.items()),
        *scales.items(),
        ("random", random_states(step.generator, step.discriminator)),
    ):
        for index, variable in enumerate(variables):
            yield f"{owner}/{index:04d}", variable


def _value(variable: keras.Variable) -> np.ndarray[Any, Any]:
    return np.asarray(variable.numpy())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""All checkpoints of a run, each in turn.

Importing this module does not import Keras; generating does.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.data import Showers
from gan3d.generation.run import DEFAULT_BATCH, Columns, load_run
from gan3d.models.weights import (
    CHECKPOINTS,
    checkpoint_folders,
    checkpoint_step,
    epochs_done,
    find_checkpoint,
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that a run has kept, and where in training it was written."""

    path: Path
    """Its folder."""
    step: int
    """Steps done in all."""
    epoch: float
    """Epochs done. Of one that was under way its share counts, once an epoch has been finished."""


def find_checkpoints(path: str | Path) -> list[Checkpoint]:
    """All checkpoints of the run in folder `path`, the oldest first; loads nothing.

    Raises RunError where there is no run or none, or where one is damaged.
    """
    path = Path(path)
    find_checkpoint(path)
    folders = checkpoint_folders(path / CHECKPOINTS)
    done = [epochs_done(folder) for folder in folders]
    # Epochs have about as many steps as those that the newest checkpoint has behind it.
    epochs, steps = done[-1]
    steps_per_epoch = (checkpoint_step(folders[-1]) - steps) / epochs if epochs else float("inf")
    return [
        Checkpoint(folder, checkpoint_step(folder), whole + min(within / steps_per_epoch, 1.0))
        for folder, (whole, within) in zip(folders, done, strict=True)
    ]


def stream_checkpoints(
    path: str | Path,
    energy_n: NDArray[np.floating[Any]],
    *,
    seed: int = 0,
    batch_size: int = DEFAULT_BATCH,
    columns: Columns | None = None,
) -> Iterator[tuple[Checkpoint, Iterator[Showers]]]:
    """Every checkpoint of a run, the oldest first, with showers of it, block by block.

    All generate the same showers as far as they can: for each incident energy of `energy_n` (GeV)
    one from the same latent, with the labels in `columns` where the networks have some. A block
    holds up to `batch_size` of them, and only blocks are in memory. Raises RunError as
    `find_checkpoints` and `gan3d.load_run`, UsageError for energies that are not positive.
    """
    for checkpoint in find_checkpoints(path):
        run = load_run(path, checkpoint.step)
        yield checkpoint, run.stream(energy_n, seed=seed, batch_size=batch_size, columns=columns)
        # Keras' models refer to themselves: without this they pile up, 10 MB a checkpoint.
        del run
        gc.collect()

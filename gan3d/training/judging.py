"""The generator beside held-out showers after an epoch, on rank 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from gan3d.config import Experiment
from gan3d.data import Showers, Survey, divide, label_inputs, pick_columns, read_part
from gan3d.models.sampling import sample_images
from gan3d.training.records import GENERATED_EMPTY
from gan3d.training.step import AdversarialStep
from gan3d.training.tensorboard import TensorBoard

Examine = Callable[[Showers, Showers], Mapping[str, float]]
"""Numbers of (generated, held-out) showers."""

# Showers generated at a time for a comparison; only memory depends on it.
_BATCH = 64


class Judge:
    """When the generator is compared with held-out showers, and with which."""

    def __init__(self, experiment: Experiment, files: Survey, heldout: Showers | None) -> None:
        """Compare with `heldout`; None: read them from `files` when they are needed."""
        self._experiment = experiment
        self._files = files
        self.heldout = heldout

    def is_due(self, epoch: int) -> bool:
        """Whether there is anything to compare with, and it is time to, after `epoch` epochs."""
        validation = self._experiment.validation
        last = self._experiment.training.epochs
        due = epoch % validation.every_epochs == 0 or epoch == last
        return due and (self.heldout is not None or validation.epoch_showers > 0)

    def compare(
        self, step: AdversarialStep, examine: Examine, board: TensorBoard, epoch: int
    ) -> dict[str, float | None]:
        """What `examine` says of showers of the held-out ones' conditions, for the history.

        null where a number could not be computed, as of showers that are all empty.
        """
        experiment, heldout = self._experiment, self._showers()
        labels = label_inputs(heldout.columns, experiment.model.labels)
        with step.average_in_generator():
            images_nxyz = np.concatenate(
                list(
                    sample_images(
                        step.generator,
                        heldout.energy_n,
                        experiment.data,
                        latent_dim=int(step.generator.inputs[0].shape[1]),
                        seed=experiment.run.seed,
                        batch_size=_BATCH,
                        labels_nc=next(iter(labels), None),
                    )
                )
            )
        if not images_nxyz.any():  # nothing to compare; the next epoch may have showers again
            metrics = dict.fromkeys(f"validation.{name}" for name in examine(heldout, heldout))
            return {**metrics, GENERATED_EMPTY: True}
        board.draw(epoch, experiment.data.images, images_nxyz, heldout.images_nxyz)
        columns = pick_columns(heldout.columns, experiment.model.labels)
        generated = Showers(images_nxyz, heldout.energy_n, columns)
        # JSON has no NaN.
        return {
            f"validation.{name}": value if math.isfinite(value) else None
            for name, value in examine(generated, heldout).items()
        }

    def _showers(self) -> Showers:
        """The showers to compare with; read now on a rank that has become rank 0."""
        if self.heldout is None:
            data = self._experiment.data
            part = divide(self._files, data.split).validation
            bad: dict[Path, str] | None = {} if data.on_bad_file == "skip" else None
            limit = self._experiment.validation.epoch_showers
            self.heldout = read_part(part, data, limit=limit, bad=bad)
        return self.heldout

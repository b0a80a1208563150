"""What TensorBoard shows of a run: its history, the times of its steps, showers in passing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gan3d.config import Images
from gan3d.training.images import mean_picture, single_pictures

FOLDER = "tensorboard"
"""In a run's folder."""

_DRAWN = 4
"""Single showers that are shown of an epoch."""


class TensorBoard:
    """Rank 0's event file, opened when the first number is written."""

    def __init__(self, run: Path) -> None:
        """Write into the run's folder `run`."""
        self._folder = run / FOLDER
        self._writer: Any = None

    def write_epoch(self, record: Mapping[str, Any]) -> None:
        """The numbers of an epoch's line of history."""
        with self._at(record["epoch"]):
            for name, value in record.items():
                if isinstance(value, int | float):
                    tf.summary.scalar(name.replace(".", "/"), value)
        self._writer.flush()

    def write_step(self, step: int, compute: float, exchange: float, data_wait: float) -> None:
        """The times of a step (s)."""
        with self._at(step):
            tf.summary.scalar("step/compute_seconds", compute)
            tf.summary.scalar("step/all_reduce_and_wait_seconds", exchange)
            tf.summary.scalar("step/data_wait_seconds", data_wait)

    def draw(
        self,
        epoch: int,
        images: Images,
        generated_nxyz: NDArray[np.float32],
        reference_nxyz: NDArray[np.float32],
    ) -> None:
        """Show generated showers beside Monte Carlo's of the same energies."""
        generated, reference = images.split(generated_nxyz), images.split(reference_nxyz)
        with self._at(epoch):
            for name in images.shapes:
                samples = generated[name], reference[name]
                of = "" if images.single else f" in {name}"
                tf.summary.image(f"mean shower{of}", mean_picture(*samples))
                singles = single_pictures(_DRAWN, *samples)
                tf.summary.image(f"showers{of}", singles, max_outputs=_DRAWN)

    def _at(self, step: int) -> Any:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder))
        return self._writer.as_default(step=step)

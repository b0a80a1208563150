"""The learning rate as a function of the position in training."""

from __future__ import annotations

from dataclasses import dataclass

from gan3d.config import Training


@dataclass(frozen=True)
class LearningRateSchedule:
    """Linear warm-up from the rate of one worker to that of all, then constant.

    Goyal et al. 2017 (arXiv:1706.02677), as in the published 3DGAN: with N workers,
    lr * (1 + (N - 1) * (epoch + step / steps_per_epoch) / warmup_epochs) during the first
    `warmup_epochs` epochs, N * lr afterwards.
    """

    base: float
    """Rate of one worker."""
    workers: int
    """Factor N that the rate ends at: the world size, or 1 where it is not scaled."""
    warmup_epochs: float
    """Length of the rise in epochs; 0 starts at N * lr."""
    steps_per_epoch: int
    """Steps of one epoch on every rank."""

    @classmethod
    def of(cls, training: Training, world_size: int, steps_per_epoch: int) -> LearningRateSchedule:
        """The schedule that the `training` section asks for."""
        return cls(
            base=training.optimizer.learning_rate,
            workers=world_size if training.scale_learning_rate else 1,
            warmup_epochs=training.warmup_epochs,
            steps_per_epoch=steps_per_epoch,
        )

    def __call__(self, epoch: int, step: int) -> float:
        """Learning rate of `step` (from 0) in `epoch` (from 0)."""
        position = epoch + step / self.steps_per_epoch
        if position >= self.warmup_epochs:
            return self.base * self.workers
        return self.base * (1.0 + (self.workers - 1) * position / self.warmup_epochs)

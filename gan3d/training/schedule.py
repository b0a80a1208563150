"""The learning rate as a function of the position in training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gan3d.config import Decay, Experiment
from gan3d.training.monitor import History, check_monitored, measured


@dataclass(frozen=True)
class LearningRateSchedule:
    """Linear warm-up from the rate of one worker to that of all, then a decay.

    Goyal et al. 2017 (arXiv:1706.02677), as in the published 3DGAN: with N workers,
    lr * (1 + (N - 1) * (epoch + step / steps_per_epoch) / warmup_epochs) during the first
    `warmup_epochs` epochs, N * lr afterwards. With square-root scaling sqrt(N) stands for N.
    """

    base: float
    """Rate of one worker."""
    scale: float
    """What the warm-up ends at, over `base`."""
    warmup_epochs: float
    """Length of the rise in epochs; 0 starts at scale * base."""
    epochs: int
    """Epochs of the whole training."""
    decay: Decay
    """What comes after the rise."""

    @classmethod
    def of(cls, experiment: Experiment, world_size: int) -> LearningRateSchedule:
        """The schedule that `experiment` asks for on `world_size` ranks."""
        training = experiment.training
        workers = world_size * experiment.horovod.backward_passes_per_step
        scales = {"linear": float(workers), "sqrt": math.sqrt(workers), "none": 1.0}
        return cls(
            base=training.optimizer.learning_rate,
            scale=scales[training.learning_rate_scaling],
            warmup_epochs=training.warmup_epochs,
            epochs=training.epochs,
            decay=training.decay,
        )

    @property
    def peak(self) -> float:
        """The rate at the end of the rise."""
        return self.base * self.scale

    def __call__(self, position: float, reductions: int = 0) -> float:
        """Learning rate at `position`, in epochs from the beginning (epoch + step/steps_per_epoch).

        `reductions` is how often a plateau has lowered the rate: `count_reductions`.
        """
        rate = self.peak
        if position < self.warmup_epochs:
            rate = self.base * (1.0 + (self.scale - 1.0) * position / self.warmup_epochs)
        return rate * self._share(position, reductions)

    def _share(self, position: float, reductions: int) -> float:
        """What the decay leaves of the rate."""
        decay = self.decay
        if decay.kind == "step":
            return decay.factor ** sum(epoch <= position for epoch in decay.epochs)
        if decay.kind == "plateau":
            return max(decay.factor**reductions, decay.least_share)
        if decay.kind == "cosine" and position > self.warmup_epochs:
            # Loshchilov & Hutter 2017 (arXiv:1608.03983), eq. 5, without restarts.
            done = (position - self.warmup_epochs) / max(self.epochs - self.warmup_epochs, 1e-12)
            fall = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
            return decay.final_share + (1.0 - decay.final_share) * fall
        return 1.0


def count_reductions(history: History, decay: Decay) -> int:
    """How often the rate has been lowered in a run with these epochs, the oldest first.

    After `patience` epochs in a row without improvement it is lowered and the count begins anew;
    what has to be improved on is still the best so far. Epochs in which the monitored number was
    not measured change nothing. 0 unless the decay is a plateau's.

    Raises ConfigError where what is monitored is not there or no number.
    """
    if decay.kind != "plateau":
        return 0
    key = "training.decay.monitor"
    check_monitored(history, key, decay.monitor)
    waited, reductions = 0, 0
    for each in measured(history, decay.monitor, decay.improvement, key):
        waited = 0 if each.improved else waited + 1
        if waited == decay.patience:
            waited, reductions = 0, reductions + 1
    return reductions

"""Showers from a trained run."""

from gan3d.generation.checkpoints import Checkpoint, find_checkpoints, stream_checkpoints
from gan3d.generation.run import TrainedRun, find_checkpoint, load_run

__all__ = [
    "Checkpoint",
    "TrainedRun",
    "find_checkpoint",
    "find_checkpoints",
    "load_run",
    "stream_checkpoints",
]

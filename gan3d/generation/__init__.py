"""Showers from a trained run."""

from gan3d.generation.checkpoints import Checkpoint, find_checkpoints, stream_checkpoints
from gan3d.generation.dataset import SHOWERS_PER_FILE, Dataset, write_while_generating
from gan3d.generation.run import Told, TrainedRun, load_run, read_told
from gan3d.models.weights import find_checkpoint

__all__ = [
    "SHOWERS_PER_FILE",
    "Checkpoint",
    "Dataset",
    "Told",
    "TrainedRun",
    "find_checkpoint",
    "find_checkpoints",
    "load_run",
    "read_told",
    "stream_checkpoints",
    "write_while_generating",
]

"""Showers from a trained run."""

from gan3d.generation.run import TrainedRun, find_checkpoint, load_run

__all__ = ["TrainedRun", "find_checkpoint", "load_run"]

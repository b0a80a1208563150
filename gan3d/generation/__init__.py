"""Showers from a trained run."""

from gan3d.generation.run import TrainedRun, load_run

__all__ = ["TrainedRun", "load_run"]

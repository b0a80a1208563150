"""Where a run keeps its weights, for those who write them and those who only generate."""

from __future__ import annotations

from pathlib import Path

CHECKPOINTS = "checkpoints"
GENERATOR_WEIGHTS = "generator.weights.h5"
AVERAGE_WEIGHTS = "generator_average.weights.h5"


def checkpoint_name(global_step: int) -> str:
    """Name of the folder that holds the checkpoint after `global_step` steps."""
    return f"step-{global_step:08d}"


def checkpoint_folders(folder: Path) -> list[Path]:
    """Complete checkpoints `step-NNNNNNNN` in `folder`, oldest first."""
    return sorted(p for p in folder.glob("step-*") if p.is_dir())


def generation_weights(checkpoint: Path) -> Path:
    """The weight file to generate with: the moving average where the run kept one."""
    average = checkpoint / AVERAGE_WEIGHTS
    return average if average.is_file() else checkpoint / GENERATOR_WEIGHTS

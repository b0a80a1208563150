"""A run's folder, for those who write it and those who only generate from it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from gan3d.errors import RunError

CHECKPOINTS = "checkpoints"
GENERATOR_WEIGHTS = "generator.weights.h5"
DISCRIMINATOR_WEIGHTS = "discriminator.weights.h5"
AVERAGE_WEIGHTS = "generator_average.weights.h5"

_CHECKPOINT = re.compile(r"step-\d{8,}")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a run's file. Raises RunError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: holds no JSON object; the run's folder is damaged")
    return content


def checkpoint_name(global_step: int) -> str:
    """Name of the folder that holds the checkpoint after `global_step` steps."""
    return f"step-{global_step:08d}"


def checkpoint_folders(folder: Path) -> list[Path]:
    """Complete checkpoints `step-NNNNNNNN` in `folder`, oldest first."""
    found = [p for p in folder.glob("step-*") if _CHECKPOINT.fullmatch(p.name) and p.is_dir()]
    return sorted(found, key=checkpoint_step)


def checkpoint_step(checkpoint: Path) -> int:
    """Global step of a checkpoint, by its name."""
    return int(checkpoint.name.removeprefix("step-"))


def generation_weights(checkpoint: Path) -> Path:
    """The weight file to generate with: the moving average where the run kept one."""
    average = checkpoint / AVERAGE_WEIGHTS
    return average if average.is_file() else checkpoint / GENERATOR_WEIGHTS

"""A run's folder, for those who write it and those who only generate from it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

from gan3d.errors import RunError, UsageError

CHECKPOINTS = "checkpoints"
GENERATOR_WEIGHTS = "generator.weights.h5"
DISCRIMINATOR_WEIGHTS = "discriminator.weights.h5"
AVERAGE_WEIGHTS = "generator_average.weights.h5"
STATE = "state.json"

REPLACED = ".replaced.partial"
"""How the name of a checkpoint ends while another one takes its place."""

WhichCheckpoint = Literal["last", "best"] | int
"""The newest checkpoint, that of the smallest optimisation metric, or that after so many steps."""

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


def has_checkpoint(folder: Path) -> bool:
    """Whether the run in `folder` can go on from a checkpoint, complete or being replaced."""
    checkpoints = folder / CHECKPOINTS
    return bool(checkpoint_folders(checkpoints)) or any(checkpoints.glob(f".step-*{REPLACED}"))


def generation_weights(checkpoint: Path) -> Path:
    """The weight file to generate with: the moving average where the run kept one."""
    average = checkpoint / AVERAGE_WEIGHTS
    return average if average.is_file() else checkpoint / GENERATOR_WEIGHTS


def parse_run(what: str) -> tuple[Path | None, WhichCheckpoint]:
    """The run's folder and the checkpoint that `RUN`, `RUN@best` or `RUN@1200` names.

    None: there is no such folder. Raises UsageError for a checkpoint that cannot be.
    """
    if Path(what).is_dir():
        return Path(what), "last"
    folder, at, checkpoint = what.rpartition("@")
    if not at or not Path(folder).is_dir():
        return None, "last"
    if checkpoint in ("last", "best"):
        return Path(folder), "best" if checkpoint == "best" else "last"
    if not checkpoint.isdecimal():
        raise UsageError(
            f"{what}: '{checkpoint}' is neither last, best nor the number of a step of {folder}"
        )
    return Path(folder), int(checkpoint)


def find_checkpoint(path: Path, checkpoint: WhichCheckpoint = "last") -> Path:
    """The folder of a run's checkpoint, as `load_run` chooses it; loads nothing."""
    if not (path / "config.yaml").is_file():
        raise RunError(f"{path}: not a run's folder (no config.yaml); name one that `train` made")
    if checkpoint not in ("last", "best") and not isinstance(checkpoint, int):
        raise UsageError(f"checkpoint '{checkpoint}': 'last', 'best' or the number of a step")
    folders = checkpoint_folders(path / CHECKPOINTS)
    if not folders:
        raise RunError(f"{path}: no checkpoint yet; train at least one epoch")
    if checkpoint == "last":
        return folders[-1]
    if checkpoint == "best":
        best = path / "best.json"
        if not best.is_file():
            raise RunError(f"{path}: no best.json; no epoch of this run has been judged")
        checkpoint = int(read_json(best)["step"])
    wanted = path / CHECKPOINTS / checkpoint_name(checkpoint)
    if wanted not in folders:
        names = ", ".join(folder.name for folder in folders)
        raise RunError(f"{path}: no checkpoint {wanted.name} (there are: {names})")
    return wanted


def epochs_done(checkpoint: Path) -> tuple[int, int]:
    """Epochs done, and steps done of the one under way."""
    path = checkpoint / STATE
    state = read_json(path)
    try:
        return int(state["epoch"]), int(state["step_in_epoch"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: does not say where training stood ({error!r})") from error

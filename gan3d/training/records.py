"""The plain files of a run's folder: configuration, environment, history, best epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gan3d.config import Experiment, load_experiment
from gan3d.data import Survey, check_folder, written_aside
from gan3d.errors import ConfigError, RunError
from gan3d.models.weights import CHECKPOINTS, read_json
from gan3d.runtime import HOROVOD_VARIABLES
from gan3d.training.response import Response

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
RESPONSE = "response.json"
DATA = "data.json"
HISTORY = "history.jsonl"
BEST = "best.json"
STATUS = "status.json"
INIT = "init.json"

GENERATED_EMPTY = "generated_empty"
"""Key of an epoch's line of history: all showers that were to be judged are empty."""


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text`, atomically."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the file `path` by `content` as JSON, atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The epochs of a run, oldest first; empty before the first has ended.

    Raises RunError, with the line, where the file is damaged.
    """
    path = folder / HISTORY
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise RunError(f"{path}:{number}: not a line of JSON; remove this line") from error
    return records


def write_history(folder: Path, records: list[dict[str, Any]]) -> None:
    """Write one line for each epoch.

    The whole file is replaced: epochs are few, and a killed run leaves no half line.
    """
    write_text(folder / HISTORY, "".join(json.dumps(record) + "\n" for record in records))


def write_status(folder: Path, status: str, message: str = "") -> None:
    """Say in status.json how a run stands, for the script that started it.

    `status` is training, finished (all epochs are done, or it has stopped early), requeue (told to
    make room, or out of time: start it again with --resume), interrupted (Ctrl-C) or failed,
    `message` why. A run of which all ranks were killed is left at training.
    """
    write_json(folder / STATUS, {"status": status, "message": message})


def read_status(folder: Path) -> str | None:
    """What `write_status` said last of the run in `folder`; None: nothing."""
    path = folder / STATUS
    return str(read_json(path).get("status")) if path.is_file() else None


def read_message(folder: Path) -> str:
    """Why the run in `folder` stands as `read_status` says."""
    return str(read_json(folder / STATUS).get("message", ""))


def holds_run(folder: Path) -> bool:
    """Whether `folder` holds a run, to be resumed."""
    return (folder / CONFIG).is_file()


def check_run_folder(folder: Path, *, resume: bool) -> None:
    """Check, without writing, that the run's folder can be made, or holds a run to resume.

    Raises RunError where it holds a run already, or none to resume, or one that has lost its
    checkpoints; DataError where it cannot be
    written to.
    """
    if resume and not holds_run(folder):
        raise RunError(f"{folder}: no run to resume here; start one without --resume")
    checkpoints = folder / CHECKPOINTS
    if resume and read_history(folder) and not any(checkpoints.glob("*step-*")):
        raise RunError(f"{checkpoints}: the run's checkpoints are gone; start a new run elsewhere")
    left = [name for name in (CONFIG, HISTORY, BEST, CHECKPOINTS) if (folder / name).exists()]
    if not resume and left:
        raise RunError(
            f"{folder}: holds a run already ({left[0]}); name another folder, or continue it with "
            f"`gan3d train CONFIG --run {folder} --resume`"
        )
    check_folder(folder)


def read_response(folder: Path) -> Response:
    """The response that the run in `folder` began with. Raises RunError where it is damaged."""
    path = folder / RESPONSE
    try:
        return Response.from_dict(read_json(path))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: no response of a run ({error!r}); start a new run") from error


def check_sums(folder: Path, response: Response, experiment: Experiment) -> None:
    """Raise RunError where a run was begun with sums of cells that are not in GeV.

    Before they were, those of networks that see another scale were of what these see. Where all
    targets are measured on the batch, nothing goes by them.
    """
    fitted = not experiment.model.labels or experiment.data.further_images
    if fitted and not response.in_gev and not experiment.data.cell_scale.plain:
        raise RunError(
            f"{folder / RESPONSE}: an older gan3d fitted the sums of what the networks see, now "
            "they are in GeV; go on with that one, or start a new run with training.init_from"
        )


def read_survey(folder: Path) -> Survey:
    """The files that the run in `folder` began with. Raises RunError where it is damaged."""
    path = folder / DATA
    try:
        return Survey.from_dict(read_json(path))
    except (KeyError, TypeError) as error:
        raise RunError(f"{path}: no list of a run's files ({error!r}); start a new run") from error


# Sections and keys that a resumed run may change.
_FREE = (
    ("data", "workers"),
    ("data", "reader_niceness"),
    ("data", "stall_seconds"),
    ("data", "on_bad_file"),
    ("training", "epochs"),
    ("training", "early_stopping"),
    ("training", "empty_steps"),
    ("training", "optimizer", "learning_rate"),
    ("training", "optimizer", "discriminator_learning_rate"),
    ("node",),
    *(("horovod", key) for key in HOROVOD_VARIABLES),
    ("validation",),
    ("run", "folder"),
    ("run", "keep_checkpoints"),
    ("run", "max_minutes"),
    ("run", "checkpoint_steps"),
    ("run", "commit_steps"),
    ("run", "watchdog_seconds"),
    ("run", "straggler_factor"),
)


def check_resumable(folder: Path, experiment: Experiment) -> None:
    """Raise ConfigError, naming the keys, if `experiment` is not the one that `folder` ran.

    More epochs, another learning rate, another node or other limits are no difference.
    """
    changed = changed_keys(folder / CONFIG, experiment, free=_FREE)
    if changed:
        raise ConfigError(
            f"{folder / CONFIG}: the run to resume has other values of {', '.join(changed)}; "
            f"give the same, or start a new run"
        )


def changed_keys(
    path: Path, experiment: Experiment, free: Sequence[tuple[str, ...]] = (("node",),)
) -> list[str]:
    """Keys of which `experiment` has other values than the file `path`, but for those in `free`."""
    before = load_experiment(path).model_dump(mode="json")
    now = experiment.model_dump(mode="json")
    return sorted(
        ".".join(key) for key in _leaves(before) | _leaves(now)
        if _get(before, key) != _get(now, key) and not any(key[: len(f)] == f for f in free)
    )  # fmt: skip


def _leaves(tree: Any, prefix: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if not isinstance(tree, dict):
        return {prefix}
    return {leaf for key, value in tree.items() for leaf in _leaves(value, (*prefix, key))}


def _get(tree: Any, key: tuple[str, ...]) -> Any:
    for name in key:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree

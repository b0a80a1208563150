"""What a trial is judged by: where each number comes from, and of which epoch it counts."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gan3d.config import Experiment
from gan3d.errors import ConfigError, DivergedError, TrainingError
from gan3d.training.records import GENERATED_EMPTY
from gan3d.tuning.study import Objective, Pruner, Study, Tell

if TYPE_CHECKING:
    from gan3d.validation.catalogue import Kind, Metric

TRAINING_RATE = "showers_per_second"
GENERATION_RATE = "generation.showers_per_second"
"""How fast a trained generator is, on the cores of one rank."""

_DEFAULT = "optimisation_metric"


@dataclass(frozen=True)
class Wanted:
    """The numbers that are wanted of a training."""

    names: Sequence[str]
    """Of all objectives; the first chooses the epoch."""
    maximized: bool
    """Whether more of the first is better."""
    target: float | None
    """Of the first: the distance from it counts; None: its value does."""
    epoch: Literal["best", "last"]
    """Of which epoch numbers count."""


def wanted_of(study: Study) -> Wanted:
    """What a trial of `study` is to tell."""
    first = study.objective[0]
    names = [each.key for each in study.objective]
    return Wanted(names, first.maximized, first.target, study.trial.epoch)


def check_objectives(study: Study, experiment: Experiment, tell: Tell) -> Study:
    """Raise ConfigError for a number that no trial would have.

    Returns the study with the directions of its objectives, and without a pruner where the default
    one could not work.
    """
    known = _metrics_of_trials(experiment)
    names = [*known, TRAINING_RATE, GENERATION_RATE]
    for number, objective in enumerate(study.objective):
        here = "objective", number, "name"
        if objective.name not in names:
            near = difflib.get_close_matches(objective.name, names, n=1, cutoff=0.0)[0]
            raise ConfigError(
                tell(here, f"'{objective.name}' is no number of a trial; did you mean '{near}'?")
            )
        judged = in_epochs(objective.name) and objective.name != TRAINING_RATE
        if judged and not experiment.validation.epoch_showers:
            raise ConfigError(
                tell(here, f"{objective.name}, but validation.epoch_showers is 0: no trial has it")
            )
        validation = experiment.validation
        whole = not in_epochs(objective.name) and objective.name != GENERATION_RATE
        if whole and (validation.showers or math.inf) < validation.minimum_showers:
            raise ConfigError(
                tell(
                    here,
                    f"{objective.name}, but validation.showers ({validation.showers}) are fewer "
                    f"than validation.minimum_showers ({validation.minimum_showers}): nothing "
                    "would be judged",
                )
            )
    if study.trial.epoch == "best" and not experiment.validation.epoch_showers:
        raise ConfigError(
            tell(
                ["trial", "epoch"],
                "best, but validation.epoch_showers is 0: no epoch is judged, none is the best; "
                "set trial: {epoch: last}",
            )
        )
    directed = [
        _directed(each, known[each.name].kind if each.name in known else None, number, tell)
        for number, each in enumerate(study.objective)
    ]
    study = study.model_copy(update={"objective": directed})
    if study.trial.folds and experiment.data.validation_files is not None:
        raise ConfigError(
            tell(
                ["trial", "folds"],
                "the experiment names data.validation_files, so there is nothing to divide; set "
                "overrides: {data.validation_files: null}",
            )
        )
    first = study.objective[0].name
    if study.prunes and not in_epochs(first):
        if "pruner" in study.model_fields_set:
            raise ConfigError(
                tell(
                    ["pruner"], f"{first} is known only after a training, so nothing can be pruned"
                )
            )
        return study.model_copy(update={"pruner": Pruner(name="none")})
    return study


def _metrics_of_trials(experiment: Experiment) -> Mapping[str, Metric]:
    """The metrics of the whole judgement, and those that epochs alone have, by their names."""
    from gan3d.validation.catalogue import METRICS, metrics_of_images

    geometries = experiment.data.geometries
    known = dict(metrics_of_images(experiment.validation, geometries))
    if len(geometries) > 1:
        # With the first image's name its own: without one, `optimisation_metric` is the images'
        # mean in epochs (`gan3d.validation.compare_images`).
        known |= {f"{next(iter(geometries))}.{name}": each for name, each in METRICS.items()}
    return known


def _directed(objective: Objective, kind: Kind | None, number: int, tell: Tell) -> Objective:
    """The objective with the direction, or the target, that its number has by its kind.

    `kind` is None of a rate. Raises ConfigError where it has none.
    """
    if objective.direction is not None:
        return objective
    update: dict[str, Any] = {"direction": "minimize"}
    if objective.target is not None:
        return objective.model_copy(update=update)
    if kind is None or (kind.best is None and kind.worse < 0):
        update["direction"] = "maximize"
    elif kind.best is None:
        raise ConfigError(
            tell(
                ["objective", number, "name"],
                f"{objective.name}: neither a small nor a large number is best; say which you want "
                "with direction, or with target the number that is",
            )
        )
    elif kind.best:
        update["target"] = kind.best
    return objective.model_copy(update=update)


def in_epochs(name: str) -> bool:
    """Whether every judged epoch has the number; of one of several images with its name before."""
    from gan3d.validation.catalogue import LAYER_METRICS, METRICS

    of_image = name not in LAYER_METRICS and name.partition(".")[2] in METRICS
    return name == TRAINING_RATE or name in METRICS or of_image


def judged_only(wanted: Wanted) -> list[str]:
    """Those numbers that are only measured after the training."""
    return [name for name in wanted.names if not in_epochs(name)]


def epoch_value(record: Mapping[str, Any], name: str) -> float | None:
    """The number in an epoch's line of history; None: it was not judged, or not finite."""
    value = record.get(name if name == TRAINING_RATE else f"validation.{name}", record.get(name))
    return float(value) if value is not None and math.isfinite(value) else None


def counted(history: Sequence[Mapping[str, Any]], wanted: Wanted) -> dict[str, float]:
    """The numbers of the epoch that counts, and `epoch` itself.

    Raises TrainingError where no epoch has them, DivergedError where showers are empty.
    """
    names = [name for name in wanted.names if in_epochs(name)]
    chooses = names[0] if names and names[0] != TRAINING_RATE else _DEFAULT
    needed = list(dict.fromkeys([chooses, *names] if wanted.epoch == "best" else names))
    if not (needed or history):
        return {}
    rows = [
        (int(record["epoch"]), {name: epoch_value(record, name) for name in needed})
        for record in history
    ]
    whole = [(epoch, row) for epoch, row in rows if None not in row.values()]
    if not whole:
        if any(record.get(GENERATED_EMPTY) for record in history):
            raise DivergedError("in no judged epoch were the generated showers other than empty")
        missing = " and ".join(names or needed)  # without the best epoch there is no judgement
        raise TrainingError(f"no epoch has {missing}: too few held-out showers")
    sign, target = 1.0, None
    if chooses == wanted.names[0]:
        sign, target = -1.0 if wanted.maximized else 1.0, wanted.target

    def place(value: float) -> float:
        return sign * value if target is None else abs(value - target)

    if wanted.epoch == "best":
        epoch, row = min(whole, key=lambda each: place(float(each[1][chooses] or 0.0)))
    else:
        epoch, row = whole[-1]
    values = {name: float(row[name] or 0.0) for name in names}
    return {"epoch": float(epoch), **values}

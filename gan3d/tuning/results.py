"""What a study has found: the best experiment, a table of trials, importances, fresh seeds."""

from __future__ import annotations

import csv
import io
import json
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from gan3d.config import dump_experiment
from gan3d.errors import RunError
from gan3d.training.records import write_text
from gan3d.tuning.run import EXPERIMENT, STUDY, Checked, best_trials, check_study
from gan3d.tuning.storage import RERUNS, TRIALS, Outcome, is_superseded, open_study, outcome
from gan3d.tuning.study import load_study

BEST = "best.yaml"

_FEWEST_FOR_IMPORTANCE = 4
"""Of fewer trials importances are not asked for: they would be noise."""


@dataclass(frozen=True)
class Rerun:
    """A trial that was trained again with fresh seeds."""

    trial: int
    """Its number."""
    values: tuple[float, ...]
    """The first objective, for each fresh seed that went well."""

    @property
    def mean(self) -> float:
        """Over the fresh seeds."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """Standard deviation over the fresh seeds; NaN of one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan


@dataclass(frozen=True)
class Times:
    """Where the time of the blocks went, in all calls together."""

    trials: float
    """What trials took (s), fresh seeds too."""
    startup: float
    """What processes took to be ready (s): TensorFlow, the other ranks."""
    starts: int
    """How often they were started."""
    between: float
    """How long they were free between two trials (s): telling, tables, the next proposal."""

    def __str__(self) -> str:
        whole = self.trials + self.startup + self.between
        return (
            f"blocks: trials {_duration(self.trials)}, between them {_duration(self.between)} "
            f"({_percent(self.between / whole)}), {self.starts} start(s) "
            f"{_duration(self.startup)} ({_percent(self.startup / whole)})"
        )


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


@dataclass(frozen=True)
class Results:
    """What is known of a study."""

    checked: Checked
    trials: tuple[FrozenTrial, ...]
    """All that count, in their order."""
    reruns: tuple[Rerun, ...]
    """The best first, by their means."""
    times: Times | None = None
    """None: no trial has ended."""

    @property
    def names(self) -> list[str]:
        """Of the objectives."""
        return [each.label for each in self.checked.study.objective]

    @property
    def done(self) -> list[FrozenTrial]:
        """Those that have gone well, in their order."""
        return [trial for trial in self.trials if outcome(trial) == "complete"]

    @property
    def best(self) -> FrozenTrial | None:
        """The best: by its mean over fresh seeds where they are there, else by its own value."""
        if self.reruns:
            return next(each for each in self.trials if each.number == self.reruns[0].trial)
        return next(iter(best_trials(self.checked.study, self.trials)), None)

    def best_trials(self, count: int) -> list[FrozenTrial]:
        """The best by their own values of the first objective, at most `count`, the best first."""
        return best_trials(self.checked.study, self.trials)[:count]

    def parameters(self, trial: FrozenTrial) -> dict[str, Any]:
        """What a trial had, by the keys of the search."""
        return self.checked.space.read(trial.params)

    @property
    def default(self) -> FrozenTrial | None:
        """The trial of the experiment as it is, where it has gone well."""
        return next((each for each in self.done if each.user_attrs.get("default")), None)

    @property
    def front(self) -> list[FrozenTrial]:
        """Of several objectives: trials that no other is better than in all of them."""
        signs = np.array([-1.0 if o.maximized else 1.0 for o in self.checked.study.objective])
        points = [(trial, signs * np.array(trial.values)) for trial in self.done]
        front = [
            trial
            for trial, mine in points
            if not any(np.all(other <= mine) and np.any(other < mine) for _, other in points)
        ]
        return sorted(front, key=lambda trial: trial.values[0])

    def counts(self) -> str:
        """How many trials there are, and how they ended."""
        numbers = Counter(outcome(trial) for trial in self.trials)
        memory = sum(bool(trial.user_attrs.get("memory")) for trial in self.trials)
        told = [
            f"{numbers[each]} {'done' if each == 'complete' else each}"
            for each in get_args(Outcome)
            if each in numbers
        ]
        short = f" ({memory} out of memory)" if memory else ""
        return f"{len(self.trials)} trials: {', '.join(told)}{short}"

    def summary(self) -> list[str]:
        """The results in a few lines."""
        lines = [self.counts()]
        if len(self.names) > 1:
            lines.append(f"Pareto front: trials {', '.join(str(t.number) for t in self.front)}")
        best, default, name = self.best, self.default, self.names[0]
        if best is not None:
            lines.append(f"best: trial {best.number}, {name} {best.values[0]:.4g}")
        if default is not None and best is not None and best.number != default.number:
            lines.append(f"the experiment as it is: {name} {default.values[0]:.4g}")
        for rerun in self.reruns:
            own = next(each for each in self.trials if each.number == rerun.trial)
            lines.append(
                f"trial {rerun.trial} ({own.values[0]:.4g}) with {len(rerun.values)} fresh "
                f"seed(s): {rerun.mean:.4g} ± {rerun.spread:.2g}"
            )
        return lines

    def importances(self) -> dict[str, float]:
        """Share of the first objective's variance that each parameter explains (fANOVA).

        Of parameters that all trials have (Hutter et al. 2014); empty where trials are too few.
        """
        if len(self.done) < _FEWEST_FOR_IMPORTANCE:
            return {}
        study = optuna.create_study()
        sign = -1.0 if self.checked.study.objective[0].maximized else 1.0
        for trial in self.done:
            study.add_trial(
                optuna.trial.create_trial(
                    params=trial.params,
                    distributions=trial.distributions,
                    value=sign * trial.values[0],
                )
            )
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.checked.study.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = optuna.importance.get_param_importances(study, evaluator=evaluator)
            except RuntimeError:  # no tree has any variance: all values, or points, are one
                return {}
        return {key: value for key, value in found.items() if math.isfinite(value)}


def read_results(checked: Checked, folder: Path) -> Results:
    """The results in a study's folder."""
    stored = [
        open_study(folder, checked.study, name).get_trials(deepcopy=False)
        for name in (TRIALS, RERUNS)
    ]
    trials, reruns = ([each for each in kind if not is_superseded(each)] for kind in stored)
    grouped: dict[int, list[float]] = {}
    for trial in reruns:
        if outcome(trial) == "complete":
            grouped.setdefault(trial.user_attrs["of"], []).append(trial.values[0])
    again = [Rerun(number, tuple(values)) for number, values in grouped.items()]
    sign = -1.0 if checked.study.objective[0].maximized else 1.0
    # A mean over fewer seeds is luckier.
    most = max((len(each.values) for each in again), default=0)
    again = sorted(again, key=lambda each: (len(each.values) < most, sign * each.mean))
    return Results(checked, tuple(trials), tuple(again), _times([*stored[0], *stored[1]]))


def _times(trials: Sequence[FrozenTrial]) -> Times | None:
    """Of all that have ended, also those that others go on with: they have taken their time."""
    notes = [trial.user_attrs for trial in trials if "seconds" in trial.user_attrs]
    if not notes:
        return None

    def total(key: str) -> float:
        return math.fsum(float(each.get(key, 0.0)) for each in notes)

    starts = sum(bool(each.get("startup_seconds")) for each in notes)
    return Times(total("seconds"), total("startup_seconds"), starts, total("waited_seconds"))


def load_results(folder: Path | str) -> Results:
    """The results of a study from its folder alone, also while it goes on.

    Raises RunError where there is no study, ConfigError where its files cannot be read.
    """
    folder = Path(folder)
    if not (folder / STUDY).exists():
        raise RunError(f"{folder}: no study here; name the folder that `gan3d tune` has written")
    study, tell = load_study(folder / STUDY)
    if study.function is None:
        # The experiment as it was, wherever its own file is now.
        study = study.model_copy(update={"experiment": str(folder / EXPERIMENT)})
    return read_results(check_study(study, tell), folder)


def write_tables(checked: Checked, folder: Path) -> Results:
    """Write trials.csv, trials.json and best.yaml into a study's folder; return what they say."""
    results = read_results(checked, folder)
    rows = [_row(checked, trial) for trial in results.trials]
    write_text(folder / "trials.json", json.dumps(rows, indent=1) + "\n")
    write_text(folder / "trials.csv", _as_csv(rows, results.names, checked.space.keys))
    best = results.best
    if best is not None and checked.experiment is not None:
        values = checked.space.read(best.params)
        experiment = checked.space.experiment(checked.study, values, checked.node)
        said = " / ".join(results.summary())
        write_text(
            folder / BEST,
            f"# Trial {best.number} of a study (gan3d tune). {said}\n"
            f"# On {checked.study.blocks.size} rank(s), as its trials were:\n"
            f"#   gan3d train {folder / BEST}\n{dump_experiment(experiment)}",
        )
    return results


def _row(checked: Checked, trial: FrozenTrial) -> dict[str, Any]:
    state = outcome(trial)
    values = trial.values if state == "complete" else None
    names = [each.label for each in checked.study.objective]
    attributes = trial.user_attrs
    return {
        "trial": trial.number,
        "state": state,
        "reason": attributes.get("reason", ""),
        "objectives": dict(zip(names, values, strict=True)) if values else {},
        "spread": attributes.get("spread", {}) if values else {},
        "parameters": checked.space.read(trial.params),
        "epoch": attributes.get("metrics", {}).get("epoch"),
        "seconds": attributes.get("seconds"),
        "startup_seconds": attributes.get("startup_seconds"),
        "waited_seconds": attributes.get("waited_seconds"),
        "block": attributes.get("block"),
        "folder": attributes.get("folder"),
        "last_reported": max(trial.intermediate_values, default=None),
    }


def _as_csv(rows: Sequence[Mapping[str, Any]], names: Sequence[str], keys: Sequence[str]) -> str:
    """The rows as a table: objectives and parameters in columns of their own."""
    simple = (
        "trial", "state", "epoch", "seconds", "startup_seconds", "waited_seconds", "block",
        "folder", "reason",
    )  # fmt: skip
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*simple[:2], *names, *keys, *simple[2:]])
    for row in rows:
        cells = [row["objectives"].get(name, "") for name in names]
        cells += [_cell(row["parameters"], key) for key in keys]
        writer.writerow(
            [*(row[key] for key in simple[:2]), *cells, *(row[key] for key in simple[2:])]
        )
    return text.getvalue()


def _cell(parameters: Mapping[str, Any], key: str) -> Any:
    if key not in parameters:
        return ""
    value = parameters[key]
    return value if isinstance(value, str | int | float) else json.dumps(value)

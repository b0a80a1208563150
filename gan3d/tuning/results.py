"""What a study has found: the best experiment, a table of trials, importances, fresh seeds."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import optuna
from optuna.trial import FrozenTrial

from gan3d.config import dump_experiment
from gan3d.errors import RunError
from gan3d.training.records import write_text
from gan3d.tuning.importances import Importance, importances
from gan3d.tuning.reruns import Rerun, difference
from gan3d.tuning.run import (
    EXPERIMENT,
    STUDY,
    Checked,
    best_few,
    best_trials,
    check_study,
    pareto_front,
)
from gan3d.tuning.storage import (
    RERUNS,
    TRIALS,
    Outcome,
    is_superseded,
    number_of,
    outcome,
    params_of,
    stored_trials,
)
from gan3d.tuning.study import load_study

BEST = "best.yaml"


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
    trained_again: tuple[FrozenTrial, ...] = ()
    """What `reruns` are made of, in their order, also those that did not go well."""
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
        """The best: by its mean over fresh seeds where they are there, else by its own value.

        None of several objectives, of which there is a front.
        """
        if len(self.names) > 1:
            return None
        if self.reruns:
            return self.of(self.reruns[0])
        return next(iter(best_trials(self.checked.study, self.trials)), None)

    @property
    def chosen(self) -> list[FrozenTrial]:
        """Whose experiments are written: the best, or some of the Pareto front."""
        if len(self.names) == 1:
            return [self.best] if self.best is not None else []
        front = {trial.number for trial in self.front}
        again = [self.of(each) for each in self.reruns if each.trial in front]
        return again or best_few(self.checked.study, self.trials)

    def of(self, rerun: Rerun) -> FrozenTrial:
        """The trial that was run again."""
        return next(each for each in self.trials if each.number == rerun.trial)

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
        return pareto_front(self.checked.study, self.trials)

    def rows(self) -> list[dict[str, Any]]:
        """The table of trials, a row each."""
        return [_row(self.checked, trial) for trial in self.trials]

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
            lines.append(f"Pareto front: trials {_listed(self.front)}")
            if any("showers_per_second" in name for name in self.names) and self._side_by_side:
                lines.append("showers_per_second: beside other blocks, with what they left")
        else:
            lines += self._best_told()
        return lines + [self._told(each) for each in self.reruns]

    @property
    def _side_by_side(self) -> bool:
        return len({trial.user_attrs.get("block") for trial in self.done}) > 1

    def _told(self, again: Rerun) -> str:
        own = self.of(again)
        values = ", ".join(
            f"{f'{name} ' if len(self.names) > 1 else ''}{again.told(number)}"
            for number, name in enumerate(self.names)
        )
        was = ", ".join(f"{value:.4g}" for value in own.values)
        label = f"trial {number_of(own)}{_as_it_is(own)}"
        return f"{label} ({was}) with {len(again.values)} fresh seed(s): {values}"

    def _best_told(self) -> list[str]:
        """Who is best, and whether that can be told."""
        best, default, name = self.best, self.default, self.names[0]
        if best is None:
            return []
        label = f"best: trial {number_of(best)}{_as_it_is(best)}"
        again = {each.trial: each for each in self.reruns}
        if best.number not in again:
            once = ", of one training" if self.checked.experiment is not None else ""
            lines = [f"{label}, {name} {best.values[0]:.4g}{once}"]
            if default is not None and default.number != best.number:
                lines.append(f"the experiment as it is: {name} {default.values[0]:.4g}")
            return lines
        lines = [f"{label}, {name} {again[best.number].told()}, mean of fresh seeds"]
        if default is not None and default.number == best.number:
            lines.append("nothing better was found than the experiment as it is")
        maximized = self.checked.study.objective[0].maximized
        apart = {
            number: difference(again[best.number], each, maximized=maximized)
            for number, each in again.items()
            if number != best.number
        }
        if default is not None and (found := apart.pop(default.number, None)) is not None:
            told = "better" if found.is_told else "not better by more than chance"
            lines.append(f"{told} than the experiment as it is ({found})")
        alike = [
            self.of(again[number])
            for number, found in apart.items()
            if found is not None and not found.is_told
        ]
        if alike:
            lines.append(f"not to be told apart from it by these seeds: trials {_listed(alike)}")
        return lines

    def importances(self, objective: int = 0) -> dict[str, Importance]:
        """Share of an objective's variance that each parameter explains, and what chance would."""
        values = [trial.values[objective] for trial in self.done]
        return importances(self.done, values, self.checked.study.seed)


def _listed(trials: Sequence[FrozenTrial]) -> str:
    return ", ".join(str(number_of(trial)) for trial in trials)


def _as_it_is(trial: FrozenTrial) -> str:
    return ", the experiment as it is" if trial.user_attrs.get("default") else ""


def read_results(checked: Checked, folder: Path, studies: Sequence[optuna.Study] = ()) -> Results:
    """The results in a study's folder; `studies` are Optuna's two of it, where they are open."""
    stored = [study.get_trials(deepcopy=False) for study in studies] or [
        stored_trials(folder, checked.study, name) for name in (TRIALS, RERUNS)
    ]
    trials, reruns = ([each for each in kind if not is_superseded(each)] for kind in stored)
    grouped: dict[int, dict[int, Sequence[float]]] = {}
    for trial in reruns:
        if outcome(trial) == "complete":
            notes = trial.user_attrs
            grouped.setdefault(notes["of"], {})[notes["seed"]] = trial.values
    again = [Rerun(number, values) for number, values in grouped.items()]
    sign = -1.0 if checked.study.objective[0].maximized else 1.0
    # A mean over fewer seeds is luckier.
    most = max((len(each.values) for each in again), default=0)
    again = sorted(again, key=lambda each: (len(each.values) < most, sign * each.mean()))
    return Results(
        checked, tuple(trials), tuple(again), tuple(reruns), _times([*stored[0], *stored[1]])
    )


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
    return read_results(check_study(study, tell, starts=False), folder)


def write_tables(checked: Checked, folder: Path, studies: Sequence[optuna.Study] = ()) -> Results:
    """Write trials.csv, trials.json and best.yaml into a study's folder; return what they say.

    `studies` as `read_results` takes them.
    """
    results = read_results(checked, folder, studies)
    rows = results.rows()
    write_text(folder / "trials.json", json.dumps(rows, indent=1) + "\n")
    write_text(folder / "trials.csv", _as_csv(rows, results.names, checked.space.keys))
    again = [
        {**_row(checked, each), "trial": each.user_attrs.get("of_name", each.user_attrs["of"]),
         "seed": each.user_attrs["seed"]}
        for each in results.trained_again
    ]  # fmt: skip
    if again:
        write_text(
            folder / "reruns.csv", _as_csv(again, results.names, checked.space.keys, ("seed",))
        )
    _write_best(checked, folder, results)
    return results


def best_files(checked: Checked, folder: Path, results: Results) -> list[Path]:
    """best.yaml; of several objectives best-NNNN.yaml for some trials of the front."""
    if checked.experiment is None:
        return []
    if len(results.names) == 1:
        return [folder / BEST for _ in results.chosen]
    return [folder / f"best-{number_of(trial):04d}.yaml" for trial in results.chosen]


def _write_best(checked: Checked, folder: Path, results: Results) -> None:
    said = " / ".join(results.summary())
    files = best_files(checked, folder, results)
    for trial, path in zip(results.chosen if files else [], files, strict=True):
        values = checked.space.read(trial.params)
        experiment = checked.space.experiment(checked.study, values, checked.node)
        ranks = checked.study.blocks.size
        launch = f"horovodrun -np {ranks} " if ranks > 1 else ""
        short = checked.study.overrides
        changed = f"# With the study's overrides: {json.dumps(short)}\n" if short else ""
        write_text(
            path,
            f"# Trial {number_of(trial)} of a study (gan3d tune). {said}\n{changed}"
            f"# As its trials were trained:\n"
            f"#   {launch}gan3d train {path}\n{dump_experiment(experiment)}",
        )
    for path in set(folder.glob("best-[0-9]*.yaml")) - set(files):  # no longer of the front
        path.unlink()


def _row(checked: Checked, trial: FrozenTrial) -> dict[str, Any]:
    state = outcome(trial)
    values = trial.values if state == "complete" else None
    names = [each.label for each in checked.study.objective]
    attributes = trial.user_attrs
    return {
        "trial": number_of(trial),
        "state": state,
        "default": bool(attributes.get("default")),
        "reason": attributes.get("reason", ""),
        "objectives": dict(zip(names, values, strict=True)) if values else {},
        "spread": attributes.get("spread", {}) if values else {},
        "parameters": checked.space.read(params_of(trial)),
        "epoch": attributes.get("metrics", {}).get("epoch"),
        "seconds": attributes.get("seconds"),
        "startup_seconds": attributes.get("startup_seconds"),
        "waited_seconds": attributes.get("waited_seconds"),
        "block": attributes.get("block"),
        "folder": attributes.get("folder"),
        "last_reported": max(trial.intermediate_values, default=None),
    }


def _as_csv(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    keys: Sequence[str],
    more: Sequence[str] = ("default",),
) -> str:
    """The rows as a table: objectives, their spread of folds and parameters in own columns."""
    spread = [name for name in names if any(name in row["spread"] for row in rows)]
    simple = (
        "trial", "state", *more, "epoch", "seconds", "startup_seconds", "waited_seconds", "block",
        "folder", "reason",
    )  # fmt: skip
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [*simple[:2], *names, *(f"{name} (spread)" for name in spread), *keys, *simple[2:]]
    )
    for row in rows:
        cells = [row["objectives"].get(name, "") for name in names]
        cells += [row["spread"].get(name, "") for name in spread]
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

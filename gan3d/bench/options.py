"""What options of the training do to the physics: real runs over several seeds, in a table.

Every option is the experiment with a few overrides. Each is trained with each seed for as many
showers as the experiment itself (`default`), judged after the same epochs on the same held-out
showers, and its speed is measured apart, in short runs that take turns with the default's: from the
ratio follows which epochs are reached in the same time. All runs lie in one folder, and a call that
is repeated goes on where it was interrupted: runs that are finished, or have failed, stay.

The metrics are those of the history (`validation.*`), of which less is better: 0 is perfect, of
`chi2` about 1.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scipy import stats

from gan3d.bench.processes import run_together
from gan3d.bench.scaling import (
    Case,
    Settings,
    count_showers,
    describe_machine,
    processes_of,
    read_run,
    run_overrides,
)
from gan3d.config import Experiment, load_experiment
from gan3d.data import count_steps, divide, make_folder, survey_files
from gan3d.errors import TrainingError, UsageError
from gan3d.training.records import (
    holds_run,
    read_history,
    read_message,
    read_status,
    write_json,
)
from gan3d.training.session import rank_batch

Say = Callable[[str], None]

DEFAULT = "default"
OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "response": ("training.loss_weights.response=5",),
        "layers": ("training.loss_weights.layers=5",),
        "power": ("data.cell_power=0.85",),
        "log": ("data.cell_log_gev=1e-4",),
        "features": ("training.loss_weights.features=1",),
        "label-smoothing": ("training.label_smoothing=0.1",),
        "gradient-penalty": ("training.loss_weights.gradient_penalty=10",),
        "spectral-norm": ("model.spectral_norm=1",),
        "two-rates": ("training.optimizer.discriminator_learning_rate=4x",),
        "average": ("training.weight_average={decay: 0.99}",),
        "minibatch-deviation": ("model.minibatch_deviation=true",),
    }
)
"""Overrides by the option's name; `4x`: so many times `training.optimizer.learning_rate`, as Heusel
et al. 2017 have it. Values are published ones where there are some, and else bring a term to the
order of the published loss."""

SIGNIFICANT = 0.05
"""Differences with a smaller p are called beyond the spread."""

_RATE_STEPS, _RATE_EPOCHS = 4, 3
_JUDGED = 10
"""Epochs that are judged, if there are as many."""


@dataclass(frozen=True)
class Plan:
    """What is trained."""

    options: Mapping[str, tuple[str, ...]]
    """Overrides by name; `default` has none."""
    seeds: tuple[int, ...]
    epochs: int
    steps_per_epoch: int
    showers: int
    """Held-out showers that an epoch is judged with."""

    def as_dict(self) -> dict[str, Any]:
        """For plan.json: runs of another plan do not belong into its folder."""
        return {
            "options": {name: list(each) for name, each in self.options.items()},
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "showers": self.showers,
        }


def compare_options(
    config: Path,
    overrides: Sequence[str],
    names: Sequence[str],
    folder: Path,
    *,
    seeds: int,
    steps: int | None = None,
    minutes: float | None = None,
    rounds: int = 3,
    showers: int = 1000,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Train the experiment with each option and seed; the figures, as JSON, also options.json.

    Each run takes `steps`, or as many as the default makes in `minutes` here; whole epochs, one at
    least. `rounds` are those of the speed. Raises UsageError for options that there are not or
    that change nothing, and where `folder` has another plan's runs; DataError where there are too
    few showers.
    """
    experiment = load_experiment(config, overrides)
    options = {DEFAULT: (), **{name: overrides_of(name, experiment) for name in names}}
    new = new_options(config, overrides, experiment, names)
    for name in names:
        if name not in new:
            raise UsageError(f"--options {name}: the experiment has it already; leave it out")
    make_folder(folder)
    rates = _Rates(folder / "rates.json", config, overrides, experiment)
    rates.measure(options, rounds, say)
    per_epoch = steps_per_epoch(experiment)
    if steps is None:
        assert minutes is not None
        steps = int(60.0 * minutes * rates.median(DEFAULT) / rank_batch(experiment))
    plan = Plan(
        options, tuple(range(1, seeds + 1)), max(1, round(steps / per_epoch)), per_epoch, showers
    )
    _check_plan(folder / "plan.json", plan, overrides)
    for seed in plan.seeds:  # all options of a seed first: a table can be made early
        for name in options:
            _train(config, overrides, plan, name, seed, folder, say)
    figures = {
        "experiment": {
            "config": str(config),
            "architecture": experiment.model.architecture,
            "overrides": list(overrides),
        },
        "machine": describe_machine(),
        **plan.as_dict(),
        "seeds": list(plan.seeds),
        "showers_trained": plan.epochs * per_epoch * rank_batch(experiment),
        "results": [_result(plan, name, folder, rates) for name in options],
    }
    write_json(folder / "options.json", figures)
    return figures


def new_options(
    config: Path, overrides: Sequence[str], experiment: Experiment, names: Sequence[str]
) -> list[str]:
    """Those that the experiment has not already."""
    return [
        name
        for name in names
        if load_experiment(config, [*overrides, *overrides_of(name, experiment)]) != experiment
    ]


def overrides_of(name: str, experiment: Experiment) -> tuple[str, ...]:
    """The overrides of an option. Raises UsageError where there is none of that name."""
    if name not in OPTIONS:
        raise UsageError(f"--options {name}: there is no such option; known: {', '.join(OPTIONS)}")
    found = []
    for override in OPTIONS[name]:
        key, _, value = override.partition("=")
        if value.endswith("x"):
            value = f"{float(value[:-1]) * experiment.training.optimizer.learning_rate:.10f}"
        found.append(f"{key}={value}")
    return tuple(found)


def steps_per_epoch(experiment: Experiment) -> int:
    """Of one rank. Raises DataError where there is not a batch."""
    division = divide(survey_files(experiment.data, experiment.model.labels), experiment.data.split)
    return count_steps(division.train, batch_size=rank_batch(experiment), size=1)


def _check_plan(path: Path, plan: Plan, overrides: Sequence[str]) -> None:
    """Raise UsageError where the folder holds runs of other length; more options may come."""
    now = {**plan.as_dict(), "overrides": list(overrides)}
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        shared = {name: now["options"].get(name, each) for name, each in before["options"].items()}
        if {**before, "options": None} != {**now, "options": None} or shared != before["options"]:
            raise UsageError(
                f"{path}: this folder has runs of {before['epochs']} epochs of "
                f"{before['steps_per_epoch']} steps with {before['overrides'] or 'no overrides'}, "
                f"now {now['epochs']} of {now['steps_per_epoch']} are asked for; give the same "
                "(--steps rather than --minutes), or another -o"
            )
        now["options"] = {**before["options"], **now["options"]}
    write_json(path, now)


def _train(
    config: Path,
    overrides: Sequence[str],
    plan: Plan,
    name: str,
    seed: int,
    folder: Path,
    say: Say,
) -> None:
    """Train one run to its end, from where it is; what fails stays as it is."""
    run = _run_folder(folder, name, seed)
    if read_status(run) in ("finished", "failed"):
        return
    say(f"{name}, seed {seed}")
    logs = folder / "logs" / run.name
    logs.mkdir(parents=True, exist_ok=True)
    changes = (
        *overrides,
        *plan.options[name],
        f"run.seed={seed}",
        f"training.epochs={plan.epochs}",
        "training.early_stopping=null",
        f"validation.every_epochs={max(1, plan.epochs // _JUDGED)}",
        f"validation.epoch_showers={plan.showers}",
        "run.max_minutes=null",
    )
    (process,) = processes_of(_CASE, Settings(pin=False), config, changes, run)
    resumed = ["--resume"] if holds_run(run) else []
    process = replace(process, command=[*process.command, *resumed])
    try:
        run_together([process], f"{name}, seed {seed}", logs)
    except TrainingError as error:
        say(str(error))
        if not holds_run(run):  # refused before it began: there is no folder that says so
            make_folder(run)
            write_json(run / "status.json", {"status": "failed", "message": str(error)})


_CASE = Case("gan3d", "weak", 1, 0)


def _run_folder(folder: Path, name: str, seed: int) -> Path:
    return folder / f"{name}-seed{seed}"


class _Rates:
    """Showers/s of short runs that take turns, kept in a file as they come."""

    def __init__(
        self, path: Path, config: Path, overrides: Sequence[str], experiment: Experiment
    ) -> None:
        self._path, self._config, self._overrides = path, config, overrides
        self._experiment = experiment
        self._rates: dict[str, list[float]] = (
            json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        )

    def measure(self, names: Mapping[str, tuple[str, ...]], rounds: int, say: Say) -> None:
        """Let each have so many runs; one that fails has none: it is trained to say why."""
        total, failed = count_showers(self._experiment), set()
        settings = Settings(steps=_RATE_STEPS, epochs=_RATE_EPOCHS, pin=False)
        case = Case("gan3d", "weak", 1, self._experiment.training.batch_size)
        for number in range(rounds):
            for name, changes in names.items():
                if len(self._rates.get(name, [])) > number or name in failed:
                    continue
                say(f"speed, round {number + 1} of {rounds}: {name}")
                folder = self._path.parent / "rate"
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                short = run_overrides(case, settings, self._experiment, total)
                node = self._experiment.node
                threads = (
                    f"node.{key}={'null' if (own := getattr(node, key)) is None else own}"
                    for key in ("intra_op_threads", "inter_op_threads", "omp_num_threads")
                )
                all_changes = (*self._overrides, *changes, *short, *threads)
                processes = processes_of(case, settings, self._config, all_changes, folder)
                try:
                    run_together(processes, f"speed of {name}", folder)
                except TrainingError as error:
                    if name == DEFAULT:
                        raise
                    say(str(error))
                    failed.add(name)
                    continue
                rate = read_run(folder, "gan3d")["showers_per_second"]
                self._rates.setdefault(name, []).append(float(f"{rate:.5g}"))
                write_json(self._path, self._rates)
                shutil.rmtree(folder)

    def median(self, name: str) -> float:
        """Showers/s."""
        return statistics.median(self._rates[name])

    def ratio(self, name: str) -> float | None:
        """Of an option to the default, the median of those of rounds; None: it does not run."""
        if name not in self._rates:
            return None
        pairs = zip(self._rates[name], self._rates[DEFAULT], strict=False)
        return statistics.median(ours / theirs for ours, theirs in pairs)


def _result(plan: Plan, name: str, folder: Path, rates: _Rates) -> dict[str, Any]:
    """What one option has reached, beside the default."""
    failed = {}
    for seed in plan.seeds:
        run = _run_folder(folder, name, seed)
        if read_status(run) == "failed":
            failed[str(seed)] = read_message(run)
    ratio = rates.ratio(name)
    # In the time of the slower one of the two, each has done so many epochs.
    own, theirs = (
        (plan.epochs * min(1.0, ratio), plan.epochs * min(1.0, 1.0 / ratio))
        if ratio is not None
        else (math.nan, math.nan)
    )

    def values(of: str, epochs: float) -> dict[str, dict[int, float]]:
        return _metrics([(s, _run_folder(folder, of, s)) for s in plan.seeds], epochs)

    return {
        "option": name,
        "overrides": list(plan.options[name]),
        "failed": failed,
        "showers_per_second_over_default": None if ratio is None else float(f"{ratio:.4g}"),
        "after_the_same_showers": compare(values(name, plan.epochs), values(DEFAULT, plan.epochs)),
        "after_the_same_time": compare(values(name, own), values(DEFAULT, theirs)),
    }


def _metrics(runs: Sequence[tuple[int, Path]], epochs: float) -> dict[str, dict[int, float]]:
    """Each metric by seed, of the last judged epoch up to `epochs`."""
    found: dict[str, dict[int, float]] = {}
    for seed, run in runs:
        judged = [
            record
            for record in (read_history(run) if holds_run(run) else [])
            # A ratio of rates is known to some per cent: the nearest epoch counts.
            if record["epoch"] <= epochs + 0.5
            and any(name.startswith("validation.") for name in record)
        ]
        for name, value in judged[-1].items() if judged else ():
            if name.startswith("validation.") and value is not None:
                found.setdefault(name.removeprefix("validation."), {})[seed] = float(value)
    return found


def compare(
    ours: Mapping[str, Mapping[int, float]], theirs: Mapping[str, Mapping[int, float]]
) -> dict[str, dict[str, Any]]:
    """Mean and spread of each metric over the seeds, and whether the difference is beyond that.

    `ours` and `theirs` (the default's) hold metrics by name and seed. p is Welch's
    (unequal spreads), `word` better or worse where it is below `SIGNIFICANT`, else within the
    spread, or too few where there are not two seeds of both.
    """
    found = {}
    for name in theirs:
        a, b = list(ours.get(name, {}).values()), list(theirs[name].values())
        if not a:
            continue
        p, word = None, "too few"
        if min(len(a), len(b)) >= 2:
            p = _welch(a, b)
            better = statistics.fmean(a) < statistics.fmean(b)
            word = ("better" if better else "worse") if p < SIGNIFICANT else "within the spread"
        found[name] = {
            "mean": _rounded(statistics.fmean(a)),
            "spread": _rounded(statistics.stdev(a)) if len(a) > 1 else None,
            "runs": len(a),
            "default_mean": _rounded(statistics.fmean(b)),
            "default_spread": _rounded(statistics.stdev(b)) if len(b) > 1 else None,
            "p": None if p is None else _rounded(p),
            "word": word,
        }
    return found


def _welch(a: Sequence[float], b: Sequence[float]) -> float:
    if statistics.stdev(a) == statistics.stdev(b) == 0.0:
        return 1.0 if a[0] == b[0] else 0.0
    # From the moments: given the values, SciPy warns where they are nearly the same.
    of_both = [each for x in (a, b) for each in (statistics.fmean(x), statistics.stdev(x), len(x))]
    return float(stats.ttest_ind_from_stats(*of_both, equal_var=False).pvalue)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")

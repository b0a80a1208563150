"""The parameters of a study: checked against the experiment's schema, proposed, put into it."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan3d.config import Experiment, load_experiment
from gan3d.config.messages import is_key, known_keys
from gan3d.errors import ConfigError
from gan3d.tuning.functions import ARGUMENTS
from gan3d.tuning.starts import INIT_FROM, find_run
from gan3d.tuning.study import Parameter, Study, Tell, base_overrides

if TYPE_CHECKING:
    import optuna

_SAME_FOR_ALL = (
    "data.files",
    "data.validation_files",
    "data.geometry",
    "data.further_images",
    "data.grid",
    "data.split",
    "data.threshold_gev",
    "data.particles",
    "data.on_bad_file",
    "validation",
    "run",
)
"""Keys that all trials have alike, as their differences would not be the parameters'."""


class Space:
    """The search space, in an order in which a parameter comes after those it depends on."""

    def __init__(self, study: Study, tell: Tell) -> None:
        """Raise ConfigError where conditions name what is not searched, or go round in circles."""
        self._search = study.search
        self._tell = tell
        for key, parameter in study.search.items():
            self._check_conditions(key, parameter)
        self.keys = self._ordered()

    def _check_conditions(self, key: str, parameter: Parameter) -> None:
        for other, wanted in parameter.when.items():
            here = ["search", key, "when", other]
            if other not in self._search or other == key:
                near = difflib.get_close_matches(other, set(self._search) - {key}, n=1, cutoff=0.0)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ConfigError(self._tell(here, f"is no other key of the search{hint}"))
            choice = self._search[other].choice
            if choice is None:
                raise ConfigError(self._tell(here, f"{other} is no choice, which when needs"))
            for value in _several(wanted):
                if value not in choice:
                    raise ConfigError(
                        self._tell(here, f"{json.dumps(value)} is none of {json.dumps(choice)}")
                    )

    def _ordered(self) -> list[str]:
        ordered: list[str] = []
        left = list(self._search)
        while left:
            ready = [key for key in left if set(self._search[key].when) <= set(ordered)]
            if not ready:
                raise ConfigError(
                    self._tell(["search", left[0], "when"], f"goes round in circles: {left}")
                )
            ordered += ready
            left = [key for key in left if key not in ready]
        return ordered

    def propose(self, trial: optuna.Trial) -> dict[str, Any]:
        """Let Optuna choose a value for each parameter whose conditions hold."""
        values: dict[str, Any] = {}
        for key in self.keys:
            if self._holds(self._search[key], values):
                values[key] = _suggest(trial, key, self._search[key])
        return values

    def read(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The values that Optuna's `params` stand for."""
        return {key: _plain(self._search[key], params[key]) for key in self.keys if key in params}

    def draw(self, seed: int) -> dict[str, Any]:
        """A random point, as Optuna's parameters."""
        import optuna

        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
        self.propose(trial)
        return dict(trial.params)

    def points(self, most: int) -> list[dict[str, Any]] | None:
        """All points, as Optuna's parameters; None: there are more than `most`."""
        grid: list[dict[str, Any]] = [{}]
        for key in self.keys:
            parameter = self._search[key]
            values = _all_values(parameter, most)
            if values is None:
                return None
            grid = [
                more
                for point in grid
                for more in (
                    [{**point, key: value} for value in values]
                    if self._holds(parameter, self.read(point))
                    else [point]
                )
            ]
            if len(grid) > most:
                return None
        return grid

    def _holds(self, parameter: Parameter, values: Mapping[str, Any]) -> bool:
        return all(
            other in values and values[other] in _several(wanted)
            for other, wanted in parameter.when.items()
        )

    def check(self, study: Study, node: Path | None = None, *, starts: bool = True) -> None:
        """Raise ConfigError where a key, or a value that it may get, is none of an experiment.

        Both ends of a range and all values of a choice are tried, each with the other keys as the
        experiment has them, and with what `when` asks for. `starts` as `check_study` takes it.
        """
        if study.function is not None:
            self._check_arguments(study)
            return
        assert study.experiment is not None
        keys = list(known_keys(Experiment))
        for key, parameter in self._search.items():
            self._check_key(key, keys)
            for value in parameter.extremes:
                chosen = {**self._conditions(key), key: value}
                try:
                    experiment = self.experiment(study, chosen, node)
                    _check_networks(experiment)
                    if key == INIT_FROM and starts:
                        find_run(experiment)
                except ConfigError as error:
                    said = str(error).splitlines()[0].removeprefix("--set ")
                    said = said.removeprefix(f"{key}: ")
                    raise ConfigError(
                        self._tell(["search", key], f"{json.dumps(value)}: {said}")
                    ) from None

    def _check_arguments(self, study: Study) -> None:
        assert study.function is not None
        assert study.function.function is not None
        for name in ARGUMENTS.get(study.function.function, ()):
            parameter = self._search.get(name)
            if parameter is None or parameter.when or parameter.choice is not None:
                raise ConfigError(
                    self._tell(["search"], f"{study.function.function} is of a number {name}")
                )

    def _check_key(self, key: str, keys: Sequence[str]) -> None:
        here = ["search", key]
        if not is_key(key, Experiment):
            last = {known.rpartition(".")[2]: known for known in reversed(keys)}
            near = difflib.get_close_matches(key, keys, n=1, cutoff=0.75) or [
                last[name]
                for name in difflib.get_close_matches(key.rpartition(".")[2], last, n=1, cutoff=0.0)
            ]
            raise ConfigError(
                self._tell(here, f"unknown key of an experiment; did you mean '{near[0]}'?")
            )
        if INIT_FROM.startswith(f"{key}."):
            # Paths in it would not be known as such.
            raise ConfigError(
                self._tell(here, "is a section; name the keys in it that are searched")
            )
        for fixed in _SAME_FOR_ALL:
            if key == fixed or key.startswith(f"{fixed}.") or fixed.startswith(f"{key}."):
                raise ConfigError(
                    self._tell(
                        here,
                        f"{fixed} is the same for all trials, so that differences are the "
                        "parameters'; set it in the experiment or under overrides",
                    )
                )
        for other in self._search:
            if other.startswith(f"{key}."):
                raise ConfigError(self._tell(here, f"is a section that holds {other}, as searched"))

    def _conditions(self, key: str) -> dict[str, Any]:
        """Values with which `key` is searched at all."""
        values: dict[str, Any] = {}
        for other, wanted in self._search[key].when.items():
            values = {**self._conditions(other), **values, other: _several(wanted)[0]}
        return values

    def experiment(
        self, study: Study, values: Mapping[str, Any], node: Path | None = None, **more: Any
    ) -> Experiment:
        """The experiment of a point. `more` are overrides on top, `run.seed` as `run__seed`.

        Raises ConfigError where it is none.
        """
        assert study.experiment is not None
        added = {key.replace("__", "."): value for key, value in more.items()}
        overrides = [as_override(key, value) for key, value in {**values, **added}.items()]
        return load_experiment(Path(study.experiment), [*base_overrides(study), *overrides], node)

    def default(self, experiment: Experiment) -> tuple[dict[str, Any] | None, str]:
        """The experiment's own point, as Optuna's parameters; None, and why, if it is not held."""
        values: dict[str, Any] = {}
        tree = experiment.model_dump(mode="json")
        for key in self.keys:
            parameter = self._search[key]
            if not self._holds(parameter, values):
                continue
            value: Any = tree
            for name in key.split("."):
                value = value.get(name) if isinstance(value, dict) else None
            if not _is_in(parameter, value):
                return None, f"{key} is {json.dumps(value)} there, which the search does not hold"
            values[key] = value
        return {key: _word(value) for key, value in values.items()}, ""

    def describe(self) -> list[tuple[str, str]]:
        """Each key and in words what it may be."""
        return [(key, _words(self._search[key])) for key in self.keys]


def as_override(key: str, value: Any) -> str:
    """`--set` of a value (JSON is YAML)."""
    return f"{key}={json.dumps(value)}"


def _check_networks(experiment: Experiment) -> None:
    from gan3d.models import check_networks

    check_networks(experiment)


def _several(wanted: Any) -> list[Any]:
    return wanted if isinstance(wanted, list) else [wanted]


def _suggest(trial: optuna.Trial, key: str, parameter: Parameter) -> Any:
    if parameter.choice is not None:
        words = [_word(value) for value in parameter.choice]
        return _plain(parameter, trial.suggest_categorical(key, words))
    low, high = parameter.bounds
    if parameter.int is not None:
        step = int(parameter.step or 1)
        return trial.suggest_int(key, int(low), int(high), step=step, log=parameter.log)
    return trial.suggest_float(key, low, high, step=parameter.step, log=parameter.log)


def _all_values(parameter: Parameter, most: int) -> list[Any] | None:
    """The values of a parameter as Optuna keeps them; None: there are more than `most`."""
    if parameter.choice is not None:
        return [_word(value) for value in parameter.choice]
    low, high = parameter.bounds
    step = parameter.step or (1.0 if parameter.int is not None else None)
    if step is None:
        return [low] if low == high else None
    # To Optuna, too, the last is where whole steps end.
    count = math.floor((high - low) / step + 1e-9) + 1
    if count > most:
        return None
    if parameter.int is not None:
        return [int(low) + number * int(step) for number in range(count)]
    return [min(high, low + number * step) for number in range(count)]


def _is_in(parameter: Parameter, value: Any) -> bool:
    """Whether a parameter may get this value."""
    if parameter.choice is not None:
        return any(_same(_word(choice), _word(value)) for choice in parameter.choice)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    low, high = parameter.bounds
    if not low <= value <= high or (parameter.int is not None and value % 1):
        return False
    return parameter.step is None or abs((value - low) / parameter.step % 1) < 1e-9


def _word(value: Any) -> Any:
    """A choice as Optuna keeps it: lists and sections as JSON text."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _plain(parameter: Parameter, value: Any) -> Any:
    if parameter.choice is None:
        return value
    return next(choice for choice in parameter.choice if _same(_word(choice), value))


def _same(one: Any, other: Any) -> bool:
    """1, 1.0 and true are equal to Python."""
    return type(one) is type(other) and one == other


def _words(parameter: Parameter) -> str:
    if parameter.choice is not None:
        text = "one of " + ", ".join(json.dumps(value) for value in parameter.choice)
    else:
        low, high = parameter.bounds
        text = f"{'whole number' if parameter.int else 'number'} from {low:g} to {high:g}"
        text += ", logarithmic" if parameter.log else ""
        text += f", in steps of {parameter.step:g}" if parameter.step is not None else ""
    for other, wanted in parameter.when.items():
        text += f", where {other} is {' or '.join(json.dumps(v) for v in _several(wanted))}"
    return text

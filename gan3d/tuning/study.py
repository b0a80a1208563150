"""The typed schema of a study, and its YAML file."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from gan3d.config import Experiment, Section, load_experiment
from gan3d.config.load import FILES, load_sections, telling
from gan3d.config.schema import NonNegativeFloat, PositiveFloat, PositiveInt
from gan3d.errors import ConfigError
from gan3d.tuning.functions import FUNCTIONS

Tell = Callable[[Sequence[str | int], str], str]
"""(key's location, message) -> the message with the place in the study's file before it."""

FloatRange = tuple[float, float]
IntRange = tuple[int, int]
Number = Annotated[float, Field(gt=0.0)]

EXAMPLE = "budget.trials=20"
"""A good override of a study."""


class Parameter(Section):
    """What one key may be: exactly one of `float`, `int` and `choice`."""

    float: FloatRange | None = None
    """Lowest and highest value of a number."""
    int: IntRange | None = None
    """Lowest and highest value of a whole number; both may occur."""
    choice: Annotated[list[Any], Field(min_length=1)] | None = None
    """The values that a category may have: texts, numbers, true, false, null, lists or sections."""
    log: bool = False
    """float, int: even in the logarithm; for what spans factors of ten, such as learning rates."""
    step: Number | None = None
    """float, int: only the lowest value and whole steps above it. null: any (int: every one)."""
    when: dict[str, Any] = Field(default={})
    """Only where other keys of the search have this value, or one of a list of values; elsewhere
    the key stays as the experiment has it."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        kinds = [name for name in ("float", "int", "choice") if getattr(self, name) is not None]
        if len(kinds) != 1:
            given = " and ".join(kinds) or "none of them"
            raise ValueError(
                f"expected one of float: [low, high], int: [low, high] and choice: [...], "
                f"got {given}"
            )
        if self.choice is not None:
            if self.log or self.step is not None:
                raise ValueError("choice: log and step are for numbers")
            if any(value in self.choice[:at] for at, value in enumerate(self.choice)):
                raise ValueError(f"choice: a value is there twice: {self.choice}")
            return self
        low, high = self.bounds
        if low > high:
            raise ValueError(f"{kinds[0]}: the lowest value {low:g} is above the highest {high:g}")
        if self.log and low <= 0:
            raise ValueError(f"{kinds[0]}: with log the lowest value must be above 0, not {low:g}")
        if self.log and self.step is not None:
            raise ValueError("step: with log there are no even steps; leave one of them out")
        if self.int is not None and self.step is not None and self.step % 1:
            raise ValueError(f"step: of whole numbers is a whole number, not {self.step:g}")
        if self.step is not None and abs((high - low) / self.step % 1 - 0.5) < 0.5 - 1e-9:
            last = low + math.floor((high - low) / self.step) * self.step
            raise ValueError(
                f"step: from {low:g} in steps of {self.step:g} there is no {high:g}; the last one "
                f"is {last:g}"
            )
        return self

    @property
    def bounds(self) -> FloatRange:
        """Lowest and highest of a number."""
        bounds = self.float if self.float is not None else self.int
        assert bounds is not None
        return bounds

    @property
    def extremes(self) -> list[Any]:
        """The values that are checked before anything starts: all of a choice, or both ends."""
        return list(self.choice) if self.choice is not None else list(dict.fromkeys(self.bounds))


class Objective(Section):
    """A number that a trial is judged by."""

    name: str = "optimisation_metric"
    """Any name of `metrics.json`, or `showers_per_second`: of the training, on all ranks of a block
    together; or `generation.showers_per_second`."""
    direction: Literal["minimize", "maximize"] | None = None
    """null: as the judgement has it: errors and distances become small, rates and shares large. Of
    a number of which neither is best (density, nearest.other) it is required, or target is."""
    target: float | None = None
    """The number that a perfect generator has; the distance from it is to become small. null: the
    judgement's where it is not 0, 0.5 of an auc and 1 of a chi2, unless there is a direction."""
    function: str | None = None
    """Instead of a training, a function with a known minimum of the search's keys, to see what a
    sampler and the blocks do: sphere, branin, rosenbrock, ..."""
    seconds: NonNegativeFloat = 0.0
    """function: how long a trial of it takes (s); it only sleeps."""
    epochs: PositiveInt = 1
    """function: how many epochs it reports; the value falls to the function's in the last."""

    @model_validator(mode="after")
    def _function_known(self) -> Self:
        if self.function is not None and self.function not in FUNCTIONS:
            near = difflib.get_close_matches(self.function, FUNCTIONS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"function: expected one of {', '.join(FUNCTIONS)}{hint}")
        if self.function is None and (self.seconds, self.epochs) != (0.0, 1):
            raise ValueError("seconds and epochs are for a function; a training has its own")
        return self

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.target is not None and (self.direction == "maximize" or self.function is not None):
            raise ValueError("target: the distance from it becomes small; leave the other out")
        return self

    @property
    def key(self) -> str:
        """The number's own name."""
        return self.function or self.name

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return self.key if self.target is None else f"|{self.key} - {self.target:g}|"

    @property
    def maximized(self) -> bool:
        """Whether more of it is better; not known before `check_objectives`."""
        return self.direction == "maximize"

    def counts(self, value: float) -> float:
        """What a trial counts with whose number is `value`."""
        return value if self.target is None else abs(value - self.target)


def _as_list(value: Any) -> Any:
    """`objective: NAME`, a section, or a list of either, as a list of sections."""
    several = value if isinstance(value, list) else [value]
    return [{"name": each} if isinstance(each, str) else each for each in several]


class Sampler(Section):
    """Who proposes points. All of them are Optuna's, under its names."""

    name: Literal["tpe", "random", "gp", "nsgaii", "nsgaiii", "qmc"] = "tpe"
    """tpe: tree-structured Parzen estimator (Bergstra et al. 2011), also of several objectives.
    random. gp: Gaussian process (needs PyTorch; learns nothing from pruned trials). nsgaii,
    nsgaiii: genetic algorithms for several objectives. qmc: quasi-random (Sobol). CMA-ES is not
    among them: Optuna's pickles its state."""
    startup_trials: PositiveInt = 10
    """tpe, gp: so many random points come first. Optuna: 10."""
    constant_liar: bool = True
    """tpe: trials that are still running count as bad ones, so that blocks that run side by side
    do not crowd into the same corner (Ginsbourger et al. 2010)."""
    multivariate: bool = True
    """tpe: parameters are drawn together, in groups where some are conditional (Falkner et al.
    2018), and not one by one."""
    population: Annotated[int, Field(ge=2)] = 50
    """nsgaii, nsgaiii: trials of a generation. Optuna: 50."""


class Pruner(Section):
    """Who ends trials that are behind. All of them are Optuna's, under its names."""

    name: Literal["median", "percentile", "hyperband", "successive-halving", "threshold", "none"]
    """median: worse than the median of the earlier trials at the same epoch. percentile: the same
    with another share. hyperband (Li et al. 2018) and successive-halving (Li et al. 2020).
    threshold: beyond a limit. none: all trials are trained to their end."""
    startup_trials: Annotated[int, Field(ge=0)] = 5
    """median, percentile: so many trials are trained to their end first. Optuna: 5."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """median, percentile, threshold: no trial ends before this epoch is over."""
    percentile: Annotated[float, Field(gt=0.0, lt=100.0)] = 25.0
    """percentile: the best so many per cent go on. Optuna: 25 in its examples."""
    minimum_epochs: PositiveInt = 1
    """hyperband, successive-halving: the shortest training."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """hyperband, successive-halving: one of so many goes on. Optuna: 3 and 4."""
    limit: float | None = None
    """threshold: a trial that is worse than this ends."""

    @model_validator(mode="after")
    def _limit_given(self) -> Self:
        if (self.name == "threshold") != (self.limit is not None):
            raise ValueError("limit: is for the pruner threshold, which needs it")
        return self


class Budget(Section):
    """When a study is over: at the first of these that is reached."""

    trials: PositiveInt | None = 50
    """Trials in all, also failed, diverged and pruned ones, of all calls and coordinators. Of a
    dozen parameters TPE has learned something after some fifty."""
    minutes: PositiveFloat | None = None
    """Wall time of one call, for the time limit of a batch job or an evening. Trials that are then
    running stop with a checkpoint, and go on when the study is called again."""
    node_hours: PositiveFloat | None = None
    """Hours of whole nodes that trials have taken, in all calls: half a node for two hours is 1."""
    failures: PositiveInt = 3
    """When so many trials have failed or diverged before any has gone well, the study ends with an
    error: it is not its points that are wrong."""
    failures_in_a_row: PositiveInt = 10
    """When so many have failed one after the other, also later, it ends with an error: a disk is
    full, or a network gone, and what is left of the budget is not spent on that. Trials that
    diverge are not counted."""


class Trial(Section):
    """How one point is tried."""

    max_minutes: PositiveFloat | None = 120.0
    """A trial that takes longer is killed and counts as failed: one that hangs must not hold its
    block for ever. All folds together, and with what it took before it was interrupted. The
    published recipe takes hours, short trials minutes."""
    epoch: Literal["best", "last"] = "best"
    """Of which epoch the number counts: that with the best (first) objective, which is the
    checkpoint that one would use, or the last."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """k-fold cross-validation: a trial trains k times, each time with another k-th of the showers
    (or of the files, with data.split.by: file) held out, and counts with the mean. null: once, with
    the experiment's own division. Not with training.init_from: that run may know what is held
    out."""


class Blocks(Section):
    """The groups of ranks that train side by side, a trial each."""

    size: PositiveInt = 1
    """Ranks that train one trial together (`--block-size`)."""
    count: PositiveInt | None = None
    """Blocks at most; null: as many as the allocation holds, and one without an allocation."""
    hosts: str | None = None
    """Hosts and their slots as horovodrun -H takes them, `node1:4,node2:4`. null: Slurm's in a job
    of Slurm, else this machine."""
    launcher: Literal["auto", "horovodrun", "mpirun", "srun"] = "auto"
    """What starts a block's ranks. auto: nothing for one rank on this machine, srun for one rank on
    another in a job of Slurm, else horovodrun."""
    start_seconds: PositiveFloat = 600.0
    """A block whose ranks are not ready after this long (s) is started anew; TensorFlow takes
    seconds, from a parallel file system minutes."""
    starts: PositiveInt = 3
    """A block that has failed to start so often in a row is given up, and the others go on; without
    any, the study ends with an error."""
    restart_seconds: NonNegativeFloat = 10.0
    """How long (s) after its start has failed a block is started again; each further time it is
    twice as long, as nodes that reboot need minutes."""
    stop_seconds: PositiveFloat = 60.0
    """A block that is told to stop has so long (s), a step and a checkpoint; then it is killed."""


class Rerun(Section):
    """What becomes of the best trials in the end."""

    best: Annotated[int, Field(ge=0)] = 3
    """So many of the best trials are trained again, because the best of many is lucky, too. 0:
    none."""
    seeds: PositiveInt = 3
    """With so many fresh seeds (`run.seed`) each; their mean and spread are reported."""
    default: bool = True
    """The experiment as it is, too, where it was tried and is not among them: what was found is
    compared with it by fresh seeds of both."""


class Study(Section):
    """A hyper-parameter study, as `gan3d tune` runs it."""

    experiment: str | None = None
    """The experiment that the parameters change, relative to the study's file."""
    overrides: dict[str, Any] = Field(default={})
    """What else differs from it in all trials, by dotted key: `training.epochs: 5`. Paths are
    relative to the study's file, here and in `search`."""
    search: Annotated[dict[str, Parameter], Field(min_length=1)]
    """The parameters: any key of the experiment, `training.optimizer.learning_rate` or
    `model.architecture`, and what it may be."""
    objective: Annotated[list[Objective], BeforeValidator(_as_list)] = Field(
        default=[Objective()], min_length=1
    )
    """What is to become small (or large); of several the Pareto front is looked for."""
    sampler: Sampler = Sampler()
    """Who proposes points."""
    pruner: Pruner = Pruner(name="median")
    """Who ends trials early, by the first objective after each judged epoch."""
    budget: Budget = Budget()
    """When it is over."""
    trial: Trial = Trial()
    """How a point is tried."""
    blocks: Blocks = Blocks()
    """Where."""
    rerun: Rerun = Rerun()
    """Fresh seeds for the best."""
    default_first: bool = True
    """Whether the first trial is the experiment as it is, where the search holds it: what others
    are to be better than."""
    storage: Literal["journal", "sqlite"] = "journal"
    """journal: a file of JSON lines that many coordinators may write to, also on a shared file
    system. sqlite: a database, for Optuna's dashboard and other tools; on a local disk only."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the proposals. Trials have the experiment's run.seed, all the same."""

    @property
    def function(self) -> Objective | None:
        """The test function, where this is no training."""
        return self.objective[0] if self.objective[0].function else None

    @property
    def prunes(self) -> bool:
        """Whether trials may end early."""
        return self.pruner.name != "none"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        functions = [each for each in self.objective if each.function]
        labels = [each.label for each in self.objective]
        if functions and len(self.objective) > 1:
            raise ValueError("objective: a function is the only objective")
        if len(set(labels)) < len(labels):
            raise ValueError("objective: one is named twice")
        if (self.experiment is None) != bool(functions):
            raise ValueError("experiment: its file is required, but for a function as objective")
        if len(self.objective) > 1:
            if self.prunes and "pruner" in self.model_fields_set:
                raise ValueError(
                    "pruner: trials of several objectives cannot be pruned; leave it out, or set "
                    "pruner: {name: none}"
                )
            object.__setattr__(self, "pruner", Pruner(name="none"))
        if self.function and self.trial.folds:
            raise ValueError("trial.folds is for trainings, not for a function")
        return self


def load_study(path: Path, overrides: Sequence[str] = ()) -> tuple[Study, Tell]:
    """The study that `path` describes, and what says where in the file a key is.

    Paths under `overrides` and `search` are relative to the file that names them, too. Raises
    ConfigError, one line for each mistake, as `gan3d.config.load_experiment` does.
    """
    files: list[tuple[str, ...]] = [("experiment",)]
    for key in FILES:
        dotted = ".".join(key)
        files += [("overrides", dotted), ("overrides", *key), ("search", dotted, "choice")]
    study = load_sections(Study, Path(path), overrides, example=EXAMPLE, files=files)
    return study, telling(Path(path), overrides, example=EXAMPLE)


def load_base(study: Study, tell: Tell, node: Path | None = None) -> Experiment:
    """The experiment that all trials begin with.

    Raises ConfigError, with the place in the study where it is one of its `overrides`.
    """
    assert study.experiment is not None
    if not Path(study.experiment).exists():
        raise ConfigError(tell(["experiment"], f"{study.experiment}: no such file"))
    for key, value in study.overrides.items():
        for leaf in _leaves(key, value):
            if any(leaf == other or leaf.startswith(f"{other}.") for other in study.search):
                raise ConfigError(
                    tell(["overrides", key], f"{leaf} is in search, too; leave one of them out")
                )
    with naming_overrides(study, tell):
        return load_experiment(Path(study.experiment), base_overrides(study), node)


@contextmanager
def naming_overrides(study: Study, tell: Tell) -> Iterator[None]:
    """Let a ConfigError from inside say where in the study the override is that it blames."""
    try:
        yield
    except ConfigError as error:
        lines = [_placed(line, study, tell) for line in str(error).splitlines()]
        raise ConfigError("\n".join(lines)) from None


def _leaves(key: str, value: Any) -> list[str]:
    """The keys that an override sets, those in a section one by one."""
    if not isinstance(value, dict) or not value:
        return [key]
    return [leaf for name, inner in value.items() for leaf in _leaves(f"{key}.{name}", inner)]


def _placed(line: str, study: Study, tell: Tell) -> str:
    """A message on an override, which nobody has given with --set, with its place."""
    for key in study.overrides:
        if line.startswith(f"--set {key}: "):
            return tell(["overrides", key], line.removeprefix(f"--set {key}: "))
    return line


def base_overrides(study: Study) -> list[str]:
    """`overrides`, as `--set` takes them."""
    from gan3d.tuning.space import as_override

    return [as_override(key, value) for key, value in study.overrides.items()]

"""Optuna's part: the storage of a study, its sampler and pruner, made so that many may share it.

Nothing is pickled: the journal is JSON lines, the database holds JSON texts, and samplers are made
anew for every trial from the study's seed and the trial's number.
"""

from __future__ import annotations

import importlib
import os
import sqlite3
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from gan3d.errors import ConfigError
from gan3d.tuning.locks import Lock
from gan3d.tuning.study import Pruner, Sampler, Study

JOURNAL = "study.jsonl"
DATABASE = "study.db"
_VERSIONS = "alembic_version"
"""The table of a database that Optuna makes last."""
TRIALS, RERUNS = "trials", "reruns"
"""The studies in a storage, and their folders."""

DIED = "its coordinator died"
STOPPED = "stopped to go on later"
NEVER = "its coordinator died before it was proposed"
DUPLICATE = "the same point as trial"
AGAIN = "tried once more"
"""Why trials are no trials of their own."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


def is_continued(trial: FrozenTrial) -> bool:
    """Whether another trial goes on with this one."""
    reason = str(trial.user_attrs.get("reason", ""))
    goes_on = reason in (DIED, STOPPED) or reason.startswith(AGAIN)
    return trial.state == TrialState.FAIL and goes_on


def is_superseded(trial: FrozenTrial) -> bool:
    """Whether another trial stands for this one: it goes on with it, or had the point before."""
    reason = str(trial.user_attrs.get("reason", ""))
    vain = reason == NEVER or reason.startswith(DUPLICATE)
    return is_continued(trial) or (trial.state == TrialState.FAIL and vain)


def number_of(trial: FrozenTrial | optuna.Trial) -> int:
    """What a trial is called: as its folder, which it keeps when it is taken up again."""
    folder = trial.user_attrs.get("folder")
    return trial.number if folder is None else int(Path(folder).name)


Outcome = Literal["complete", "pruned", "diverged", "failed", "running", "waiting"]


def outcome(trial: FrozenTrial) -> Outcome:
    """How a trial has ended, or that it has not.

    One that has diverged is none that failed: another machine, or another day, would not help it.
    To Optuna it is pruned or complete (`Proposals.tell`), so that samplers learn from it.
    """
    if trial.user_attrs.get("diverged") and trial.state.is_finished():
        return "diverged"
    return _OUTCOMES[trial.state]


_OUTCOMES: Mapping[TrialState, Outcome] = MappingProxyType(
    {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }
)


def turn(folder: Path) -> AbstractContextManager[None]:
    """Be alone among the coordinators of the study in `folder`, also of other machines.

    The lock of one that was killed within is broken.
    """
    return Lock(folder / "turn").held()


def open_study(folder: Path, study: Study, name: str) -> optuna.Study:
    """One of the studies in the storage in `folder`, which is made where it is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if study.storage == "journal":
            _mend(folder / JOURNAL)
        storage = _storage(folder, study)
        directions = ["maximize" if each.maximized else "minimize" for each in study.objective]
        return optuna.create_study(
            storage=storage,
            study_name=name,
            directions=directions,
            load_if_exists=True,
            sampler=NumberedSampler(study.sampler, study.seed),
            pruner=make_pruner(study.pruner, maximized=study.objective[0].maximized),
        )


def stored_trials(folder: Path, study: Study, name: str) -> list[FrozenTrial]:
    """The trials of one of the studies in the storage in `folder`, of which nothing is written."""
    path = folder / (DATABASE if study.storage == "sqlite" else JOURNAL)
    if not path.exists() or (study.storage == "sqlite" and not _is_complete(path)):
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = _storage(folder, study)
        try:
            return optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
        except KeyError:  # it is killed, or looked at, before it has any
            return []


def _is_complete(database: Path) -> bool:
    """Whether all tables are there: Optuna, which says so last, would make what is missing."""
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as opened:
        tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master")}
        if _VERSIONS not in tables:
            return False
        (count,) = opened.execute(f"SELECT count(*) FROM {_VERSIONS}").fetchone()
        return int(count) > 0


def _storage(folder: Path, study: Study) -> Any:
    if study.storage == "sqlite":
        return optuna.storages.RDBStorage(f"sqlite:///{folder / DATABASE}")
    path = folder / JOURNAL
    lock: Any = Lock(path)
    return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters of a trial, or those that one in the queue will have."""
    waits: dict[str, Any] = trial.system_attrs.get("fixed_params", {})
    return trial.params or waits


def _mend(path: Path) -> None:
    """Drop half a line at the end, as a writer leaves that is killed; others would write on it."""
    if not path.exists():
        return
    with Lock(path).held(), path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            os.fsync(file.fileno())


class NumberedSampler(optuna.samplers.BaseSampler):
    """A sampler that draws each trial with a seed of its own, by its place among the trials.

    So a study draws the same whether it was interrupted or not (of what it knows at that time), and
    coordinators that have begun alike do not draw alike.
    """

    def __init__(self, settings: Sampler, seed: int) -> None:
        """Raise ConfigError where the sampler needs what is not installed."""
        self._settings, self._seed = settings, seed
        self._inner = self._of(0)

    @property
    def sees_pruned(self) -> bool:
        """Whether trials that were pruned teach it anything."""
        return self._settings.name != "gp"

    def _of(self, number: int) -> optuna.samplers.BaseSampler:
        return make_sampler(self._settings, self._seed, number)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """See Optuna's `BaseSampler.before_trial`."""
        before = study.get_trials(deepcopy=False)[: trial.number]
        self._inner = self._of(sum(not is_continued(each) for each in before))
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See Optuna's `BaseSampler.infer_relative_search_space`."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See Optuna's `BaseSampler.sample_relative`."""
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """See Optuna's `BaseSampler.sample_independent`."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Any,
    ) -> None:
        """See Optuna's `BaseSampler.after_trial`."""
        self._inner.after_trial(study, trial, state, values)


def make_sampler(settings: Sampler, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler for the trial at this place. Raises ConfigError where it cannot be had."""
    # Samplers that Optuna calls experimental are what its documentation recommends.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _make_sampler(settings, seed, number)


def _make_sampler(settings: Sampler, seed: int, number: int) -> optuna.samplers.BaseSampler:
    own = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    try:
        if settings.name == "tpe":
            return optuna.samplers.TPESampler(
                n_startup_trials=settings.startup_trials,
                constant_liar=settings.constant_liar,
                multivariate=settings.multivariate,
                group=settings.multivariate,
                seed=own,
            )
        if settings.name == "gp":
            # It imports it when the first point is due.
            importlib.import_module("torch")
            return optuna.samplers.GPSampler(
                n_startup_trials=settings.startup_trials, deterministic_objective=False, seed=own
            )
        if settings.name == "nsgaii":
            return optuna.samplers.NSGAIISampler(population_size=settings.population, seed=own)
        if settings.name == "nsgaiii":
            return optuna.samplers.NSGAIIISampler(population_size=settings.population, seed=own)
        if settings.name == "qmc":
            # Its points are one sequence, which the storage counts. It holds the numbers that the
            # first trial that went well had; until then, and for all others, points are random.
            return optuna.samplers.QMCSampler(
                scramble=True,
                seed=seed,
                independent_sampler=optuna.samplers.RandomSampler(seed=own),
                warn_independent_sampling=False,
            )
    except ImportError as error:
        raise ConfigError(
            f"sampler.name: {settings.name} needs a package that is not installed ({error}); "
            "`uv pip install torch`, or take another sampler"
        ) from error
    return optuna.samplers.RandomSampler(seed=own)


def make_pruner(settings: Pruner, *, maximized: bool) -> optuna.pruners.BasePruner:
    """Optuna's pruner, of a first objective that is to become large where `maximized`."""
    if settings.name == "median":
        return optuna.pruners.MedianPruner(
            n_startup_trials=settings.startup_trials, n_warmup_steps=settings.warmup_epochs
        )
    if settings.name == "percentile":
        return optuna.pruners.PercentilePruner(
            settings.percentile,
            n_startup_trials=settings.startup_trials,
            n_warmup_steps=settings.warmup_epochs,
        )
    if settings.name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=settings.minimum_epochs, reduction_factor=settings.reduction_factor
        )
    if settings.name == "successive-halving":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=settings.minimum_epochs, reduction_factor=settings.reduction_factor
        )
    if settings.name == "threshold":
        return optuna.pruners.ThresholdPruner(
            lower=settings.limit if maximized else None,
            upper=None if maximized else settings.limit,
            n_warmup_steps=settings.warmup_epochs,
        )
    return optuna.pruners.NopPruner()

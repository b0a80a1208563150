"""The trials of a study, shared by all its coordinators: proposed, reported, told, taken up again.

What is known of a trial beyond Optuna's own is in its user attributes:

`coordinator`: whose it is; `folder`: its run's, below the study's; `reason`: why it failed, or was
pruned or stopped; `memory`: it ran out of it; `seconds`, `nodes`: how long it took, on how many
nodes; `spent`: seconds of those that it goes on with; `seed`: run.seed, of a rerun; `of`: the trial
that is run again; `of_name`: what that is called; `continues`: the trial whose run it goes on with;
`retried`: that it was tried before and failed by an accident; `not_on`: the coordinator and its
block where; `spread`: of the folds; `metrics`: all numbers that it was judged by; `diverged`: that
it has; `startup_seconds`: how long its block's processes took to be ready, 0 where they were there
from the trial before; `waited_seconds`: how long they were free before it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from gan3d.tuning.claims import Claim
from gan3d.tuning.space import Space
from gan3d.tuning.storage import (
    AGAIN,
    DIED,
    DUPLICATE,
    NEVER,
    RERUNS,
    STOPPED,
    NumberedSampler,
    is_continued,
    is_superseded,
    params_of,
    turn,
)

Ending = Literal["complete", "pruned", "diverged", "failed"]

_STATES: Mapping[Ending, TrialState] = MappingProxyType(
    {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
)
"""Optuna's words; it has none for one that has diverged."""

_KEPT = ("folder", "seed", "of", "of_name", "default", "retried")
"""Notes that a trial takes over from the one that it goes on with."""

_REDRAWS = 5
"""After so many proposals of points that were tried already, in a row, one is drawn at random of
those that were not: samplers that have found a good corner ask for it again and again."""

_GRID = 10_000
"""Searches of no more points than this are known to be at their end; of others nobody tries all."""


class Proposals:
    """The trials of one of Optuna's studies."""

    def __init__(self, study: optuna.Study, space: Space, folder: Path, claim: Claim) -> None:
        """`folder` is the study's, where runs and locks are."""
        self.study = study
        self._space = space
        self._folder = folder
        self._claim = claim
        self.exhausted = False
        """Whether all points of the search have been tried."""

    @property
    def name(self) -> str:
        """Trials or reruns: the folder of its runs."""
        return self.study.study_name

    def trials(self) -> list[FrozenTrial]:
        """All that count: not those that another trial stands for."""
        return [
            trial for trial in self.study.get_trials(deepcopy=False) if not is_superseded(trial)
        ]

    def started(self) -> int:
        """Trials that have ended, or are running, or wait to be taken up again."""
        return len(self.trials())

    def has_work(self, most: int | None, block: int | None = None) -> bool:
        """Whether `next` would have something, as far as can be told without asking."""
        if self._waiting(block):
            return True
        asks = self.name != RERUNS and not self.exhausted
        return asks and (most is None or self.started() < most)

    def next(
        self, most: int | None, block: int | None = None
    ) -> tuple[optuna.Trial, dict[str, Any]] | None:
        """A trial to run, and its values, unless `most` have been started already.

        Those that wait come first, but for one that has failed on `block` and is for another. None
        too where no new point is left; `exhausted` says so.
        """
        with turn(self._folder):
            trial = self._take_waiting(block)
            if trial is not None:
                return trial, self._propose(trial)
            if self.name == RERUNS or (most is not None and self.started() >= most):
                return None
            return self._new_point()

    def _waiting(self, block: int | None) -> list[FrozenTrial]:
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        elsewhere = [self._claim.name, block]
        return [trial for trial in waiting if trial.user_attrs.get("not_on") != elsewhere]

    def _take_waiting(self, block: int | None) -> optuna.Trial | None:
        """As Optuna's `ask` does, which cannot choose among those that wait."""
        for trial in self._waiting(block):
            number = trial._trial_id
            if self.study._storage.set_trial_state_values(number, state=TrialState.RUNNING):
                return self._as_asked(number)
        return None

    def _as_asked(self, number: int) -> optuna.Trial:
        self.study._thread_local.cached_all_trials = None
        return optuna.Trial(self.study, number)

    def _propose(self, trial: optuna.Trial) -> dict[str, Any]:
        values = self._space.propose(trial)
        trial.set_user_attr("coordinator", self._claim.name)
        if "folder" not in trial.user_attrs:
            trial.set_user_attr("folder", f"{self.name}/{trial.number:04d}")
        return values

    def _new_point(self) -> tuple[optuna.Trial, dict[str, Any]] | None:
        for _ in range(_REDRAWS):
            trial = self._as_asked(self.study._storage.create_new_trial(self.study._study_id))
            values = self._propose(trial)
            twin = self._tried(but=trial.number).get(_point(trial.params))
            if twin is None:
                return trial, values
            trial.set_user_attr("reason", f"{DUPLICATE} {twin}")
            self.study.tell(trial, state=TrialState.FAIL)
        params = self._untried()
        if params is None:
            self.exhausted = True
            return None
        self.study.enqueue_trial(params)
        drawn = self._take_waiting(None)
        assert drawn is not None
        return drawn, self._propose(drawn)

    def _tried(self, *, but: int = -1) -> dict[frozenset[tuple[str, str]], int]:
        """The points of all trials, whatever became of them, and the trials' numbers."""
        return {
            _point(params_of(other)): other.number for other in self.trials() if other.number != but
        }

    def _untried(self) -> dict[str, Any] | None:
        """A random point that no trial has had; None: there is none."""
        tried, count = self._tried(), len(self.study.get_trials(deepcopy=False))
        grid = self._space.points(_GRID)
        if grid is not None:
            left = [point for point in grid if _point(point) not in tried]
            return left[np.random.default_rng(count).integers(len(left))] if left else None
        drawn = (self._space.draw(count + number) for number in range(_GRID))
        return next((point for point in drawn if _point(point) not in tried), None)

    def tell(
        self,
        trial: optuna.Trial,
        how: Ending,
        values: Sequence[float] | None = None,
        **notes: Any,
    ) -> None:
        """Write how a trial has ended. Notes come first: a trial that has ended takes no more."""
        state = _STATES.get(how)
        if state is None:
            state, values = self._as_diverged()
            notes["diverged"] = True
        try:
            for key, value in notes.items():
                trial.set_user_attr(key, value)
            self.study.tell(trial, None if values is None else list(values), state=state)
        except (UpdateFinishedTrialError, ValueError):
            # Another coordinator has taken this one for dead (its machine hung for minutes) and
            # has taken the trial up.
            if self.is_ours(trial):
                raise

    def _as_diverged(self) -> tuple[TrialState, list[float] | None]:
        """What Optuna is told of a trial that has diverged, so that the sampler learns from it.

        Failed trials are left out by samplers, which would come back to the region. A pruned one
        is to TPE worse than all that are complete, to genetic algorithms no parent, and to pruners
        no bar for others. Only of several objectives, of which TPE wants numbers, and to the
        Gaussian process, which looks at nothing else, it is complete with the worst numbers.
        """
        directions, sampler = self.study.directions, self.study.sampler
        assert isinstance(sampler, NumberedSampler)
        if len(directions) == 1 and sampler.sees_pruned:
            return TrialState.PRUNED, None
        worst = [-math.inf if each == StudyDirection.MAXIMIZE else math.inf for each in directions]
        return TrialState.COMPLETE, worst

    def put_back(self, trial: optuna.Trial, **notes: Any) -> None:
        """End a trial of ours that is to go on with its checkpoint in a later call."""
        with turn(self._folder):
            self._supersede(self._frozen(trial), STOPPED, **notes)

    def try_again(self, trial: optuna.Trial, reason: str, *, block: int, **notes: Any) -> None:
        """End a trial of ours for an accident on `block`, and have it tried once more, elsewhere.

        A trial that has the note `retried` has had its second try.
        """
        more = {"retried": True, "not_on": [self._claim.name, block]}
        with turn(self._folder):
            self._supersede(
                self._frozen(trial), f"{AGAIN}: {reason}", more=more, block=block, **notes
            )

    def recover(self) -> list[int]:
        """Put trials of coordinators that have died back into the queue; returns their numbers."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        dead = [trial for trial in running if self._is_orphan(trial)]
        # One that was killed between the two writes below.
        lost = self._lost()
        if not dead and not lost:
            return []
        recovered = []
        with turn(self._folder):
            running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            for trial in running:
                if not self._is_orphan(trial):
                    continue
                proposed = "coordinator" in trial.user_attrs or "fixed_params" in trial.system_attrs
                if self._supersede(trial, DIED if proposed else NEVER, **self._last_cost(trial)):
                    recovered.append(trial.number)
            for trial in self._lost():
                self._enqueue_again(trial)
                recovered.append(trial.number)
        return recovered

    def _last_cost(self, trial: FrozenTrial) -> dict[str, Any]:
        """What a trial of a coordinator that has died has taken, until that lived last."""
        last = self._claim.last_beat(str(trial.user_attrs.get("coordinator")))
        began = trial.datetime_start
        if last is None or began is None or "nodes" not in trial.user_attrs:
            return {}
        return {"seconds": max(0.0, last - began.timestamp())}

    def _is_orphan(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get("coordinator")
        # Without an owner it is being proposed; but that is done within a turn, so that in one of
        # ours there is none such but of a coordinator that was killed within its own.
        return owner is None or self._claim.is_dead(owner)

    def _lost(self) -> list[FrozenTrial]:
        """Trials that were to be taken up again, and are not in the queue."""
        all_trials = self.study.get_trials(deepcopy=False)
        taken_up = {trial.user_attrs.get("continues") for trial in all_trials}
        return [
            trial for trial in all_trials if is_continued(trial) and trial.number not in taken_up
        ]

    def _supersede(
        self,
        trial: FrozenTrial,
        reason: str,
        *,
        more: Mapping[str, Any] | None = None,
        **notes: Any,
    ) -> bool:
        storage, number = self.study._storage, trial._trial_id
        try:
            for key, value in {"reason": reason, **notes}.items():
                storage.set_trial_user_attr(number, key, value)
            storage.set_trial_state_values(number, state=TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False
        if reason != NEVER:
            self._enqueue_again(trial, {**(more or {}), "spent": _spent(trial.user_attrs, notes)})
        return True

    def _enqueue_again(self, trial: FrozenTrial, more: Mapping[str, Any] | None = None) -> None:
        """`more` are notes besides those that are kept."""
        if more is None:
            again = str(trial.user_attrs.get("reason")).startswith(AGAIN)
            more = {"spent": _spent(trial.user_attrs), **({"retried": True} if again else {})}
        kept = {key: trial.user_attrs[key] for key in _KEPT if key in trial.user_attrs}
        params = trial.system_attrs.get("fixed_params", trial.params)
        self.study.enqueue_trial(params, {**kept, **more, "continues": trial.number})

    def enqueue(self, params: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
        """Put a point into the queue."""
        self.study.enqueue_trial(dict(params), dict(notes))

    def is_ours(self, trial: optuna.Trial) -> bool:
        """Whether a trial that we run is still ours: no other coordinator has taken it up."""
        return self._frozen(trial).state == TrialState.RUNNING

    def _frozen(self, trial: optuna.Trial) -> FrozenTrial:
        return self.study._storage.get_trial(trial._trial_id)


def _spent(*notes: Mapping[str, Any]) -> float:
    """Seconds that a trial has taken so far, with those that it goes on with."""
    return math.fsum(float(each.get(key) or 0.0) for each in notes for key in ("spent", "seconds"))


def _point(params: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """What two trials of one point have alike, however steps were added up."""
    return frozenset(
        (key, f"{value:.12g}" if isinstance(value, float) else json.dumps(value))
        for key, value in params.items()
    )

"""The trials of a study, shared by all its coordinators: proposed, reported, told, taken up again.

What is known of a trial beyond Optuna's own is in its user attributes:

`coordinator`: whose it is; `folder`: its run's, below the study's; `reason`: why it failed, or was
pruned or stopped; `memory`: it ran out of it; `seconds`, `nodes`: how long it took, on how many
nodes; `seed`: run.seed, of a rerun; `of`: the trial that is run again; `continues`: the trial whose
run it goes on with; `spread`: of the folds; `metrics`: all numbers that it was judged by;
`diverged`: that it has; `startup_seconds`: how long its block's processes took to be ready, 0 where
they were there from the trial before; `waited_seconds`: how long they were free before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from gan3d.tuning.claims import Claim
from gan3d.tuning.space import Space
from gan3d.tuning.storage import (
    DIED,
    DUPLICATE,
    NEVER,
    RERUNS,
    STOPPED,
    NumberedSampler,
    is_continued,
    is_superseded,
    turn,
)

Ending = Literal["complete", "pruned", "diverged", "failed"]

_STATES: Mapping[Ending, TrialState] = MappingProxyType(
    {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
)
"""Optuna's words; it has none for one that has diverged."""

_KEPT = ("folder", "seed", "of", "default")
"""Notes that a trial takes over from the one that it goes on with."""

_REDRAWS = 50
"""So many proposals of points that were tried already, in a row, mean that no others are left."""


class Proposals:
    """The trials of one of Optuna's studies."""

    def __init__(self, study: optuna.Study, space: Space, folder: Path, claim: Claim) -> None:
        """`folder` is the study's, where runs and locks are."""
        self.study = study
        self._space = space
        self._folder = folder
        self._claim = claim

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

    def next(self, most: int | None) -> tuple[optuna.Trial, dict[str, Any]] | None:
        """A trial to run, and its values, unless `most` have been started already.

        Those that wait come first. None too where no new point is left.
        """
        with turn(self._folder):
            for _ in range(_REDRAWS):
                waits = bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))
                full = most is not None and self.started() >= most
                if not waits and (full or self.name == RERUNS):
                    return None
                trial = self.study.ask()
                values = self._space.propose(trial)
                trial.set_user_attr("coordinator", self._claim.name)
                if "folder" not in trial.user_attrs:
                    trial.set_user_attr("folder", f"{self.name}/{trial.number:04d}")
                twin = None if waits else self._twin(trial)
                if twin is None:
                    return trial, values
                trial.set_user_attr("reason", f"{DUPLICATE} {twin.number}")
                self.study.tell(trial, state=TrialState.FAIL)
        return None

    def _twin(self, trial: optuna.Trial) -> FrozenTrial | None:
        """An earlier trial of the same point; it would give the same again, failures too."""
        for other in self.trials():
            params = other.params or other.system_attrs.get("fixed_params")
            if other.number != trial.number and params == trial.params:
                return other
        return None

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
        for key, value in notes.items():
            trial.set_user_attr(key, value)
        try:
            self.study.tell(trial, None if values is None else list(values), state=state)
        except (UpdateFinishedTrialError, ValueError):
            # Another coordinator has taken this one for dead (its machine hung for a minute) and
            # has taken the trial up.
            if self._state(trial) == TrialState.RUNNING:
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
            self._supersede(self.study.trials[trial.number], STOPPED, **notes)

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
                if self._supersede(trial, DIED if proposed else NEVER):
                    recovered.append(trial.number)
            for trial in self._lost():
                self._enqueue_again(trial)
                recovered.append(trial.number)
        return recovered

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

    def _supersede(self, trial: FrozenTrial, reason: str, **notes: Any) -> bool:
        storage, number = self.study._storage, trial._trial_id
        try:
            for key, value in {"reason": reason, **notes}.items():
                storage.set_trial_user_attr(number, key, value)
            storage.set_trial_state_values(number, state=TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False
        if reason != NEVER:
            self._enqueue_again(trial)
        return True

    def _enqueue_again(self, trial: FrozenTrial) -> None:
        kept: dict[str, Any] = {
            key: trial.user_attrs[key] for key in _KEPT if key in trial.user_attrs
        }
        params = trial.system_attrs.get("fixed_params", trial.params)
        self.study.enqueue_trial(params, {**kept, "continues": trial.number})

    def enqueue(self, params: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
        """Put a point into the queue."""
        self.study.enqueue_trial(dict(params), dict(notes))

    def _state(self, trial: optuna.Trial) -> TrialState:
        return self.study.trials[trial.number].state

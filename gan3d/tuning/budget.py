"""What a study has spent of its budget, and what it keeps for fresh seeds of the best."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from gan3d.tuning.claims import Claim
from gan3d.tuning.proposals import Proposals
from gan3d.tuning.storage import outcome
from gan3d.tuning.study import Study

MINUTES = "budget.minutes"
NODE_HOURS = "budget.node_hours"

_MOST_KEPT = 0.5
"""So much of a budget is kept for fresh seeds at most; the rest is for the search."""

Running = Sequence[tuple[float, float]]
"""Seconds so far, and nodes, of each trial of this coordinator that is running."""


class Account:
    """The budget of a study, as one of its coordinators sees it."""

    def __init__(
        self, study: Study, queues: Sequence[Proposals], claim: Claim, blocks: int
    ) -> None:
        """`queues` are the trials, and those that are run again; `blocks` work side by side."""
        self._study, self._queues, self._claim, self._blocks = study, queues, claim, blocks

    def over(self, elapsed: float, running: Running) -> str:
        """Which budget is used up, `elapsed` seconds after this call has begun; empty: none."""
        budget = self._study.budget
        if budget.minutes is not None and elapsed >= 60.0 * budget.minutes:
            return f"{MINUTES} ({budget.minutes:g}) are over"
        if budget.node_hours is not None and self._spent(running) >= 3600.0 * budget.node_hours:
            return f"{NODE_HOURS} ({budget.node_hours:g}) are over"
        return ""

    def kept(self, elapsed: float, running: Running) -> str:
        """Which budget has only that left which fresh seeds of the best will take; empty: none.

        Wall time is each call's own; where trials are counted, a later call has them to its end.
        """
        study, budget = self._study, self._study.budget
        done = [each for each in self._queues[0].trials() if outcome(each) == "complete"]
        costs = [
            (float(each.user_attrs["seconds"]), float(each.user_attrs["nodes"]))
            for each in done
            if "seconds" in each.user_attrs
        ]
        if not (costs and study.rerun.best and study.function is None):
            return ""
        again = study.rerun.seeds * min(len(done), study.rerun.best + study.rerun.default)
        seconds = math.fsum(cost[0] for cost in costs) / len(costs)
        per_trial = math.fsum(cost[0] * cost[1] for cost in costs) / len(costs)
        if budget.node_hours is not None:
            whole = 3600.0 * budget.node_hours
            ahead = math.fsum(max(0.0, seconds - so_far) * nodes for so_far, nodes in running)
            # Those that are running to their ends, and one more.
            spent = self._spent(running) + ahead + per_trial
            if spent > whole - min(again * per_trial, _MOST_KEPT * whole):
                return NODE_HOURS
        if budget.minutes is not None and budget.trials is None:
            whole = 60.0 * budget.minutes
            rounds = math.ceil(again / self._blocks)
            if elapsed + seconds > whole - min(rounds * seconds, _MOST_KEPT * whole):
                return MINUTES
        return ""

    def _spent(self, running: Running) -> float:
        """Node-seconds of all calls, of those that were killed and that are running, too."""
        mine = math.fsum(seconds * nodes for seconds, nodes in running)
        trials = [each for queue in self._queues for each in queue.study.get_trials(deepcopy=False)]
        return mine + math.fsum(map(self._cost, trials))

    def _cost(self, trial: FrozenTrial) -> float:
        notes = trial.user_attrs
        seconds = notes.get("seconds")
        if seconds is None and trial.state == TrialState.RUNNING and "nodes" in notes:
            if notes.get("coordinator") == self._claim.name:
                return 0.0  # counted by its block
            began = trial.datetime_start
            seconds = max(0.0, time.time() - began.timestamp()) if began is not None else 0.0
        return float(seconds or 0.0) * float(notes.get("nodes", 0.0))

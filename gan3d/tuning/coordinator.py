"""The coordinator: asks for points, has blocks train them, watches, prunes, tells."""

from __future__ import annotations

import hashlib
import math
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from gan3d.config import Experiment
from gan3d.errors import ConfigError, Interrupted, Preempted, RunError, TrainingError
from gan3d.runtime import Signals
from gan3d.training.records import DATA, holds_run, read_history
from gan3d.tuning.block import Block, memory_kills
from gan3d.tuning.budget import MINUTES, Account
from gan3d.tuning.claims import Claim
from gan3d.tuning.link import Connection, Server
from gan3d.tuning.objectives import epoch_value, in_epochs, wanted_of
from gan3d.tuning.proposals import Ending, Proposals
from gan3d.tuning.space import Space
from gan3d.tuning.storage import number_of, outcome
from gan3d.tuning.study import Study

_LOOK_EVERY = 0.25
"""How often processes and clocks are looked at while no rank says anything (s)."""

_RECOVER_EVERY = 10.0
"""How often trials of other coordinators are looked at (s)."""

_ENDING_SECONDS = 5.0
"""Blocks without work that are told to end have so long (s)."""

_TOGETHER_SECONDS = 2.0
"""So much later than its ranks a coordinator may be told that its job is over (s)."""

Say = Callable[[str], None]


@dataclass(eq=False)
class Job:
    """A trial that a block is busy with: one training, or one for each fold."""

    proposals: Proposals
    trial: optuna.Trial
    values: Mapping[str, Any]
    folder: Path
    """Of the run; of folds, of their runs."""
    began: float
    resumed: bool
    waited_seconds: float = 0.0
    """How long its block was free before: the last trial was told, this one was proposed."""
    number: int = 0
    """Of the order under way."""
    fold: int = 0
    metrics: list[dict[str, float]] = field(default_factory=list)
    """Of the folds that are done."""
    stopped: str = ""
    """Why the block was told to stop."""
    stopped_at: float = math.inf

    @property
    def label(self) -> str:
        """What it is called in messages."""
        rerun = self.trial.user_attrs.get("of")
        if rerun is not None:
            name = self.trial.user_attrs.get("of_name", rerun)
            return f"trial {name} again, seed {self.trial.user_attrs['seed']}"
        return f"trial {number_of(self.trial)}"


class Coordinator:
    """One process that keeps the blocks of an allocation busy with the trials of a study."""

    def __init__(
        self,
        study: Study,
        folder: Path,
        space: Space,
        queues: Sequence[Proposals],
        blocks: Sequence[Block],
        claim: Claim,
        *,
        node: Path | None,
        signals: Signals,
        say: Say,
    ) -> None:
        """`queues` are the trials, and those that are run again."""
        self.study, self.folder, self._space = study, folder, space
        self._queues, self._blocks, self._claim = queues, blocks, claim
        self._node, self._signals, self._say = node, signals, say
        self._server = Server(local=all(block.plan.is_local for block in blocks))
        self._jobs: dict[int, Job] = {}
        self._orders = 0
        self._began = self._recovered = -math.inf
        self._account = Account(study, queues, claim, len(blocks))
        self._over = self._kept = ""
        self._failures_in_a_row = 0
        self.on_told: Callable[[], None] = lambda: None
        """Called after every trial that has ended."""

    @property
    def is_out_of_time(self) -> bool:
        """Whether it has ended for want of wall time: another call goes on."""
        return self._over.startswith(MINUTES)

    def run(self, queue: Proposals, most: int | None) -> str:
        """Work on `queue` until `most` have been started, or the budget is used up.

        Returns why it has ended before, empty where it has not. Raises TrainingError where nothing
        works, and Preempted or Interrupted after a signal, with all trials put back.
        """
        if self._began == -math.inf:
            self._began = time.monotonic()
        self._over = ""
        while True:
            if self._claim.beat():
                self._drop_lost()
                self._server.beat()
            self._recover()
            self._look_at_signals()
            elapsed = time.monotonic() - self._began
            self._over = self._over or self._account.over(elapsed, self._running())
            if queue is self._queues[0] and self._is_kept(elapsed):
                most = 0
            if self._over:
                self._stop_all(self._over)
            for block in self._blocks:
                self._look_at(block)
                if block.plan.number not in self._jobs and not self._over:
                    self._give_work(block, queue, most)
            if not self._jobs and (self._over or self._is_done(queue, most)):
                break
            for connection, message in self._server.poll(_LOOK_EVERY):
                self._hear(connection, message)
        if self._signals.interrupted:
            raise Interrupted
        if self._signals.preempted:
            raise Preempted
        return self._over

    def close(self) -> None:
        """End all processes."""
        free = [each for each in self._blocks if each.is_up and each.plan.number not in self._jobs]
        for block in free:
            block.tell("quit")
        until = time.monotonic() + _ENDING_SECONDS
        for block in free:
            block.wait(until)
        for block in self._blocks:
            block.kill(self._server)
        self._server.shutdown()

    def put_back_all(self) -> None:
        """Leave trials that are under way to a later call; their blocks are killed."""
        for block in self._blocks:
            job = self._jobs.pop(block.plan.number, None)
            if job is not None:
                block.kill(self._server)
                job.proposals.put_back(job.trial, **_settle(block, job))

    # What there is to do.

    def _is_done(self, queue: Proposals, most: int | None) -> bool:
        """Whether nothing is left, and nothing can come back of other coordinators' trials."""
        running = queue.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return not running and not queue.has_work(most)

    def _running(self) -> list[tuple[float, float]]:
        now = time.monotonic()
        return [(now - job.began, self._blocks[n].plan.nodes) for n, job in self._jobs.items()]

    def _is_kept(self, elapsed: float) -> bool:
        """Whether what is left of the budget is for fresh seeds of the best, from now on."""
        if not self._kept:
            self._kept = self._account.kept(elapsed, self._running())
            if self._kept:
                self._say(f"no further trials: the rest of {self._kept} is for fresh seeds")
        return bool(self._kept)

    def _drop_lost(self) -> None:
        """Let go of trials that another coordinator has taken up.

        It takes this one for dead after a pause: the machine was suspended, a disk has hung.
        """
        for number, job in list(self._jobs.items()):
            if not job.proposals.is_ours(job.trial):
                self._blocks[number].kill(self._server)
                self._let_go(job, number)

    def _let_go(self, job: Job, number: int) -> None:
        del self._jobs[number]
        self._say(f"{job.label}: another call has taken it up, as this one was silent for long")

    def _recover(self) -> None:
        if time.monotonic() - self._recovered < _RECOVER_EVERY:
            return
        self._recovered = time.monotonic()
        for queue in self._queues:
            for number in queue.recover():
                self._say(
                    f"{queue.name.removesuffix('s')} {number}: its coordinator died; it goes on"
                )

    def _look_at_signals(self) -> None:
        if not self._over and (self._signals.interrupted or self._signals.preempted):
            self._over = "told to stop by a signal"
            self._say(f"{self._over}; trials that are running stop with a checkpoint")

    def _give_work(self, block: Block, queue: Proposals, most: int | None) -> None:
        if block.given_up or (block.process is not None and not block.is_up):
            return
        # Points are asked for only when there is somebody to try them: later ones know more.
        if block.process is None:
            if queue.has_work(most) and time.monotonic() >= block.not_before:
                block.start(self._server, self._settings())
            return
        others = any(each is not block and each.is_up for each in self._blocks)
        number = block.plan.number if others else None
        if not queue.has_work(most, number):
            block.free_since = time.monotonic()
            return
        exhausted = queue.exhausted
        proposal = queue.next(most, number)
        if proposal is None:
            # Another coordinator may have been faster; else there is no new point.
            if queue.exhausted and not exhausted:
                self._say(f"all {queue.started()} points of the search have been tried")
            return
        trial, values = proposal
        folder = self.folder / str(trial.user_attrs["folder"])
        resumed = "continues" in trial.user_attrs
        now = time.monotonic()
        job = Job(queue, trial, values, folder, now, resumed, now - block.free_since)
        self._jobs[block.plan.number] = job
        trial.set_user_attr("nodes", block.plan.nodes)
        self._say(f"{job.label} on block {block.plan.number + 1}: {shown(values)}")
        self._order(block, job)

    def _settings(self) -> Experiment | None:
        """The experiment that processes are started for: its node and its Horovod."""
        if self.study.function is not None:
            return None
        return self._space.experiment(self.study, {}, self._node)

    def _experiment(self, job: Job) -> Experiment:
        more: dict[str, Any] = {}
        if "seed" in job.trial.user_attrs:
            more["run__seed"] = job.trial.user_attrs["seed"]
        if self.study.trial.folds:
            more["data__split__folds"] = self.study.trial.folds
            more["data__split__fold"] = job.fold
        return self._space.experiment(self.study, job.values, self._node, **more)

    def _order(self, block: Block, job: Job) -> None:
        """Have a block train a job, or its next fold."""
        self._orders += 1
        job.number = self._orders
        function = self.study.function
        message: dict[str, Any] = {"number": job.number, "function": None}
        if function is not None:
            message["function"] = {
                "name": function.function,
                "values": dict(job.values),
                "seconds": function.seconds,
                "epochs": function.epochs,
            }
        else:
            try:
                experiment = self._experiment(job)
            except ConfigError as error:  # a combination that cannot be; each part of it can
                self._end(block, job, "failed", reason=str(error).splitlines()[0])
                return
            if block.settings != _settings(experiment):
                # What is set before TensorFlow starts cannot be changed in a process.
                block.tell("quit")
                block.wait(time.monotonic() + _ENDING_SECONDS)
                block.kill(self._server)
                block.start(self._server, experiment)
                job.number = -1  # ordered again when it is up
                return
            folder = self._run_folder(job)
            resume = self._prepare(folder, job)
            message |= {
                "experiment": experiment.model_dump(mode="json"),
                "folder": str(folder.absolute()),
                "resume": resume,
                "wanted": asdict(wanted_of(self.study)),
            }
            if resume:
                for record in read_history(folder):
                    self._report(job, record)
        block.kills = memory_kills()
        block.tell("order", **message)

    def _prepare(self, folder: Path, job: Job) -> bool:
        """Make the run's folder ready; returns whether there is a run to go on with."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.exists():
            return False
        if job.resumed and holds_run(folder):
            return True
        if not job.resumed:
            raise RunError(f"{folder}: is there already, but no trial of this study had it")
        # Killed before it became a run.
        shutil.rmtree(folder)
        return False

    # What ranks say.

    def _hear(self, connection: Connection, message: Mapping[str, Any] | None) -> None:
        block = self._blocks[connection.block]
        if message is None:
            if block.ranks.get(connection.rank) is connection:
                del block.ranks[connection.rank]
                self._lost(block)
            return
        kind = message["kind"]
        if kind == "hello":
            block.ranks[connection.rank] = connection
        elif kind == "ready":
            self._ready(block, connection)
        elif kind == "broken":
            self._start_failed(block, str(message["reason"]))
        else:
            job = self._jobs.get(connection.block)
            if job is not None and message["number"] == job.number:
                self._hear_of(block, job, message)

    def _ready(self, block: Block, connection: Connection) -> None:
        block.ready.add(connection.rank)
        if not block.is_up:
            return
        block.failures = 0
        block.free_since = time.monotonic()
        took = block.free_since - block.began
        block.startup_seconds += took
        self._say(f"block {block.plan.number + 1} is up after {took:.1f} s")
        job = self._jobs.get(block.plan.number)
        if job is not None and job.number == -1:
            job.began = time.monotonic()
            self._order(block, job)

    def _hear_of(self, block: Block, job: Job, message: Mapping[str, Any]) -> None:
        kind = message["kind"]
        block.tried = block.tried or kind in ("done", "stopped")
        if kind == "epoch":
            if self._report(job, message["record"]) and not job.stopped:
                self._stop(block, job, "pruned")
        elif kind == "done":
            self._done(block, job, message["metrics"])
        elif kind == "stopped":
            self._stopped(block, job)
        elif kind == "failed":
            how: Ending = "diverged" if message["diverged"] else "failed"
            reason, memory = str(message["reason"]), bool(message["memory"])
            if memory and block.tried:  # what trials before it have left there may have filled it
                self._accident(block, job, reason, memory=memory)
            else:
                self._end(block, job, how, reason=reason, memory=memory)
            # What a failure has left in the processes nobody knows.
            block.kill(self._server)

    def _report(self, job: Job, record: Mapping[str, Any]) -> bool:
        """Let Optuna know an epoch; returns whether the trial is to end."""
        if not self.study.prunes or job.proposals is not self._queues[0] or self.study.trial.folds:
            return False
        value = self._value_in_epoch(record)
        if value is None:
            return False
        try:
            job.trial.report(value, int(record["epoch"]))
        except UpdateFinishedTrialError:  # another coordinator has it: see _drop_lost
            return False
        return job.trial.should_prune()

    def _value_in_epoch(self, record: Mapping[str, Any]) -> float | None:
        first = self.study.objective[0]
        if first.function is not None:
            return float(record[first.function])
        value = epoch_value(record, first.name) if in_epochs(first.name) else None
        return None if value is None else first.counts(value)

    def _done(self, block: Block, job: Job, metrics: Mapping[str, float]) -> None:
        other = self._other_showers(job)
        if other:
            self._end(block, job, "failed", reason=other)
            return
        job.metrics.append(dict(metrics))
        folds = self.study.trial.folds or 1
        if len(job.metrics) < folds:
            job.fold += 1
            if self._pruned_between_folds(job):
                self._end(block, job, "pruned", reason=f"pruned after {job.fold} fold(s)")
                return
            self._order(block, job)
            return
        objectives = self.study.objective
        names = [each.label for each in objectives]
        values_fn = np.array(
            [[each.counts(fold[each.key]) for each in objectives] for fold in job.metrics]
        )
        means = dict(zip(names, values_fn.mean(axis=0).tolist(), strict=True))
        notes: dict[str, Any] = {"metrics": {**job.metrics[0], **means}}
        if folds > 1:
            spread = values_fn.std(axis=0, ddof=1).tolist()
            notes["spread"] = dict(zip(names, spread, strict=True))
            notes["metrics"].pop("epoch", None)
        if not all(map(math.isfinite, means.values())):
            self._end(block, job, "diverged", reason=f"{shown(means)} is not finite", **notes)
            return
        self._end(block, job, "complete", values=list(means.values()), **notes)

    def _other_showers(self, job: Job) -> str:
        """What to say where a trial had other files than the first; all are to be alike."""
        if self.study.function is not None:
            return ""
        files = (self._run_folder(job) / DATA).read_bytes()
        digest = hashlib.sha256(files).hexdigest()
        first = self._queues[0].study.user_attrs.get("data")
        if first is None:
            self._queues[0].study.set_user_attr("data", digest)
        if first in (None, digest):
            return ""
        return f"its shower files are not those of the first trial ({self._run_folder(job) / DATA})"

    def _run_folder(self, job: Job) -> Path:
        return job.folder / f"fold-{job.fold + 1}" if self.study.trial.folds else job.folder

    def _pruned_between_folds(self, job: Job) -> bool:
        if not self.study.prunes or job.proposals is not self._queues[0]:
            return False
        first = self.study.objective[0]
        so_far = [first.counts(fold[first.key]) for fold in job.metrics]
        job.trial.report(float(np.mean(so_far)), job.fold)
        return job.trial.should_prune()

    def _stopped(self, block: Block, job: Job) -> None:
        if job.stopped == "pruned":
            self._end(block, job, "pruned", reason="behind the others")
        else:
            # Told so by us, or by a batch system that takes that node away.
            self._put_back(block, job)

    # What becomes of blocks.

    def _look_at(self, block: Block) -> None:
        """Find out about processes that have ended, hang, or take too long."""
        if block.process is None:
            return
        job, now = self._jobs.get(block.plan.number), time.monotonic()
        if block.process.poll() is not None and not block.ranks:
            self._lost(block)
        elif not block.is_up and now - block.began > self.study.blocks.start_seconds:
            self._start_failed(
                block, f"not ready after {self.study.blocks.start_seconds:g} s "
                "(blocks.start_seconds)",
            )  # fmt: skip
        elif job is None or not block.is_up:
            return
        elif now - job.stopped_at > self.study.blocks.stop_seconds:
            block.kill(self._server)
            self._stopped(block, job)
        elif self._is_late(job, now):
            block.kill(self._server)
            limit = self.study.trial.max_minutes
            reason = f"took more than {limit:g} min (trial.max_minutes)"
            self._end(block, job, "failed", reason=reason)

    def _is_late(self, job: Job, now: float) -> bool:
        limit = self.study.trial.max_minutes
        spent = float(job.trial.user_attrs.get("spent", 0.0))  # before it was interrupted
        return limit is not None and spent + now - job.began > 60.0 * limit

    def _lost(self, block: Block) -> None:
        """A process of a block has ended by itself."""
        if block.process is None:
            return
        was_up, job = block.is_up, self._jobs.get(block.plan.number)
        # The launcher ends the others, and then itself.
        code = _wait(block)
        words = block.last_words(code)
        cancelled = self._is_cancelled(code)
        block.kill(self._server)
        if cancelled or (words.orphaned and was_up):
            if job is not None:
                self._put_back(block, job)
        elif job is not None and was_up:
            self._accident(block, job, words.reason, memory=words.memory)
        else:
            self._start_failed(block, words.reason)

    def _is_cancelled(self, code: int | None) -> bool:
        """Whether it was told to end as this coordinator is: that is no failure of a trial.

        A batch system that ends a job tells its processes one after the other.
        """
        if code in (-signal.SIGTERM, 128 + signal.SIGTERM):
            self._signals.wait(_TOGETHER_SECONDS)
        return self._signals.interrupted or self._signals.preempted

    def _start_failed(self, block: Block, reason: str) -> None:
        block.kill(self._server)
        block.failures += 1
        wait = self.study.blocks.restart_seconds * 2.0 ** (block.failures - 1)
        block.not_before = time.monotonic() + wait
        name = f"block {block.plan.number + 1}"
        self._say(f"{name} did not start: {reason}")
        job = self._jobs.get(block.plan.number)
        if job is not None:  # it was to have processes of its own
            self._accident(block, job, reason)
        if block.failures < self.study.blocks.starts:
            return
        block.given_up = True
        if not all(each.given_up for each in self._blocks):
            self._say(
                f"{name} is given up: it has failed to start {block.failures} times in a row "
                "(blocks.starts); the others go on"
            )
            return
        raise TrainingError(
            f"no block can be started: each has failed {self.study.blocks.starts} times in a row "
            f"(blocks.starts); the last time: {reason}; see {block.log}"
        )

    def _stop(self, block: Block, job: Job, why: str) -> None:
        job.stopped, job.stopped_at = why, time.monotonic()
        block.tell("stop", number=job.number)

    def _stop_all(self, why: str) -> None:
        for number, job in list(self._jobs.items()):
            block = self._blocks[number]
            if job.number == -1:
                self._put_back(block, job)
            elif not job.stopped:
                self._stop(block, job, why)

    # How trials end.

    def _put_back(self, block: Block, job: Job) -> None:
        del self._jobs[block.plan.number]
        job.proposals.put_back(job.trial, **_settle(block, job))
        self._say(f"{job.label}: stopped; it goes on with its checkpoint later")

    def _accident(self, block: Block, job: Job, reason: str, *, memory: bool = False) -> None:
        """A trial has failed, perhaps not by its own fault: it is tried once more, elsewhere."""
        if job.trial.user_attrs.get("retried"):
            self._end(block, job, "failed", reason=f"{reason} (tried twice)", memory=memory)
            return
        del self._jobs[block.plan.number]
        cost = _settle(block, job)
        job.proposals.try_again(job.trial, reason, memory=memory, **cost)
        self._say(f"{job.label}: {reason} ({cost['seconds']:.1f} s); it is tried once more")

    def _end(
        self,
        block: Block,
        job: Job,
        how: Ending,
        *,
        values: Sequence[float] | None = None,
        reason: str = "",
        **notes: Any,
    ) -> None:
        if not job.proposals.is_ours(job.trial):
            self._let_go(job, block.plan.number)
            return
        del self._jobs[block.plan.number]
        if reason:
            notes["reason"] = reason
        cost = _settle(block, job)
        job.proposals.tell(job.trial, how, values, **notes, **cost)
        names = [each.label for each in self.study.objective]
        told = (
            shown(dict(zip(names, values, strict=True)))
            if values is not None
            else f"{how}: {reason}"
        )
        self._say(f"{job.label}: {told} ({cost['seconds']:.1f} s)")
        self.on_told()
        self._failures_in_a_row = self._failures_in_a_row + 1 if how == "failed" else 0
        if how in ("failed", "diverged"):
            self._give_up_if_hopeless(reason)

    def _give_up_if_hopeless(self, reason: str) -> None:
        budget = self.study.budget
        ended = [outcome(trial) for queue in self._queues for trial in queue.trials()]
        bad = sum(each in ("failed", "diverged") for each in ended)
        good = "complete" in ended or "pruned" in ended
        if not good and bad >= budget.failures:
            raise TrainingError(
                f"the first {bad} trials have all failed or diverged (budget.failures); the last "
                f"one: {reason}"
            )
        if self._failures_in_a_row >= budget.failures_in_a_row:
            raise TrainingError(
                f"{self._failures_in_a_row} trials have failed one after the other "
                f"(budget.failures_in_a_row); the last one: {reason}"
            )


def _settle(block: Block, job: Job) -> dict[str, Any]:
    """What a job that has ended has cost; its block is free from now on."""
    now, startup_seconds = time.monotonic(), block.startup_seconds
    block.free_since, block.startup_seconds = now, 0.0
    return {
        "seconds": now - job.began,
        "startup_seconds": startup_seconds,
        "waited_seconds": job.waited_seconds,
        "nodes": block.plan.nodes,
        "block": block.plan.number,
    }


def _settings(experiment: Experiment) -> str:
    from gan3d.tuning.block import settings_of

    return settings_of(experiment)


def _wait(block: Block, seconds: float = 5.0) -> int | None:
    """The exit code of a block's process, if it ends soon."""
    assert block.process is not None
    until = time.monotonic() + seconds
    while block.process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    return block.process.poll()


def shown(values: Mapping[str, Any]) -> str:
    """Values in a line."""
    return ", ".join(
        f"{key.rpartition('.')[2]} {f'{value:.4g}' if isinstance(value, float) else value}"
        for key, value in values.items()
    )

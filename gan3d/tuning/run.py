"""A study from its file to its results: what is checked first, then trials, then fresh seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from gan3d.config import Experiment, dump_experiment
from gan3d.config.load import load_sections
from gan3d.config.tree import dump_yaml
from gan3d.data import make_folder
from gan3d.errors import ConfigError, RunError
from gan3d.runtime import Signals
from gan3d.training.records import write_text
from gan3d.tuning.allocation import BlockPlan, Host, divide_into_blocks, parse_hosts, slurm_hosts
from gan3d.tuning.block import Block, choose_launcher
from gan3d.tuning.budget import NODE_HOURS
from gan3d.tuning.claims import Claim
from gan3d.tuning.coordinator import Coordinator
from gan3d.tuning.objectives import check_objectives
from gan3d.tuning.proposals import Proposals
from gan3d.tuning.space import Space
from gan3d.tuning.starts import check_start
from gan3d.tuning.storage import (
    RERUNS,
    TRIALS,
    NumberedSampler,
    make_sampler,
    number_of,
    open_study,
    outcome,
    turn,
)
from gan3d.tuning.study import EXAMPLE, Study, Tell, load_base

STUDY = "study.yaml"
EXPERIMENT = "experiment.yaml"
BLOCKS = "blocks"
COORDINATORS = "coordinators"

_FREE = ("budget", "blocks", "sampler", "pruner", "rerun")
"""Sections that may change while a study goes on."""


@dataclass(frozen=True)
class Checked:
    """A study that can start."""

    study: Study
    space: Space
    experiment: Experiment | None
    """What its parameters change; None: a function."""
    node: Path | None
    """The machine's file, laid upon it."""


def check_study(
    study: Study, tell: Tell, node: Path | None = None, *, starts: bool = True
) -> Checked:
    """Check all that can be known beforehand. Raises ConfigError.

    `starts`: also that the runs are there that trials begin with, which results do not need.
    """
    space = Space(study, tell)
    experiment = None
    if study.function is None:
        experiment = load_base(study, tell, node)
        study = check_objectives(study, experiment, tell)
        if starts:
            check_start(study, experiment, tell, node)
    space.check(study, node, starts=starts)
    make_sampler(study.sampler, study.seed, 0)
    return Checked(study, space, experiment, node)


def plan_blocks(study: Study, hosts: Sequence[Host] = ()) -> tuple[BlockPlan, ...]:
    """The blocks of a study: on `hosts`, or on those of its file, of Slurm, or on this machine.

    Raises UsageError where there is no room for one, or nothing to start it with.
    """
    settings = study.blocks
    if not hosts and settings.hosts is not None:
        hosts = parse_hosts(settings.hosts, "blocks.hosts")
    hosts = hosts or slurm_hosts()
    if not hosts:
        # A machine of one's own has as many slots as are asked for.
        hosts = [Host("localhost", settings.size * (settings.count or 1))]
    plans = divide_into_blocks(hosts, settings.size, settings.count)
    for plan in plans:
        choose_launcher(plan, settings.launcher)  # here, before anything is made
    return plans


def run_study(
    checked: Checked,
    folder: Path,
    plans: Sequence[BlockPlan],
    worker: Sequence[str],
    signals: Signals,
    say: Callable[[str], None],
    on_told: Callable[[Sequence[optuna.Study]], None] = lambda studies: None,
) -> Coordinator:
    """Run a study in `folder`, or go on with it; returns the coordinator, all of it ended.

    `worker` is the command of a rank, `on_told` is called after each trial with Optuna's studies of
    the trials and of those that are run again, as they are open here. Raises ConfigError where
    `folder` holds another study, and what `Coordinator.run` raises.
    """
    study = checked.study
    prepare_folder(checked, folder)
    claim = Claim(folder / COORDINATORS)
    with turn(folder):  # tables of a database are made once
        queues = open_queues(checked, folder, claim)
    logs = folder / BLOCKS / claim.name
    make_folder(logs)
    launcher = study.blocks.launcher
    blocks = [Block(plan, logs, worker, choose_launcher(plan, launcher)) for plan in plans]
    with turn(folder):
        _begin(checked, queues[0], say)
    if claim.neighbours() and checked.experiment is not None:
        say("another call works on this study on this machine: both have the same cores and GPUs")
    coordinator = Coordinator(
        study, folder, checked.space, queues, blocks, claim,
        node=checked.node, signals=signals, say=say,
    )  # fmt: skip
    studies = [queue.study for queue in queues]
    coordinator.on_told = lambda: on_told(studies)
    try:
        over = coordinator.run(queues[0], study.budget.trials)
        if not over and study.rerun.best and study.function is None:
            with turn(folder):
                enqueue_reruns(checked, *queues)
            over = coordinator.run(queues[1], None)
        if over.startswith(NODE_HOURS):
            say(f"{over}; a larger one goes on (--set {NODE_HOURS}=...)")
        elif over:
            say(f"{over}; call it again to go on")
    finally:
        coordinator.put_back_all()
        coordinator.close()
        claim.release()
    return coordinator


def open_queues(checked: Checked, folder: Path, claim: Claim) -> tuple[Proposals, Proposals]:
    """The trials of a study, and those that are run again."""
    trials, reruns = (
        Proposals(open_study(folder, checked.study, name), checked.space, folder, claim)
        for name in (TRIALS, RERUNS)
    )
    return trials, reruns


def prepare_folder(checked: Checked, folder: Path) -> None:
    """Make the study's folder, or see that it holds this very study; raises as `check_folder`."""
    if not check_folder(checked, folder):
        make_folder(folder)
    if checked.experiment is not None:
        write_text(folder / EXPERIMENT, dump_experiment(checked.experiment))
    # It comes last: a folder with it is a study.
    write_text(folder / STUDY, dump_yaml(checked.study.model_dump(mode="json")))


def check_folder(checked: Checked, folder: Path) -> bool:
    """Whether `folder` holds this very study; False: none.

    Raises ConfigError, naming keys, where it holds another; RunError where it holds a run.
    """
    if (folder / "config.yaml").exists():
        raise RunError(f"{folder}: holds a run of `gan3d train`; name another folder with --run")
    path = folder / STUDY
    if not path.exists():
        return False
    mine = checked.study.model_dump(mode="json")
    before = load_sections(Study, path, example=EXAMPLE).model_dump(mode="json")
    changed = [key for key in mine if key not in _FREE and mine[key] != before[key]]
    if "experiment" in changed:  # where its file is does not matter, but what it says
        changed.remove("experiment")
    if changed:
        raise ConfigError(
            f"{path}: the study there has other values of {', '.join(changed)}; give the same, or "
            "name another folder with --run"
        )
    _check_same_experiment(checked, folder)
    return True


def _check_same_experiment(checked: Checked, folder: Path) -> None:
    if checked.experiment is None:
        return
    from gan3d.training.records import changed_keys

    changed = changed_keys(folder / EXPERIMENT, checked.experiment)
    if changed:
        raise ConfigError(
            f"{folder / EXPERIMENT}: the study there has other values of {', '.join(changed)}; "
            "give the same, or name another folder with --run"
        )


def _begin(checked: Checked, trials: Proposals, say: Callable[[str], None]) -> None:
    """The experiment as it is comes first."""
    if trials.study.get_trials(deepcopy=False) or not checked.study.default_first:
        return
    if checked.experiment is None:
        return
    params, why = checked.space.default(checked.experiment)
    if params is None:
        say(f"the experiment as it is will not be tried: {why}")
        return
    trials.enqueue(params, {"default": True})


def best_trials(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that have gone well, the best first objective first."""
    sign = -1.0 if study.objective[0].maximized else 1.0
    done = [trial for trial in trials if outcome(trial) == "complete"]
    return sorted(done, key=lambda trial: (sign * trial.values[0], trial.number))


def pareto_front(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Trials that no other is better than in all objectives, by the first objective."""
    signs = np.array([-1.0 if each.maximized else 1.0 for each in study.objective])
    done = [trial for trial in trials if outcome(trial) == "complete"]
    points = [(trial, signs * np.array(trial.values)) for trial in done]
    front = [
        trial
        for trial, mine in points
        if not any(np.all(other <= mine) and np.any(other < mine) for _, other in points)
    ]
    return sorted(front, key=lambda trial: (trial.values[0], trial.number))


def best_few(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The `rerun.best` best; of several objectives so many of the front, spread along it."""
    most = study.rerun.best
    if len(study.objective) == 1:
        return best_trials(study, trials)[:most]
    front = pareto_front(study, trials)
    return [front[at] for at in sorted({*np.linspace(0, len(front) - 1, most).round().astype(int)})]


def trials_to_rerun(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that are trained again with fresh seeds: the best, and the experiment as it is."""
    chosen = best_few(study, trials)
    if chosen and study.rerun.default:
        done = best_trials(study, trials)
        defaults = [trial for trial in done if trial.user_attrs.get("default")]
        chosen += [trial for trial in defaults[:1] if trial not in chosen]
    return chosen


def enqueue_reruns(checked: Checked, trials: Proposals, reruns: Proposals) -> None:
    """Put the best trials into the queue of those that are run again, with fresh seeds, once."""
    study, experiment = checked.study, checked.experiment
    assert experiment is not None
    there = {
        (each.user_attrs["of"], each.user_attrs["seed"])
        for each in reruns.study.get_trials(deepcopy=False)
    }
    for trial in trials_to_rerun(study, trials.trials()):
        for number in range(1, study.rerun.seeds + 1):
            notes: dict[str, Any] = {"of": trial.number, "seed": experiment.run.seed + number}
            notes["of_name"] = number_of(trial)
            if (notes["of"], notes["seed"]) not in there:
                reruns.enqueue(trial.params, notes)


def first_points(checked: Checked, count: int) -> list[dict[str, Any]]:
    """The points that a study begins with, without a storage."""
    study = checked.study
    sampler = NumberedSampler(study.sampler, study.seed)
    directions = ["maximize" if each.maximized else "minimize" for each in study.objective]
    asked = optuna.create_study(directions=directions, sampler=sampler)
    if checked.experiment is not None and study.default_first:
        params, _ = checked.space.default(checked.experiment)
        if params is not None:
            asked.enqueue_trial(params)
    return [checked.space.propose(asked.ask()) for _ in range(count)]

"""Showers/s of 1, 2, ... ranks: real runs of `gan3d train`, and what a model makes of them.

Each measurement is a run of its own in a folder that is removed: plain `gan3d train` for one rank,
as a user would start it, `horovodrun --gloo -np N gan3d train` for more. What is read is the run's
own history, without the first epoch, which compiles. The runs take turns, several times, because
machines are noisy: an efficiency is a ratio within one round, and medians over rounds are given.

Every rank has as many threads, and by default as many cores to itself, however many ranks there
are. One rank on an otherwise idle machine would else use the idle cores for its reader and Horovod.

Weak scaling keeps the batch of a rank, strong scaling divides that of one rank. In both the
efficiency is showers/s over N times those of one rank; for strong scaling that is speed-up / N.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from gan3d.bench.all_reduce import fit_line
from gan3d.bench.mwms import worker_processes
from gan3d.bench.pinned import pinned
from gan3d.bench.processes import Process, run_together
from gan3d.bench.projection import Machine, Step, curve, project
from gan3d.config import Experiment, Horovod, load_experiment
from gan3d.config.systems import Link, System
from gan3d.data import survey_files, temporary_folder, whole
from gan3d.errors import DataError, NodeError, RunError, UsageError
from gan3d.runtime import describe_environment, usable_cores
from gan3d.training.records import read_history

Mode = Literal["weak", "strong"]
Trainer = Literal["gan3d", "mwms"]
Progress = Callable[[str], None]

# What Horovod does where the experiment leaves it alone (0.28.1).
_FUSION_MB = 128
_CYCLE_MS = 1.0

_SPLIT = {
    "data wait": "data_wait_seconds",
    "compute": "compute_seconds",
    "all-reduce": "all_reduce_seconds",
    "rank wait": "rank_wait_seconds",
}
"""Parts of an epoch, and their names in the history."""

# Without these, training says a lot before it begins; errors still come.
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    ranks: tuple[int, ...] = (1, 2)
    """Numbers of ranks; 1 is always measured."""
    modes: tuple[Mode, ...] = ("weak",)
    """Ways of scaling."""
    mwms: bool = False
    """Whether MultiWorkerMirroredStrategy is measured beside Horovod (weak scaling)."""
    steps: int = 4
    """Steps of an epoch."""
    epochs: int = 3
    """Epochs of a run; the first is not counted."""
    rounds: int = 3
    """Runs of each kind, in turn; medians are given."""
    threads: int = 1
    """Threads, and cores, of each rank."""
    pin: bool = True
    """Whether each rank is kept on cores of its own."""


@dataclass(frozen=True)
class Case:
    """One kind of run."""

    trainer: Trainer
    mode: Mode
    ranks: int
    batch_size: int
    """Showers of a step on each rank."""

    def __str__(self) -> str:
        ranks = f"{self.ranks} rank{'s' if self.ranks > 1 else ''}"
        how = f"{self.mode}, {ranks} x batch {self.batch_size}"
        return f"{'gan3d train' if self.trainer == 'gan3d' else 'MWMS'} ({how})"


def measure_scaling(
    config: Path,
    overrides: Sequence[str],
    settings: Settings,
    systems: Sequence[System] = (),
    say: Progress = lambda _: None,
) -> dict[str, Any]:
    """Run the experiment of `config` on all numbers of ranks; the figures, as JSON.

    Raises UsageError for settings that do not fit the machine or the experiment, DataError where it
    has too few showers, TrainingError where a run fails.
    """
    experiment = load_experiment(config, overrides)
    cases = plan(settings, experiment.training.batch_size)
    _check_cores(settings)
    total = count_showers(experiment)
    for case in cases:
        run_overrides(case, settings, experiment, total)
    several = [case.ranks for case in cases if case.ranks > 1]
    runs: dict[Case, list[dict[str, Any]]] = {case: [] for case in cases}
    with temporary_folder("gan3d-bench-scaling-") as temporary:
        for number in range(settings.rounds):
            for case in cases:
                say(f"round {number + 1} of {settings.rounds}: {case}")
                folder = temporary / "run"
                folder.mkdir()
                changes = (*overrides, *run_overrides(case, settings, experiment, total))
                run_together(
                    processes_of(case, settings, config, changes, folder), str(case), folder
                )
                runs[case].append(read_run(folder, case.trainer))
                shutil.rmtree(folder)
        link = None
        if several:
            say(f"all-reduce of {several[0]} ranks, by size")
            link = _measure_link(several[0], settings, experiment.horovod, temporary)
    measured = summarise(runs)
    return {
        "experiment": {
            "config": str(config),
            "architecture": experiment.model.architecture,
            "overrides": list(overrides),
            **asdict(settings),
        },
        "machine": describe_machine(),
        "measured": measured,
        "all_reduce": link,
        **_projections(measured, link, experiment, systems),
    }


def plan(settings: Settings, batch_size: int) -> list[Case]:
    """Return the kinds of run, one rank first.

    Raises UsageError where a batch of one rank cannot be divided by a number of ranks.
    """
    cases = [Case("gan3d", "weak", 1, batch_size)]
    for ranks in sorted(set(settings.ranks) - {1}):
        if "weak" in settings.modes:
            cases.append(Case("gan3d", "weak", ranks, batch_size))
        if settings.mwms:
            cases.append(Case("mwms", "weak", ranks, batch_size))
        if "strong" in settings.modes:
            if batch_size % ranks:
                raise UsageError(
                    f"strong scaling: a batch of {batch_size} cannot be divided by {ranks} ranks; "
                    "set training.batch_size to a multiple"
                )
            cases.append(Case("gan3d", "strong", ranks, batch_size // ranks))
    return cases


def run_overrides(
    case: Case, settings: Settings, experiment: Experiment, total: int
) -> tuple[str, ...]:
    """Return what makes the experiment a short run of `case`; `total` showers are there.

    Raises DataError where they are too few.
    """
    needed = needed_showers(case, settings, experiment)
    if needed >= total:
        raise DataError(
            f"{case}: {settings.steps} steps take {needed} showers, and one is held out, but the "
            f"experiment's data.files have {total}; measure fewer --steps"
        )
    fraction = needed / total
    held_out = min(0.1, 1.0 - fraction)
    return (
        f"training.batch_size={case.batch_size}",
        f"training.epochs={settings.epochs}",
        "data.validation_files=null",
        # Ten digits: enough for any data set, and YAML takes no exponent without a point.
        f"data.split={{by: row, train: {fraction:.10f}, validation: {held_out:.10f}}}",
        # What goes by the judgement of epochs cannot be without it.
        "training.decay.kind=constant",
        "training.early_stopping=null",
        "validation.epoch_showers=0",
        "run.max_minutes=null",
        "run.checkpoint_steps=null",
        f"node.intra_op_threads={settings.threads}",
        "node.inter_op_threads=1",
        "node.omp_num_threads=null",
    )


def needed_showers(case: Case, settings: Settings, experiment: Experiment) -> int:
    """Showers that the ranks of `case` take in an epoch; one more has to be there, held out."""
    passes = experiment.horovod.backward_passes_per_step
    return settings.steps * case.ranks * case.batch_size * passes


def read_run(folder: Path, trainer: Trainer) -> dict[str, Any]:
    """Return what a run's history says of the epochs after the first, all together.

    Seconds of a step are means. Only `gan3d train` tells where the time goes.
    Raises RunError where the history lacks something.
    """
    records = read_history(folder)[1:]
    if not records:
        raise RunError(f"{folder}: the history has no epoch after the first; measure more epochs")

    def each(name: str) -> list[float]:
        missing = [record["epoch"] for record in records if name not in record]
        if missing:
            raise RunError(f"{folder}: the history has no {name} for epoch {missing[0]}")
        return [float(record[name]) for record in records]

    seconds, steps = each("seconds"), sum(each("steps"))
    showers = sum(
        rate * time for rate, time in zip(each("showers_per_second"), seconds, strict=True)
    )
    figures: dict[str, Any] = {
        "showers_per_second": showers / sum(seconds),
        "step_seconds": sum(seconds) / steps,
    }
    if trainer != "gan3d":
        return figures
    parts = {part: sum(each(name)) for part, name in _SPLIT.items()}
    return figures | {
        # Of all that is accounted for: a history may leave out steps that compile.
        "share_of_time": {part: time / sum(parts.values()) for part, time in parts.items()},
        # Of independent samples, the mean variance.
        "compute_spread": math.sqrt(statistics.fmean(s**2 for s in each("compute_spread"))),
        "gradient_mb": each("gradient_mb")[-1],
        "exchanges": int(each("exchanges")[-1]),
    }


def summarise(runs: dict[Case, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return medians over rounds for each kind of run, with its efficiency; as JSON.

    The first kind is the one rank that the others are compared with, round by round.
    """
    alone = [run["showers_per_second"] for run in next(iter(runs.values()))]
    summary = []
    for case, rounds in runs.items():
        rates = [run["showers_per_second"] for run in rounds]
        line: dict[str, Any] = {
            **asdict(case),
            "showers_per_second": _median(rates),
            "showers_per_second_of_rounds": [_rounded(rate) for rate in rates],
            "efficiency": _median(
                [rate / case.ranks / one for rate, one in zip(rates, alone, strict=True)]
            ),
            "step_seconds": _median([run["step_seconds"] for run in rounds]),
        }
        if case.trainer == "gan3d":
            line["share_of_time"] = {
                part: _median([run["share_of_time"][part] for run in rounds]) for part in _SPLIT
            }
            line["compute_spread"] = _median([run["compute_spread"] for run in rounds])
            line["gradient_mb"] = rounds[0]["gradient_mb"]
            line["exchanges"] = rounds[0]["exchanges"]
        summary.append(line)
    return summary


def _projections(
    measured: list[dict[str, Any]],
    link: dict[str, Any] | None,
    experiment: Experiment,
    systems: Sequence[System],
) -> dict[str, Any]:
    """The model: beside what was measured here, and for other machines.

    Nothing where only one rank was measured: the spread over ranks is not known then.
    """
    several = [
        line
        for line in measured
        if line["trainer"] == "gan3d" and line["mode"] == "weak" and line["ranks"] > 1
    ]
    if link is None or not several:
        return {"model_here": None, "projections": []}
    widest, alone = several[-1], measured[0]
    settings = experiment.horovod
    fusion_mb = settings.fusion_threshold_mb
    step = Step(
        compute_seconds=alone["step_seconds"],
        spread=widest["compute_spread"],
        exchanges=widest["exchanges"],
        gradient_bytes=1e6 * widest["gradient_mb"],
        fusion_bytes=2**20 * (_FUSION_MB if fusion_mb is None else fusion_mb),
        cycle_seconds=_cycle_seconds(settings),
    )
    local = Link(
        latency_us=link["latency_us"],
        bandwidth_gb_s=link["bandwidth_gb_s"],
        source="measured on this machine",
    )
    # Here every rank counts as a node, as efficiencies here are against one rank.
    machine = Machine(ranks_per_node=1, intra_node=local, inter_node=local)
    ranks = [line["ranks"] for line in (alone, *several)]
    return {
        "model_here": {
            "compute_seconds": _rounded(step.compute_seconds),
            "spread": _rounded(step.spread),
            "projected": curve(step, machine, ranks, alone["batch_size"]),
        },
        "projections": [project(system, step) for system in systems],
    }


def _measure_link(ranks: int, settings: Settings, horovod: Horovod, folder: Path) -> dict[str, Any]:
    """Latency and bandwidth between ranks here, from all-reduces of several sizes.

    In the model (`projection`) an exchange of b bytes takes half a cycle, ceil(log2 P) + 2 (P - 1)
    latencies, and 2 (P - 1) / P b / bandwidth.
    """
    target = folder / "all_reduce.json"
    command = [sys.executable, "-m", "gan3d.bench.all_reduce", str(target)]
    command.append(horovod.model_dump_json())
    process = Process(_launched(command, ranks, settings), _QUIET)
    run_together([process], f"all-reduce of {ranks} ranks", folder)
    found = json.loads(target.read_text())
    start, per_byte = fit_line(found["bytes"], found["seconds"])
    messages = math.ceil(math.log2(ranks)) + 2 * (ranks - 1)
    latency = max(0.0, start - _cycle_seconds(horovod) / 2) / messages
    bandwidth = 2 * (ranks - 1) / ranks / per_byte if per_byte else math.inf
    return {
        "ranks": ranks,
        "milliseconds_by_bytes": {
            str(size): _rounded(1e3 * seconds)
            for size, seconds in zip(found["bytes"], found["seconds"], strict=True)
        },
        "latency_us": _rounded(1e6 * latency),
        "bandwidth_gb_s": _rounded(min(bandwidth, 1e12) / 1e9),
    }


def _cycle_seconds(settings: Horovod) -> float:
    return 1e-3 * (_CYCLE_MS if settings.cycle_time_ms is None else settings.cycle_time_ms)


def processes_of(
    case: Case, settings: Settings, config: Path, overrides: Sequence[str], folder: Path
) -> list[Process]:
    """The programs of a run of `case`."""
    if case.trainer == "mwms":
        workers = worker_processes(config, overrides, folder, case.ranks)
        return [
            Process(
                pinned(worker.command, settings.threads, rank) if settings.pin else worker.command,
                {**_QUIET, **worker.environment},
            )
            for rank, worker in enumerate(workers)
        ]
    changes = [argument for override in overrides for argument in ("--set", override)]
    command = [_program("gan3d"), "train", str(config), "--run", str(folder), *changes]
    return [Process(_launched(command, case.ranks, settings), _QUIET)]


def _launched(command: Sequence[str], ranks: int, settings: Settings) -> list[str]:
    """`command` on so many ranks; alone without a launcher, as a user would."""
    rank = 0 if ranks == 1 else None
    kept = pinned(command, settings.threads, rank) if settings.pin else list(command)
    if ranks == 1:
        return kept
    return [_program("horovodrun"), "--gloo", "-np", str(ranks), *kept]


def _program(name: str) -> str:
    """A program that was installed beside this Python, or on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise NodeError(f"{name} is not installed; `gan3d doctor` says how to mend it")
    return found


def _check_cores(settings: Settings) -> None:
    cores, wanted = usable_cores().logical, max(settings.ranks) * settings.threads
    if wanted > cores:
        raise UsageError(
            f"{max(settings.ranks)} ranks with {settings.threads} thread(s) each need {wanted} "
            f"hardware threads, this machine has {cores}; ranks that share cores tell nothing "
            "about scaling"
        )


def count_showers(experiment: Experiment) -> int:
    """How many showers short runs of the experiment can be made of."""
    data = experiment.data.model_copy(update={"validation_files": None})
    return len(whole(survey_files(data).files))


def describe_machine() -> dict[str, Any]:
    """What the figures were measured on, as JSON."""
    environment = describe_environment()
    names = ("cpu", "cores_per_rank", "memory_gib", "system", "versions", "source")
    machine = {name: environment[name] for name in names}
    return {"cores": machine.pop("cores_per_rank"), **machine}


def _median(values: Sequence[float]) -> float:
    return _rounded(statistics.median(values))


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def systems_beside(config: Path) -> Iterator[Path]:
    """Yield the descriptions of systems in the folder `systems` beside an experiment's file."""
    yield from sorted((config.parent / "systems").glob("*.yaml"))

"""What the machinery of a study costs: studies whose trials only sleep, through real blocks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna

from gan3d.runtime import Signals
from gan3d.tuning.results import read_results, write_tables
from gan3d.tuning.run import check_study, plan_blocks, run_study
from gan3d.tuning.study import Study


@dataclass(frozen=True)
class Overhead:
    """Where the time of a study of sleeping trials went."""

    trials: int
    blocks: int
    sleep_seconds: float
    """What a trial is to take."""
    wall_seconds: float
    """Of the whole study, its start and its end too."""
    startup_seconds: float
    """From a block's start until it was ready, the mean; not of trainings, which load TensorFlow:
    `tensorflow_seconds`."""
    overhead_seconds: float
    """That a block spends on a trial beyond its sleep: proposing, orders, telling, tables."""
    share_at_30s: float
    """Of a block's time, where trials take 30 s."""
    tensorflow_seconds: float | None
    """What a block for trainings takes to be ready, once for all its trials; None: not measured."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure_overhead(
    folder: Path,
    worker: Sequence[str],
    *,
    trials: int,
    seconds: float,
    blocks: int,
    parameters: int,
    tensorflow_seconds: float | None = None,
) -> Overhead:
    """Run a study of `trials` in `folder` that sleep so long each; TPE, so many parameters."""
    study = Study.model_validate(
        {
            "objective": {"function": "sphere", "seconds": seconds},
            "search": {f"x{number}": {"float": (-5.0, 10.0)} for number in range(parameters)},
            "pruner": {"name": "none"},
            "budget": {"trials": trials},
            "blocks": {"count": blocks},
        }
    )
    checked = check_study(study, lambda location, message: f"{location}: {message}")
    began = time.monotonic()

    def note(studies: Sequence[optuna.Study]) -> None:  # as the command does, if not so often
        write_tables(checked, folder, studies)

    plans = plan_blocks(study)
    run_study(checked, folder, plans, worker, Signals(), lambda line: None, note)
    wall = time.monotonic() - began
    results = read_results(checked, folder)
    notes = [trial.user_attrs for trial in results.done]
    used = len({each["block"] for each in notes})
    assert results.times is not None
    # A block's first trial is proposed, but no other is told before it.
    waits = [each["waited_seconds"] for each in notes if not each["startup_seconds"]]
    late = sum(each["seconds"] for each in notes) / trials - seconds
    overhead = late + sum(waits) / max(1, len(waits))
    return Overhead(
        trials=trials,
        blocks=used,
        sleep_seconds=seconds,
        wall_seconds=wall,
        startup_seconds=results.times.startup / results.times.starts,
        overhead_seconds=overhead,
        share_at_30s=overhead / (30.0 + overhead),
        tensorflow_seconds=tensorflow_seconds,
    )

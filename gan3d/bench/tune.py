"""What the machinery of a study costs: studies whose trials only sleep, through real blocks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gan3d.runtime import Signals
from gan3d.tuning.claims import Claim
from gan3d.tuning.run import COORDINATORS, check_study, open_queues, plan_blocks, run_study
from gan3d.tuning.study import Study


@dataclass(frozen=True)
class Overhead:
    """Where the time of a study of sleeping trials went."""

    trials: int
    blocks: int
    sleep_seconds: float
    """What a trial is to take."""
    wall_seconds: float
    """From the first block that was ready to the last trial that was told."""
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
    told: list[float] = []
    said: list[tuple[float, str]] = []
    coordinator = run_study(
        checked,
        folder,
        plan_blocks(study),
        worker,
        Signals(),
        lambda line: said.append((time.monotonic(), line)),
        lambda: told.append(time.monotonic()),
    )
    first = min(at for at, line in said if "is up after" in line)
    # Each block's time until its last trial was told.
    claim = Claim(folder / COORDINATORS)
    done = open_queues(checked, folder, claim)[0].trials()
    claim.release()
    began = {each.user_attrs["block"]: first for each in done}
    for at, line in said:
        if "is up after" in line:
            began[int(line.split()[1]) - 1] = at
    # In the order in which they were told, as `on_told` was called.
    ordered = sorted(done, key=lambda each: str(each.datetime_complete))
    last: dict[int, float] = {}
    for at, each in zip(told, ordered, strict=True):
        last[each.user_attrs["block"]] = at
    busy = sum(last[number] - began[number] for number in last)
    each_seconds = busy / trials - seconds
    return Overhead(
        trials=trials,
        blocks=blocks,
        sleep_seconds=seconds,
        wall_seconds=told[-1] - first,
        startup_seconds=sum(coordinator.startup_seconds) / len(coordinator.startup_seconds),
        overhead_seconds=each_seconds,
        share_at_30s=each_seconds / (30.0 + each_seconds),
        tensorflow_seconds=tensorflow_seconds,
    )

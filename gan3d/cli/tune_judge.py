"""Numbers of a trial that only a whole judgement has, and the generator's own rate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from gan3d.errors import TrainingError

_RATE_SHOWERS = 1024
"""Showers whose generation is timed, after as many that are not: some seconds' work."""


def judge_run(
    folder: Path, names: Sequence[str], *, checkpoint: Literal["best", "last"]
) -> dict[str, float]:
    """The numbers `names` of a run's checkpoint against its held-out showers.

    As `gan3d validate` has them in metrics.json. Raises TrainingError for one that it has not.
    """
    import numpy as np

    from gan3d.cli.reference import NotedLabels, heldout_blocks
    from gan3d.cli.sources import GENERATED, REFERENCE
    from gan3d.generation import load_run
    from gan3d.tuning.objectives import GENERATION_RATE
    from gan3d.validation import judge_images, summarise_images

    run = load_run(folder, checkpoint)
    experiment = run.experiment
    settings, geometries = experiment.validation, experiment.data.geometries
    found: dict[str, float] = {}
    if GENERATION_RATE in names:
        found[GENERATION_RATE] = _rate(run)
    if set(names) - {GENERATION_RATE}:
        blocks, _ = heldout_blocks(experiment.data, run.labels)
        noted = NotedLabels(run.labels)
        reference = summarise_images(noted.passing(blocks), geometries, settings, label=REFERENCE)
        energy_n = reference.observables.energy_n.astype("float32")
        columns = noted.columns(np.arange(len(energy_n)))
        showers = run.stream(energy_n, seed=settings.seed, columns=columns)
        ours = summarise_images(showers, geometries, settings, label=GENERATED)
        metrics = judge_images(ours, reference, geometries, settings).metrics
        missing = [name for name in names if name not in metrics and name != GENERATION_RATE]
        if missing:
            raise TrainingError(
                f"the judgement has no {', '.join(missing)}: too few held-out showers "
                "(validation.minimum_showers)"
            )
        found |= {name: metrics[name] for name in names if name in metrics}
    return found


def _rate(run: object) -> float:
    """Showers per second of the generator, without its compilation."""
    from gan3d.generation import TrainedRun

    assert isinstance(run, TrainedRun)
    low, high = run.energy_range_gev
    for _ in range(2):
        began = time.perf_counter()
        run.generate(_RATE_SHOWERS, energy=(low, high), seed=0)
        seconds = time.perf_counter() - began
    return _RATE_SHOWERS / seconds

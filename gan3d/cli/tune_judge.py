"""Numbers of a trial that only a whole judgement has, and the generator's own rate."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gan3d.errors import DataError, DivergedError, Gan3dError, TrainingError

if TYPE_CHECKING:
    from gan3d.config import Geometry, Validation
    from gan3d.data import Showers
    from gan3d.generation import TrainedRun
    from gan3d.validation import Sample

_RATE_SHOWERS = 1024
"""Showers whose generation is timed, after as many that are not: some seconds' work."""


def judge_run(
    folder: Path, names: Sequence[str], *, checkpoint: Literal["best", "last"]
) -> dict[str, float]:
    """The numbers `names` of a run's checkpoint against its held-out showers.

    As `gan3d validate` has them in metrics.json. Raises TrainingError for one that it has not,
    DivergedError where the generated showers are not fit to be judged, DataError where the held-out
    ones are not.
    """
    from gan3d.cli.reference import NotedLabels, generate_like, heldout_blocks
    from gan3d.cli.sources import REFERENCE
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
        showers = generate_like(run, reference.observables, noted, settings)
        ours = _summarise_generated(showers, reference, geometries, settings)
        metrics = judge_images(ours, reference, geometries, settings).metrics
        missing = [name for name in names if name not in metrics and name != GENERATION_RATE]
        if missing:
            raise TrainingError(
                f"the judgement has no {', '.join(missing)}: too few held-out showers "
                "(validation.minimum_showers)"
            )
        found |= {name: metrics[name] for name in names if name in metrics}
    return found


def _summarise_generated(
    showers: Iterator[Showers],
    reference: Sample,
    geometries: Mapping[str, Geometry],
    settings: Validation,
) -> Sample:
    """The generated showers, measured; raises as `judge_run` where they cannot be judged."""
    from gan3d.cli.sources import GENERATED
    from gan3d.validation import summarise_images
    from gan3d.validation.comparable import check_comparable

    # What is wrong with the reference by itself is no point's fault, and no other point would help.
    further = reference.further
    check_comparable(reference.observables, reference.observables)
    for name, theirs in further.items():
        with _raising(DataError, f"{name}: "):
            check_comparable(theirs.observables, theirs.observables)
    # Of the generated ones number and conditions are the reference's: what is left is their cells.
    with _raising(DivergedError):
        ours = summarise_images(showers, geometries, settings, label=GENERATED)
        check_comparable(ours.observables, reference.observables)
    for name, theirs in further.items():
        with _raising(DivergedError, f"{name}: "):
            check_comparable(ours.further[name].observables, theirs.observables)
    return ours


@contextmanager
def _raising(kind: type[Gan3dError], prefix: str = "") -> Iterator[None]:
    """Let a DataError from inside be one of `kind`, with the words `prefix` before it."""
    try:
        yield
    except DataError as error:
        raise kind(f"{prefix}{error}") from error


def _rate(run: TrainedRun) -> float:
    """Showers per second of the generator, without its compilation."""
    low, high = run.energy_range_gev
    for _ in range(2):
        began = time.perf_counter()
        run.generate(_RATE_SHOWERS, energy=(low, high), seed=0)
        seconds = time.perf_counter() - began
    return _RATE_SHOWERS / seconds

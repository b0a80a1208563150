"""How long a validation takes: observables and one-dimensional metrics, on one core.

The same number of generated and of reference showers is streamed from files, over and over again
where there are fewer. Reading is timed apart. Figures and metrics of whole showers (correlations,
classifiers, distances in all features) are measured only when asked for.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from gan3d.bench.data import peak_memory_mb
from gan3d.config import Data, Geometry, Validation
from gan3d.data import Showers, stream_showers
from gan3d.runtime import keep_on
from gan3d.validation import Sample, judge, summarise

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    showers: int = 10_000
    """Generated showers, and as many of the reference."""
    rounds: int = 3
    """Times that everything is measured; medians are told."""
    whole: bool = False
    """Whether metrics of whole showers are computed, too."""
    one_core: bool = True
    """Whether the process is kept on one core."""


def measure_validation(
    generated: Sequence[str], reference: Sequence[str], settings: Settings, say: Say
) -> dict[str, Any]:
    """Judge as often as `settings.rounds` says; the medians of the seconds, and the peak memory.

    Raises DataError as `gan3d.data.stream_showers` and `gan3d.validation.judge` do.
    """
    validation = Validation()
    if not settings.whole:
        validation = validation.model_copy(update={"sample_showers": 0})
    rounds: list[dict[str, float]] = []
    with _one_core() if settings.one_core else nullcontext():
        for number in range(settings.rounds):
            say(f"round {number + 1} of {settings.rounds}")
            rounds.append(_measure_once(generated, reference, settings.showers, validation))
    median = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    return {
        "showers": settings.showers,
        "reference_showers": settings.showers,
        "cores": 1 if settings.one_core else len(os.sched_getaffinity(0)),
        "metrics_of_whole_showers": settings.whole,
        "seconds": {name: round(value, 3) for name, value in median.items()},
        "seconds_of_rounds": [
            {name: round(value, 3) for name, value in each.items()} for each in rounds
        ],
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }


def _measure_once(
    generated: Sequence[str], reference: Sequence[str], showers: int, validation: Validation
) -> dict[str, float]:
    seconds: dict[str, float] = {}

    def measure(label: str, patterns: Sequence[str]) -> tuple[Sample, Geometry]:
        clock = _Clock()
        geometry, blocks = _repeated(patterns, showers, clock)
        began = time.monotonic()
        sample = summarise(blocks, geometry, validation, label=label)
        seconds[f"observables_of_{label}"] = time.monotonic() - began - clock.seconds
        seconds[f"reading_of_{label}"] = clock.seconds
        return sample, geometry

    ours, _ = measure("generated", generated)
    theirs, geometry = measure("reference", reference)
    began = time.monotonic()
    judge(ours, theirs, geometry, validation)
    seconds["metrics"] = time.monotonic() - began
    seconds["all_but_reading"] = sum(
        value for name, value in seconds.items() if not name.startswith("reading")
    )
    return seconds


class _Clock:
    """Adds up the seconds that something takes."""

    seconds = 0.0


def _repeated(
    patterns: Sequence[str], count: int, clock: _Clock
) -> tuple[Geometry, Iterator[Showers]]:
    """The geometry, and `count` showers of the files, in file order and from the first on again."""
    threshold_gev: float = Data.model_fields["threshold_gev"].default
    shape, _ = stream_showers(patterns, threshold_gev=threshold_gev)

    def blocks() -> Iterator[Showers]:
        left = count
        while left:
            _, stream = stream_showers(patterns, threshold_gev=threshold_gev)
            began = time.monotonic()
            for block in stream:
                taken = block.take(slice(0, left))
                clock.seconds += time.monotonic() - began
                yield replace(taken, columns={})
                left -= len(taken)
                began = time.monotonic()
                if not left:
                    return

    return Geometry(shape=shape), blocks()


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process, all its threads, on the first of its cores."""
    from threadpoolctl import threadpool_limits

    allowed = os.sched_getaffinity(0)
    keep_on({min(allowed)})
    try:
        with threadpool_limits(1):  # several would wait for each other on it, spinning
            yield
    finally:
        keep_on(allowed)

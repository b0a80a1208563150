"""How fast showers are generated, by a network and by exported models, in batches of several sizes.

All models and batches are measured in turn, several times, because machines are noisy; medians are
told. Core time is what the processor's clocks say, not wall time times cores: threads that wait
cost nothing. Writing is timed on its own showers, with and without, in turn.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gan3d.bench.scaling import describe_machine
from gan3d.config import Data, Experiment, Geometry, Model
from gan3d.data.planned import SUFFIXES
from gan3d.generation import write_while_generating

if TYPE_CHECKING:
    from gan3d.export import ExportedModel
    from gan3d.generation import TrainedRun

Say = Callable[[str], None]

GEANT4_MS = 416.0
"""Geant4's time per shower of 10 to 100 GeV on one 2.5 GHz Cascade Lake core: the Monte Carlo that
the bundled sample was made with."""
PUBLISHED_CORE_MS = 392.0
"""3DGAN's, published: 7 ms on a node of 56 cores."""

_STREAM = 4
"""Batches that are generated one after the other: what the next is made from is drawn meanwhile."""
_LEAST_SECONDS = 0.5
"""A measurement goes on until this long has passed."""
_WRITTEN_BATCH = 128
"""Showers of a batch where they are written: as `gan3d generate` has it."""
_ENERGY_GEV = (10.0, 100.0)
_UNTRAINED = Path("untrained")
# What networks that take more conditions are told; any will do to take time.
_CONDITIONS: Mapping[str, Any] = {"number": "theta", "categories": "particle"}
_RANGES = {"theta": (1.05, 2.09)}  # 60 to 120 degrees


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    batches: tuple[int, ...] = (1, 8, 128, 1024)
    rounds: int = 3
    written: int = 2000
    """Showers of trained models that are written, and generated without, in every round; 0: none.

    Untrained ones light nearly all cells: their files are many times as large as those of showers.
    """
    layout: str = "lcd"
    """Of what is written."""


def untrained(architecture: str) -> TrainedRun:
    """A network with random weights: as fast as a trained one, not as good."""
    import keras

    from gan3d.generation import TrainedRun
    from gan3d.models import get_architecture

    keras.utils.set_random_seed(0)
    found = get_architecture(architecture)
    conditions = [_CONDITIONS[kind] for kind in found.labels or ()]
    model = Model(architecture=architecture, conditions=["energy", *conditions])
    geometry = Geometry(shape=found.image_shape)
    experiment = Experiment(data=Data(files=["none"], geometry=geometry), model=model)
    return TrainedRun(
        path=Path(architecture),
        experiment=experiment,
        checkpoint=_UNTRAINED,
        generator=found.build_generator(model),
        weights_sha256=hashlib.sha256(b"").hexdigest(),
        energy_range_gev=_ENERGY_GEV,
        label_ranges=_RANGES,
    )


def measure_generation(
    models: Sequence[tuple[str, TrainedRun | ExportedModel]],
    cores: int,
    settings: Settings,
    say: Say,
) -> dict[str, Any]:
    """Milliseconds per shower of each model, in each batch; `cores` is how many they may use.

    Raises DataError as `gan3d.data.write_showers` does.
    """
    walls: dict[tuple[str, int], list[float]] = {}
    clocks: dict[tuple[str, int], list[float]] = {}
    writers = [
        (name, model)
        for name, model in models
        if settings.written and getattr(model, "checkpoint", None) != _UNTRAINED
    ]
    with_file: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in writers}
    without: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in writers}
    for _, model in models:  # compiled, and caches filled
        for batch in settings.batches:
            _generate(model, batch, batch)
    for _, model in writers:
        _generate(model, settings.written, _WRITTEN_BATCH)
        _write(model, settings)
    for number in range(settings.rounds):
        say(f"round {number + 1} of {settings.rounds}")
        for batch in settings.batches:
            for name, model in models:
                wall, clock = _measure(model, batch)
                walls.setdefault((name, batch), []).append(wall)
                clocks.setdefault((name, batch), []).append(clock)
        for name, model in writers:
            without[name].append(_time(partial(_generate, model, settings.written, _WRITTEN_BATCH)))
            with_file[name].append(_time(partial(_write, model, settings)))
    median = statistics.median
    found: dict[str, Any] = {}
    for name, model in models:
        rows = {}
        for batch in settings.batches:
            core_ms = 1e3 * median(clocks[name, batch])
            rows[str(batch)] = {
                "ms_per_shower": _rounded(1e3 * median(walls[name, batch])),
                "core_ms_per_shower": _rounded(core_ms),
                "showers_per_second": _rounded(1.0 / median(walls[name, batch])),
                "times_faster_than_geant4_per_core": _rounded(GEANT4_MS / core_ms),
                "times_faster_than_published_per_core": _rounded(PUBLISHED_CORE_MS / core_ms),
            }
        found[name] = {
            "model": model.identity,
            # Of an exported model; a run's network is TensorFlow's.
            "runtime": getattr(model, "runtime", "tensorflow"),
            "batches": rows,
        }
        if name in with_file:
            found[name]["writing"] = _writing(with_file[name], without[name], settings)
    return {
        "machine": describe_machine(),
        "cores": cores,
        "geant4_ms_per_shower_one_core": GEANT4_MS,
        "published_core_ms_per_shower": PUBLISHED_CORE_MS,
        "rounds": settings.rounds,
        "models": found,
    }


def _writing(
    with_file: Sequence[tuple[float, float]],
    without: Sequence[tuple[float, float]],
    settings: Settings,
) -> dict[str, Any]:
    """What a file adds, from the (wall, core) seconds of each round."""
    median = statistics.median
    found: dict[str, Any] = {"layout": settings.layout, "showers": settings.written}
    for number, name in enumerate(("ms_per_shower", "core_ms_per_shower")):
        seconds = [(a[number], b[number]) for a, b in zip(with_file, without, strict=True)]
        found[name] = {
            "with": _rounded(1e3 * median(a for a, _ in seconds) / settings.written),
            "without": _rounded(1e3 * median(b for _, b in seconds) / settings.written),
            "with_over_without": _rounded(median(a / b for a, b in seconds)),
        }
    return found


def _measure(model: TrainedRun | ExportedModel, batch: int) -> tuple[float, float]:
    """Seconds and seconds of all cores per shower."""
    began, clock, showers = time.perf_counter(), time.process_time(), 0
    while (wall := time.perf_counter() - began) < _LEAST_SECONDS:
        _generate(model, _STREAM * batch, batch)
        showers += _STREAM * batch
    return wall / showers, (time.process_time() - clock) / showers


def _generate(model: TrainedRun | ExportedModel, count: int, batch: int) -> None:
    energy_n = np.random.default_rng(0).uniform(*_ENERGY_GEV, count)
    columns = model.draw_labels(count, {}, 0)
    for _ in model.stream(energy_n, batch_size=batch, columns=columns):
        pass  # no more than a batch in memory, as where they are written


def _write(model: TrainedRun | ExportedModel, settings: Settings) -> None:
    energy_n = np.random.default_rng(0).uniform(*_ENERGY_GEV, settings.written)
    columns = model.draw_labels(settings.written, {}, 0)
    with tempfile.TemporaryDirectory() as folder:
        write_while_generating(
            Path(folder) / f"showers{SUFFIXES[settings.layout]}",
            model.stream(energy_n, batch_size=_WRITTEN_BATCH, columns=columns),
            lambda count: None,
            layout=settings.layout,
            attributes={},
        )


def _time(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and seconds of all cores."""
    began, clock = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - clock


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")

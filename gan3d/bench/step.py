"""How fast a training step is, beside the machine's matrix products and the Keras loop.

The step is training's own (`AdversarialStep`), on one process, with a batch of real showers that
lies in memory. What it is compared with is measured in the same run, in turn, several times,
because machines are noisy: a ratio is of one round, and medians over rounds are given.

The arithmetic is counted from the shapes of the layers (`gan3d.models.arithmetic`): what the
published networks cost, whatever way it is computed in. Products with the zeros around an image
count, as they do in the published figures; how much is left without them is told, too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gan3d.bench.operations import share_of_convolutions, time_operations
from gan3d.bench.scaling import describe_machine
from gan3d.config import Experiment, Model, Training
from gan3d.config.load import FILES, load_sections
from gan3d.data import Showers, divide, read_part, survey_files
from gan3d.errors import DataError, UsageError
from gan3d.samples import sample_files

if TYPE_CHECKING:
    from gan3d.training.response import Response

Say = Callable[[str], None]

PUBLISHED_PER_CORE = 0.24
"""Showers/s per core of the published system: 180 000 showers in about 2 min on 128 Stampede2 nodes
of 48 cores (CERN openlab workshop, January 2019)."""

# A matrix of this side is far larger than the caches, and its product takes some 0.1 s a core.
_PEAK_SIDE = 2048

# What is faster is called again until this long (s) has passed.
_LEAST_SECONDS = 0.5

# Kinds of operations that are told.
_TOLD_KINDS = 12


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    rounds: int = 10
    """Measurements of each, in turn."""
    baseline: str | None = None
    """Architecture of the Keras loop that is measured beside the step; None: no such loop."""


def find_experiment(
    config: Path | None, overrides: Sequence[str], options: Mapping[str, str]
) -> Experiment:
    """The experiment of `config`; None: the published recipe on the bundled showers.

    `options` are overrides by the options of the command that they come from.
    """
    own: tuple[str, ...] = ()
    if config is None:
        own = (f"data.files=['{sample_files().train}']",)
    return load_sections(
        Experiment,
        config,
        (*own, *overrides),
        example="training.batch_size=16",
        options=options,
        files=FILES,
    )


def measure_step(
    experiment: Experiment, settings: Settings, say: Say = lambda _: None
) -> dict[str, Any]:
    """Measure the step of `experiment`; the figures, as JSON.

    Raises DataError where there are too few showers for a batch, UsageError for a baseline that
    takes more conditions than the energy, and NodeError as `apply_node`.
    """
    from gan3d.runtime import apply_node

    say("reading showers")
    files = survey_files(experiment.data, experiment.model.labels)
    train = divide(files, experiment.data.split).train
    batch = experiment.training.batch_size
    showers = read_part(train, experiment.data, limit=experiment.data.statistics_showers)
    if len(showers) < batch:
        raise DataError(f"{len(showers)} showers are no batch of {batch}; lower --batch")
    applied = apply_node(experiment.node)
    if settings.baseline is not None:
        check_baseline(experiment, settings.baseline)

    from gan3d.training.response import measure_response
    from gan3d.training.step import without_remapper

    response = measure_response(train, experiment)
    assert response is not None  # files that are bad have ended it
    say("compiling")
    step, flops = _build_step(experiment, showers, response)
    peak, flops_of_peak = _build_peak(applied.precision)
    calls, baseline_batch = {"step": step, "peak": peak}, 0
    if settings.baseline is not None:
        calls["baseline"], baseline_batch = _build_baseline(
            experiment, settings.baseline, showers, response
        )
    kinds: list[dict[str, float]] = []
    with without_remapper():
        for each in calls.values():
            each()
        rounds = []
        for number in range(settings.rounds):
            say(f"round {number + 1} of {settings.rounds}")
            rounds.append({name: _time(each) for name, each in calls.items()})
        for _ in range(3):
            kinds.append(time_operations(step))
    return {
        "architecture": experiment.model.architecture,
        "batch_size": batch,
        "precision": applied.precision,
        "xla": experiment.node.xla,
        "threads": {
            "intra_op": applied.threads.intra_op,
            "inter_op": applied.threads.inter_op,
        },
        "machine": describe_machine(),
        **_step_figures(rounds, batch, flops, flops_of_peak, applied.threads.intra_op),
        **_time_figures(rounds, [] if experiment.node.xla is True else kinds),
        **_baseline_figures(rounds, batch, settings.baseline, baseline_batch),
        "seconds_of_rounds": [{k: _rounded(v) for k, v in each.items()} for each in rounds],
    }


def _build_step(
    experiment: Experiment, showers: Showers, response: Response
) -> tuple[Callable[[], Any], tuple[float, float]]:
    """A call that does a step, and the arithmetic of it per shower: all, and without zeros."""
    import keras

    from gan3d.data import label_inputs
    from gan3d.models import architecture_of
    from gan3d.models.arithmetic import step_flops
    from gan3d.runtime import SingleProcess, memory_bytes
    from gan3d.training.checks import check_grid, check_memory
    from gan3d.training.step import AdversarialStep

    architecture = architecture_of(experiment)
    check_grid(architecture, experiment.data)
    keras.utils.set_random_seed(experiment.run.seed)
    generator = architecture.build_generator(experiment.model)
    discriminator = architecture.build_discriminator(experiment.model)
    check_memory(generator, discriminator, experiment.training, memory_bytes())
    scaled_n1 = _scaled(experiment, showers)
    further = label_inputs(showers.columns, experiment.model.labels)
    if architecture.adapt is not None:
        architecture.adapt(generator, discriminator, showers.images_nxyz, scaled_n1, *further)
    training = experiment.training
    step = AdversarialStep(
        architecture,
        generator,
        discriminator,
        training,
        response,
        SingleProcess(),
        experiment.run.seed,
        xla=experiment.node.xla is True,
        cell_scale=experiment.data.cell_scale,
    )
    batch, rate, done = training.batch_size, training.optimizer.learning_rate, 0

    def call() -> None:
        nonlocal done
        step(
            showers.images_nxyz[:batch],
            scaled_n1[:batch],
            *(each[:batch] for each in further),
            step=done,
            learning_rate=rate,
            average_decay=0.0,
        )
        done += 1

    flops = tuple(
        float(step_flops(generator, discriminator, training.generator_updates, zeros=zeros))
        for zeros in (True, False)
    )
    return call, (flops[0], flops[1])


def _build_peak(precision: str) -> tuple[Callable[[], Any], float]:
    """A call that multiplies two matrices in the precision of the layers, and its operations."""
    import tensorflow as tf

    dtype = tf.as_dtype(precision.removeprefix("mixed_"))
    matrix = tf.cast(tf.random.normal((_PEAK_SIDE, _PEAK_SIDE)), dtype)
    product = tf.function(lambda: tf.reduce_max(tf.matmul(matrix, matrix)[0]))
    return lambda: product().numpy(), 2.0 * _PEAK_SIDE**3


def check_baseline(experiment: Experiment, name: str) -> None:
    """Raise UsageError where the Keras loop cannot train `name` on the showers of `experiment`."""
    from gan3d.models import get_architecture

    baseline, cells = get_architecture(name), experiment.data.images.shape
    if baseline.labels:
        raise UsageError(
            f"--baseline: the Keras loop conditions on the energy alone, and {name} takes more; "
            "measure without --baseline"
        )
    if baseline.image_shape != cells:
        raise UsageError(
            f"--baseline: {name} has {baseline.image_shape} cells, the showers have {cells}; "
            "measure without --baseline"
        )


def _build_baseline(
    experiment: Experiment, name: str, showers: Showers, response: Response
) -> tuple[Callable[[], Any], int]:
    """A call that does a step of the Keras loop with the architecture `name`, and its batch.

    In float32, whatever the experiment's precision.
    """
    import keras

    from gan3d.bench.keras_loop import KerasLoop
    from gan3d.models import get_architecture
    from gan3d.models.layers import set_plain

    architecture = get_architecture(name)
    settings, training = experiment.model, experiment.training
    if name != settings.architecture:
        # The published recipe, whatever the experiment's own is.
        settings, training = Model(architecture=name), Training()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    generator = architecture.build_generator(settings)
    discriminator = architecture.build_discriminator(settings)
    set_plain(generator, repeats=True)
    set_plain(discriminator, repeats=True)
    scaled_n1, batch = _scaled(experiment, showers), training.batch_size
    if architecture.adapt is not None:
        architecture.adapt(generator, discriminator, showers.images_nxyz, scaled_n1)
    loop = KerasLoop(
        architecture,
        generator,
        discriminator,
        training,
        response,
        experiment.run.seed,
    )
    keras.config.set_dtype_policy(policy)
    return (lambda: loop.step(showers.images_nxyz[:batch], scaled_n1[:batch])), batch


def _scaled(experiment: Experiment, showers: Showers) -> Any:
    return showers.energy_n[:, None] / np.float32(experiment.data.energy_scale_gev)


def _time(function: Callable[[], Any]) -> float:
    """Seconds of a call, the mean of as many as take half a second."""
    began, calls = time.perf_counter(), 0
    while True:
        function()
        calls += 1
        seconds = time.perf_counter() - began
        if seconds >= _LEAST_SECONDS:
            return seconds / calls


def _step_figures(
    rounds: Sequence[Mapping[str, float]],
    batch: int,
    flops: tuple[float, float],
    flops_of_peak: float,
    cores: int,
) -> dict[str, Any]:
    counted, without_zeros = flops
    rate = statistics.median(batch / each["step"] for each in rounds)
    share = statistics.median(
        (batch * counted / each["step"]) / (flops_of_peak / each["peak"]) for each in rounds
    )
    return {
        "gflop_per_shower": _rounded(counted / 1e9),
        "gflop_per_shower_without_zeros": _rounded(without_zeros / 1e9),
        "showers_per_second": _rounded(rate),
        "showers_per_second_per_core": _rounded(rate / cores),
        "published_showers_per_second_per_core": PUBLISHED_PER_CORE,
        "gflops": _rounded(rate * counted / 1e9),
        "peak_gflops": _rounded(
            statistics.median(flops_of_peak / each["peak"] for each in rounds) / 1e9
        ),
        "share_of_peak": _rounded(share),
        "share_of_peak_without_zeros": _rounded(share * without_zeros / counted),
    }


def _time_figures(
    rounds: Sequence[Mapping[str, float]], kinds: Sequence[Mapping[str, float]]
) -> dict[str, Any]:
    seconds = statistics.median(each["step"] for each in rounds)
    if not kinds:  # what XLA has compiled is no operation of TensorFlow's
        return {
            "seconds_of_step": _rounded(seconds),
            "seconds_outside_convolutions": None,
            "share_outside_convolutions": None,
            "share_of_operations": {},
        }
    outside = 1.0 - statistics.median(share_of_convolutions(each) for each in kinds)
    last = kinds[-1]
    total = sum(last.values())
    return {
        "seconds_of_step": _rounded(seconds),
        "seconds_outside_convolutions": _rounded(outside * seconds),
        "share_outside_convolutions": _rounded(outside),
        "share_of_operations": {
            kind: _rounded(last[kind] / total) for kind in list(last)[:_TOLD_KINDS]
        },
    }


def _baseline_figures(
    rounds: Sequence[Mapping[str, float]], batch: int, name: str | None, own_batch: int
) -> dict[str, Any]:
    if name is None:
        return {"baseline": None}
    rates = [(batch / each["step"], own_batch / each["baseline"]) for each in rounds]
    return {
        "baseline": {
            "architecture": name,
            "batch_size": own_batch,
            "showers_per_second": _rounded(statistics.median(theirs for _, theirs in rates)),
            "step_over_baseline": _rounded(
                statistics.median(ours / theirs for ours, theirs in rates)
            ),
        }
    }


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")

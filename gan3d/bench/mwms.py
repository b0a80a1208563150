"""The same step under tf.distribute.MultiWorkerMirroredStrategy, for comparison.

Networks, optimisers, batches and the compiled step are gan3d's own (`AdversarialStep`); what
differs is who averages the gradients. Under a strategy a Keras 3 optimiser sums the gradients over
all workers itself, so here they are only divided by the number of workers before: TensorFlow's
collective ring all-reduce over gRPC then takes the place of Horovod's.

The loop is barer than the training's: batches lie in memory, nothing is agreed on between ranks
before a step, and no losses are looked at. What that saves speaks for the strategy.

One worker is `python -m gan3d.bench.mwms CONFIG FOLDER KEY=VALUE ...` with TF_CONFIG set; worker 0
writes FOLDER/history.jsonl.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gan3d.bench.processes import Process
from gan3d.config import load_experiment
from gan3d.data import label_inputs
from gan3d.errors import DataError, NodeError

if TYPE_CHECKING:
    from gan3d.config import Experiment
    from gan3d.data import Showers
    from gan3d.training.response import Response
    from gan3d.training.step import AdversarialStep


def worker_processes(
    config: Path, overrides: Sequence[str], folder: Path, workers: int
) -> list[Process]:
    """Return the programs that train together, worker by worker, on free ports of this machine."""
    command = [sys.executable, "-m", __name__, str(config), str(folder), *overrides]
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(workers)]
    return [
        Process(
            command,
            {
                "TF_CONFIG": json.dumps(
                    {
                        "cluster": {"worker": addresses},
                        "task": {"type": "worker", "index": worker},
                    }
                )
            },
        )
        for worker in range(workers)
    ]


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all are held at once, so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class StrategyRanks:
    """The workers of a strategy, as much of a `Communicator` as the step needs."""

    def __init__(self, rank: int, size: int) -> None:
        """Be worker `rank` of `size`."""
        self.rank = self.local_rank = rank
        self.size = self.local_size = size

    def average(self, tensors: Sequence[Any], name: str) -> tuple[list[Any], Any]:
        """Divide by the number of workers; the optimiser sums over them. No time is told."""
        return [tensor / self.size for tensor in tensors], 0.0

    def mean(self, tensor: Any, name: str) -> Any:
        """See `Communicator.mean`."""
        import tensorflow as tf

        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, tensor)


def train_worker(config: Path, folder: Path, overrides: Sequence[str]) -> None:
    """Train as one worker of those in TF_CONFIG; worker 0 writes the history.

    Raises DataError where there is no whole batch for every worker.
    """
    from gan3d.data import divide, read_part, survey_files
    from gan3d.runtime import apply_node
    from gan3d.training.response import measure_response

    experiment = load_experiment(config, overrides)
    apply_node(experiment.node)
    files = survey_files(experiment.data, experiment.model.labels)
    train = divide(files, experiment.data.split).train
    response = measure_response(train, experiment)
    assert response is not None  # None only where files may be skipped
    showers = read_part(train, experiment.data)
    rank, size = _place()
    strategy, step = _build(experiment, showers, response, StrategyRanks(rank, size))
    history = _train(experiment, showers, strategy, step, rank, size)
    if rank == 0:
        from gan3d.data import make_folder
        from gan3d.training.records import write_history

        make_folder(folder)
        write_history(folder, history)


def _place() -> tuple[int, int]:
    """(rank, size) of this worker in TF_CONFIG."""
    if "TF_CONFIG" not in os.environ:
        raise NodeError(
            "TF_CONFIG is not set; start workers with `gan3d bench scaling --also mwms`"
        )
    config = json.loads(os.environ["TF_CONFIG"])
    return config["task"]["index"], len(config["cluster"]["worker"])


def _build(
    experiment: Experiment, showers: Showers, response: Response, ranks: StrategyRanks
) -> tuple[Any, AdversarialStep]:
    """Return the strategy, and networks and optimisers with their variables in its care."""
    import keras
    import tensorflow as tf

    from gan3d.models import architecture_of
    from gan3d.training.step import AdversarialStep

    communication = tf.distribute.experimental
    # First of all: the strategy's servers must start before any operation has run.
    strategy = tf.distribute.MultiWorkerMirroredStrategy(
        communication_options=communication.CommunicationOptions(
            implementation=communication.CommunicationImplementation.RING
        )
    )
    architecture = architecture_of(experiment)
    with strategy.scope():
        keras.utils.set_random_seed(experiment.run.seed)
        generator = architecture.build_generator(experiment.model)
        discriminator = architecture.build_discriminator(experiment.model)
        if architecture.adapt is not None:
            scaled_n1 = _scaled(experiment, showers)
            images_nxyz = showers.images_nxyz
            labels = label_inputs(showers.columns, experiment.model.labels)
            architecture.adapt(generator, discriminator, images_nxyz, scaled_n1, *labels)
        step = AdversarialStep(
            architecture,
            generator,
            discriminator,
            experiment.training,
            response,
            ranks,  # type: ignore[arg-type] # the step asks for no more
            experiment.run.seed,
            experiment.horovod,
            xla=experiment.node.xla is True,
            cell_scale=experiment.data.cell_scale,
        )
    return strategy, step


def _train(
    experiment: Experiment,
    showers: Showers,
    strategy: Any,
    step: AdversarialStep,
    rank: int,
    size: int,
) -> list[dict[str, Any]]:
    """Train all epochs on every `size`-th batch, and return their history."""
    import tensorflow as tf

    from gan3d.training.step import without_remapper

    rows = experiment.training.batch_size * experiment.horovod.backward_passes_per_step
    steps = len(showers) // (rows * size)
    if steps == 0:
        raise DataError(f"{len(showers)} showers are no batch of {rows} for each of {size} workers")
    scaled_n1, history = _scaled(experiment, showers), []
    labels = label_inputs(showers.columns, experiment.model.labels)
    rate = tf.constant(experiment.training.optimizer.learning_rate, tf.float32)
    with without_remapper():
        for epoch in range(experiment.training.epochs):
            began = time.monotonic()
            for index in range(steps):
                first = (index * size + rank) * rows
                # The compiled function itself: a strategy cannot enter one from outside, as
                # `step(...)` would have it do, where the optimiser in it updates variables.
                losses = strategy.run(
                    step.function,
                    args=(
                        tf.constant(showers.images_nxyz[first : first + rows]),
                        tf.constant(scaled_n1[first : first + rows]),
                        tf.constant(epoch * steps + index, tf.int64),
                        rate,
                        tf.constant(0.0),
                        tf.zeros(0),
                        *(tf.constant(each[first : first + rows]) for each in labels),
                    ),
                )
                losses.numpy()  # as in training, the next step begins when this one is done
            seconds = time.monotonic() - began
            history.append(
                {
                    "epoch": epoch + 1,
                    "ranks": size,
                    "steps": steps,
                    "seconds": seconds,
                    "showers_per_second": steps * rows * size / seconds,
                }
            )
    return history


def _scaled(experiment: Experiment, showers: Showers) -> Any:
    return showers.energy_n[:, None] / np.float32(experiment.data.energy_scale_gev)


if __name__ == "__main__":
    train_worker(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])

"""A rank of a block: waits for orders, trains, and stays alive between trials."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan3d.config import Experiment, Node
from gan3d.errors import DivergedError, Gan3dError, Preempted
from gan3d.runtime import (
    Communicator,
    SingleProcess,
    apply_node,
    connect,
    keep_on,
    launched,
    read_topology,
)
from gan3d.runtime.cores import is_bound
from gan3d.runtime.node import check_workers
from gan3d.runtime.topology import cpus_of, place_rank
from gan3d.tuning.functions import FUNCTIONS, at_epoch
from gan3d.tuning.link import Line, read_address
from gan3d.tuning.objectives import Wanted

_LOOK_EVERY = 0.05
"""How often a function that sleeps looks whether it is to stop (s)."""

OUT_OF_MEMORY = "out of memory"
"""How reasons begin where that is known to be one."""


@dataclass(frozen=True)
class Order:
    """One training, or one call of a function."""

    number: int
    """Of the order; the coordinator counts them."""
    folder: Path
    """The run's folder."""
    resume: bool
    """Whether there is a run to go on with."""
    experiment: Experiment | None
    """What to train; None: a function."""
    wanted: Wanted
    """The numbers that it is judged by."""


@dataclass(frozen=True)
class Ears:
    """What a training tells and is told."""

    heard: Callable[[Mapping[str, Any]], None]
    """Takes every epoch's line of history; of rank 0."""
    told_to_stop: Callable[[], bool]
    """Whether it is to end after this step."""
    communicator: Communicator
    """The ranks of the block."""


Train = Callable[[Order, Ears], Mapping[str, float]]
"""Trains, raises Preempted where told to stop, and returns the metrics that were wanted."""


def serve(path: Path, train: Train) -> int:
    """Take orders from the coordinator that left its address at `path` until it has no more.

    Returns the exit code: 0, or 1 after an order that failed, as the state of this process is not
    known then.
    """
    began = time.monotonic()
    address = read_address(path)
    launch = launched()
    line = Line(address, launch.rank)
    try:
        communicator = _prepare(address)
    except Gan3dError as error:
        line.send("broken", reason=str(error))
        raise
    line.send("ready", seconds=time.monotonic() - began)
    while (message := line.next_order()) is not None:
        if not _obey(line, message, train, communicator, first=launch.rank == 0):
            return 1
    communicator.shutdown()
    return 0


def _prepare(address: Mapping[str, Any]) -> Communicator:
    """Take this rank's cores and GPU, start TensorFlow, join the other ranks.

    Raises NodeError where the machine has too few of them for all blocks that are to share it.
    """
    part, parts = int(address["part"]), int(address["parts"])
    settings = address["experiment"]
    if settings is None:
        return SingleProcess()
    experiment = _experiment(settings)
    if parts > 1:
        ranks = parts * launched().local_size
        shared = experiment.node.model_copy(update={"workers_per_node": None})
        check_workers(shared, read_topology(), ranks, bound=is_bound())
    _take_part(part, parts)
    apply_node(block_node(experiment.node, parts))
    return connect(experiment.horovod)


def _take_part(part: int, parts: int) -> None:
    """Keep this rank off the cores and GPUs of the other blocks of this machine."""
    launch, topology = launched(), read_topology()
    if parts == 1:
        return
    ranks = parts * launch.local_size
    if len(topology.gpus) >= ranks:
        first = part * launch.local_size
        shown = topology.visible_devices
        devices = shown.split(",") if shown else [str(number) for number in range(ranks)]
        mine = devices[first : first + launch.local_size]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
    # What a control group grants as time and not as cores belongs to all processes alike.
    if topology.quota >= len(topology.cores) >= ranks:
        number = part * launch.local_size + launch.local_rank
        keep_on(frozenset(cpus_of(place_rank(topology, number, ranks))))


def block_node(node: Node, parts: int) -> Node:
    """The node section for a block that shares its machine with others.

    Where a control group grants time and not cores, the threads are the block's share of it.
    """
    topology = read_topology()
    if parts == 1 or node.intra_op_threads is not None or topology.quota >= len(topology.cores):
        return node
    threads = max(1, topology.physical // (parts * launched().local_size))
    return node.model_copy(update={"intra_op_threads": threads})


def _experiment(settings: Mapping[str, Any]) -> Experiment:
    return Experiment.model_validate_json(json.dumps(settings), strict=True)


def _obey(
    line: Line,
    message: Mapping[str, Any],
    train: Train,
    communicator: Communicator,
    *,
    first: bool,
) -> bool:
    """Carry an order out and tell how it went. Returns whether this process is still good."""
    number = int(message["number"])
    began = time.monotonic()

    def heard(record: Mapping[str, Any]) -> None:
        if first:
            line.send("epoch", number=number, record=dict(record))

    def told_to_stop() -> bool:
        return line.is_stopped(number)

    def tell(kind: str, **content: Any) -> None:
        line.send(kind, number=number, seconds=time.monotonic() - began, **content)

    ears = Ears(heard, told_to_stop, communicator)
    try:
        if message["function"] is not None:
            metrics: Mapping[str, float] = _call(message["function"], ears)
        else:
            metrics = train(_order(message), ears)
    except Preempted:
        if first:
            tell("stopped")
        return True
    except Exception as error:  # noqa: BLE001 - told to the coordinator, and this process ends
        if not isinstance(error, Gan3dError):
            traceback.print_exc()  # into the block's file
        tell(
            "failed",
            reason=_reason(error),
            memory=_is_memory(error),
            diverged=isinstance(error, DivergedError),
        )
        return False
    if first:
        tell("done", metrics=dict(metrics))
    return True


def _order(message: Mapping[str, Any]) -> Order:
    return Order(
        number=int(message["number"]),
        folder=Path(message["folder"]),
        resume=bool(message["resume"]),
        experiment=_experiment(message["experiment"]),
        wanted=Wanted(**message["wanted"]),
    )


def _call(settings: Mapping[str, Any], ears: Ears) -> dict[str, float]:
    """Sleep as a training would take, reporting epochs; returns the function's value."""
    name, epochs = str(settings["name"]), int(settings["epochs"])
    value = FUNCTIONS[name](settings["values"])
    for epoch in range(1, epochs + 1):
        until = time.monotonic() + float(settings["seconds"]) / epochs
        while (left := until - time.monotonic()) > 0:
            if ears.told_to_stop():
                raise Preempted
            time.sleep(min(left, _LOOK_EVERY))
        ears.heard({"epoch": epoch, name: at_epoch(value, epoch, epochs)})
    return {name: value}


def _is_memory(error: BaseException) -> bool:
    """Whether memory was short, of the machine or of the GPU."""
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"


def _reason(error: BaseException) -> str:
    first = (str(error).splitlines() or [""])[0]
    if _is_memory(error):
        return f"{OUT_OF_MEMORY} ({first or type(error).__name__})"
    if isinstance(error, DivergedError):
        # Without the advice to somebody who trains by hand.
        return first.rpartition("; ")[0] or first
    if isinstance(error, Gan3dError):
        return first
    return f"unexpected {type(error).__name__}: {first}"


__all__ = ["OUT_OF_MEMORY", "Ears", "Order", "Train", "block_node", "serve"]

"""Ranks that train together. The only module that imports Horovod."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Node
from gan3d.errors import NodeError, TrainingError
from gan3d.runtime.launch import Launch, read_launch
from gan3d.runtime.quiet import import_tensorflow

RANK_ENDED = "another rank has ended; its own message says why"
"""What a rank says that cannot go on without another."""

HOROVOD_REMEDY = "uv sync --reinstall-package horovod"
"""Builds Horovod anew against the TensorFlow that is installed."""


class Communicator(Protocol):
    """One rank, and what it can do together with the others. All ranks must call alike."""

    @property
    def rank(self) -> int:
        """From 0 to `size` - 1."""

    @property
    def size(self) -> int:
        """Number of ranks, the world size."""

    @property
    def local_rank(self) -> int:
        """Rank among those on this node."""

    @property
    def local_size(self) -> int:
        """Number of ranks on this node."""

    def average(self, tensors: Sequence[Any]) -> list[Any]:
        """Mean over ranks of each dense TensorFlow tensor, as one ring all-reduce.

        Works inside tf.function. Shapes and dtypes are the same on all ranks.
        """

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Give every tf.Variable (of a Keras variable: its `value`) the value it has on rank 0."""

    def sum(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over ranks of a host array, which has the same shape on all of them."""

    def gather(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """All ranks' host arrays one after the other along axis 0, in the order of ranks.

        Lengths along axis 0 may differ.
        """

    def barrier(self) -> None:
        """Wait until all ranks are here."""

    def shutdown(self) -> None:
        """Leave; nothing may be exchanged afterwards."""


class SingleProcess:
    """One rank, alone: nothing is exchanged, Horovod is not needed."""

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1

    def average(self, tensors: Sequence[Any]) -> list[Any]:
        """Return the tensors themselves."""
        return list(tensors)

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Leave the variables as they are."""

    def sum(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a copy."""
        return np.array(array, np.float64)

    def gather(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a copy."""
        return np.array(array, np.float64)

    def barrier(self) -> None:
        """Go on."""

    def shutdown(self) -> None:
        """Do nothing."""


class HorovodRanks:
    """Ranks under a launcher, joined by Horovod."""

    def __init__(self, horovod: Any) -> None:
        """Wrap the initialised module horovod.tensorflow."""
        self._hvd = horovod
        self.rank: int = horovod.rank()
        self.size: int = horovod.size()
        self.local_rank: int = horovod.local_rank()
        self.local_size: int = horovod.local_size()

    def average(self, tensors: Sequence[Any]) -> list[Any]:
        """See `Communicator.average`."""
        # One group: the gradients travel together, in the same order on all ranks.
        return list(self._hvd.grouped_allreduce(list(tensors), op=self._hvd.Average))

    def broadcast(self, variables: Sequence[Any]) -> None:
        """See `Communicator.broadcast`."""
        self._hvd.broadcast_variables(list(variables), root_rank=0)

    def sum(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Communicator.sum`."""
        host = np.ascontiguousarray(array, np.float64)
        with _ended_ranks_named():
            return np.array(self._hvd.allreduce(host, op=self._hvd.Sum))

    def gather(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Communicator.gather`."""
        with _ended_ranks_named():
            return np.array(self._hvd.allgather(np.ascontiguousarray(array, np.float64)))

    def barrier(self) -> None:
        """See `Communicator.barrier`."""
        self.sum(np.zeros(1))

    def shutdown(self) -> None:
        """See `Communicator.shutdown`."""
        self._hvd.shutdown()


def share_text(communicator: Communicator, text: str) -> str:
    """Return rank 0's `text` on every rank; what the others give is not looked at."""
    return gather_text(communicator, text if communicator.rank == 0 else "")


def gather_text(communicator: Communicator, text: str) -> str:
    """Return the `text` of all ranks, one after the other, on every rank."""
    mine = np.frombuffer(text.encode(), np.uint8).astype(np.float64)
    return communicator.gather(mine).astype(np.uint8).tobytes().decode()


def launched() -> Launch:
    """Place of this process among the ranks that a launcher started; imports nothing heavy.

    Raises:
        NodeError: a launcher started several ranks, but Horovod is not there to join them.

    """
    launch = read_launch()
    if launch.size > 1:
        missing = horovod_lacks()
        if missing:
            raise _cannot_join(launch, missing)
    return launch


def connect(node: Node | None = None) -> Communicator:
    """Join the ranks that a launcher started, or be alone where none did.

    Raises:
        NodeError: a launcher started several ranks, but Horovod cannot join them. Training N
            separate models instead would be the worst answer.

    """
    launch = launched()
    if launch.size == 1:
        return SingleProcess()
    if node is not None and node.fusion_threshold_bytes is not None:
        os.environ["HOROVOD_FUSION_THRESHOLD"] = str(node.fusion_threshold_bytes)
    try:
        hvd = load_horovod()
    except ImportError as error:
        raise _cannot_join(launch, str(error)) from error
    _check_controller(launch, hvd)
    hvd.init()
    if hvd.size() != launch.size:
        raise _cannot_join(
            launch, f"Horovod sees {hvd.size()} rank(s): its MPI is not the launcher's"
        )
    return HorovodRanks(hvd)


def horovod_lacks() -> str | None:
    """What keeps Horovod from joining TensorFlow ranks, judged by its files; None: nothing."""
    spec = importlib.util.find_spec("horovod")
    if spec is None or not spec.submodule_search_locations:
        return "Horovod is not installed"
    for location in spec.submodule_search_locations:
        if any(Path(location, "tensorflow").glob("mpi_lib*.so")):
            return None
    return "Horovod was built without its TensorFlow extension"


def load_horovod() -> Any:
    """Import horovod.tensorflow, and TensorFlow before it.

    Raises:
        ImportError: one of them does not load; the message is a single line.

    """
    tf = import_tensorflow()
    try:
        import horovod.tensorflow as hvd
    except (ImportError, tf.errors.NotFoundError, AttributeError) as error:
        # NotFoundError: symbols are missing, so it was compiled against another TensorFlow.
        lines = str(error).splitlines() or [type(error).__name__]
        raise ImportError(f"Horovod does not load with this TensorFlow: {lines[0]}") from error
    return hvd


@contextmanager
def _ended_ranks_named() -> Iterator[None]:
    """Say in a line that another rank has ended, where Horovod says it in a paragraph."""
    tf = import_tensorflow()
    try:
        yield
    except tf.errors.UnknownError as error:
        if "Horovod has been shut down" not in str(error):
            raise
        raise TrainingError(RANK_ENDED) from error


def _check_controller(launch: Launch, hvd: Any) -> None:
    by_horovodrun = "HOROVOD_GLOO_RENDEZVOUS_ADDR" in os.environ
    if by_horovodrun and not hvd.gloo_built():
        raise _cannot_join(launch, "Horovod was built without Gloo")
    if not by_horovodrun and not hvd.mpi_built():
        raise NodeError(
            f"{launch.size} ranks were started by {launch.launcher}, but Horovod was built without "
            f"MPI; start them with horovodrun, or build Horovod against this site's MPI "
            f"(HOROVOD_WITH_MPI=1)"
        )


def _cannot_join(launch: Launch, missing: str) -> NodeError:
    return NodeError(
        f"{launch.size} ranks were started by {launch.launcher}, but they cannot be joined: "
        f"{missing}; mend it with `{HOROVOD_REMEDY}`, or train on one rank without a launcher"
    )

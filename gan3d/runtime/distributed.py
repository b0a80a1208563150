"""Ranks that train together. The only module that imports Horovod."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Horovod
from gan3d.errors import NodeError, RankLostError
from gan3d.runtime.horovod_settings import horovod_environment
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

    def average(self, tensors: Sequence[Any], name: str) -> tuple[list[Any], Any]:
        """Mean over ranks of each dense TensorFlow tensor, as one ring all-reduce.

        Returns the means and the seconds, a scalar tensor (float64), from when this rank had all
        tensors to when it had all means. Works inside tf.function. Shapes, dtypes and `name` are
        the same on all ranks, and no other exchange has this name. With `horovod.op: adasum` the
        sum is Adasum's.
        """

    def mean(self, tensor: Any, name: str) -> Any:
        """Mean over ranks of a TensorFlow tensor; gradients flow through it, to all ranks."""

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Give every tf.Variable (of a Keras variable: its `value`) the value it has on rank 0."""

    def sum(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over ranks of a host array, which has the same shape on all of them."""

    def minimum(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Smallest over ranks of each number of a host array, of the same shape on all of them."""

    def gather(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """All ranks' host arrays one after the other along axis 0, in the order of ranks.

        Lengths along axis 0 may differ.
        """

    def barrier(self) -> None:
        """Wait until all ranks are here."""

    def check_hosts(self) -> None:
        """Let ranks join or leave here, where that may happen (elastic runs).

        What it raises then is for `run_ranks`, and must pass.
        """

    def shutdown(self) -> None:
        """Leave; nothing may be exchanged afterwards."""


class SingleProcess:
    """One rank, alone: nothing is exchanged, Horovod is not needed."""

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1

    def average(self, tensors: Sequence[Any], name: str) -> tuple[list[Any], Any]:
        """Return the tensors themselves, after no time."""
        return list(tensors), 0.0

    def mean(self, tensor: Any, name: str) -> Any:
        """Return the tensor itself."""
        return tensor

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Leave the variables as they are."""

    def sum(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a copy."""
        return np.array(array, np.float64)

    def minimum(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a copy."""
        return np.array(array, np.float64)

    def gather(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a copy."""
        return np.array(array, np.float64)

    def barrier(self) -> None:
        """Go on."""

    def check_hosts(self) -> None:
        """Do nothing."""

    def shutdown(self) -> None:
        """Do nothing."""


class HorovodRanks:
    """Ranks under a launcher, joined by Horovod.

    All exchanges have names of our own: in an elastic run, those that Horovod makes up would differ
    between a rank that has been there for long and one that has just come.
    """

    def __init__(
        self, horovod: Any, settings: Horovod, check_hosts: Callable[[], None] = lambda: None
    ) -> None:
        """Wrap the initialised module horovod.tensorflow."""
        self._hvd = horovod
        self._op = {"average": horovod.Average, "adasum": horovod.Adasum}[settings.op]
        self._compression = getattr(horovod.Compression, settings.compression)
        self._check_hosts = check_hosts
        self.rank: int = horovod.rank()
        self.size: int = horovod.size()
        self.local_rank: int = horovod.local_rank()
        self.local_size: int = horovod.local_size()

    def average(self, tensors: Sequence[Any], name: str) -> tuple[list[Any], Any]:
        """See `Communicator.average`."""
        import tensorflow as tf

        def now() -> Any:
            # Not tf.timestamp, which refuses where all operations are to be deterministic.
            seconds = tf.numpy_function(time.monotonic, [], tf.float64)
            seconds.set_shape(())
            return seconds

        with tf.control_dependencies(list(tensors)):
            began = now()
        with tf.control_dependencies([began]):
            mine = [self._compression.compress(tf.identity(tensor)) for tensor in tensors]
        reduced = self._reduce([sent for sent, _ in mine], name)
        with tf.control_dependencies(reduced):
            seconds = now() - began
        received = [
            self._compression.decompress(tensor, context)
            for tensor, (_, context) in zip(reduced, mine, strict=True)
        ]
        return received, seconds

    def _reduce(self, tensors: list[Any], name: str) -> list[Any]:
        if self._op == self._hvd.Adasum:
            # Horovod 0.28.1's group stumbles over an undefined variable here.
            return [
                self._hvd.allreduce(tensor, op=self._op, name=f"{name}.{number}")
                for number, tensor in enumerate(tensors)
            ]
        # One group: the gradients travel together, in the same order on all ranks.
        reduced: list[Any] = self._hvd.grouped_allreduce(tensors, op=self._op, name=name)
        return reduced

    def mean(self, tensor: Any, name: str) -> Any:
        """See `Communicator.mean`."""
        return self._hvd.allreduce(tensor, op=self._hvd.Average, name=name)

    def broadcast(self, variables: Sequence[Any]) -> None:
        """See `Communicator.broadcast`."""
        with ended_ranks_named():
            for number, variable in enumerate(variables):
                value = self._hvd.broadcast(variable, root_rank=0, name=f"gan3d.state.{number}")
                variable.assign(value)

    def sum(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Communicator.sum`."""
        host = np.ascontiguousarray(array, np.float64)
        with ended_ranks_named():
            return np.array(self._hvd.allreduce(host, op=self._hvd.Sum, name="gan3d.sum"))

    def minimum(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Communicator.minimum`."""
        host = np.ascontiguousarray(array, np.float64)
        with ended_ranks_named():
            return np.array(self._hvd.allreduce(host, op=self._hvd.Min, name="gan3d.minimum"))

    def gather(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Communicator.gather`."""
        host = np.ascontiguousarray(array, np.float64)
        with ended_ranks_named():
            return np.array(self._hvd.allgather(host, name="gan3d.gather"))

    def barrier(self) -> None:
        """See `Communicator.barrier`."""
        self.sum(np.zeros(1))

    def check_hosts(self) -> None:
        """See `Communicator.check_hosts`."""
        self._check_hosts()

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


def is_elastic() -> bool:
    """Whether the launcher lets ranks come and go (horovodrun --min-np)."""
    return os.environ.get("HOROVOD_ELASTIC") == "1"


def connect(settings: Horovod | None = None) -> Communicator:
    """Join the ranks that a launcher started, or be alone where none did.

    Raises:
        NodeError: a launcher started several ranks, but Horovod cannot join them. Training N
            separate models instead would be the worst answer.

    """
    launch = launched()
    if launch.size == 1 and not is_elastic():
        return SingleProcess()
    settings = settings or Horovod()
    hvd = start_horovod(launch, settings)
    if hvd.size() != launch.size and not is_elastic():
        raise _cannot_join(
            launch, f"Horovod sees {hvd.size()} rank(s): its MPI is not the launcher's"
        )
    seen = hvd.local_rank(), hvd.local_size()
    # Cores and GPU have been chosen by it.
    if seen != (launch.local_rank, launch.local_size) and not is_elastic():
        raise NodeError(
            f"rank {launch.rank} is number {launch.local_rank} of {launch.local_size} on this node "
            f"to {launch.launcher}, but number {seen[0]} of {seen[1]} to Horovod, so cores and GPU "
            "may be another rank's; unset variables of an outer launcher, or start the ranks with "
            "horovodrun"
        )
    return HorovodRanks(hvd, settings)


def start_horovod(launch: Launch, settings: Horovod) -> Any:
    """Set what `settings` sets, initialise Horovod and return horovod.tensorflow.

    Raises NodeError where it lacks what is needed.
    """
    os.environ.update(horovod_environment(settings))
    for key in ("timeline_filename", "autotune_log_file"):
        path = getattr(settings, key)
        if path is not None:
            _make_room_for(Path(path), key)
    try:
        hvd = load_horovod()
    except ImportError as error:
        raise _cannot_join(launch, str(error)) from error
    _check_controller(launch, hvd)
    if settings.op == "adasum":
        gloo = "HOROVOD_GLOO_RENDEZVOUS_ADDR" in os.environ
        check_adasum(launch.size, with_mpi=hvd.mpi_built() and not gloo)
    hvd.init()
    return hvd


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


# What errors of TensorFlow operations say that fail because another rank has gone: Horovod itself,
# and the libraries under it where the connection breaks first.
_GONE = ("Horovod", "gloo", "nccl", "NCCL", "MPI_")


@contextmanager
def ended_ranks_named() -> Iterator[None]:
    """Say in a line that another rank has ended, where Horovod says it in a paragraph.

    Raises RankLostError then.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.UnknownError as error:
        if not any(word in str(error) for word in _GONE):
            raise
        raise RankLostError(RANK_ENDED) from error


def check_adasum(ranks: int, *, with_mpi: bool) -> None:
    """Raise NodeError where Adasum cannot reduce the gradients of so many ranks."""
    if not with_mpi:
        raise NodeError(
            "horovod.op: adasum needs Horovod built with MPI (HOROVOD_WITH_MPI=1) and ranks that "
            "mpirun or srun started; use horovod.op: average"
        )
    if ranks & (ranks - 1):
        raise NodeError(
            f"horovod.op: adasum needs a power of two of ranks, there are {ranks}; use "
            "horovod.op: average"
        )


def horovod_has_mpi() -> bool:
    """Whether Horovod was built with MPI, judged by its files."""
    spec = importlib.util.find_spec("horovod")
    folders = (spec and spec.submodule_search_locations) or ()
    libraries = [each for folder in folders for each in Path(folder, "tensorflow").glob("mpi_lib*")]
    return any(b"libmpi" in library.read_bytes() for library in libraries)


def _make_room_for(path: Path, key: str) -> None:
    """Make the folder of a file that Horovod will write: it would only leave the file out."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NodeError(f"horovod.{key}: {path.parent} cannot be made: {error.strerror}") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise NodeError(f"horovod.{key}: {path} cannot be written; name another file")


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

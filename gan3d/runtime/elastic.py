"""Work that ranks do together while, in an elastic run, ranks come and go.

Horovod's own elastic states were written for Keras 2; this one stands on their documented base
class, horovod.common.elastic.State, and leaves what the state is to the work.
"""

from __future__ import annotations

from typing import Any, Protocol

from gan3d.config import Horovod
from gan3d.errors import RankLostError
from gan3d.runtime.distributed import (
    Communicator,
    HorovodRanks,
    connect,
    ended_ranks_named,
    is_elastic,
    launched,
    start_horovod,
)


class ElasticWork(Protocol):
    """What `run_ranks` runs."""

    def join(self, communicator: Communicator) -> None:
        """Take on rank 0's state. All ranks call it at first, and again when they have changed."""

    def work(self) -> None:
        """Do what is to be done from there, to the end. All ranks call it after `join`.

        Where ranks may change it calls `communicator.check_hosts()`, with nothing to lose.
        """

    def restore(self) -> None:
        """Go back to the last point that all ranks had reached together."""


def run_ranks(
    work: ElasticWork, settings: Horovod, communicator: Communicator | None = None
) -> Communicator:
    """Do `work` with the ranks that a launcher started, or alone; returns the last communicator.

    `communicator` is of ranks that have done other work together before; None: they join now.

    Under an elastic launcher (horovodrun --min-np), the loss of a rank brings the others back to
    what they last had together, and they go on without it; new ranks are let in at
    `check_hosts`. Otherwise the loss of a rank is a RankLostError.
    """
    if not is_elastic():
        communicator = communicator or connect(settings)
        work.join(communicator)
        work.work()
        return communicator
    return _run_elastic(work, settings)


def _run_elastic(work: ElasticWork, settings: Horovod) -> Communicator:
    hvd = start_horovod(launched(), settings)
    # Both are known to be there only after Horovod's own import.
    from horovod.common.elastic import State, run_fn
    from horovod.common.exceptions import HorovodInternalError, HostsUpdatedInterrupt

    class WorkState(State):
        """The work, in the form that Horovod's elastic loop asks for."""

        communicator: Communicator

        def __init__(self) -> None:
            super().__init__(bcast_object=hvd.broadcast_object, get_rank=hvd.rank)

        def sync(self) -> None:
            self.communicator = HorovodRanks(hvd, settings, self.let_ranks_change)
            _translated(lambda: work.join(self.communicator))

        def restore(self) -> None:
            work.restore()

        def save(self) -> None:
            """The work keeps its own copies."""

        def let_ranks_change(self) -> None:
            try:
                with ended_ranks_named():
                    self.check_host_updates()
            except HostsUpdatedInterrupt:
                # Where ranks have only left, Horovod would not call `sync` again; but those that
                # stay have other ranks now, and share the data anew.
                raise HostsUpdatedInterrupt(False) from None

    def _translated(action: Any) -> None:
        try:
            action()
        except RankLostError as error:
            raise HorovodInternalError(str(error)) from error

    def reset() -> None:
        hvd.shutdown()
        hvd.init()

    state = WorkState()
    run_fn(lambda _: _translated(work.work), reset)(state)
    return state.communicator

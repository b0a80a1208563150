"""The node and the ranks: threads, GPU, quiet TensorFlow, Horovod, what is installed."""

from __future__ import annotations

from gan3d.runtime.cores import Cores, usable_cores
from gan3d.runtime.distributed import (
    Communicator,
    HorovodRanks,
    SingleProcess,
    connect,
    launched_rank,
)
from gan3d.runtime.environment import describe_environment
from gan3d.runtime.node import AppliedNode, apply_node

__all__ = [
    "AppliedNode",
    "Communicator",
    "Cores",
    "HorovodRanks",
    "SingleProcess",
    "apply_node",
    "connect",
    "describe_environment",
    "launched_rank",
    "usable_cores",
]

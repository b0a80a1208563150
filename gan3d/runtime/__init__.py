"""The node and the ranks: threads, GPU, quiet TensorFlow, Horovod, what is installed."""

from __future__ import annotations

from gan3d.runtime.cores import Cores, usable_cores
from gan3d.runtime.distributed import (
    RANK_ENDED,
    Communicator,
    HorovodRanks,
    SingleProcess,
    connect,
    gather_text,
    launched,
    share_text,
)
from gan3d.runtime.environment import describe_environment
from gan3d.runtime.launch import Launch
from gan3d.runtime.node import AppliedNode, apply_node

__all__ = [
    "RANK_ENDED",
    "AppliedNode",
    "Communicator",
    "Cores",
    "HorovodRanks",
    "Launch",
    "SingleProcess",
    "apply_node",
    "connect",
    "describe_environment",
    "gather_text",
    "launched",
    "share_text",
    "usable_cores",
]

"""The node and the ranks: threads, GPU, quiet TensorFlow, Horovod, what is installed."""

from __future__ import annotations

from gan3d.runtime.cores import memory_bytes, usable_cores
from gan3d.runtime.distributed import (
    RANK_ENDED,
    Communicator,
    HorovodRanks,
    SingleProcess,
    connect,
    ended_ranks_named,
    gather_text,
    is_elastic,
    launched,
    share_text,
)
from gan3d.runtime.elastic import ElasticWork, run_ranks
from gan3d.runtime.environment import describe_environment
from gan3d.runtime.horovod_settings import HOROVOD_VARIABLES, horovod_environment
from gan3d.runtime.launch import Launch
from gan3d.runtime.node import (
    AppliedNode,
    apply_node,
    check_workers,
    idle_cores,
    is_bound_rank,
    keep_on,
    placed_cores,
    plan,
    rank_cores,
    rank_words,
    recommend,
)
from gan3d.runtime.quiet import quietly
from gan3d.runtime.signals import Signals, noted_signals
from gan3d.runtime.topology import Topology, read_topology
from gan3d.runtime.watchdog import Watchdog

__all__ = [
    "HOROVOD_VARIABLES",
    "RANK_ENDED",
    "AppliedNode",
    "Communicator",
    "ElasticWork",
    "HorovodRanks",
    "Launch",
    "Signals",
    "SingleProcess",
    "Topology",
    "Watchdog",
    "apply_node",
    "check_workers",
    "connect",
    "describe_environment",
    "ended_ranks_named",
    "gather_text",
    "horovod_environment",
    "idle_cores",
    "is_bound_rank",
    "is_elastic",
    "keep_on",
    "launched",
    "memory_bytes",
    "noted_signals",
    "placed_cores",
    "plan",
    "quietly",
    "rank_cores",
    "rank_words",
    "read_topology",
    "recommend",
    "run_ranks",
    "share_text",
    "usable_cores",
]

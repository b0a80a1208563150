"""How long an all-reduce takes, by its size: `python -m gan3d.bench.all_reduce FILE SETTINGS`.

Run by every rank under horovodrun, with the experiment's `horovod` section as JSON; rank 0 writes
the sizes (bytes) and median seconds to FILE, as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gan3d.config import Horovod, Node

if TYPE_CHECKING:
    from gan3d.runtime import Communicator

SIZES = (2**10, 2**16, 2**18, 2**20, 2**22)
"""Bytes of the buffers that are reduced: from a small layer's to the whole generator's."""

_REPETITIONS = 30
_WARM_UP = 5


def measure_all_reduce(settings: Horovod) -> dict[str, Any] | None:
    """Time averages of each of `SIZES`, on all ranks alike; what was found, on rank 0.

    Raises NodeError where ranks cannot be joined.
    """
    from gan3d.runtime import apply_node, connect

    apply_node(Node(intra_op_threads=1, inter_op_threads=1))
    communicator = connect(settings)
    import tensorflow as tf

    seconds_by_size = []
    for size in SIZES:
        exchange, timed = _exchange(communicator, tf.zeros(size // 4), f"gan3d.bench.{size}"), []
        for _ in range(_WARM_UP + _REPETITIONS):
            communicator.barrier()  # so that no rank waits for another inside
            timed.append(float(exchange()[1]))
        seconds_by_size.append(statistics.median(timed[_WARM_UP:]))
    found = {
        "ranks": communicator.size,
        "bytes": list(SIZES),
        "seconds": seconds_by_size,
    }
    rank = communicator.rank
    communicator.shutdown()
    return found if rank == 0 else None


def _exchange(communicator: Communicator, tensor: Any, name: str) -> Any:
    """A compiled function that averages `tensor` and returns the mean and the seconds it took."""
    import tensorflow as tf

    # The mean has to be returned: TensorFlow leaves an exchange out whose result nobody takes.
    return tf.function(lambda: communicator.average([tensor], name))


def fit_line(size_i: Sequence[float], seconds_i: Sequence[float]) -> tuple[float, float]:
    """(s, s/byte) of the straight line through the times, each weighed by its relative error.

    Neither is ever negative.
    """
    size, seconds = np.asarray(size_i, np.float64), np.asarray(seconds_i, np.float64)
    slope, start = np.polyfit(size, seconds, 1, w=1.0 / seconds)
    return max(0.0, float(start)), max(0.0, float(slope))


if __name__ == "__main__":
    figures = measure_all_reduce(Horovod.model_validate_json(sys.argv[2]))
    if figures is not None:
        Path(sys.argv[1]).write_text(json.dumps(figures))

"""Where the time of a TensorFlow function goes, by kind of operation (TensorFlow's profiler)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gan3d.data import temporary_folder

# What TensorFlow calls convolutions and their gradients, plain ones and oneDNN's.
_CONVOLUTIONS = ("Conv2D", "Conv3D")

# The profiler calls the event of an operation NAME:KIND; those of the executor, which hold them,
# have two colons or a blank.
_OPERATION = re.compile(r"[^:]+:([A-Za-z_]\w*)")


def time_operations(function: Callable[[], Any]) -> dict[str, float]:
    """Seconds that each kind of operation takes in a call of `function`, the longest first.

    Of operations on processors; on a GPU, only what it takes to start them.
    """
    import tensorflow as tf

    options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2, python_tracer_level=0)
    with temporary_folder("gan3d-bench-step-") as folder:
        tf.profiler.experimental.start(str(folder), options=options)
        try:
            function()
        finally:
            tf.profiler.experimental.stop()
        seconds: Counter[str] = Counter()
        for path in folder.rglob("*.xplane.pb"):
            seconds.update(_read(path))
    return dict(seconds.most_common())


def share_of_convolutions(seconds: Mapping[str, float]) -> float:
    """Share of the time of all operations that convolutions and their gradients take."""
    own = [kind for kind in seconds if any(name in kind for name in _CONVOLUTIONS)]
    return sum(seconds[kind] for kind in own) / sum(seconds.values())


def _read(path: Path) -> Counter[str]:
    """Seconds by kind of operation in a file of the profiler."""
    # The format of the profiler's files, which comes with TensorFlow (pinned in pyproject.toml).
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    space = XSpace()
    space.ParseFromString(path.read_bytes())
    seconds: Counter[str] = Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                found = _OPERATION.fullmatch(plane.event_metadata[event.metadata_id].name)
                if found:
                    seconds[found[1]] += event.duration_ps / 1e12
    return seconds

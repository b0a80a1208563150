"""Parts of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops


def part(tensor: Any, starts: Sequence[int], sizes: Sequence[int]) -> Any:
    """Of every shower `sizes` numbers from `starts` on, along all axes but the first.

    As `tensor[:, a : a + n, ...]`, whose gradient takes TensorFlow many times as long on a
    processor.
    """
    if tuple(sizes) == tuple(tensor.shape[1:]):
        return tensor
    return ops.slice(tensor, (0, *starts), (ops.shape(tensor)[0], *sizes))


def wrap_around(tensor: Any, axis: int, before: int, after: int) -> Any:
    """Images that are longer along a periodic axis by cells of the other end.

    `axis` counts from 0, without that of the showers. At most once around: `before` and `after` are
    no more than there are cells.
    """
    sizes = list(tensor.shape[1:])
    cells = sizes[axis]

    def end(first: int, count: int) -> Any:
        starts, own = [0] * len(sizes), list(sizes)
        starts[axis], own[axis] = first, count
        return part(tensor, starts, own)

    parts = [end(cells - before, before)] if before else []
    parts.append(tensor)
    parts += [end(0, after)] if after else []
    return ops.concatenate(parts, axis=axis + 1) if len(parts) > 1 else tensor

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

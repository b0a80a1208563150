"""Random numbers that depend on the seed, the step and the shower, not on the number of ranks.

Every draw of a training step is a slice of one global array, (showers of all ranks, width), from a
counter-based generator (Philox: Salmon et al., SC 2011). A rank computes its own rows alone, by
starting the counter where they begin. So two ranks with batch B draw what one rank with batch 2B
draws, and the state of the generator is the number of the step.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

# Philox hands out four 32-bit numbers per count, so rows are padded to whole counts.
_PER_COUNT = 4
_PHILOX = 1


class NoiseStream:
    """Draws of one rank; `stream` numbers tell apart the draws within a step."""

    def __init__(self, seed: int, first_row: int, rows: int, streams: int) -> None:
        """Rows `first_row` to `first_row + rows` of every global array; `streams` per step."""
        self._key = tf.constant([seed], tf.uint64)
        self._first_row = first_row
        self._rows = rows
        self._streams = streams

    def normal(self, step: Any, stream: int, width: int) -> Any:
        """Standard normal draws (rows, width), float32."""
        return self._draw(tf.raw_ops.StatelessRandomNormalV2, step, stream, width)

    def uniform(self, step: Any, stream: int) -> Any:
        """Uniform draws in [0, 1), (rows, 1), float32."""
        return self._draw(tf.raw_ops.StatelessRandomUniformV2, step, stream, 1)

    def _draw(self, operation: Any, step: Any, stream: int, width: int) -> Any:
        padded = -(-width // _PER_COUNT) * _PER_COUNT
        low = tf.constant(self._first_row * padded // _PER_COUNT, tf.uint64)
        high = tf.cast(step, tf.uint64) * self._streams + stream
        draws = operation(
            shape=[self._rows, padded],
            key=self._key,
            counter=tf.stack([low, high]),
            alg=_PHILOX,
        )
        return draws[:, :width]

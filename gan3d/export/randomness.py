"""Standard normal draws by operations that every runtime has, reproducible shower by shower.

Runtimes' own random operations differ: ONNX's and TensorFlow Lite's take a seed only when the model
is made. Here a counter-based generator makes the same draws from an input, in all of them.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
PARITY = 0x1BD11BDA
ROUNDS = 13


def draw_latents(seed_n2: Any, latent_dim: int) -> Any:
    """Standard normal draws (N, latent_dim) for showers that are named by `seed_n2` (N, 2), int32.

    The two integers of a shower are the key of Threefry-2x32 with 13 rounds, the number of the draw
    is its counter (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; with 13
    rounds it passes BigCrush). Box and Muller (1958) make two normals of two words; with 24 bits of
    each, up to 5.8 standard deviations.
    """
    half = (latent_dim + 1) // 2
    counter_1h = tf.range(half, dtype=tf.int32)[None, :]
    first_nh, second_nh = threefry(
        (seed_n2[:, :1], seed_n2[:, 1:]), (counter_1h, tf.zeros_like(counter_1h))
    )
    radius_nh = tf.sqrt(-2.0 * tf.math.log(_uniform(first_nh) + 2.0**-24))
    angle_nh = 2.0 * math.pi * _uniform(second_nh)
    draws_nz = tf.concat([radius_nh * tf.cos(angle_nh), radius_nh * tf.sin(angle_nh)], axis=1)
    return draws_nz[:, :latent_dim]


def threefry(key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[Any, Any]:
    """Threefry-2x32 of keys and counters, int32 tensors that broadcast, which wrap around."""
    parity = tf.constant(PARITY, tf.int32)
    keys = (*key, tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(*key), parity))
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for number in range(ROUNDS):
        x = x + y
        y = tf.bitwise.bitwise_xor(_rotate(y, ROTATIONS[number % len(ROTATIONS)]), x)
        if number % 4 == 3:
            turn = number // 4 + 1
            x = x + keys[turn % 3]
            y = y + keys[(turn + 1) % 3] + turn
    return x, y


def _rotate(word: Any, bits: int) -> Any:
    """Rotate to the left. Multiplied, not shifted, as not all runtimes shift signed integers."""
    left = word * tf.constant(1 << bits, tf.int32)
    return left + tf.cast(_shift_right(word, 32 - bits), tf.int32)


def _uniform(word: Any) -> Any:
    """Uniform in [0, 1), float32, from the upper 24 bits."""
    return tf.cast(_shift_right(word, 8), tf.float32) * 2.0**-24


def _shift_right(word: Any, bits: int) -> Any:
    return tf.bitwise.right_shift(tf.cast(word, tf.uint32), tf.constant(bits, tf.uint32))

"""The arithmetic of a network, counted from the shapes of its layers."""

from __future__ import annotations

from math import prod
from typing import Any

import keras


def forward_flops(model: keras.Model) -> int:
    """Floating-point operations of one forward pass for one shower.

    A multiply-add counts as two. Dense layers and convolutions are counted, and layers that say
    themselves what they cost in an attribute `flops`; element-wise work is left out.
    """
    return sum(_layer_flops(layer) for layer in model.layers)


def step_flops(generator: keras.Model, discriminator: keras.Model, generator_updates: int) -> int:
    """Floating-point operations of one training step per shower.

    A generator pass, two discriminator updates, and the generator's updates through the
    discriminator. A backward pass costs two forward ones, one for the weights' gradients and one
    for the inputs'; the discriminator's weights need none in a generator update.
    """
    g, d = forward_flops(generator), forward_flops(discriminator)
    return g + 2 * 3 * d + generator_updates * (3 * g + 2 * d)


def _layer_flops(layer: Any) -> int:
    if isinstance(layer, (keras.layers.Dense, keras.layers.Conv3D)):
        # Every output is a sum over all but the last axis of the kernel.
        return 2 * int(prod(layer.kernel.shape[:-1])) * int(prod(layer.output.shape[1:]))
    return int(getattr(layer, "flops", 0))

"""The arithmetic and the memory of a network, counted from the shapes of its layers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod
from typing import Any

import keras

from gan3d.models.layers import Conv3D

_FLOAT32 = 4  # bytes
_FORWARD_LAYERS = 1.4
"""Of the largest layer's bytes: what a shower more in a batch took, by the peak memory of the
process, was 1.4 times as much in `angle51`, 1.6 in `ecal25` and 5 in `ecal25-compact`."""


def forward_flops(model: keras.Model, *, zeros: bool = True) -> int:
    """Floating-point operations of one forward pass for one shower.

    A multiply-add counts as two. Dense layers and convolutions are counted, and layers that say
    themselves what they cost in an attribute `flops`; element-wise work is left out. `zeros`:
    whether products with the zeros around an image count, as in published figures. Of a convolution
    of repeated cells all products count, as published; fewer are done (`gan3d.models.upsampling`).
    """
    return sum(_layer_flops(layer, zeros) for layer in model.layers)


def step_flops(
    generator: keras.Model,
    discriminator: keras.Model,
    generator_updates: int,
    *,
    zeros: bool = True,
) -> int:
    """Floating-point operations of one training step per shower.

    A generator pass, two discriminator updates, and the generator's updates through the
    discriminator. A backward pass costs two forward ones, one for the weights' gradients and one
    for the inputs'; the discriminator's weights need none in a generator update. `zeros` as in
    `forward_flops`.
    """
    g, d = (forward_flops(network, zeros=zeros) for network in (generator, discriminator))
    return g + 2 * 3 * d + generator_updates * (3 * g + 2 * d)


def describe_network(model: keras.Model, images: Sequence[str] = ()) -> str:
    """Parameters, arithmetic of a pass, kernels and the shapes that images take, in words.

    With several `images` of a shower by their names, with which the names of their layers begin,
    of each.
    """
    trainable = sum(prod(weight.shape) for weight in model.trainable_weights)
    parts = [_describe_layers(model.layers)]
    if images:
        own = ([each for each in model.layers if each.name.startswith(f"{i}_")] for i in images)
        parts = [
            f"{name}: {_describe_layers(layers)}" for name, layers in zip(images, own, strict=True)
        ]
    return (
        f"{model.count_params()} parameters, {trainable} trainable; "
        f"{forward_flops(model) / 1e9:.2g} GFLOP per shower; {'; '.join(parts)}"
    )


def _describe_layers(layers: Sequence[Any]) -> str:
    shapes = [shape for layer in layers for shape in _image_shapes(layer)]
    images = ", ".join("x".join(map(str, shape)) for shape, _ in itertools.groupby(shapes))
    kernels = ", ".join(
        "x".join(map(str, layer.kernel_size))
        for layer in layers
        if isinstance(layer, keras.layers.Conv3D)
    )
    return f"{f'kernels {kernels}; ' if kernels else ''}images {images}"


def activation_bytes(model: keras.Model) -> int:
    """Bytes of all layers' outputs for one shower, in float32."""
    return _FLOAT32 * sum(_size(layer.output) for layer in model.layers)


def forward_bytes(model: keras.Model) -> int:
    """Bytes that generating takes for one shower, at least (`largest_layer_bytes`)."""
    return round(_FORWARD_LAYERS * largest_layer_bytes(model))


def largest_layer_bytes(model: keras.Model) -> int:
    """Bytes that one layer's inputs and outputs take for one shower, of the layer that takes most.

    In float32. A forward pass alone needs no less at once.
    """
    return _FLOAT32 * max(_size(layer.input) + _size(layer.output) for layer in model.layers)


def _image_shapes(layer: Any) -> list[tuple[int, ...]]:
    """Shapes of the images that a layer makes: of a larger one to convolve, too."""
    shape = getattr(layer.output, "shape", ())
    if len(shape) != 5:
        return []
    if not isinstance(layer, Conv3D) or max(layer.upsampling) == 1:
        return [shape[1:]]
    _, *cells, channels = layer.input.shape
    return [(*layer.upsampled(cells), channels), shape[1:]]


def _size(tensors: Any) -> int:
    each = tensors if isinstance(tensors, list | tuple) else [tensors]
    return sum(int(prod(tensor.shape[1:])) for tensor in each)


def _layer_flops(layer: Any, zeros: bool) -> int:
    if isinstance(layer, keras.layers.Conv3D) and not zeros:
        cells = layer.input.shape[1:4]
        axes = zip(
            layer.upsampled(cells) if isinstance(layer, Conv3D) else cells,
            layer.output.shape[1:4],
            layer.kernel_size,
            layer.strides,
            _zeros_before(layer),
            strict=True,
        )
        return 2 * int(prod(layer.kernel.shape[3:])) * prod(_products(*axis) for axis in axes)
    if isinstance(layer, (keras.layers.Dense, keras.layers.Conv3D)):
        # Every output is a sum over all but the last axis of the kernel.
        return 2 * int(prod(layer.kernel.shape[:-1])) * int(prod(layer.output.shape[1:]))
    return int(getattr(layer, "flops", 0))


def _zeros_before(layer: Any) -> tuple[int, ...]:
    """Zeros before the first cell along (x, y, layer)."""
    if isinstance(layer, Conv3D):
        return tuple(before for before, _ in layer.pads)
    if layer.padding == "valid":
        return (0, 0, 0)
    axes = zip(
        layer.input.shape[1:4],
        layer.output.shape[1:4],
        layer.kernel_size,
        layer.strides,
        strict=True,
    )
    return tuple(
        max((out - 1) * stride + taps - cells, 0) // 2 for cells, out, taps, stride in axes
    )


def _products(cells: int, out: int, taps: int, stride: int, before: int) -> int:
    """Pairs of an output and a tap that meet a cell, along one axis."""
    return sum(
        0 <= number * stride + tap - before < cells for number in range(out) for tap in range(taps)
    )

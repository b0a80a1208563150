"""3D convolutions of few channels, arranged so that a processor's vector registers are full.

oneDNN computes output channels in blocks of 16, one AVX-512 register of floats: of a convolution
with 8 of them it throws half away. The same sums, other orders:

* *Pairs*. Two neighbouring cells along the layers are seen as one cell of twice the channels. That
  costs nothing, as they lie side by side in memory. The kernel then has a tap more, a zero at
  either end: 6 products for 5, of which none is in an empty half of a register.
* *Zeros around the image* are not copied there, where oneDNN can leave them out itself.
* *The gradient of the input* has the input's channels as its output's. With 16 of them or more it
  is fastest as it is, whatever was done to the forward pass; with one, the taps along x and
  neighbours along the layers are its channels, and are summed afterwards.
* *Layers as channels*. Where there are one or two channels on either side, registers are nearly
  empty however they are arranged. With all layers of a shower as the channels of a picture they are
  full, and most products are with zeros; up to some 30 layers that takes half of the time.

What is computed is the convolution; only the order of the sums is another (float rounding).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from gan3d.models.slicing import part, wrap_around

Pads = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Zeros before and after the image along (x, y, layer)."""

# Floats in a register of AVX-512, and channels in a block of oneDNN.
_LANES = 16

# Pairs are taken where they leave at most this share of the products, empty lanes included: less
# would be eaten up by copies.
_WORTH = 0.85


def same_pads(kernel_size: tuple[int, int, int]) -> Pads:
    """Zeros with which an image keeps its size."""
    x, y, z = (((k - 1) // 2, k // 2) for k in kernel_size)
    return x, y, z


def convolve_plainly(images_bxyzc: Any, kernel: Any, pads: Pads) -> Any:
    """The convolution as Keras has it, with zeros `pads` around the images."""
    if pads == same_pads(kernel.shape[:3]):
        return ops.conv(images_bxyzc, kernel, padding="same", data_format="channels_last")
    return ops.conv(_pad(images_bxyzc, pads), kernel, padding="valid", data_format="channels_last")


def convolve(images_bxyzc: Any, kernel: Any, pads: Pads) -> Any:
    """The same in the order that is fastest on a processor.

    Images (B, x, y, layer, channels), kernel (x, y, layer, channels, filters).
    """
    kernel = ops.convert_to_tensor(kernel)
    channels, filters = kernel.shape[3:]
    same = pads == same_pads(kernel.shape[:3])
    if channels == 1 and same and filters >= _LANES and all(k % 2 for k in kernel.shape[:3]):
        out = convolve_plainly(ops.stop_gradient(images_bxyzc), kernel, pads)
        return _with_gradient(out, images_bxyzc, kernel, _gradient_of_one_channel)
    if not _pairs_pay(images_bxyzc.shape[3], kernel.shape, pads[2]):
        return convolve_plainly(images_bxyzc, kernel, pads)
    if channels < _LANES:
        return _convolve_pairs(images_bxyzc, kernel, pads)
    # Zeros that stay outside are left to oneDNN in both directions.
    if not same:
        images_bxyzc, pads = _pad(images_bxyzc, pads), ((0, 0),) * 3

    def gradient(upstream: Any, kernel: Any) -> Any:
        return ops.conv_transpose(
            upstream, kernel, padding="same" if same else "valid", data_format="channels_last"
        )

    out = _convolve_pairs(ops.stop_gradient(images_bxyzc), kernel, pads)
    return _with_gradient(out, images_bxyzc, kernel, gradient)


def convolve_layers(images_bxyzc: Any, kernel: Any, periodic: Sequence[bool]) -> Any:
    """The convolution that keeps the size, with all layers as channels of a picture.

    For kernels of an odd number of taps along each axis. Along `periodic` axes (x, y, layer) images
    go round, along others there are zeros beside them.
    """
    _, x, y, z, _ = images_bxyzc.shape
    *taps_xy, taps_z, channels, filters = kernel.shape
    pictures = ops.reshape(images_bxyzc, (-1, x, y, z * channels))
    zeros = [(0, 0)]
    for axis, (taps, wraps) in enumerate(zip(taps_xy, periodic, strict=False)):
        zeros.append((0, 0) if wraps else (taps // 2, taps // 2))
        if wraps:
            pictures = wrap_around(pictures, axis, taps // 2, taps // 2)
    rows = ops.reshape(ops.transpose(kernel, (2, 0, 1, 3, 4)), (taps_z, -1))
    of_taps = _of_taps(z, taps_z, wraps=periodic[2]).reshape(taps_z, z * z)
    band = ops.reshape(
        ops.matmul(of_taps.T, rows), (z, z, *taps_xy, channels, filters)
    )  # of the layer that is read and the one that is written
    band = ops.reshape(
        ops.transpose(band, (2, 3, 0, 4, 1, 5)), (*taps_xy, z * channels, z * filters)
    )
    if any(periodic[:2]):
        out = ops.conv(ops.pad(pictures, [*zeros, (0, 0)]), band, padding="valid")
    else:
        out = ops.conv(pictures, band, padding="same")
    return ops.reshape(out, (-1, x, y, z, filters))


def _of_taps(layers: int, taps: int, *, wraps: bool) -> NDArray[np.float32]:
    """1 where a tap takes from a layer what it gives to another: (tap, from, to)."""
    tap, to = np.meshgrid(np.arange(taps), np.arange(layers), indexing="ij")
    source = to + tap - taps // 2
    inside = np.ones_like(source, bool) if wraps else (source >= 0) & (source < layers)
    found = np.zeros((taps, layers, layers), np.float32)
    np.add.at(found, (tap[inside], source[inside] % layers, to[inside]), 1.0)
    return found


def _pad(images_bxyzc: Any, pads: Pads) -> Any:
    if not any(map(any, pads)):
        return images_bxyzc
    return ops.pad(images_bxyzc, ((0, 0), *pads, (0, 0)))


def _pairs_pay(cells: int, kernel_shape: tuple[int, ...], pads: tuple[int, int]) -> bool:
    """Whether pairs along the layers save products, those in empty lanes counted."""
    taps, filters = kernel_shape[2], kernel_shape[4]
    if 2 * filters > _LANES:
        return False
    out = cells + sum(pads) - taps + 1
    more_taps = 2 * ceil((taps + 1) / 2) / taps
    more_cells = 2 * ceil(out / 2) / out
    return more_taps * more_cells / 2 <= _WORTH


def _convolve_pairs(images_bxyzc: Any, kernel: Any, pads: Pads) -> Any:
    """Two neighbours along the layers as one cell: channels (first, second) of (B, x, y, pair)."""
    _, x, y, z, channels = images_bxyzc.shape
    taps, filters = kernel.shape[2], kernel.shape[4]
    before, after = pads[2]
    out_z = z + before + after - taps + 1
    pairs = ceil(out_z / 2)

    # Neighbour p of a pair of outputs sees the cells from its own on: the kernel, p taps later.
    late = 2 * ceil((taps + 1) / 2) - taps
    kernel = ops.stack(
        [ops.pad(kernel, ((0, 0), (0, 0), (p, late - p), (0, 0), (0, 0))) for p in (0, 1)], axis=4
    )
    wide = (taps + late) // 2
    kernel = ops.reshape(kernel, (*kernel.shape[:2], wide, 2 * channels, 2 * filters))

    # With as many pairs before and after as `same` puts there, only whole pairs have to be made.
    same = same_pads((*kernel.shape[:2], wide))
    inside = pads[:2] == same[:2] and before == 2 * same[2][0] and pairs == ceil(z / 2)
    outer: Pads
    if inside:
        outer = ((0, 0), (0, 0), (0, 2 * pairs - z))
    else:
        outer = (*pads[:2], (before, 2 * (pairs + wide - 1) - z - before))
    padded = _pad(images_bxyzc, outer)
    _, x, y, z, _ = padded.shape
    out = ops.conv(
        ops.reshape(padded, (-1, x, y, z // 2, 2 * channels)),
        kernel,
        padding="same" if inside else "valid",
        data_format="channels_last",
    )
    _, x, y, _, _ = out.shape
    out = ops.reshape(out, (-1, x, y, 2 * pairs, filters))
    return _first_layers(out, out_z)


def _first_layers(images_bxyzc: Any, count: int) -> Any:
    """Images without the layers that come after the first `count`."""
    _, x, y, _, channels = images_bxyzc.shape
    return part(images_bxyzc, (0, 0, 0, 0), (x, y, count, channels))


def _with_gradient(out: Any, images: Any, kernel: Any, gradient: Any) -> Any:
    """`out`, through which `images` get `gradient(upstream, kernel)`, and `out` its own."""

    @ops.custom_gradient  # type: ignore[untyped-decorator] # Keras has no types
    def identity(out: Any, images: Any, kernel: Any) -> Any:
        def backward(*upstreams: Any, upstream: Any = None) -> Any:
            (given,) = upstreams or (upstream,)
            return given, gradient(given, kernel), ops.zeros_like(kernel)

        return out, backward

    return identity(out, images, ops.stop_gradient(kernel))


def _gradient_of_one_channel(upstream_bxyzc: Any, kernel: Any) -> Any:
    """Gradient of images (B, x, y, layer, 1) of a `same` convolution with an odd kernel.

    In two steps: a convolution along y and the layers, whose channels are the taps along x times
    neighbours along the layers; then the sum over the taps.
    """
    taps_x, taps_y, taps_z, _, filters = kernel.shape
    _, x, y, z, _ = upstream_bxyzc.shape
    side = max(1, _LANES // taps_x)
    blocks = ceil(z / side)
    # The cells that a block of `side` neighbours sees begin taps_z // 2 before it; `same` with a
    # stride begins where it begins, so that there may be taps of zeros before.
    wide = taps_z + side - 1
    while True:
        begins = ((blocks - 1) * side + wide - z) // 2
        early = begins - taps_z // 2
        if early >= 0 and wide >= early + taps_z + side - 1:
            break
        wide += 1
    flipped = ops.flip(kernel[:, :, :, 0], axis=(1, 2))
    flipped = ops.transpose(flipped, (1, 2, 3, 0))
    late = wide - early - taps_z
    kernel = ops.stack(
        [ops.pad(flipped, ((0, 0), (early + p, late - p), (0, 0), (0, 0))) for p in range(side)],
        axis=4,
    )
    sums = ops.conv(
        upstream_bxyzc,
        ops.reshape(kernel, (1, taps_y, wide, filters, taps_x * side)),
        strides=(1, 1, side),
        padding="same",
        data_format="channels_last",
    )
    sums = ops.reshape(sums, (-1, x, y, blocks, taps_x, side))
    half = taps_x // 2
    sums = ops.pad(sums, ((0, 0), (half, half), *((0, 0),) * 4))
    total = sum(
        sums[:, taps_x - 1 - tap : taps_x - 1 - tap + x, :, :, tap] for tap in range(taps_x)
    )
    return _first_layers(ops.reshape(total, (-1, x, y, blocks * side, 1)), z)

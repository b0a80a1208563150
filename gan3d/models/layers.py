"""Layers that Keras has not, registered by name so that they load safely."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import keras
from keras import ops

from gan3d.config import CellScale
from gan3d.models.convolution import Pads, convolve, convolve_plainly, same_pads
from gan3d.models.slicing import part, wrap_around
from gan3d.models.upsampling import convolve_upsampled, repeat_cells


@keras.saving.register_keras_serializable(package="gan3d")
class EcalSum(keras.layers.Layer):
    """Sum of all cells of an image: (B, x, y, layer, 1) -> (B, 1), in the image's unit: GeV.

    Summed in float32 whatever the precision policy: half a million keV added up in bfloat16 would
    lose the percent that the calorimeter resolves.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, images_bxyzc: Any) -> Any:
        """Add up the cells."""
        return ops.expand_dims(ops.sum(images_bxyzc, axis=(1, 2, 3, 4)), axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """(B, x, y, layer, 1) -> (B, 1)."""
        return (input_shape[0], 1)


@keras.saving.register_keras_serializable(package="gan3d")
class ImagePart(keras.layers.Layer):
    """One of several images of a shower: (B, cells of all, 1, 1, 1) -> (B, x, y, layer, 1).

    Its cells are those from `first` on (`gan3d.config.images`). In float32 whatever the precision
    policy, as all images are.
    """

    def __init__(self, first: int, image_shape: Sequence[int], **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.first = first
        self.image_shape = tuple(image_shape)

    def call(self, cells_bxyzc: Any) -> Any:
        """Take the image out."""
        own = part(cells_bxyzc, (self.first, 0, 0, 0), (prod(self.image_shape), 1, 1, 1))
        return ops.reshape(own, (-1, *self.image_shape, 1))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(B, cells of all, 1, 1, 1) -> (B, x, y, layer, 1)."""
        return (input_shape[0], *self.image_shape, 1)

    def get_config(self) -> dict[str, Any]:
        """What the layer is made of."""
        return {**super().get_config(), "first": self.first, "image_shape": self.image_shape}


@keras.saving.register_keras_serializable(package="gan3d")
class CellsInGev(keras.layers.Layer):
    """Undo what `data.cell_power` or `data.cell_log_gev` did to images.

    In float32 whatever the precision policy.
    """

    def __init__(self, power: float, log_gev: float | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.scale = CellScale(power, log_gev)

    def call(self, images_bxyzc: Any) -> Any:
        """To GeV."""
        return self.scale.gev(images_bxyzc, ops)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """As given."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What the layer is made of."""
        own = {"power": self.scale.power, "log_gev": self.scale.log_gev}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="gan3d")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's layer, which can normalise with the batches of all ranks together.

    Keras's own `synchronized` knows the replicas of tf.distribute alone.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean_over_ranks: Callable[[Any], Any] | None = None
        """The mean of a tensor over ranks, through which gradients flow; None: this rank alone."""

    def _moments(self, inputs: Any, mask: Any) -> tuple[Any, Any]:
        mean_c, variance_c = super()._moments(inputs, mask)
        if self.mean_over_ranks is None:
            return mean_c, variance_c
        # Two exchanges: E[x^2] - E[x]^2 in one would cancel. Ranks' batches are of the same size.
        mean_of_all_c = self.mean_over_ranks(mean_c)
        shift_c = mean_c - mean_of_all_c
        return mean_of_all_c, self.mean_over_ranks(variance_c + ops.square(shift_c))


@keras.saving.register_keras_serializable(package="gan3d")
class Conv3D(keras.layers.Conv3D):
    """Keras's layer, which puts zeros around the images itself, and is faster on processors.

    `zeros` are their numbers along (x, y, layer), on either side; with `same` there are others.
    `upsampling`: images are made so many times larger before, along each axis, by repeating cells.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        *,
        zeros: tuple[int, int, int] = (0, 0, 0),
        upsampling: tuple[int, int, int] = (1, 1, 1),
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        self.zeros = tuple(zeros)
        x, y, z = upsampling
        self.upsampling = (x, y, z)
        self.plain = False
        """Whether it is computed as Keras does, for runtimes that are no processor's TensorFlow."""
        self.repeats = False
        """Whether cells are repeated in memory for `upsampling`, as Keras does: to compare with."""

    @property
    def pads(self) -> Pads:
        """Zeros before and after the images along (x, y, layer)."""
        if self.padding == "same":
            return same_pads(self.kernel_size)
        x, y, z = ((count, count) for count in self.zeros)
        return x, y, z

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """The convolution alone."""
        way = convolve_plainly if self.plain else convolve
        if self.repeats:
            return way(repeat_cells(inputs, self.upsampling), kernel, self.pads)
        if max(self.upsampling) > 1:
            return convolve_upsampled(inputs, kernel, self.pads, self.upsampling, way)
        return way(inputs, kernel, self.pads)

    def upsampled(self, cells: Sequence[int | None]) -> tuple[int | None, ...]:
        """Cells along (x, y, layer) of what is convolved, of those of the images."""
        return tuple(
            None if count is None else count * factor
            for count, factor in zip(cells, self.upsampling, strict=True)
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(B, x, y, layer, channels) -> (B, x', y', layer', filters)."""
        sizes = (
            None if cells is None else cells + sum(pads) - taps + 1
            for cells, pads, taps in zip(
                self.upsampled(input_shape[1:4]), self.pads, self.kernel_size, strict=True
            )
        )
        return (input_shape[0], *sizes, self.filters)

    def get_config(self) -> dict[str, Any]:
        """What the layer is made of."""
        return {**super().get_config(), "zeros": self.zeros, "upsampling": self.upsampling}


@keras.saving.register_keras_serializable(package="gan3d")
class PeriodicPadding(keras.layers.Layer):
    """Images with what is around them: a convolution without zeros of its own then goes round.

    (B, x, y, layer, channels) -> longer by `pads`, cells before and after along (x, y, layer):
    along `periodic` axes those of the other end, along others zeros.
    """

    def __init__(
        self, pads: Sequence[Sequence[int]], periodic: Sequence[bool], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.pads = tuple((before, after) for before, after in pads)
        self.periodic = tuple(periodic)

    def call(self, images_bxyzc: Any) -> Any:
        """Put them there."""
        zeros = [
            (0, 0) if wraps else pads for pads, wraps in zip(self.pads, self.periodic, strict=True)
        ]
        if any(map(any, zeros)):
            images_bxyzc = ops.pad(images_bxyzc, ((0, 0), *zeros, (0, 0)))
        for axis, ((before, after), wraps) in enumerate(zip(self.pads, self.periodic, strict=True)):
            if wraps:
                images_bxyzc = wrap_around(images_bxyzc, axis, before, after)
        return images_bxyzc

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Longer by the pads."""
        sizes = (
            None if cells is None else cells + sum(pads)
            for cells, pads in zip(input_shape[1:4], self.pads, strict=True)
        )
        return (input_shape[0], *sizes, input_shape[4])

    def get_config(self) -> dict[str, Any]:
        """What the layer is made of."""
        return {**super().get_config(), "pads": self.pads, "periodic": self.periodic}


@keras.saving.register_keras_serializable(package="gan3d")
class Dropout(keras.layers.Dropout):
    """Keras's layer, the same numbers from fewer passes over the images.

    A product with a mask takes the place of a choice between two tensors, forward and back.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Set a share `rate` of the numbers to zero, and scale the others up for it."""
        if not training or self.rate == 0:
            return inputs
        draws = keras.random.uniform(ops.shape(inputs), dtype="float32", seed=self.seed_generator)
        kept = ops.cast(draws >= self.rate, inputs.dtype)
        return inputs * (kept * (1.0 / (1.0 - self.rate)))


def set_plain(network: keras.Model, *, repeats: bool = False) -> None:
    """Let `network` compute its convolutions as Keras does, where it is traced from now on.

    `repeats`: with cells repeated in memory where images are made larger, too.
    """
    for layer in network.layers:
        if isinstance(layer, Conv3D):
            layer.plain, layer.repeats = True, repeats


@contextmanager
def convolved_plainly(network: keras.Model) -> Iterator[None]:
    """Let `network` compute its convolutions as Keras does, where it is traced meanwhile.

    These can be differentiated twice; the gradients that `gan3d.models.convolution` gives cannot.
    """
    layers = [layer for layer in network.layers if isinstance(layer, Conv3D)]
    before = [layer.plain for layer in layers]
    set_plain(network)
    try:
        yield
    finally:
        for layer, plain in zip(layers, before, strict=True):
            layer.plain = plain

"""Layers that Keras has not, registered by name so that they load safely."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gan3d")
class EcalSum(keras.layers.Layer):
    """Sum of all cells of an image: (B, x, y, layer, 1) -> (B, 1), in the image's unit (GeV).

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

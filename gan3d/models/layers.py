"""Physics layers without parameters, registered by name so that they load safely."""

from __future__ import annotations

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

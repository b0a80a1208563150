"""What layers have in common whose weights are statistics of the training showers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

TINY = 1e-12


class StatisticsLayer(keras.layers.Layer):
    """A float32 layer whose weights are statistics."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def statistic(self, name: str, value: Any) -> Any:
        """A non-trainable weight that starts at `value`."""
        value = np.asarray(value, dtype=np.float32)
        return self.add_weight(
            shape=value.shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(value, dtype=dtype),
            trainable=False,
            name=name,
        )

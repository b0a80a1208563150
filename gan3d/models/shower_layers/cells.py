"""Layers that draw cells around what is expected of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import keras
import numpy as np
from keras import ops

from gan3d.models.convolution import convolve_layers
from gan3d.models.shower_layers.statistics_layer import TINY, StatisticsLayer
from gan3d.models.shower_layers.variables import interpolate
from gan3d.models.shower_statistics import found as statistics
from gan3d.models.shower_statistics.found import ShowerStatistics


@keras.saving.register_keras_serializable(package="gan3d")
class CorrelatedNoise(keras.layers.Layer):
    """Correlate independent noise between neighbouring cells and keep its variance at 1.

    [noise, log_expected (both B, x, y, layer, 1)] -> scores (B, x, y, layer, 1). A particle that
    crosses several cells makes their energies rise together. Two learned 3D kernels, one for rich
    and one for poor cells, are blended by the expected energy; dividing by the norm of the blend
    leaves the spectrum of each cell as it is. Along `periodic` axes the last cells are the first
    ones' neighbours.
    """

    def __init__(
        self,
        kernel_size: tuple[int, int, int] = (3, 3, 7),
        periodic: Sequence[bool] = (False, False, False),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.kernel_size = tuple(kernel_size)
        self.periodic = tuple(periodic)

    @property
    def flops(self) -> int:
        """Floating-point operations per shower."""
        cells: int = prod(self.output.shape[1:])
        return 2 * 2 * prod(self.kernel_size) * cells

    def build(self, input_shape: Any) -> None:
        """Make two kernels of zeros and the energy at which they are blended half and half."""
        self.kernel = self.add_weight(
            shape=(*self.kernel_size, 1, 2), initializer="zeros", name="kernel"
        )
        self.log_energy = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(np.log(1e-3)), name="log_energy"
        )

    def call(self, inputs: Any) -> Any:
        """Convolve, blend and normalise."""
        noise, log_expected = inputs
        centre = np.zeros((*self.kernel_size, 1, 1), dtype=np.float32)
        centre[tuple(size // 2 for size in self.kernel_size)] = 1.0
        kernel = ops.convert_to_tensor(self.kernel)
        mixed = convolve_layers(noise, kernel, self.periodic)
        rich = ops.sigmoid(log_expected - self.log_energy)
        of_rich, of_poor = ops.split(mixed, 2, axis=-1)
        scores = noise + rich * of_rich + (1.0 - rich) * of_poor
        first, second = kernel[..., :1] + centre, kernel[..., 1:] + centre
        variance = (
            rich**2 * ops.sum(first**2)
            + 2.0 * rich * (1.0 - rich) * ops.sum(first * second)
            + (1.0 - rich) ** 2 * ops.sum(second**2)
        )
        return scores * ops.rsqrt(variance + 1e-6)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"kernel_size": self.kernel_size, "periodic": self.periodic}
        return {**super().get_config(), **own}

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the noise."""
        return input_shape[0]


@keras.saving.register_keras_serializable(package="gan3d")
class CellEnergies(StatisticsLayer):
    """Scores and expected energies of cells -> cell energies (B, x, y, layer, 1) in GeV.

    [scores, log_expected (both B, x, y, layer, 1), layers, hit_shift (both B, layer)]. A cell of
    score a is hit if the standard normal probability of exceeding a is below its probability of a
    hit; then the quantile function of hit energies gives its energy. At last the cells of a layer
    are scaled to the layer's energy.
    """

    MIN_CHANGE, MAX_CHANGE = -0.8, 4.0

    def __init__(self, image_shape: tuple[int, int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.image_shape = tuple(image_shape)

    def build(self, input_shape: Any) -> None:
        """Make the statistics: hits are exponential around 2e-4 GeV or the expected energy."""
        k, e = statistics.SHARE_CLASSES, statistics.EXPECTED_KNOTS
        logit = statistics.LOGIT_KNOTS
        expected_e = np.linspace(np.log(1e-8), np.log(0.2), e)
        log_hit_e = np.maximum(np.log(2e-4), expected_e)
        probability_e = np.clip(np.exp(expected_e - log_hit_e), 1e-9, 1 - 1e-6)
        exponential_l = np.log(-np.log1p(-1.0 / (1.0 + np.exp(-logit))))
        self.expected_range = self.statistic("expected_range", expected_e[[0, -1]])
        self.cell_class_xyz = self.statistic("cell_class", np.zeros(self.image_shape))
        self.log_hit_energy = self.statistic("log_hit_energy", np.log(4e-4))
        self.logit_hit_ke = self.statistic(
            "logit_hit", np.tile(np.log(probability_e / (1 - probability_e)), (k, 1))
        )
        self.log_energy_kel = self.statistic(
            "log_energy", np.tile(log_hit_e[:, None] + exponential_l, (k, 1, 1))
        )

    def adapt(self, found: ShowerStatistics) -> None:
        """Take over the statistics of training showers."""
        self.expected_range.assign(found.log_expected_range)
        self.cell_class_xyz.assign(found.share_class_xyz)
        self.log_hit_energy.assign(found.log_hit_energy)
        self.logit_hit_ke.assign(found.logit_hit_ke)
        self.log_energy_kel.assign(found.log_energy_kel)

    def call(self, inputs: Any) -> Any:
        """Draw the cells."""
        scores, log_expected, layers_bz, hit_shift_bz = inputs
        knots, logits = statistics.EXPECTED_KNOTS, statistics.LOGIT_KNOTS
        low, high = self.expected_range[0], self.expected_range[1]
        position = (log_expected - low) * ((knots - 1) / (high - low))
        position = ops.clip(position, 0.0, knots - 1.0)
        left = ops.minimum(ops.floor(ops.stop_gradient(position)), knots - 2.0)
        weight = position - left
        row = ops.cast(self.cell_class_xyz[..., None] * knots + left, "int32")
        logit_table = ops.reshape(self.logit_hit_ke, (-1,))
        logit = ops.take(logit_table, row)
        logit = logit + weight * (ops.take(logit_table, row + 1) - logit)
        hit = ops.sigmoid(logit + hit_shift_bz[:, None, None, :, None])
        # Fewer hits are more energetic ones: the expected energy of the cell stays.
        compensation = ops.sigmoid(logit) / hit
        exceeding = ops.maximum(0.5 - 0.5 * ops.erf(scores * 0.70710678), 1e-7)
        rank = ops.maximum(hit - exceeding, 0.0)
        logit = ops.log((rank + 1e-9) / exceeding)
        at = (logit - logits[0]) / (logits[1] - logits[0])
        table = ops.reshape(self.log_energy_kel, (-1,))
        below = interpolate(table, row, at, len(logits))
        above = interpolate(table, row + 1, at, len(logits))
        drawn = ops.exp(below + weight * (above - below))
        energies = ops.where(rank > 0.0, drawn * compensation, 0.0)
        # Large deposits absorb the difference: small ones are minimum-ionising and keep their peak.
        large = energies * energies / (energies + ops.exp(self.log_hit_energy))
        missing_bz = layers_bz - ops.sum(energies, axis=(1, 2, 4))
        change_bz = missing_bz / (ops.sum(large, axis=(1, 2, 4)) + TINY)
        change_bz = ops.clip(change_bz, self.MIN_CHANGE, self.MAX_CHANGE)
        return energies + large * change_bz[:, None, None, :, None]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "image_shape": self.image_shape}

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """-> (B, x, y, layer, 1)."""
        return (input_shape[0][0], *self.image_shape, 1)

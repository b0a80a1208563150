"""Layers that a discriminator sees showers with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from gan3d.models.shower_layers.statistics_layer import TINY, StatisticsLayer
from gan3d.models.slicing import part, wrap_around


@keras.saving.register_keras_serializable(package="gan3d")
class LogEnergy(StatisticsLayer):
    """Cell energies in GeV -> ln(1 + energy / scale): images span five decades and are sparse."""

    def __init__(self, scale_gev: float = 1e-4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale_gev = scale_gev

    def call(self, images_bxyzc: Any) -> Any:
        """Take the logarithm."""
        return ops.log1p(images_bxyzc / self.scale_gev)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "scale_gev": self.scale_gev}

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape


@keras.saving.register_keras_serializable(package="gan3d")
class ShowerSummaries(StatisticsLayer):
    """Physics summaries of images, standardised given the incident energy.

    [images (B, x, y, layer, 1) in GeV, condition terms (B, T)] -> (B, S). Profiles along the three
    axes, numbers of cells above thresholds per layer and in all (soft, so that they have
    gradients), first and second moments, total energy, the weight of the leading cells and the
    correlation of neighbours. Along `periodic` axes the moments are means of the angle's cosine and
    sine, and the last cells are the first ones' neighbours.
    """

    SCALE_GEV = 1e-4
    THRESHOLDS_GEV = (2e-5, 1e-4, 5e-4, 3e-3)
    NEIGHBOURS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 2), (1, 1, 0))
    CLIP = 8.0

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        periodic: Sequence[bool] = (False, False, False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_shape = tuple(image_shape)
        self.periodic = tuple(periodic)
        x, y, z = self.image_shape
        self.count = x + y + z + len(self.THRESHOLDS_GEV) * (z + 1) + 8 + 2 * len(self.NEIGHBOURS)

    def build(self, input_shape: Any) -> None:
        """Make the statistics: no standardisation yet."""
        self.mean_ts = self.statistic("mean", np.zeros((input_shape[1][-1], self.count)))
        self.deviation_s = self.statistic("deviation", np.ones(self.count))

    def adapt(self, images_nxyz: Any, terms_nt: Any) -> None:
        """Take mean, as the conditions' terms have it, and deviation from training showers."""
        rows = np.arange(len(images_nxyz))
        summaries_ns = np.concatenate(
            [
                ops.convert_to_numpy(
                    self.summarise(ops.convert_to_tensor(images_nxyz[part, ..., None]))
                )
                for part in np.array_split(rows, max(1, len(rows) // 200))
            ]
        )
        mean_ts, *_ = np.linalg.lstsq(terms_nt, summaries_ns.astype(np.float64), rcond=None)
        self.mean_ts.assign(mean_ts)
        self.deviation_s.assign((summaries_ns - terms_nt @ mean_ts).std(axis=0) + 1e-3)

    def summarise(self, images_bxyzc: Any) -> Any:
        """The summaries before standardisation, (B, S)."""
        images = ops.squeeze(images_bxyzc, axis=-1)
        profiles = [ops.sum(images, axis=axes) for axes in ((2, 3), (1, 3), (1, 2))]
        total_b1 = ops.sum(profiles[2], axis=-1, keepdims=True) + TINY
        parts = [ops.log1p(profile / self.SCALE_GEV) for profile in profiles]
        for threshold in self.THRESHOLDS_GEV:
            square = ops.square(images)
            soft = square / (square + threshold**2)
            hits_bz = ops.sum(soft, axis=(1, 2))
            parts += [ops.log1p(hits_bz), ops.log1p(ops.sum(hits_bz, axis=-1, keepdims=True))]
        for profile, cells, wraps in zip(profiles, self.image_shape, self.periodic, strict=True):
            index = ops.arange(cells, dtype="float32")
            if wraps:
                turn = (index + 0.5) * (2.0 * np.pi / cells)
                parts += [
                    ops.sum(profile * wave, axis=-1, keepdims=True) / total_b1
                    for wave in (ops.cos(turn), ops.sin(turn))
                ]
                continue
            first_b1 = ops.sum(profile * index, axis=-1, keepdims=True) / total_b1
            second_b1 = (
                ops.sum(profile * (index - first_b1) ** 2, axis=-1, keepdims=True) / total_b1
            )
            parts += [first_b1, ops.log(second_b1 + 1e-2)]
        leading_b1 = ops.sum(ops.square(images / total_b1[..., None, None]), axis=(1, 2, 3))[
            :, None
        ]
        parts += [ops.log(total_b1), ops.log(leading_b1 + TINY)]
        parts += self._neighbours(ops.log1p(images / self.SCALE_GEV))
        parts += self._neighbours(images / (images + self.THRESHOLDS_GEV[-1]))
        return ops.concatenate(parts, axis=-1)

    def _neighbours(self, values_bxyz: Any) -> list[Any]:
        """Correlate cells with their neighbours: sums of products over the sum of squares."""
        squares_b = ops.sum(ops.square(values_bxyz), axis=(1, 2, 3)) + TINY

        def correlate(*shift: int) -> Any:
            longer = values_bxyz
            sizes = list(self.image_shape)
            for axis, (own, wraps) in enumerate(zip(shift, self.periodic, strict=True)):
                if wraps:
                    longer = wrap_around(longer, axis, 0, own)
                else:
                    sizes[axis] -= own
            products = part(longer, shift, sizes) * part(values_bxyz, (0, 0, 0), sizes)
            return ops.sum(products, axis=(1, 2, 3))[:, None] / squares_b[:, None]

        return [correlate(*shift) for shift in self.NEIGHBOURS]

    def call(self, inputs: Any) -> Any:
        """Summarise and standardise."""
        images_bxyzc, terms_bt = inputs
        mean_bs = ops.matmul(terms_bt, self.mean_ts)
        standard_bs = (self.summarise(images_bxyzc) - mean_bs) / self.deviation_s
        return self.CLIP * ops.tanh(standard_bs / self.CLIP)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"image_shape": self.image_shape, "periodic": self.periodic}
        return {**super().get_config(), **own}

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        """-> (B, S)."""
        return (input_shape[0][0], self.count)


@keras.saving.register_keras_serializable(package="gan3d")
class BatchSpread(keras.layers.Layer):
    """Standard deviation of every feature over the batch, given to all showers: (B, F) -> (B, F).

    It shows the discriminator the width of the generated distribution (Karras et al. 2018). In
    float32: in 16 bits the squares of small deviations are lost.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, features_bf: Any) -> Any:
        """Take the deviation."""
        spread_f = ops.sqrt(ops.var(features_bf, axis=0, keepdims=True) + 1e-6)
        return ops.broadcast_to(spread_f, ops.shape(features_bf))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape


@keras.saving.register_keras_serializable(package="gan3d")
class CalibratedLayers(StatisticsLayer):
    """Images (B, x, y, layer, 1) in GeV -> layer energies over the sampling fraction, (B, layer).

    The sum over layers estimates the scaled incident energy.
    """

    def __init__(self, image_shape: tuple[int, int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.image_shape = tuple(image_shape)

    def build(self, input_shape: Any) -> None:
        """Make the statistic: a 2 % sampling fraction at an energy scale of 100 GeV."""
        self.response = self.statistic("response", 2.0)

    def adapt(self, images_nxyz: Any, energy_n1: Any) -> None:
        """Take the mean response (GeV per scaled energy) of training showers."""
        self.response.assign(np.sum(images_nxyz, dtype=np.float64) / np.sum(energy_n1))

    def call(self, images_bxyzc: Any) -> Any:
        """Sum the layers."""
        return ops.sum(images_bxyzc, axis=(1, 2, 4)) / self.response

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "image_shape": self.image_shape}

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        """-> (B, layer)."""
        return (input_shape[0], self.image_shape[2])

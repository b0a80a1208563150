"""Layers from conditions and scores to the variables of a shower: response, layers, hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from gan3d.models.shower_conditions import ENERGY_TERMS, ShowerConditions
from gan3d.models.shower_layers.statistics_layer import TINY, StatisticsLayer
from gan3d.models.shower_statistics import found as statistics
from gan3d.models.shower_statistics.found import ShowerStatistics


@keras.saving.register_keras_serializable(package="gan3d")
class ConditionTerms(StatisticsLayer):
    """Scaled incident energy (B, 1), and labels (B, C) if any -> terms (B, T), the first being 1.

    Those of `gan3d.models.shower_conditions.condition_terms`.
    """

    def __init__(
        self,
        kinds: Sequence[int] = (),
        angle: tuple[int, float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # Lists where the layer is made again from its configuration.
        place, offset, scale = (None, 0.0, 1.0) if angle is None else angle
        self.conditions = ShowerConditions(
            tuple(kinds), None if place is None else (place, offset, scale)
        )

    def build(self, input_shape: Any) -> None:
        """Make the statistics: numbers as they are."""
        del input_shape
        if self.conditions.numbers:
            self.centre_m = self.statistic("centre", np.zeros(len(self.conditions.numbers)))
            self.width_m = self.statistic("width", np.ones(len(self.conditions.numbers)))

    def adapt(self, found: ShowerStatistics) -> None:
        """Take over the statistics of training showers."""
        if self.conditions.numbers:
            self.centre_m.assign(found.number_centre_m)
            self.width_m.assign(found.number_width_m)

    def call(self, inputs: Any) -> Any:
        """Take the powers."""
        energy_b1, labels_bc = inputs if isinstance(inputs, (list, tuple)) else (inputs, None)
        log_b1 = ops.log(ops.maximum(energy_b1, 1e-3))
        powers = [log_b1**i for i in range(ENERGY_TERMS)]
        parts = list(powers)
        for index, place in enumerate(self.conditions.numbers):
            value_b1 = labels_bc[:, place : place + 1]
            if self.conditions.angle is not None and place == self.conditions.angle[0]:
                _, offset, scale = self.conditions.angle
                value_b1 = ops.cos(value_b1 * scale + offset)
            number_b1 = (value_b1 - self.centre_m[index]) / self.width_m[index]
            parts += [number_b1, number_b1**2, number_b1 * log_b1]
        column = self.conditions.category_column
        if column is not None:
            value_b1 = labels_bc[:, column : column + 1]
            for category in range(1, self.conditions.categories):
                is_b1 = ops.cast(ops.abs(value_b1 - category) < 0.5, "float32")
                parts += [power * is_b1 for power in powers]
        return ops.concatenate(parts, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"kinds": self.conditions.kinds, "angle": self.conditions.angle}
        return {**super().get_config(), **own}

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        """(B, 1), (B, C) -> (B, T)."""
        several = isinstance(input_shape[0], (list, tuple))
        return ((input_shape[0] if several else input_shape)[0], self.conditions.terms)


def is_category(terms_bt: Any, categories: int) -> list[Any]:
    """1 for showers of a category, (B, 1) each; from `condition_terms`."""
    first = terms_bt.shape[-1] - (categories - 1) * ENERGY_TERMS
    others = [terms_bt[:, at : at + 1] for at in range(first, terms_bt.shape[-1], ENERGY_TERMS)]
    return [terms_bt[:, :1] - sum(others), *others]


def interpolate(table: Any, row: Any, position: Any, columns: int) -> Any:
    """Piecewise linear interpolation in `table` (flattened rows of `columns` knots).

    `row` (integers) and `position` (in units of knots) have the same shape. Differentiable in the
    position.
    """
    position = ops.clip(position, 0.0, columns - 1.0)
    left = ops.minimum(ops.floor(ops.stop_gradient(position)), columns - 2.0)
    index = row * columns + ops.cast(left, "int32")
    low = ops.take(table, index)
    return low + (position - left) * (ops.take(table, index + 1) - low)


@keras.saving.register_keras_serializable(package="gan3d")
class ShowerVariables(StatisticsLayer):
    """Noise -> scores (B, V), layer energies (B, layer) in GeV, displacement (B, 2) in cells.

    [noise (B, V), energy (B, 1), condition terms (B, T)], V = layers + 3. The noise is independent
    standard normal; a Gaussian copula (Sklar 1959) correlates it, and quantile functions turn
    scores into variables. The total energy has a score of its
    own, because the layers' fluctuations nearly cancel in it.
    """

    def __init__(self, layers: int, categories: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layers = layers
        self.categories = categories

    def build(self, input_shape: Any) -> None:
        """Make the statistics: a 2 % sampling fraction, equal layers, 10 % Gaussian spread."""
        z, t = self.layers, input_shape[2][-1]
        mean_et = np.zeros((z + 1, t))
        mean_et[:, 0] = np.log([2.0 / z] * z + [2.0])
        spread_vt = np.zeros((z + 3, t))
        spread_vt[:, 0] = np.log(0.1)
        self.log_mean_et = self.statistic("log_mean", mean_et)
        self.log_spread_vt = self.statistic("log_spread", spread_vt)
        knots = len(statistics.ENERGY_KNOTS)
        self.log_energy_k = self.statistic("log_energy", np.linspace(-2.0, 0.0, knots))
        k = self.categories * knots
        self.quantiles_kvq = self.statistic(
            "quantiles", np.tile(statistics.SCORE_KNOTS, (k, z + 3, 1))
        )
        self.copula_kvv = self.statistic("copula", np.tile(np.eye(z + 3), (k, 1, 1)))

    def adapt(self, found: ShowerStatistics) -> None:
        """Take over the statistics of training showers."""
        self.log_mean_et.assign(found.log_mean_et)
        self.log_spread_vt.assign(found.log_spread_vt)
        self.log_energy_k.assign(found.log_energy_k)
        self.quantiles_kvq.assign(found.quantiles_kvq)
        self.copula_kvv.assign(found.copula_kvv)

    def _knot_weights(self, terms_bt: Any) -> Any:
        """Weights of linear interpolation between the energy knots of the category, (B, K)."""
        log_b1 = terms_bt[:, 1:2]
        left_k, right_k = self.log_energy_k[:-1], self.log_energy_k[1:]
        share_bk = ops.clip((log_b1 - left_k) / (right_k - left_k), 0.0, 1.0)
        ones_b1 = ops.ones_like(log_b1)
        reached_bk = ops.concatenate([ones_b1, share_bk], axis=-1)
        weights_bk = reached_bk - ops.concatenate([share_bk, 0.0 * ones_b1], axis=-1)
        if self.categories == 1:
            return weights_bk
        of_each = is_category(terms_bt, self.categories)
        return ops.concatenate([weights_bk * is_b1 for is_b1 in of_each], axis=-1)

    def call(self, inputs: Any) -> tuple[Any, Any, Any]:
        """Correlate the noise and map it to layer energies and displacement."""
        noise_bv, energy_b1, terms_bt = inputs
        weights_bk = self._knot_weights(terms_bt)
        v = self.layers + 3
        factor_bvw = ops.reshape(
            ops.matmul(weights_bk, ops.reshape(self.copula_kvv, (-1, v * v))), (-1, v, v)
        )
        norm_bv = ops.sqrt(ops.sum(factor_bvw**2, axis=-1))
        scores_bv = ops.matmul(factor_bvw, noise_bv[..., None])[..., 0] / norm_bv
        knots = statistics.SCORE_KNOTS
        position_bv = (scores_bv - knots[0]) / (knots[1] - knots[0])
        row_bv = ops.broadcast_to(ops.arange(v, dtype="int32"), ops.shape(scores_bv))
        table = ops.reshape(self.quantiles_kvq, (-1,))
        residual_bv = sum(
            weights_bk[:, k : k + 1] * interpolate(table, row_bv + k * v, position_bv, len(knots))
            for k in range(weights_bk.shape[-1])
        )
        deviation_bv = residual_bv * ops.exp(
            ops.matmul(terms_bt, ops.transpose(self.log_spread_vt))
        )
        mean_be = energy_b1 * ops.exp(ops.matmul(terms_bt, ops.transpose(self.log_mean_et)))
        energies_be = mean_be * ops.relu(1.0 + deviation_bv[:, :-2])
        layers_bz = energies_be[:, :-1]
        sum_b1 = ops.sum(layers_bz, axis=-1, keepdims=True)
        layers_bz = layers_bz * energies_be[:, -1:] / (sum_b1 + TINY)
        return scores_bv, layers_bz, deviation_bv[:, -2:]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"layers": self.layers, "categories": self.categories}
        return {**super().get_config(), **own}

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, Any, Any]:
        """-> (B, V), (B, layer), (B, 2)."""
        batch = input_shape[0][0]
        return (batch, self.layers + 3), (batch, self.layers), (batch, 2)


@keras.saving.register_keras_serializable(package="gan3d")
class Development(StatisticsLayer):
    """Layer energies (B, layer) -> how far the shower has developed, (B, layer).

    The logit of the fraction of the energy deposited up to the middle of the layer, relative to
    its mean.
    """

    def build(self, input_shape: Any) -> None:
        """Make the statistic: a mean of 0."""
        self.mean_z = self.statistic("mean", np.zeros(input_shape[-1]))

    def adapt(self, found: ShowerStatistics) -> None:
        """Take over the statistics of training showers."""
        self.mean_z.assign(found.share_mean_zs[:, 0])

    def call(self, layers_bz: Any) -> Any:
        """Sum up and take the logit."""
        total_b1 = ops.sum(layers_bz, axis=-1, keepdims=True) + TINY
        floor = statistics.DEVELOPMENT_FLOOR
        fraction_bz = (ops.cumsum(layers_bz, axis=-1) - 0.5 * layers_bz) / total_b1
        fraction_bz = ops.clip(fraction_bz, floor, 1.0 - floor)
        return ops.log(fraction_bz / (1.0 - fraction_bz)) - self.mean_z

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape


@keras.saving.register_keras_serializable(package="gan3d")
class HitShift(StatisticsLayer):
    """Shower variables -> shift of the logit of a hit's probability, (B, layer).

    [scores (B, V), condition terms (B, T), development (B, layer), noise (B, 1)]. The statistics
    were measured as if cells were independent. Trainable weights correct that where cells have
    become correlated: a factor on the shower-wide spread, and a shift that depends on the
    conditions alone.
    """

    RATE = 5.0
    """These few weights learn this many times faster than others."""

    def __init__(self, layers: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layers = layers

    def build(self, input_shape: Any) -> None:
        """Make the statistics, no shift, and the corrections, none."""
        terms = input_shape[1][-1]
        further = statistics.FURTHER_HIT_TERMS
        self.terms_zh = self.statistic("terms", np.zeros((self.layers, terms + further)))
        self.log_factor = self.add_weight(shape=(), initializer="zeros", name="log_factor")
        self.correction_t = self.add_weight(shape=(terms,), initializer="zeros", name="correction")
        self.spread_zt = self.statistic("spread", np.zeros((self.layers, terms)))

    def adapt(self, found: ShowerStatistics) -> None:
        """Take over the statistics of training showers."""
        self.terms_zh.assign(found.hit_terms_zh)
        self.spread_zt.assign(found.hit_spread_zt)

    def call(self, inputs: Any) -> Any:
        """Predict the shift and let it fluctuate."""
        scores_bv, terms_bt, development_bz, noise_b1 = inputs
        t = terms_bt.shape[-1]
        energy_bz = ops.matmul(terms_bt, ops.transpose(self.terms_zh[:, :t]))
        own_bz = scores_bv[:, : self.layers] * self.terms_zh[:, t]
        total_bz = scores_bv[:, self.layers : self.layers + 1] * self.terms_zh[:, t + 1]
        spread_bz = ops.relu(ops.matmul(terms_bt, ops.transpose(self.spread_zt)))
        stage_bz = development_bz * self.terms_zh[:, t + 2]
        correction_b1 = ops.matmul(terms_bt, self.RATE * self.correction_t[:, None])
        factor = ops.exp(self.RATE * self.log_factor)
        shift_bz = energy_bz + own_bz + total_bz + stage_bz
        return shift_bz + correction_b1 + factor * noise_b1 * spread_bz

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "layers": self.layers}

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        """-> (B, layer)."""
        return (input_shape[0][0], self.layers)

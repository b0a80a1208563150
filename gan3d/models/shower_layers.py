"""Layers that turn scores and modulations into showers, and showers into physics summaries.

Their weights are statistics of the training showers, `gan3d.models.shower_statistics`; none is
trainable. Registered, so that saved models load in safe mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import keras
import numpy as np
from keras import ops

from gan3d.models import shower_statistics as statistics
from gan3d.models.convolution import convolve_layers
from gan3d.models.shower_conditions import ENERGY_TERMS, NUMBER_TERMS, ShowerConditions
from gan3d.models.shower_statistics import ShowerStatistics
from gan3d.models.slicing import part, wrap_around

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


def _is_category(terms_bt: Any, categories: int) -> list[Any]:
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
        of_each = _is_category(terms_bt, self.categories)
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
class LateralModes(keras.layers.Layer):
    """Shower-wide fluctuations of the lateral shape.

    [noise (B, J), condition terms (B, T)] -> maps.

    The logarithm of the cells' expected energies, (B, x, y, layer, 1), changes by a sum of J
    learned maps, each times a standard normal draw and linear in ln(Ep). The maps are products of
    `rank` lateral shapes and strengths per layer. Half the variance is subtracted, so that the
    mean expected energy stays (the mean of a log-normal variable).
    """

    RATE = 0.4
    """The shapes learn this many times slower than others: there are many, most for poor cells."""

    def __init__(
        self, image_shape: tuple[int, int, int], modes: int, rank: int, **kwargs: Any
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.image_shape = tuple(image_shape)
        self.modes = modes
        self.rank = rank

    @property
    def flops(self) -> int:
        """Floating-point operations per shower; the maps themselves are made once a batch."""
        return 2 * 2 * self.modes * prod(self.image_shape)

    def build(self, input_shape: Any) -> None:
        """Make random strengths and flat shapes."""
        x, y, z = self.image_shape
        self.strengths = self.add_weight(
            shape=(self.rank, 2 * self.modes * z),
            initializer=keras.initializers.RandomNormal(stddev=0.3),
            name="strengths",
        )
        self.shapes = self.add_weight(shape=(x * y, self.rank), initializer="zeros", name="shapes")

    def call(self, inputs: Any) -> Any:
        """Combine the maps."""
        noise_bj, terms_bt = inputs
        x, y, z = self.image_shape
        maps = ops.matmul(self.RATE * self.shapes, self.strengths)
        maps_jc = ops.reshape(
            ops.transpose(ops.reshape(maps, (x * y, 2 * self.modes, z)), (1, 0, 2)),
            (2, self.modes, x * y * z),
        )
        log_b1 = terms_bt[:, 1:2]
        change = ops.matmul(noise_bj, maps_jc[0]) + ops.matmul(noise_bj * log_b1, maps_jc[1])
        variance = (
            ops.sum(maps_jc[0] ** 2, axis=0)
            + log_b1 * 2.0 * ops.sum(maps_jc[0] * maps_jc[1], axis=0)
            + log_b1**2 * ops.sum(maps_jc[1] ** 2, axis=0)
        )
        return ops.reshape(change - 0.5 * variance, (-1, x, y, z, 1))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"image_shape": self.image_shape, "modes": self.modes, "rank": self.rank}
        return {**super().get_config(), **own}

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """-> (B, x, y, layer, 1)."""
        return (input_shape[0][0], *self.image_shape, 1)


@keras.saving.register_keras_serializable(package="gan3d")
class ExpectedCells(StatisticsLayer):
    """Shower variables -> ln of expected cell energies (B, x, y, layer, 1).

    [layers (B, layer) in GeV, displacement (B, 2) in cells, energy (B, 1), development
    (B, layer)], and of networks with labels condition terms (B, T); of inclined showers at last by
    how much more (cells) each layer is displaced along y, (B, layer).
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        numbers: int = 0,
        categories: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_shape = tuple(image_shape)
        self.numbers = numbers
        self.categories = categories
        self.extra = numbers + categories - 1

    def build(self, input_shape: Any) -> None:
        """Make the statistics: equal shares that depend on nothing."""
        x, y, z = self.image_shape
        self.log_share_xyz = self.statistic("log_share", np.full((x, y, z), -np.log(x * y)))
        shares = statistics.SHARE_TERMS + self.extra
        self.slope_sxyz = self.statistic("slope", np.zeros((shares, x, y, z)))
        self.displacement_dc = self.statistic(
            "displacement", np.zeros((statistics.DISPLACEMENT_TERMS, x * y * z))
        )
        self.mean_z = self.statistic("mean", np.zeros(z))
        if self.extra:
            self.extra_mean_ze = self.statistic("extra_mean", np.zeros((z, self.extra)))

    def adapt(self, found: ShowerStatistics) -> None:
        """Take over the statistics of training showers."""
        layer_z = np.arange(self.image_shape[2])
        self.log_share_xyz.assign(np.log(found.share_xyz))
        slope_xyzs = found.share_slope_zks[layer_z, found.share_class_xyz]
        self.slope_sxyz.assign(np.moveaxis(slope_xyzs, -1, 0))
        terms = statistics.DISPLACEMENT_TERMS
        self.displacement_dc.assign(np.moveaxis(found.displacement_xyzd, -1, 0).reshape(terms, -1))
        self.mean_z.assign(found.share_mean_zs[:, 1])
        if self.extra:
            self.extra_mean_ze.assign(found.share_mean_zs[:, 2:])

    def call(self, inputs: Any) -> Any:
        """Divide the layers' energies among their cells."""
        layers_bz, displacement_b2, energy_b1, development_bz, *further = inputs
        energy_bz = ops.log(energy_b1) - self.mean_z
        shift = self._displaced(displacement_b2, further[1] if len(further) > 1 else None)
        log_share = self.log_share_xyz + shift
        log_share = log_share + self.slope_sxyz[0] * development_bz[:, None, None, :]
        log_share = log_share + self.slope_sxyz[1] * energy_bz[:, None, None, :]
        for place, extra_b1 in enumerate(self._extra(further[0])) if self.extra else ():
            extra_bz = extra_b1 - self.extra_mean_ze[:, place]
            slope_xyz = self.slope_sxyz[statistics.SHARE_TERMS + place]
            log_share = log_share + slope_xyz * extra_bz[:, None, None, :]
        log_sum = ops.logsumexp(log_share, axis=(1, 2), keepdims=True)
        log_layers = ops.log(layers_bz + TINY)[:, None, None, :]
        return ops.expand_dims(log_share - log_sum + log_layers, axis=-1)

    def _displaced(self, displacement_b2: Any, more_bz: Any) -> Any:
        """What displacements change in the logarithm of the shares: (B, x, y, layer)."""
        x_b1, y_b1 = displacement_b2[:, :1], displacement_b2[:, 1:]
        if more_bz is None:
            terms_bd = ops.concatenate([x_b1, y_b1, x_b1**2, x_b1 * y_b1, y_b1**2], axis=-1)
            return ops.reshape(ops.matmul(terms_bd, self.displacement_dc), (-1, *self.image_shape))
        y_bz = y_b1 + more_bz
        x_bz = x_b1 + 0.0 * y_bz
        maps_dxyz = ops.reshape(self.displacement_dc, (-1, *self.image_shape))
        terms = (x_bz, y_bz, x_bz**2, x_bz * y_bz, y_bz**2)
        return sum(
            term_bz[:, None, None, :] * maps_dxyz[place] for place, term_bz in enumerate(terms)
        )

    def _extra(self, terms_bt: Any) -> list[Any]:
        """What labels add to the terms of the shares, (B, 1) each."""
        firsts = range(ENERGY_TERMS, ENERGY_TERMS + NUMBER_TERMS * self.numbers, NUMBER_TERMS)
        numbers = [terms_bt[:, at : at + 1] for at in firsts]
        return [*numbers, *_is_category(terms_bt, self.categories)[1:]]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"numbers": self.numbers, "categories": self.categories}
        return {**super().get_config(), "image_shape": self.image_shape, **own}

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """-> (B, x, y, layer, 1)."""
        return (input_shape[0][0], *self.image_shape, 1)


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


@keras.saving.register_keras_serializable(package="gan3d")
class Slant(StatisticsLayer):
    """Where the axis of inclined showers is: cells along y, (B, layer), whole ones and the rest.

    [energy (B, 1) over the scale, labels (B, C)]; as `gan3d.models.shower_conditions.slant` has it.
    """

    def __init__(self, layers: int, angle: tuple[int, float, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layers = layers
        self.angle = tuple(angle)

    def build(self, input_shape: Any) -> None:
        """Make the statistic: upright showers."""
        del input_shape
        self.coefficients_s = self.statistic("coefficients", np.zeros(3))

    def adapt(self, coefficients_s: Any) -> None:
        """Take over what `fit_slant` found."""
        self.coefficients_s.assign(coefficients_s)

    def call(self, inputs: Any) -> tuple[Any, Any]:
        """Follow the axis."""
        energy_b1, labels_bc = inputs
        place, offset, scale = self.angle
        cot_b1 = 1.0 / ops.tan(labels_bc[:, place : place + 1] * scale + offset)
        a, b, c = (self.coefficients_s[index] for index in range(3))
        depth_z = c * ops.arange(self.layers, dtype="float32")
        shift_bz = cot_b1 * (a + b * ops.log(ops.maximum(energy_b1, 1e-3)) + depth_z)
        whole_bz = ops.round(shift_bz)
        return whole_bz, shift_bz - whole_bz

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "layers": self.layers, "angle": self.angle}

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, Any]:
        """-> (B, layer) twice."""
        shape = (input_shape[0][0], self.layers)
        return shape, shape


@keras.saving.register_keras_serializable(package="gan3d")
class MovedLayers(keras.layers.Layer):
    """Images (B, x, y, layer, 1) and whole cells (B, layer) -> layers moved so far up along y.

    `sign` -1: moved down. What leaves at one end does not come in at the other.
    """

    def __init__(self, sign: int = 1, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.sign = sign

    def call(self, inputs: Any) -> Any:
        """Move the layers."""
        images_bxyzc, whole_bz = inputs
        _, x, y, z, _ = images_bxyzc.shape
        at_y = ops.arange(y, dtype="float32")
        from_byz = at_y[None, :, None] - self.sign * whole_bz[:, None, :]
        inside_byz = ops.cast(ops.logical_and(from_byz > -0.5, from_byz < y - 0.5), "float32")
        from_byz = ops.cast(ops.clip(from_byz, 0.0, y - 1.0), "int32")
        index_byz = from_byz * z + ops.arange(z, dtype="int32")
        flat_bxc = ops.reshape(images_bxyzc, (-1, x, y * z))
        index_bxc = ops.repeat(ops.reshape(index_byz, (-1, 1, y * z)), x, axis=1)
        moved = ops.reshape(ops.take_along_axis(flat_bxc, index_bxc, axis=2), (-1, x, y, z))
        return (moved * inside_byz[:, None])[..., None]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "sign": self.sign}

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The images' shape."""
        return input_shape[0]

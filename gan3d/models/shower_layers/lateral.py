"""Layers from the variables of a shower to the energies that its cells are expected to have."""

from __future__ import annotations

from math import prod
from typing import Any

import keras
import numpy as np
from keras import ops

from gan3d.models.shower_conditions import ENERGY_TERMS, NUMBER_TERMS
from gan3d.models.shower_layers.statistics_layer import TINY, StatisticsLayer
from gan3d.models.shower_layers.variables import is_category
from gan3d.models.shower_statistics import found as statistics
from gan3d.models.shower_statistics.found import ShowerStatistics


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
        return [*numbers, *is_category(terms_bt, self.categories)[1:]]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"numbers": self.numbers, "categories": self.categories}
        return {**super().get_config(), "image_shape": self.image_shape, **own}

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """-> (B, x, y, layer, 1)."""
        return (input_shape[0][0], *self.image_shape, 1)


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

"""The networks of `compact` (`gan3d.models.architectures.compact` says what they are)."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from gan3d.config import Geometry, Model
from gan3d.models.architectures.compact import MODES, RANK, shower_noise
from gan3d.models.layers import EcalSum, PeriodicPadding
from gan3d.models.shower_conditions import (
    ShowerConditions,
    condition_terms,
    fit_slant,
    slant,
    upright,
)
from gan3d.models.shower_layers import (
    BatchSpread,
    CalibratedLayers,
    CellEnergies,
    ConditionTerms,
    CorrelatedNoise,
    Development,
    ExpectedCells,
    HitShift,
    LateralModes,
    LogEnergy,
    MovedLayers,
    ShowerSummaries,
    ShowerVariables,
    Slant,
)
from gan3d.models.shower_statistics import fit_shower_statistics, some_rows


def build_generator(
    settings: Model, *, geometry: Geometry, conditions: ShowerConditions
) -> keras.Model:
    """Generator: [latent (B, D), energy (B, 1)] -> images (B, x, y, layer, 1) in GeV.

    With `labels` (B, C) as third input where there are conditions beside the energy. Nothing else
    in `settings` concerns it. In float32 whatever the precision policy.
    """
    del settings
    image_shape = x, y, z = geometry.shape
    draws = shower_noise(image_shape)
    latent_bz = keras.Input((draws + x * y * z,), name="latent")
    energy_b1, labels, terms_bt = _conditioned(conditions)
    shower_bz = latent_bz[:, :draws]
    noise = layers.Reshape((x, y, z, 1), dtype="float32", name="cell_noise")(latent_bz[:, draws:])

    scores_bv, layers_bz, displacement_b2 = ShowerVariables(
        z, conditions.categories, name="shower_variables"
    )([shower_bz[:, : z + 3], energy_b1, terms_bt])
    development_bz = Development(name="development")(layers_bz)
    hits_bz = HitShift(z, name="hit_shift")(
        [scores_bv, terms_bt, development_bz, shower_bz[:, z + 3 : z + 4]]
    )
    of_cells = [layers_bz, displacement_b2, energy_b1, development_bz]
    whole_bz = None
    if conditions.angle is not None:
        whole_bz, rest_bz = Slant(z, conditions.angle, name="slant")([energy_b1, *labels])
        of_cells += [terms_bt, rest_bz]
    elif labels:
        of_cells.append(terms_bt)
    log_expected = ExpectedCells(
        image_shape, len(conditions.numbers), conditions.categories, name="expected_cells"
    )(of_cells)
    maps = LateralModes(image_shape, MODES, RANK, name="lateral_modes")(
        [shower_bz[:, z + 4 : z + 4 + MODES], terms_bt]
    )
    scores = CorrelatedNoise(periodic=geometry.periodic, name="correlated_noise")(
        [noise, log_expected]
    )
    log_expected = layers.Add(dtype="float32", name="log_expected")([log_expected, maps])
    images_bxyzc = CellEnergies(image_shape, name="images")(
        [scores, log_expected, layers_bz, hits_bz]
    )
    if whole_bz is not None:
        images_bxyzc = MovedLayers(name="inclined")([images_bxyzc, whole_bz])
    return keras.Model([latent_bz, energy_b1, *labels], images_bxyzc, name="generator")


def build_discriminator(
    settings: Model, *, geometry: Geometry, conditions: ShowerConditions
) -> keras.Model:
    """Discriminator: [images (B, x, y, layer, 1) in GeV, energy (B, 1)] -> the three outputs.

    With `labels` (B, C) as third input where there are conditions beside the energy.
    """

    def activation(inputs: Any) -> Any:
        return layers.LeakyReLU(settings.leaky_slope)(inputs)

    image_shape = geometry.shape
    images_bxyzc = keras.Input((*image_shape, 1), name="images")
    energy_b1, labels, terms_bt = _conditioned(conditions)
    seen = images_bxyzc
    if conditions.angle is not None:
        whole_bz, _ = Slant(image_shape[2], conditions.angle, name="slant")([energy_b1, *labels])
        seen = MovedLayers(-1, name="upright")([images_bxyzc, whole_bz])
    summaries_bs = ShowerSummaries(image_shape, geometry.periodic, name="summaries")(
        [seen, terms_bt]
    )

    cells = LogEnergy(name="log_energy")(seen)
    for index, filters in enumerate((16, 32, 48), start=1):
        cells = activation(_strided(cells, filters, geometry.periodic, f"conv_{index}"))
    cells = layers.Flatten()(cells)
    cells = activation(layers.Dense(64, name="cells")(cells))
    physics = activation(layers.Dense(96, name="physics")(summaries_bs))
    narrow = layers.Dense(16, name="spread_features")(layers.Concatenate()([cells, physics]))
    spread = BatchSpread(name="batch_spread")(narrow)
    head = layers.Concatenate()([cells, physics, spread, terms_bt])
    if settings.dropout > 0:
        head = layers.Dropout(settings.dropout)(head)
    head = activation(layers.Dense(64, name="head")(head))
    calibrated_bz = CalibratedLayers(image_shape, name="calibrated_layers")(images_bxyzc)
    return keras.Model(
        [images_bxyzc, energy_b1, *labels],
        {
            "generation": layers.Dense(1, activation="sigmoid", dtype="float32", name="generation")(
                head
            ),
            "auxiliary": layers.Dense(
                1, use_bias=False, kernel_initializer="ones", dtype="float32", name="auxiliary"
            )(calibrated_bz),
            "ecal": EcalSum(name="ecal")(images_bxyzc),
        },
        name="discriminator",
    )


def _strided(cells: Any, filters: int, periodic: Sequence[bool], name: str) -> Any:
    """A convolution of 3 x 3 x 3 cells that makes one cell of two along each axis.

    Along a turn of an odd number of cells it leaves them as many: pairs would not go round.
    """
    if not any(periodic):
        return layers.Conv3D(filters, 3, strides=2, padding="same", name=name)(cells)
    sizes = cells.shape[1:4]
    strides = [
        1 if wraps and count % 2 else 2 for count, wraps in zip(sizes, periodic, strict=True)
    ]
    beyond = [
        (ceil(count / stride) - 1) * stride + 3 - count
        for count, stride in zip(sizes, strides, strict=True)
    ]
    pads = [(count // 2, count - count // 2) for count in beyond]
    around = PeriodicPadding(pads, periodic, name=f"{name}_around")(cells)
    return layers.Conv3D(filters, 3, strides=strides, name=name)(around)


def _conditioned(conditions: ShowerConditions) -> tuple[Any, list[Any], Any]:
    """Inputs for the energy and, if there are any, the labels, and the terms of both."""
    energy_b1 = keras.Input((1,), name="energy")
    make = ConditionTerms(conditions.kinds, conditions.angle, name="energy_terms")
    if not conditions.kinds:
        return energy_b1, [], make(energy_b1)
    labels_bc = keras.Input((len(conditions.kinds),), name="labels")
    return energy_b1, [labels_bc], make([energy_b1, labels_bc])


def adapt(
    generator: keras.Model,
    discriminator: keras.Model,
    images_nxyz: NDArray[np.float32],
    energy_n1: NDArray[np.float32],
    labels_nc: NDArray[np.float32] | None = None,
    *,
    conditions: ShowerConditions,
    cylinder: bool = False,
) -> None:
    """Put statistics of training showers (GeV, scaled energies) into non-trainable weights."""
    discriminator.get_layer("calibrated_layers").adapt(images_nxyz, energy_n1)
    rows = some_rows(len(images_nxyz), images_nxyz[0].size)
    energies_n1 = np.asarray(energy_n1, dtype=np.float64)[rows]
    empty_nc = np.zeros((len(images_nxyz), 0))
    labels = (empty_nc if labels_nc is None else np.asarray(labels_nc, dtype=np.float64))[rows]
    images, fraction_nz = images_nxyz[rows], None
    if conditions.angle is not None:
        theta_n = conditions.theta(labels)
        coefficients_s = fit_slant(images, energies_n1, theta_n)
        shift_nz = slant(energies_n1, theta_n, coefficients_s, images.shape[3])
        whole_nz = np.rint(shift_nz).astype(np.int64)
        images, fraction_nz = upright(images, whole_nz), shift_nz - whole_nz
        for network in (generator, discriminator):
            network.get_layer("slant").adapt(coefficients_s)
    found = fit_shower_statistics(
        images, energies_n1, conditions, labels, fraction_nz, cylinder=cylinder
    )
    for name in ("shower_variables", "expected_cells", "development", "hit_shift", "images"):
        generator.get_layer(name).adapt(found)
    for network in (generator, discriminator):
        network.get_layer("energy_terms").adapt(found)
    numbers_nm = conditions.standardised(labels, found.number_centre_m, found.number_width_m)
    terms_nt = condition_terms(energies_n1, numbers_nm, conditions.one_hot(labels))
    discriminator.get_layer("summaries").adapt(images, terms_nt)

"""The published 3DGAN's networks, built as a plan says (`gan3d.models.plans`).

Several images of a shower (`data.further_images`) have a plan each. From the same latents, each
grows from a seed of its own by convolutions of its own; the discriminator has convolutions for
each, and heads on all features and on what a small dense layer makes of all of them together.
Layers of an image begin with its name, and images travel as one list of cells
(`gan3d.config.images`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import keras
from keras import layers

from gan3d.config import GEV, CellScale, Images, Model
from gan3d.models.conditions import embed_labels
from gan3d.models.convolution import same_pads
from gan3d.models.layers import (
    BatchNormalization,
    CellsInGev,
    Conv3D,
    Dropout,
    EcalSum,
    ImagePart,
    PeriodicPadding,
)
from gan3d.models.plans import LATENT_DIM, DiscriminatorPlan, GeneratorPlan, Periodic, Shape


def build_generator(settings: Model, plan: GeneratorPlan) -> keras.Model:
    """Generator: [latent (B, 200), energy (B, 1)] -> images (B, x, y, layer, 1) in GeV.

    The incident energy enters as the scale of the latent vector. With `labels` (B, C) as third
    input, put beside it, where there are conditions beside the energy.
    """
    inputs, x = _conditioned_latent(settings)
    return keras.Model(inputs, _grow(x, settings, plan), name="generator")


def build_joint_generator(settings: Model, plans: Mapping[str, GeneratorPlan]) -> keras.Model:
    """As `build_generator`, of several images by their names: -> (B, cells of all, 1, 1, 1)."""
    inputs, x = _conditioned_latent(settings)
    images = []
    for name, plan in plans.items():
        image_bxyzc = _grow(x, settings, plan, f"{name}_")
        cells = prod(image_bxyzc.shape[1:])
        images.append(
            layers.Reshape((cells, 1, 1, 1), dtype="float32", name=f"{name}_cells")(image_bxyzc)
        )
    cells_bxyzc = layers.Concatenate(axis=1, dtype="float32", name="images")(images)
    return keras.Model(inputs, cells_bxyzc, name="generator")


def _conditioned_latent(settings: Model) -> tuple[list[Any], Any]:
    """The generator's inputs, and the latents scaled by the energy, with the labels beside them."""
    latent_bz = keras.Input((LATENT_DIM,), name="latent")
    energy_b1 = keras.Input((1,), name="energy")
    inputs = [latent_bz, energy_b1]
    x = layers.Multiply(name="energy_scaled_latent")(inputs)
    if settings.labels:
        inputs.append(keras.Input((len(settings.labels),), name="labels"))
        numbers_bd = embed_labels(inputs[-1], settings.labels)
        x = layers.Concatenate(name="conditioned_latent")([x, numbers_bd])
    return inputs, x


def _grow(x: Any, settings: Model, plan: GeneratorPlan, prefix: str = "") -> Any:
    """An image (B, x, y, layer, 1) from the conditioned latents; layers are named with `prefix`."""
    nx, ny, nz = plan.seed
    x = layers.Dense(nx * ny * nz * plan.seed_channels, name=f"{prefix}seed")(x)
    x = layers.Reshape((*plan.seed, plan.seed_channels), name=f"{prefix}seed_image")(x)
    for index, each in enumerate(plan.convolutions, start=1):
        name = f"{prefix}conv_{index}"
        around: dict[str, Any] = (
            {"padding": "same"} if each.zeros is None else {"zeros": each.zeros}
        )
        if index > 1 and any(plan.periodic):  # images are wrapped around when they are large
            upsample = layers.UpSampling3D(
                plan.upsampling[index - 2], name=f"{prefix}upsample_{index - 1}"
            )
            x = upsample(x)
        elif index > 1:
            around["upsampling"] = plan.upsampling[index - 2]
        x = Conv3D(each.filters, each.kernel, kernel_initializer="he_uniform", name=name, **around)(
            _wrapped(x, each.kernel, plan.periodic, name)
        )
        x = layers.LeakyReLU(settings.leaky_slope, name=f"{name}_activation")(x)
        if settings.batch_norm and index < len(plan.convolutions):
            x = BatchNormalization(name=f"{prefix}norm_{index}")(x)
    # In float32 whatever the precision policy: 16 bits would round every cell by up to 0.4 %.
    x = Conv3D(
        1,
        (2, 2, 2),
        use_bias=False,
        kernel_initializer="glorot_normal",
        dtype="float32",
        name=f"{prefix}conv_4",
    )(_wrapped(x, (2, 2, 2), plan.periodic, f"{prefix}conv_4"))
    return layers.ReLU(dtype="float32", name=f"{prefix}images")(x)


def build_discriminator(
    settings: Model, plan: DiscriminatorPlan, *, scale: CellScale = GEV
) -> keras.Model:
    """Discriminator: images (B, x, y, layer, 1) in `scale` -> `generation`, `auxiliary`, `ecal`.

    `ecal` is the sum in GeV whatever the scale.
    With `labels` (B, C) as second input where there are conditions beside the energy: as further
    channels, the same number in all cells.
    """
    images_bxyzc = keras.Input((*plan.image_shape, 1), name="images")
    inputs, numbers_bd = _judged_labels(settings)
    x = _look(images_bxyzc, numbers_bd, settings, plan)
    return keras.Model(
        [images_bxyzc, *inputs] if inputs else images_bxyzc,
        {**_heads(x), "ecal": EcalSum(name="ecal")(_in_gev(images_bxyzc, scale))},
        name="discriminator",
    )


def build_joint_discriminator(
    settings: Model, plans: Mapping[str, DiscriminatorPlan], *, scale: CellScale = GEV
) -> keras.Model:
    """As `build_discriminator`, of several images by their names: (B, cells of all, 1, 1, 1).

    The sums of the images are `ecal` and, of the further ones, their names.
    """
    images = Images({name: plan.image_shape for name, plan in plans.items()})
    cells_bxyzc = keras.Input((*images.shape, 1), name="images")
    inputs, numbers_bd = _judged_labels(settings)
    seen: list[Any] = []
    sums: dict[str, Any] = {}
    for (name, plan), cells in zip(plans.items(), images.cells.values(), strict=True):
        image = ImagePart(cells.start, plan.image_shape, name=f"{name}_image")(cells_bxyzc)
        seen.append(_look(image, numbers_bd, settings, plan, f"{name}_"))
        # The first one's loss, its weight, and what tells of empty showers are called so.
        output = name if sums else "ecal"
        sums[output] = EcalSum(name=output)(_in_gev(image, scale, f"{name}_"))
    x = layers.Concatenate(dtype="float32", name="features")(seen)
    joint = layers.Dense(settings.joint_features, dtype="float32", name="joint")(x)
    joint = layers.LeakyReLU(settings.leaky_slope, dtype="float32", name="joint_activation")(joint)
    x = layers.Concatenate(dtype="float32", name="all_features")([x, joint])
    return keras.Model(
        [cells_bxyzc, *inputs] if inputs else cells_bxyzc,
        {**_heads(x), **sums},
        name="discriminator",
    )


def _in_gev(images_bxyzc: Any, scale: CellScale, prefix: str = "") -> Any:
    """Images as calorimeters measure them; those in GeV go through no layer."""
    if scale.plain:
        return images_bxyzc
    return CellsInGev(scale.power, scale.log_gev, name=f"{prefix}gev")(images_bxyzc)


def _judged_labels(settings: Model) -> tuple[list[Any], Any]:
    """The discriminator's further inputs, and what it makes of them; nothing without labels."""
    if not settings.labels:
        return [], None
    labels_bc = keras.Input((len(settings.labels),), name="labels")
    return [labels_bc], embed_labels(labels_bc, settings.labels)


def _heads(features_bf: Any) -> dict[str, Any]:
    return {
        "generation": layers.Dense(1, activation="sigmoid", dtype="float32", name="generation")(
            features_bf
        ),
        "auxiliary": layers.Dense(1, dtype="float32", name="auxiliary")(features_bf),
    }


def _look(
    images_bxyzc: Any, numbers_bd: Any, settings: Model, plan: DiscriminatorPlan, prefix: str = ""
) -> Any:
    """Features (B, F) of an image, told labels as numbers (B, D) or None."""
    x = images_bxyzc
    if numbers_bd is not None:
        cell = layers.Reshape((1, 1, 1, numbers_bd.shape[-1]), name=f"{prefix}label_cell")
        maps = layers.UpSampling3D(plan.image_shape, name=f"{prefix}label_maps")(cell(numbers_bd))
        x = layers.Concatenate(name=f"{prefix}conditioned_images")([images_bxyzc, maps])
    # Zeros that keep the size, but for the last convolution: one less.
    for index, (count, fewer) in enumerate(zip(plan.filters, (0, 0, 0, 1), strict=True), start=1):
        name = f"{prefix}conv_{index}"
        nx, ny, nz = (
            0 if wraps else taps // 2 - fewer
            for taps, wraps in zip(plan.kernel, plan.periodic, strict=True)
        )
        x = _wrapped(x, plan.kernel, plan.periodic, name)
        x = Conv3D(count, plan.kernel, zeros=(nx, ny, nz), name=name)(x)
        x = layers.LeakyReLU(settings.leaky_slope, name=f"{name}_activation")(x)
        if settings.batch_norm and index > 1:
            x = BatchNormalization(name=f"{prefix}norm_{index}")(x)
        if settings.dropout > 0:
            x = Dropout(settings.dropout, name=f"{prefix}dropout_{index}")(x)
    # In float32 whatever the precision policy, as the heads are; on processors TensorFlow has no
    # pooling in float16. A turn of an odd number of cells does not go into pairs.
    pool = tuple(
        1 if wraps and cells % 2 else 2
        for cells, wraps in zip(plan.image_shape, plan.periodic, strict=True)
    )
    x = layers.AveragePooling3D(pool, dtype="float32", name=f"{prefix}pool")(x)
    return layers.Flatten(dtype="float32", name=f"{prefix}features")(x)


def _wrapped(x: Any, kernel: Shape, periodic: Periodic, name: str) -> Any:
    """Images with the cells that a convolution needs from beyond the ends of periodic axes."""
    if not any(periodic):
        return x
    pads = [
        pad if wraps else (0, 0) for pad, wraps in zip(same_pads(kernel), periodic, strict=True)
    ]
    return PeriodicPadding(pads, periodic, name=f"{name}_around")(x)

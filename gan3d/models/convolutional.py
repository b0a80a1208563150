"""The published 3DGAN's networks, built as a plan says (`gan3d.models.plans`)."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from gan3d.config import Model
from gan3d.models.conditions import embed_labels
from gan3d.models.convolution import same_pads
from gan3d.models.layers import BatchNormalization, Conv3D, Dropout, EcalSum, PeriodicPadding
from gan3d.models.plans import LATENT_DIM, DiscriminatorPlan, GeneratorPlan, Periodic, Shape


def build_generator(settings: Model, plan: GeneratorPlan) -> keras.Model:
    """Generator: [latent (B, 200), energy (B, 1)] -> images (B, x, y, layer, 1) in GeV.

    The incident energy enters as the scale of the latent vector. With `labels` (B, C) as third
    input, put beside it, where there are conditions beside the energy.
    """
    latent_bz = keras.Input((LATENT_DIM,), name="latent")
    energy_b1 = keras.Input((1,), name="energy")
    inputs = [latent_bz, energy_b1]
    x = layers.Multiply(name="energy_scaled_latent")(inputs)
    if settings.labels:
        inputs.append(keras.Input((len(settings.labels),), name="labels"))
        numbers_bd = embed_labels(inputs[-1], settings.labels)
        x = layers.Concatenate(name="conditioned_latent")([x, numbers_bd])
    nx, ny, nz = plan.seed
    x = layers.Dense(nx * ny * nz * plan.seed_channels, name="seed")(x)
    x = layers.Reshape((*plan.seed, plan.seed_channels), name="seed_image")(x)
    for index, each in enumerate(plan.convolutions, start=1):
        name = f"conv_{index}"
        around: dict[str, Any] = (
            {"padding": "same"} if each.zeros is None else {"zeros": each.zeros}
        )
        if index > 1 and any(plan.periodic):  # images are wrapped around when they are large
            x = layers.UpSampling3D(plan.upsampling[index - 2], name=f"upsample_{index - 1}")(x)
        elif index > 1:
            around["upsampling"] = plan.upsampling[index - 2]
        x = Conv3D(each.filters, each.kernel, kernel_initializer="he_uniform", name=name, **around)(
            _wrapped(x, each.kernel, plan.periodic, name)
        )
        x = layers.LeakyReLU(settings.leaky_slope, name=f"{name}_activation")(x)
        if settings.batch_norm and index < len(plan.convolutions):
            x = BatchNormalization(name=f"norm_{index}")(x)
    # In float32 whatever the precision policy: 16 bits would round every cell by up to 0.4 %.
    x = Conv3D(
        1,
        (2, 2, 2),
        use_bias=False,
        kernel_initializer="glorot_normal",
        dtype="float32",
        name="conv_4",
    )(_wrapped(x, (2, 2, 2), plan.periodic, "conv_4"))
    images_bxyzc = layers.ReLU(dtype="float32", name="images")(x)
    return keras.Model(inputs, images_bxyzc, name="generator")


def build_discriminator(settings: Model, plan: DiscriminatorPlan) -> keras.Model:
    """Discriminator: images (B, x, y, layer, 1) in GeV -> `generation`, `auxiliary`, `ecal`.

    With `labels` (B, C) as second input where there are conditions beside the energy: as further
    channels, the same number in all cells.
    """
    images_bxyzc = keras.Input((*plan.image_shape, 1), name="images")
    inputs, x = [images_bxyzc], images_bxyzc
    if settings.labels:
        inputs.append(keras.Input((len(settings.labels),), name="labels"))
        numbers_bd = embed_labels(inputs[-1], settings.labels)
        maps = layers.Reshape((1, 1, 1, numbers_bd.shape[-1]), name="label_cell")(numbers_bd)
        maps = layers.UpSampling3D(plan.image_shape, name="label_maps")(maps)
        x = layers.Concatenate(name="conditioned_images")([images_bxyzc, maps])
    # Zeros that keep the size, but for the last convolution: one less.
    for index, (count, fewer) in enumerate(zip(plan.filters, (0, 0, 0, 1), strict=True), start=1):
        name = f"conv_{index}"
        nx, ny, nz = (
            0 if wraps else taps // 2 - fewer
            for taps, wraps in zip(plan.kernel, plan.periodic, strict=True)
        )
        x = _wrapped(x, plan.kernel, plan.periodic, name)
        x = Conv3D(count, plan.kernel, zeros=(nx, ny, nz), name=name)(x)
        x = layers.LeakyReLU(settings.leaky_slope, name=f"{name}_activation")(x)
        if settings.batch_norm and index > 1:
            x = BatchNormalization(name=f"norm_{index}")(x)
        if settings.dropout > 0:
            x = Dropout(settings.dropout, name=f"dropout_{index}")(x)
    # In float32 whatever the precision policy, as the heads are; on processors TensorFlow has no
    # pooling in float16. A turn of an odd number of cells does not go into pairs.
    pool = tuple(
        1 if wraps and cells % 2 else 2
        for cells, wraps in zip(plan.image_shape, plan.periodic, strict=True)
    )
    x = layers.AveragePooling3D(pool, dtype="float32", name="pool")(x)
    x = layers.Flatten(dtype="float32", name="features")(x)
    return keras.Model(
        inputs if len(inputs) > 1 else images_bxyzc,
        {
            "generation": layers.Dense(1, activation="sigmoid", dtype="float32", name="generation")(
                x
            ),
            "auxiliary": layers.Dense(1, dtype="float32", name="auxiliary")(x),
            "ecal": EcalSum(name="ecal")(images_bxyzc),
        },
        name="discriminator",
    )


def _wrapped(x: Any, kernel: Shape, periodic: Periodic, name: str) -> Any:
    """Images with the cells that a convolution needs from beyond the ends of periodic axes."""
    if not any(periodic):
        return x
    pads = [
        pad if wraps else (0, 0) for pad, wraps in zip(same_pads(kernel), periodic, strict=True)
    ]
    return PeriodicPadding(pads, periodic, name=f"{name}_around")(x)

"""`ecal25`: the fixed-angle 3DGAN of the 2018/2019 Stampede2 results.

Generator and discriminator as published (Vallecorsa et al., ISC 2018; CERN openlab workshop,
January 2019): 872 948 and 73 450 parameters, images of 25 x 25 x 25 cells.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from gan3d.config import Model
from gan3d.models.layers import BatchNormalization, Conv3D, Dropout, EcalSum
from gan3d.models.presets import PRESET_GRIDS
from gan3d.models.registry import Architecture

LATENT_DIM = 200
IMAGE_SHAPE = PRESET_GRIDS["ecal25"]


def build_generator(
    settings: Model, *, seed_channels: int = 8, filters: tuple[int, int, int] = (64, 6, 6)
) -> keras.Model:
    """Generator: [latent (B, 200), energy (B, 1)] -> images (B, 25, 25, 25, 1) in GeV.

    The incident energy enters as the scale of the latent vector. `seed_channels` are the channels
    of the 7 x 7 x 8 image that the dense layer makes, `filters` those of the three wide
    convolutions; the defaults are the published ones.
    """

    def conv(x: Any, count: int, kernel: tuple[int, int, int], name: str, **zeros: Any) -> Any:
        x = Conv3D(count, kernel, kernel_initializer="he_uniform", name=name, **zeros)(x)
        return layers.LeakyReLU(settings.leaky_slope, name=f"{name}_activation")(x)

    def norm(x: Any, name: str) -> Any:
        return BatchNormalization(name=name)(x) if settings.batch_norm else x

    latent_bz = keras.Input((LATENT_DIM,), name="latent")
    energy_b1 = keras.Input((1,), name="energy")
    x = layers.Multiply(name="energy_scaled_latent")([latent_bz, energy_b1])
    x = layers.Dense(7 * 7 * 8 * seed_channels, name="seed")(x)
    x = layers.Reshape((7, 7, 8, seed_channels), name="seed_image")(x)
    x = norm(conv(x, filters[0], (6, 6, 8), "conv_1", padding="same"), "norm_1")
    x = layers.UpSampling3D((2, 2, 2), name="upsample_1")(x)
    x = norm(conv(x, filters[1], (6, 5, 8), "conv_2", zeros=(2, 2, 0)), "norm_2")
    x = layers.UpSampling3D((2, 2, 3), name="upsample_2")(x)
    x = conv(x, filters[2], (3, 3, 8), "conv_3", zeros=(1, 0, 3))
    # In float32 whatever the precision policy: 16 bits would round every cell by up to 0.4 %.
    x = Conv3D(
        1,
        (2, 2, 2),
        use_bias=False,
        kernel_initializer="glorot_normal",
        dtype="float32",
        name="conv_4",
    )(x)
    images_bxyzc = layers.ReLU(dtype="float32", name="images")(x)
    return keras.Model([latent_bz, energy_b1], images_bxyzc, name="generator")


def build_discriminator(
    settings: Model, *, filters: tuple[int, int, int, int] = (32, 8, 8, 8)
) -> keras.Model:
    """Discriminator: images (B, 25, 25, 25, 1) in GeV -> `generation`, `auxiliary`, `ecal`.

    `filters` are the channels of the four convolutions; the default is the published one.
    """
    images_bxyzc = keras.Input((*IMAGE_SHAPE, 1), name="images")
    x = images_bxyzc
    # Zeros of width 2, 2, 2 and 1 before each 5x5x5 kernel: all but the last keep the size.
    for index, (count, zeros) in enumerate(zip(filters, (2, 2, 2, 1), strict=True), start=1):
        x = Conv3D(count, 5, zeros=(zeros, zeros, zeros), name=f"conv_{index}")(x)
        x = layers.LeakyReLU(settings.leaky_slope, name=f"conv_{index}_activation")(x)
        if settings.batch_norm and index > 1:
            x = BatchNormalization(name=f"norm_{index}")(x)
        if settings.dropout > 0:
            x = Dropout(settings.dropout, name=f"dropout_{index}")(x)
    # In float32 whatever the precision policy, as the heads are; on processors TensorFlow has no
    # pooling in float16.
    x = layers.AveragePooling3D(2, dtype="float32", name="pool")(x)
    x = layers.Flatten(dtype="float32", name="features")(x)
    return keras.Model(
        images_bxyzc,
        {
            "generation": layers.Dense(1, activation="sigmoid", dtype="float32", name="generation")(
                x
            ),
            "auxiliary": layers.Dense(1, dtype="float32", name="auxiliary")(x),
            "ecal": EcalSum(name="ecal")(images_bxyzc),
        },
        name="discriminator",
    )


ARCHITECTURE = Architecture(
    name="ecal25",
    latent_dim=LATENT_DIM,
    image_shape=IMAGE_SHAPE,
    build_generator=build_generator,
    build_discriminator=build_discriminator,
)

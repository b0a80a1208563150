"""The networks of `angle51` (`gan3d.models.architectures.angle51` says what they are)."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from gan3d.config import GEV, CellScale, Model
from gan3d.models.angle_layers import BarycentreAngle, CellCounts
from gan3d.models.architectures.angle51 import IMAGE_SHAPE, LATENT_DIM
from gan3d.models.layers import BatchNormalization, CellsInGev, Conv3D, Dropout, EcalSum

_EPSILON = 1e-6


def build_generator(settings: Model) -> keras.Model:
    """Generator: [latent (B, 254), energy (B, 1), labels (B, 1)] -> images (B, 51, 51, 25, 1).

    The one label is the angle; images are in the scale of `data.cell_scale`.
    """
    latent_bz = keras.Input((LATENT_DIM,), name="latent")
    energy_b1 = keras.Input((1,), name="energy")
    labels_b1 = keras.Input((1,), name="labels")
    x = layers.Concatenate(name="conditioned_latent")([energy_b1, labels_b1, latent_bz])
    x = layers.Dense(9 * 9 * 8 * 8, name="seed")(x)
    x = layers.Reshape((9, 9, 8, 8), name="seed_image")(x)
    # 54 x 54 x 48 cells, from which kernels beyond the zeros take what is too much.
    for index, (filters, kernel, zeros) in enumerate(
        (
            (8, (6, 6, 8), (0, 0, 0)),
            (6, (4, 4, 6), (2, 2, 1)),
            (6, (4, 4, 6), (2, 2, 1)),
            (6, (4, 4, 6), (2, 2, 1)),
            (6, (3, 3, 5), (1, 1, 0)),
            (6, (3, 3, 3), (1, 1, 0)),
        ),
        start=1,
    ):
        name = f"conv_{index}"
        x = Conv3D(
            filters,
            kernel,
            zeros=zeros,
            upsampling=(6, 6, 6) if index == 1 else (1, 1, 1),
            kernel_initializer="he_uniform",
            name=name,
        )(x)
        x = layers.ReLU(name=f"{name}_activation")(x)
        if settings.batch_norm and index < 6:
            x = BatchNormalization(epsilon=_EPSILON, name=f"norm_{index}")(x)
    # In float32 whatever the precision policy: 16 bits would round every cell by up to 0.4 %.
    x = Conv3D(1, (2, 2, 2), kernel_initializer="glorot_normal", dtype="float32", name="conv_7")(x)
    images_bxyzc = layers.ReLU(dtype="float32", name="images")(x)
    return keras.Model([latent_bz, energy_b1, labels_b1], images_bxyzc, name="generator")


def build_discriminator(
    settings: Model,
    *,
    cell_scale: CellScale = GEV,
    cell_size: tuple[float, float, float] = (1, 1, 1),
) -> keras.Model:
    """Discriminator: images (B, 51, 51, 25, 1) in `cell_scale` of GeV -> its five outputs.

    `cell_size` is the pitch along (x, y, layer), in any unit.
    """
    images_bxyzc = keras.Input((*IMAGE_SHAPE, 1), name="images")
    x = images_bxyzc
    for index, (filters, zeros) in enumerate(((16, None), (8, 1), (8, 1), (8, 0)), start=1):
        # Zeros before and after the layers alone: x and y become smaller from the second on.
        around: dict[str, Any] = {"padding": "same"} if zeros is None else {"zeros": (0, 0, zeros)}
        x = Conv3D(filters, (5, 6, 6), name=f"conv_{index}", **around)(x)
        x = layers.LeakyReLU(settings.leaky_slope, name=f"conv_{index}_activation")(x)
        if settings.batch_norm and index > 1:
            x = BatchNormalization(epsilon=_EPSILON, name=f"norm_{index}")(x)
        if settings.dropout > 0:
            x = Dropout(settings.dropout, name=f"dropout_{index}")(x)
    # In float32 whatever the precision policy, as the heads are; on processors TensorFlow has no
    # pooling in float16.
    x = layers.AveragePooling3D(2, dtype="float32", name="pool")(x)
    x = layers.Flatten(dtype="float32", name="features")(x)
    gev_bxyzc = CellsInGev(cell_scale.power, cell_scale.log_gev, name="gev")(images_bxyzc)
    return keras.Model(
        images_bxyzc,
        {
            "generation": layers.Dense(1, activation="sigmoid", dtype="float32", name="generation")(
                x
            ),
            "auxiliary": layers.Dense(1, dtype="float32", name="auxiliary")(x),
            "angle": BarycentreAngle(cell_size, name="angle")(gev_bxyzc),
            "ecal": EcalSum(name="ecal")(gev_bxyzc),
            "bins": CellCounts(name="bins")(gev_bxyzc),
        },
        name="discriminator",
    )

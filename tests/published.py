"""The published networks in Keras's own layers, one after the other, to compare ours with.

Filters may be fewer than published.
"""

import keras
from keras import layers


def plain_generator(seed_channels=8, filters=(64, 6, 6), slope=0.3):
    latent, energy = keras.Input((200,)), keras.Input((1,))
    x = layers.Dense(392 * seed_channels)(layers.Multiply()([latent, energy]))
    x = layers.Reshape((7, 7, 8, seed_channels))(x)
    x = layers.Conv3D(filters[0], (6, 6, 8), padding="same", kernel_initializer="he_uniform")(x)
    x = layers.BatchNormalization()(layers.LeakyReLU(slope)(x))
    x = layers.ZeroPadding3D((2, 2, 0))(layers.UpSampling3D((2, 2, 2))(x))
    x = layers.Conv3D(filters[1], (6, 5, 8), kernel_initializer="he_uniform")(x)
    x = layers.BatchNormalization()(layers.LeakyReLU(slope)(x))
    x = layers.ZeroPadding3D((1, 0, 3))(layers.UpSampling3D((2, 2, 3))(x))
    x = layers.LeakyReLU(slope)(
        layers.Conv3D(filters[2], (3, 3, 8), kernel_initializer="he_uniform")(x)
    )
    x = layers.Conv3D(1, 2, use_bias=False, kernel_initializer="glorot_normal")(x)
    return keras.Model([latent, energy], layers.ReLU()(x))


def plain_discriminator(filters=(32, 8, 8, 8), slope=0.3):
    images = keras.Input((25, 25, 25, 1))
    x = layers.LeakyReLU(slope)(layers.Conv3D(filters[0], 5, padding="same")(images))
    x = layers.Dropout(0.2)(x)
    for count, zeros in zip(filters[1:], (2, 2, 1), strict=True):
        x = layers.Conv3D(count, 5)(layers.ZeroPadding3D(zeros)(x))
        x = layers.BatchNormalization()(layers.LeakyReLU(slope)(x))
        x = layers.Dropout(0.2)(x)
    x = layers.Flatten()(layers.AveragePooling3D(2)(x))
    outputs = {
        "generation": layers.Dense(1, activation="sigmoid")(x),
        "auxiliary": layers.Dense(1)(x),
    }
    return keras.Model(images, outputs)

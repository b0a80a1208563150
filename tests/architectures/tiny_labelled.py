"""Networks for small images of any grid, which are told whatever they are to be told."""

import numpy as np

from gan3d.models import AUXILIARY, ECAL, GENERATION, Architecture, Output, Wanted

LATENT = 5


def design(wanted: Wanted) -> Architecture:
    labels, shape = wanted.model.labels, wanted.geometry.shape
    pitch = wanted.geometry.cell_size_mm

    def conditions():
        import keras

        from gan3d.models.conditions import embed_labels

        energy = keras.Input((1,), name="energy")
        given = [keras.Input((len(labels),), name="labels")] if labels else []
        return energy, given, [embed_labels(each, labels) for each in given]

    def build_generator(settings):
        import keras
        from keras import layers

        from gan3d.models.layers import BatchNormalization

        latent = keras.Input((LATENT,), name="latent")
        energy, given, numbers = conditions()
        x = layers.Concatenate()([latent, energy, *numbers])
        x = layers.Dense(int(np.prod(shape)), bias_initializer="ones", name="cells")(x)
        x = BatchNormalization()(x) if settings.batch_norm else x
        images = layers.Reshape((*shape, 1))(layers.ReLU()(x))
        return keras.Model([latent, energy, *given], images, name="generator")

    def build_discriminator(settings):
        import keras
        from keras import layers

        from gan3d.models.angle_layers import BarycentreAngle
        from gan3d.models.layers import EcalSum

        images = keras.Input((*shape, 1), name="images")
        energy, given, numbers = conditions()
        x = layers.Concatenate()([layers.Flatten()(images), energy, *numbers])
        x = layers.LeakyReLU(settings.leaky_slope)(layers.Dense(8)(x))
        outputs = {
            "generation": layers.Dense(1, activation="sigmoid", name="generation")(x),
            "auxiliary": layers.Dense(1, name="auxiliary")(x),
            "ecal": EcalSum(name="ecal")(images),
        }
        if labels:
            outputs["angle"] = BarycentreAngle(pitch, name="angle")(images)
        return keras.Model([images, energy, *given], outputs, name="discriminator")

    def measure(images):
        from gan3d.models.angle_layers import measure_angle

        return measure_angle(images[..., 0], pitch)

    angle = Output("angle", "mean_absolute_error", measure)
    return Architecture(
        name="tiny-labelled",
        latent_dim=LATENT,
        image_shape=shape,
        build_generator=build_generator,
        build_discriminator=build_discriminator,
        discriminator_sees_energy=True,
        discriminator_sees_labels=True,
        outputs=(GENERATION, AUXILIARY, ECAL, *([angle] if labels else [])),
        labels=None,
    )

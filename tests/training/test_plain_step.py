"""The compiled step of the published networks against the recipe, written down in the plain way."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from published import plain_discriminator, plain_generator

from gan3d.config import Model, Optimizer, Training
from gan3d.models import get_architecture
from gan3d.models.architectures.ecal25 import preset
from gan3d.runtime import SingleProcess
from gan3d.samples import sample_files
from gan3d.training.noise import NoiseStream
from gan3d.training.response import Response
from gan3d.training.step import AdversarialStep, without_remapper

pytestmark = pytest.mark.tensorflow

BATCH, SEED, EPSILON = 2, 5, 1e-2

# Thinner than published, to be quick; with the same orders of sums, which depend on whether there
# are 16 channels (`gan3d.models.convolution`).
SEEDS, GENERATOR, DISCRIMINATOR = 2, (16, 2, 2), (16, 2, 2, 2)
RESPONSE = Response((0.1, 2.0), (10.0, 100.0), 100.0, 1)


def batches(steps):
    from gan3d.data import read_showers

    showers = read_showers([str(sample_files().train)], threshold_gev=1e-6)
    for first in range(0, BATCH * steps, BATCH):
        rows = slice(first, first + BATCH)
        yield showers.images_nxyz[rows], showers.energy_n[rows, None] / np.float32(100)


class PlainStep:
    """3DGAN's step, in Keras's layers, TensorFlow's tape and Keras's RMSprop."""

    def __init__(self, slope):
        self.generator = plain_generator(SEEDS, GENERATOR, slope)
        self.discriminator = plain_discriminator(DISCRIMINATOR, slope)
        self.generator_optimizer = keras.optimizers.RMSprop(1e-3, epsilon=EPSILON)
        self.discriminator_optimizer = keras.optimizers.RMSprop(1e-3, epsilon=EPSILON)
        self.noise = NoiseStream(SEED, first_row=0, rows=BATCH, streams=8)

    def losses(self, images, labels, energy, ecal):
        outputs = self.discriminator(images, training=True)
        generation, auxiliary = outputs["generation"], outputs["auxiliary"]
        total = tf.reduce_sum(images, axis=(1, 2, 3, 4))[:, None]
        return (
            8.0 * tf.reduce_mean(keras.losses.binary_crossentropy(labels, generation))
            + 0.2 * tf.reduce_mean(100 * tf.abs((energy - auxiliary) / energy))
            + 0.1 * tf.reduce_mean(100 * tf.abs((ecal - total) / ecal))
        )

    def update(self, optimizer, network, losses):
        with tf.GradientTape() as tape:
            loss = losses()
        variables = network.trainable_variables
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)

    def labels(self, true, number, stream):
        flipped = self.noise.uniform(number, stream) < 0.05
        return tf.where(flipped, 1.0 - true, tf.ones((BATCH, 1)) * true)

    def fakes(self, number, draw):
        latent = self.noise.normal(number, 2 + 2 * draw, 200)
        energy = 0.1 + 0.9 * self.noise.uniform(number, 3 + 2 * draw)
        return self.generator([latent, energy], training=True), energy, energy * (0.1 * energy + 2)

    def __call__(self, images, energy, number):
        images, energy = tf.constant(images)[..., None], tf.constant(energy)
        ecal = tf.reduce_sum(images, axis=(1, 2, 3, 4))[:, None]
        real = self.labels(1.0, number, 0)
        self.update(
            self.discriminator_optimizer,
            self.discriminator,
            lambda: self.losses(images, real, energy, ecal),
        )
        fakes, asked, wanted = self.fakes(number, 0)
        fake = self.labels(0.0, number, 1)
        self.update(
            self.discriminator_optimizer,
            self.discriminator,
            lambda: self.losses(fakes, fake, asked, wanted),
        )
        for draw in (1, 2):

            def losses(draw=draw):
                fakes, asked, wanted = self.fakes(number, draw)
                return self.losses(fakes, tf.ones((BATCH, 1)), asked, wanted)

            self.update(self.generator_optimizer, self.generator, losses)


def compiled_step(slope):
    settings = Model(leaky_slope=slope)
    thin = preset(
        "thin", seed_channels=SEEDS, filters=GENERATOR, discriminator_filters=DISCRIMINATOR
    )
    return AdversarialStep(
        get_architecture("ecal25"),
        thin.build_generator(settings),
        thin.build_discriminator(settings),
        Training(batch_size=BATCH, optimizer=Optimizer(epsilon=EPSILON)),
        RESPONSE,
        SingleProcess(),
        SEED,
    )


@pytest.mark.parametrize(("steps", "slope"), [(10, 1.0), (1, 0.3)])
def test_the_step_is_that_of_the_plain_recipe(tmp_path, steps, slope):
    """To float rounding, but for what turns rounding into whole steps.

    That is RMSprop where gradients are below its epsilon, and LeakyReLU where cells are empty: two
    plain runs that differ by rounding alone are far apart after ten steps. So epsilon is large, and
    ten steps are done without the kink.
    """
    keras.utils.set_random_seed(1)
    plain = PlainStep(slope)
    keras.utils.set_random_seed(1)  # for the same dropout
    step = compiled_step(slope)
    pairs = (step.generator, plain.generator), (step.discriminator, plain.discriminator)
    # Weights that Keras's own layers have saved, as runs before did, fit.
    for ours, theirs in pairs:
        theirs.save_weights(tmp_path / "plain.weights.h5")
        ours.load_weights(tmp_path / "plain.weights.h5")
    begin = [[w.numpy() for w in ours.weights] for ours, _ in pairs]
    with without_remapper():
        for number, (images, energy) in enumerate(batches(steps)):
            step(images, energy, step=number, learning_rate=1e-3, average_decay=0.0)
            plain(images, energy, number)
    assert number == steps - 1
    for (ours, theirs), first in zip(pairs, begin, strict=True):
        compared = 0
        for mine, other, start in zip(ours.weights, theirs.weights, first, strict=True):
            if slope == 1.0 and is_noise(ours, mine):
                continue
            way = np.linalg.norm(other.numpy() - start)
            assert way > 0, mine.path
            # Not the largest difference: a weight whose gradient is all but zero turns round.
            off = np.linalg.norm(mine.numpy() - other.numpy()) / way
            assert off < (1e-3 if steps == 1 else 1e-2), mine.path
            compared += 1
        assert compared > 10


def is_noise(network, weight):
    """Whether `weight` only moves by rounding where batch normalisation takes constants away."""
    layer, name = weight.path.split("/")
    normalised = layer.replace("conv", "norm") in {each.name for each in network.layers}
    return name == "moving_mean" or (name == "bias" and normalised)

"""One compiled step that updates both networks.

The published order (Vallecorsa et al., ISC 2018): generate a batch; update the discriminator on
the Monte Carlo batch, then on the generated one; then update the generator, twice, through the
discriminator with the labels of Monte Carlo.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from gan3d.config import Training
from gan3d.models import Architecture
from gan3d.training.losses import NAMES, discriminator_losses
from gan3d.training.noise import NoiseStream
from gan3d.training.optimizers import build_optimizer
from gan3d.training.response import Response

if TYPE_CHECKING:
    from gan3d.runtime import Communicator

# Random streams of a step: the label flips of both discriminator updates, then a latent and an
# incident energy for every batch that is generated.
_FLIP_STREAMS = 2


class AdversarialStep:
    """Both networks, both optimisers and the step that updates them."""

    loss_names = tuple(
        f"{who}.{name}"
        for who in ("discriminator.real", "discriminator.fake", "generator")
        for name in NAMES
    )
    """Names of what a step returns."""

    def __init__(
        self,
        architecture: Architecture,
        generator: keras.Model,
        discriminator: keras.Model,
        training: Training,
        response: Response,
        communicator: Communicator,
        seed: int,
    ) -> None:
        """Make the optimisers' slots and, where it is asked for, the average of the generator."""
        self.generator = generator
        self.discriminator = discriminator
        self.generator_optimizer = build_optimizer(
            training.optimizer, generator.trainable_variables
        )
        self.discriminator_optimizer = build_optimizer(
            training.optimizer, discriminator.trainable_variables
        )
        self.average_weights: list[tf.Variable] = []
        if training.weight_average is not None:
            self.average_weights = [
                tf.Variable(w.value, trainable=False) for w in generator.weights
            ]

        self._sees_energy = architecture.discriminator_sees_energy
        self._latent_dim = architecture.latent_dim
        self._training = training
        self._communicator = communicator
        low, high = training.incident_energy_gev or response.energy_range_gev
        self._energy_range = (low / response.energy_scale_gev, high / response.energy_scale_gev)
        self._response = response
        self._noise = NoiseStream(
            seed,
            first_row=communicator.rank * training.batch_size,
            rows=training.batch_size,
            streams=_FLIP_STREAMS + 2 * (1 + training.generator_updates),
        )
        self._compiled = tf.function(self._step, reduce_retracing=True)

    def __call__(
        self,
        images_bxyz: Any,
        energy_b1: Any,
        *,
        step: int,
        learning_rate: float,
        average_decay: float,
    ) -> Mapping[str, float]:
        """Update both networks and return the mean losses of this rank's batch.

        `images_bxyz` in GeV, `energy_b1` the scaled incident energies, `step` counted from the
        start of training, `average_decay` 0 where the average just follows the weights. Names and
        their order are `loss_names`.
        """
        arguments = (
            tf.convert_to_tensor(images_bxyz),
            tf.convert_to_tensor(energy_b1),
            tf.constant(step, tf.int64),
            tf.constant(learning_rate, tf.float32),
            tf.constant(average_decay, tf.float32),
        )
        losses = self._compiled(*arguments)
        return dict(zip(self.loss_names, losses.numpy().tolist(), strict=True))

    def _step(
        self, images_bxyz: Any, energy_b1: Any, step: Any, learning_rate: Any, average_decay: Any
    ) -> Any:
        self.generator_optimizer.learning_rate.assign(learning_rate)
        self.discriminator_optimizer.learning_rate.assign(learning_rate)

        latent_bz, fake_energy_b1 = self._generator_input(step, draw=0)
        # With the statistics of the batch, as in the generator's own updates: the moving averages
        # of batch normalisation are so far off in the first hundreds of steps that the showers
        # would be empty, and the discriminator would learn to look for that.
        fake_bxyzc = self.generator([latent_bz, fake_energy_b1], training=True)
        real_ecal_b1 = tf.reduce_sum(images_bxyz, axis=(1, 2, 3))[:, None]

        real = self._update_discriminator(
            images_bxyz[..., None],
            self._flip(tf.ones_like(energy_b1), step, stream=0),
            energy_b1,
            real_ecal_b1,
        )
        fake = self._update_discriminator(
            fake_bxyzc,
            self._flip(tf.zeros_like(energy_b1), step, stream=1),
            fake_energy_b1,
            self._mean_ecal(fake_energy_b1),
        )
        updates = [
            self._update_generator(*self._generator_input(step, draw=1 + update))
            for update in range(self._training.generator_updates)
        ]
        generated = {name: tf.add_n([u[name] for u in updates]) / len(updates) for name in NAMES}

        for average, weight in zip(self.average_weights, self._averaged(), strict=True):
            average.assign(average_decay * average + (1.0 - average_decay) * weight)
        return tf.stack([losses[name] for losses in (real, fake, generated) for name in NAMES])

    @contextmanager
    def average_in_generator(self) -> Iterator[None]:
        """Lend the generator the averaged weights; without an average nothing changes."""
        own = [weight.numpy() for weight in self.generator.weights] if self.average_weights else []
        for weight, average in zip(self._averaged(), self.average_weights, strict=True):
            weight.assign(average)
        try:
            yield
        finally:
            for weight, value in zip(self._averaged(), own, strict=True):
                weight.assign(value)

    def _averaged(self) -> list[Any]:
        return [w.value for w in self.generator.weights] if self.average_weights else []

    def _update_discriminator(
        self, images_bxyzc: Any, labels_b1: Any, energy_b1: Any, ecal_b1: Any
    ) -> dict[str, Any]:
        """Update the discriminator on a batch and return its losses."""
        with tf.GradientTape() as tape:
            losses = self._judge(images_bxyzc, labels_b1, energy_b1, ecal_b1)
        self._descend(tape, losses["loss"], self.discriminator, self.discriminator_optimizer)
        return losses

    def _update_generator(self, latent_bz: Any, energy_b1: Any) -> dict[str, Any]:
        """Update the generator through the discriminator, with the labels of Monte Carlo."""
        with tf.GradientTape() as tape:
            images_bxyzc = self.generator([latent_bz, energy_b1], training=True)
            losses = self._judge(
                images_bxyzc, tf.ones_like(energy_b1), energy_b1, self._mean_ecal(energy_b1)
            )
        self._descend(tape, losses["loss"], self.generator, self.generator_optimizer)
        return losses

    def _judge(
        self, images_bxyzc: Any, labels_b1: Any, energy_b1: Any, ecal_b1: Any
    ) -> dict[str, Any]:
        inputs = [images_bxyzc, energy_b1] if self._sees_energy else images_bxyzc
        outputs = self.discriminator(inputs, training=True)
        weights = self._training.loss_weights
        return discriminator_losses(outputs, labels_b1, energy_b1, ecal_b1, weights)

    def _descend(
        self, tape: Any, loss: Any, network: keras.Model, optimizer: keras.Optimizer
    ) -> None:
        """Move `network` down the gradient of `loss`, averaged over ranks."""
        variables = network.trainable_variables
        # Under Keras 3 the tape and Horovod want the TensorFlow variable inside.
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        optimizer.apply(self._communicator.average(gradients), variables)

    def _flip(self, labels_b1: Any, step: Any, stream: int) -> Any:
        """Labels of which a fraction `label_flip`, at random, are the opposite."""
        flipped_b1 = self._noise.uniform(step, stream) < self._training.label_flip
        return tf.where(flipped_b1, 1.0 - labels_b1, labels_b1)

    def _generator_input(self, step: Any, draw: int) -> tuple[Any, Any]:
        """Latents (B, latent_dim) and scaled incident energies (B, 1) of the step's `draw`."""
        low, high = self._energy_range
        latent_bz = self._noise.normal(step, _FLIP_STREAMS + 2 * draw, self._latent_dim)
        energy_b1 = low + (high - low) * self._noise.uniform(step, _FLIP_STREAMS + 2 * draw + 1)
        return latent_bz, energy_b1

    def _mean_ecal(self, energy_b1: Any) -> Any:
        """Target ECAL sums (GeV) for scaled energies: e * polyval(coefficients, e)."""
        coefficients = [tf.constant(c, tf.float32) for c in self._response.coefficients]
        return energy_b1 * tf.math.polyval(coefficients, energy_b1)


@contextmanager
def without_remapper() -> Iterator[None]:
    """Switch off a graph optimisation that gives up on this step, and says so at error level.

    TensorFlow 2.18's remapper would fuse a convolution with its LeakyReLU, whose gradient needs
    the value between them; it then leaves the whole graph as it was.
    """
    before = tf.config.optimizer.get_experimental_options().get("remapping", True)
    tf.config.optimizer.set_experimental_options({"remapping": False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"remapping": before})

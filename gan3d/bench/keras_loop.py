"""The reference way to train a 3DGAN with Keras, to compare the compiled step with.

As the published scripts do it: one optimiser for the discriminator and one for the generator with
a discriminator that is not trainable behind it; of every batch `predict`, then `train_on_batch` of
the discriminator on Monte Carlo and on generated showers, then of the generator, twice. Labels,
latents and targets are made by NumPy, and every call brings its batch to TensorFlow and its losses
back.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from gan3d.config import Training
from gan3d.models import Architecture
from gan3d.training.optimizers import build_optimizer
from gan3d.training.response import Response

Array = NDArray[np.float32]


class KerasLoop:
    """Both networks as Keras models that are compiled, and a step of the loop."""

    def __init__(
        self,
        architecture: Architecture,
        generator: keras.Model,
        discriminator: keras.Model,
        training: Training,
        response: Response,
        seed: int,
    ) -> None:
        """Compile the models."""
        self._latent_dim = architecture.latent_dim
        self._sees_energy = architecture.discriminator_sees_energy
        self._training, self._response = training, response
        self._rng = np.random.default_rng(seed)
        losses = {output.name: output.loss for output in architecture.outputs}
        weights = {name: getattr(training.loss_weights, name) for name in losses}
        self._generator, self._discriminator = generator, discriminator

        latent_bz = keras.Input((architecture.latent_dim,))
        energy_b1 = keras.Input((1,))
        images = generator([latent_bz, energy_b1])
        judged = discriminator([images, energy_b1] if self._sees_energy else images)
        self._combined = keras.Model([latent_bz, energy_b1], judged)
        for model, trained in ((discriminator, discriminator), (self._combined, generator)):
            model.compile(
                optimizer=build_optimizer(training.optimizer, trained.trainable_variables),
                loss=losses,
                loss_weights=weights,
                # XLA would make a step of 3D convolutions ten times as long on a processor. Keras
                # leaves it alone here, too: not all layers of the published networks allow it.
                jit_compile=False,
            )

    def step(self, images_bxyz: Array, energy_b1: Array) -> None:
        """Update the discriminator on both batches, then the generator.

        `images_bxyz` in GeV, `energy_b1` the scaled incident energies.
        """
        count = len(energy_b1)
        ones, zeros = np.ones((count, 1), np.float32), np.zeros((count, 1), np.float32)
        latent_bz, fake_b1 = self._generator_input(count)
        generated = self._generator.predict([latent_bz, fake_b1], batch_size=count, verbose=0)
        # Keras reads `trainable` when it traces a model, in its first step.
        self._discriminator.trainable = True
        ecal_b1 = images_bxyz.sum(axis=(1, 2, 3))[:, None]
        self._train(self._discriminator, images_bxyz[..., None], energy_b1, ones, ecal_b1)
        self._train(self._discriminator, generated, fake_b1, zeros, self._mean_ecal(fake_b1))
        self._discriminator.trainable = False
        for _ in range(self._training.generator_updates):
            latent_bz, fake_b1 = self._generator_input(count)
            targets = self._targets(ones, fake_b1, self._mean_ecal(fake_b1))
            self._combined.train_on_batch([latent_bz, fake_b1], targets)

    def _train(
        self, model: keras.Model, images: Array, energy_b1: Array, labels_b1: Array, ecal_b1: Array
    ) -> None:
        flipped_b1 = self._rng.random(labels_b1.shape) < self._training.label_flip
        labels_b1 = np.where(flipped_b1, 1.0 - labels_b1, labels_b1)
        inputs = [images, energy_b1] if self._sees_energy else images
        model.train_on_batch(inputs, self._targets(labels_b1, energy_b1, ecal_b1))

    def _targets(self, labels_b1: Array, energy_b1: Array, ecal_b1: Array) -> dict[str, Any]:
        return {"generation": labels_b1, "auxiliary": energy_b1, "ecal": ecal_b1}

    def _generator_input(self, count: int) -> tuple[Array, Array]:
        low, high = (e / self._response.energy_scale_gev for e in self._response.energy_range_gev)
        latent_bz = self._rng.standard_normal((count, self._latent_dim), np.float32)
        return latent_bz, self._rng.uniform(low, high, (count, 1)).astype(np.float32)

    def _mean_ecal(self, energy_b1: Array) -> Array:
        return self._response.ecal_gev(self._response.energy_scale_gev * energy_b1).astype(
            np.float32
        )

"""The generator with all that `gan3d generate` does between network and file, as one function."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from gan3d.export.metadata import Latent
from gan3d.export.randomness import draw_latents
from gan3d.generation import TrainedRun
from gan3d.models.layers import set_plain


def build_function(run: TrainedRun, latent: Latent) -> Any:
    """A tf.function from incident energies to showers, with any number N of them.

    Inputs, in this order: `latent` (N, latent_dim) float32, standard normal, or, where the latents
    are to be drawn `inside`, `seed` (N, 2) int32, two numbers that name the shower; and `energy`
    (N, 1) float32, GeV. Output `cells`: (N, x, y, layer) float32, GeV.
    """
    generator, data = run.generator, run.experiment.data
    # What makes convolutions fast in TensorFlow on a processor is more operations elsewhere, and
    # gradients of its own, which no model to generate with needs and not every format can hold.
    set_plain(generator)
    latent_dim = int(generator.inputs[0].shape[1])

    def showers(latent_nz: Any, energy_n1: Any) -> dict[str, Any]:
        scaled_n1 = energy_n1 / data.energy_scale_gev
        images_nxyz = generator([latent_nz, scaled_n1], training=False)[..., 0]
        if data.cell_power != 1.0:
            images_nxyz = tf.pow(images_nxyz, 1.0 / data.cell_power)
        below_nxyz = images_nxyz < data.threshold_gev
        return {"cells": tf.where(below_nxyz, tf.zeros_like(images_nxyz), images_nxyz)}

    energy_spec = tf.TensorSpec((None, 1), tf.float32, name="energy")
    if latent == "inside":

        def seeded(seed: Any, energy: Any) -> dict[str, Any]:
            return showers(draw_latents(seed, latent_dim), energy)

        seed_spec = tf.TensorSpec((None, 2), tf.int32, name="seed")
        return tf.function(seeded, input_signature=[seed_spec, energy_spec])

    def given(latent: Any, energy: Any) -> dict[str, Any]:
        return showers(latent, energy)

    latent_spec = tf.TensorSpec((None, latent_dim), tf.float32, name="latent")
    return tf.function(given, input_signature=[latent_spec, energy_spec])

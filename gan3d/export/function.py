"""The generator with all that `gan3d generate` does between network and file, as one function."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras import ops

from gan3d.config import Condition
from gan3d.export.metadata import Latent
from gan3d.export.randomness import draw_latents
from gan3d.generation import TrainedRun


def build_function(run: TrainedRun, latent: Latent) -> Any:
    """A tf.function from incident energies to showers, with any number N of them.

    Inputs, in this order: `latent` (N, latent_dim) float32, standard normal, or, where the latents
    are to be drawn `inside`, `seed` (N, 2) int32, two numbers that name the shower; `energy`
    (N, 1) float32, GeV; and, named after them, the further conditions of the networks, (N, 1) each
    in the units of the shower files: numbers float32 (angles in rad), categories int32 (PDG codes).
    A category that is none of the network's counts as the first. Output `cells`: (N, x, y, layer)
    float32, GeV.
    """
    generator, data = run.generator, run.experiment.data
    latent_dim = int(generator.inputs[0].shape[1])

    labels = run.labels

    def showers(latent_nz: Any, energy_n1: Any, values: tuple[Any, ...]) -> dict[str, Any]:
        inputs = [latent_nz, energy_n1 / data.energy_scale_gev]
        if labels:
            seen = [_seen(value, label) for value, label in zip(values, labels, strict=True)]
            inputs.append(tf.concat(seen, axis=1))
        images_nxyz = generator(inputs, training=False)[..., 0]
        images_nxyz = data.cell_scale.gev(images_nxyz, ops)
        below_nxyz = images_nxyz < data.threshold_gev
        return {"cells": tf.where(below_nxyz, tf.zeros_like(images_nxyz), images_nxyz)}

    conditions = [
        tf.TensorSpec((None, 1), tf.float32, name="energy"),
        *(tf.TensorSpec((None, 1), _dtype(label), name=label.name) for label in labels),
    ]
    if latent == "inside":

        def seeded(seed: Any, energy: Any, *values: Any) -> dict[str, Any]:
            return showers(draw_latents(seed, latent_dim), energy, values)

        seed_spec = tf.TensorSpec((None, 2), tf.int32, name="seed")
        return tf.function(seeded, input_signature=[seed_spec, *conditions])

    def given(latent: Any, energy: Any, *values: Any) -> dict[str, Any]:
        return showers(latent, energy, values)

    latent_spec = tf.TensorSpec((None, latent_dim), tf.float32, name="latent")
    return tf.function(given, input_signature=[latent_spec, *conditions])


def _dtype(label: Condition) -> Any:
    return tf.int32 if label.kind == "categories" else tf.float32


def _seen(value_n1: Any, label: Condition) -> Any:
    """What the networks see of a condition (N, 1): see `gan3d.data.network_labels`."""
    if label.kind == "number":
        return (value_n1 - label.offset) / label.scale
    # A sum over the places, by operations that every runtime has.
    same_nv = tf.cast(tf.equal(value_n1, tf.constant([label.values], tf.int32)), tf.float32)
    places_1v = tf.constant([list(range(len(label.values)))], tf.float32)
    return tf.reduce_sum(same_nv * places_1v, axis=1, keepdims=True)

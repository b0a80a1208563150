"""What runtimes compute otherwise than TensorFlow, or not at all, and how it is made the same."""

import numpy as np
import onnx
import pytest
import tensorflow as tf
from scipy import special, stats

from gan3d.errors import RunError
from gan3d.export.onnx_model import write_onnx
from gan3d.export.randomness import draw_latents, threefry
from gan3d.export.runtimes import open_model
from gan3d.export.tflite import write_tflite

pytestmark = pytest.mark.tensorflow

WRITERS = {"onnx": write_onnx, "tflite": write_tflite}


@pytest.fixture
def as_exported(metadata, tmp_path):
    """What a function of float32 numbers gives in the runtime of a format."""

    def run(kind, function, values):
        def wrapped(latent, energy):
            return {"cells": function(latent) + 0.0 * energy}

        specs = [
            tf.TensorSpec((None, len(values)), tf.float32, name="latent"),
            tf.TensorSpec((None, 1), tf.float32, name="energy"),
        ]
        path = tmp_path / f"model.{kind}"
        WRITERS[kind](tf.function(wrapped, input_signature=specs), metadata, path)
        model = open_model(path, kind, path)
        return model(np.asarray(values, np.float32)[None], np.array([1.5], np.float32))[0]

    return run


@pytest.mark.parametrize("kind", WRITERS)
def test_the_error_function(kind, as_exported):
    x = np.linspace(-6, 6, 1001, dtype=np.float32)
    found = as_exported(kind, tf.math.erf, x)
    np.testing.assert_allclose(found, special.erf(x.astype(np.float64)), rtol=0, atol=4e-7)


@pytest.mark.parametrize("kind", WRITERS)
def test_small_probabilities_are_not_zero(kind, as_exported):
    x = np.linspace(-40, 40, 1001, dtype=np.float32)
    found = as_exported(kind, tf.math.sigmoid, x)
    np.testing.assert_allclose(found, special.expit(x.astype(np.float64)), rtol=2e-6)


@pytest.mark.parametrize("kind", WRITERS)
def test_nothing_comes_from_a_branch_that_is_not_chosen(kind, as_exported):
    x = np.array([-1.0, 0.0, 1.0, 4.0], np.float32)
    found = as_exported(kind, lambda v: tf.where(v > 0, tf.math.log(v), -v), x)
    np.testing.assert_allclose(found, [1.0, 0.0, 0.0, np.log(4.0)], rtol=1e-6)


def test_numbers_beside_images_have_their_rank(as_exported, tmp_path):
    """A constant without axes makes onnxruntime go through an image cell by cell."""
    x = np.linspace(-1, 1, 24, dtype=np.float32)

    def function(v):
        image = 3.0 * tf.reshape(v, (-1, 2, 3, 4, 1)) + 2.0
        return tf.reshape(tf.where(image > 2.0, tf.minimum(image, 4.0), 2.0 - image), (-1, 24))

    image = 3.0 * x + 2.0
    expected = np.where(image > 2.0, np.minimum(image, 4.0), 2.0 - image)
    np.testing.assert_allclose(as_exported("onnx", function, x), expected, rtol=1e-6)
    graph = onnx.load(str(tmp_path / "model.onnx")).graph
    ranks = {each.name: len(each.dims) for each in graph.initializer}
    beside = [
        ranks[name]
        for node in graph.node
        if node.op_type in ("Mul", "Add", "Sub", "Min", "Greater", "Where")
        for name in node.input
        if name in ranks
    ]
    assert beside.count(5) >= 5
    assert {name for node in graph.node for name in node.input} >= set(ranks)


def test_what_tensorflow_lite_lacks_is_named(as_exported):
    with pytest.raises(RunError, match=r"TensorFlow Lite cannot express it: it has no Betainc$"):
        as_exported("tflite", lambda v: tf.math.betainc(v, v, v), np.ones(4))


# The known answers of Random123's own tests (kat_vectors), threefry2x32 with 13 rounds.
@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0xFD36D048, 0x2D17272C)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xBA3E4725, 0xF27D669E)),
    ],
)
def test_threefry_is_threefry(counter, key, answer):
    words = [tuple(np.array(each, np.uint32).view(np.int32)) for each in (key, counter)]
    found = threefry(*words)
    assert [int(np.asarray(word).view(np.uint32)) for word in found] == list(answer)


@pytest.mark.parametrize("latent_dim", [1000, 1001])
def test_latents_are_standard_normal_and_independent(latent_dim):
    seeds = np.stack([np.full(200, 5), np.arange(200)], axis=1).astype(np.int32)
    latent_nz = draw_latents(seeds, latent_dim).numpy()
    assert latent_nz.shape == (200, latent_dim)
    assert stats.kstest(latent_nz.ravel(), "norm").pvalue > 0.01
    assert np.unique(latent_nz).size > 0.97 * latent_nz.size
    correlation_nn = np.corrcoef(latent_nz) - np.eye(200)
    correlation_zz = np.corrcoef(latent_nz.T) - np.eye(latent_dim)
    for correlation, samples in ((correlation_nn, latent_dim), (correlation_zz, 200)):
        assert np.abs(correlation).max() < 6 / np.sqrt(samples)

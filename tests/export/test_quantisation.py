"""Convolutions and large dense layers in int8, the last ones kept in float32."""

import re

import numpy as np
import onnx
import pytest
import tensorflow as tf

from gan3d.errors import RunError
from gan3d.export.onnx_model import write_onnx
from gan3d.export.quantisation import quantise, write_quantised
from gan3d.export.runtimes import load_exported

pytestmark = pytest.mark.tensorflow

LATENT, CELLS = 20, 8 * 8 * 8


@pytest.fixture(scope="module")
def plain(metadata, tmp_path_factory):
    """A dense layer of 10 240 weights, two 3D convolutions, and a small dense layer."""
    rng = np.random.default_rng(1)

    def weights(*shape):
        return rng.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)

    dense, first, last = weights(LATENT, CELLS), weights(3, 3, 3, 1, 4), weights(3, 3, 3, 4, 1)
    small = weights(1, CELLS)

    def network(latent, energy):
        x = tf.reshape(latent @ dense, (-1, 8, 8, 8, 1))
        x = tf.nn.leaky_relu(tf.nn.conv3d(x, first, (1, 1, 1, 1, 1), "SAME"))
        x = tf.reshape(tf.nn.conv3d(x, last, (1, 1, 1, 1, 1), "SAME"), (-1, CELLS))
        return {"cells": tf.reshape(x + 0.1 * (energy @ small), (-1, 8, 8, 8))}

    specs = [
        tf.TensorSpec((None, LATENT), tf.float32, name="latent"),
        tf.TensorSpec((None, 1), tf.float32, name="energy"),
    ]
    path = tmp_path_factory.mktemp("plain") / "plain.onnx"
    write_onnx(tf.function(network, input_signature=specs), metadata, path)
    return path


def inputs(seed, count):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(count, LATENT)).astype(np.float32),
        rng.uniform(1, 2, count).astype(np.float32),
    )


def batches(model):
    return [model.inputs(*inputs(seed, 4)) for seed in range(4)]


@pytest.mark.parametrize(("kept", "chosen"), [(0, 3), (1, 2), (2, 1)])
def test_layers_are_rounded_from_the_front(plain, metadata, tmp_path, kept, chosen):
    single = load_exported(plain)
    layers = quantise(plain, tmp_path / "q.onnx", batches(single), kept)
    assert len(layers) == chosen
    model = onnx.load(str(tmp_path / "q.onnx"))
    # A matrix or a kernel; scales and zero points are vectors.
    weights = [each for each in model.graph.initializer if len(each.dims) >= 2]
    in_8_bits = [each for each in weights if each.data_type == onnx.TensorProto.INT8]
    assert len(in_8_bits) == chosen
    # A scale for every channel: 512 of the dense layer, 4 of the first convolution, 1 of the last.
    scales = [
        each.dims[0] for each in model.graph.initializer if "scale" in each.name and each.dims
    ]
    assert scales == [512, 4, 1][:chosen]
    # onnxruntime has added keys of its own.
    assert load_exported(tmp_path / "q.onnx").metadata == metadata
    said = metadata.model_copy(update={"int8": {"layers": layers}})
    write_quantised(tmp_path / "q.onnx", said, tmp_path / "done.onnx")
    rounded = load_exported(tmp_path / "done.onnx")
    assert rounded.metadata == said
    assert re.fullmatch(r"test \(onnx, int8 [0-9a-f]{8}\)", rounded.identity)
    noise, energy_n = inputs(9, 7)
    expected, found = single(noise, energy_n), rounded(noise, energy_n)
    difference = np.std(found - expected) / np.std(expected)
    assert 1e-4 < difference < 0.03


def test_the_range_comes_from_the_calibration(plain, metadata, tmp_path):
    """Calibrated with far too small numbers, what is larger is cut off."""
    single = load_exported(plain)
    small = [
        {name: values * np.float32(0.01) for name, values in batch.items()}
        for batch in batches(single)
    ]
    quantise(plain, tmp_path / "q.onnx", small, 0)
    write_quantised(tmp_path / "q.onnx", metadata, tmp_path / "done.onnx")
    noise, energy_n = inputs(9, 7)
    expected, found = (
        single(noise, energy_n),
        load_exported(tmp_path / "done.onnx")(noise, energy_n),
    )
    assert np.std(found) < 0.3 * np.std(expected)


def test_a_network_without_such_layers_is_refused(plain, tmp_path):
    with pytest.raises(RunError, match=r"3 convolutions and .* the last 3 are to stay in float32"):
        quantise(plain, tmp_path / "q.onnx", batches(load_exported(plain)), 3)
    assert not list(tmp_path.iterdir())

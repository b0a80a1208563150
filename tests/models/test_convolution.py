"""Convolutions in another order of sums: the same numbers, and the same gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d.models.convolution import convolve, convolve_layers, convolve_plainly, same_pads
from gan3d.models.layers import Conv3D, set_plain

pytestmark = pytest.mark.tensorflow


def with_gradients(function, images, kernel, pads):
    """What comes out, and the gradients of a sum with random weights."""
    with tf.GradientTape() as tape:
        tape.watch([images, kernel])
        out = function(images, kernel, pads)
        weights = tf.constant(np.random.default_rng(1).normal(size=out.shape), tf.float32)
        total = tf.reduce_sum(weights * out)
    return [out, *tape.gradient(total, [images, kernel])]


def assert_same(cells, kernel_shape, pads, batch=2):
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(batch, *cells, kernel_shape[3])), tf.float32)
    kernel = tf.constant(rng.normal(size=kernel_shape), tf.float32)
    expected = with_gradients(convolve_plainly, images, kernel, pads)
    found = with_gradients(convolve, images, kernel, pads)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale)


PUBLISHED = {
    "generator.conv_1": ((7, 7, 8), (6, 6, 8, 8, 64), same_pads((6, 6, 8))),
    "generator.conv_2": ((14, 14, 16), (6, 5, 8, 64, 6), ((2, 2), (2, 2), (0, 0))),
    "generator.conv_3": ((26, 28, 27), (3, 3, 8, 6, 6), ((1, 1), (0, 0), (3, 3))),
    "generator.conv_4": ((26, 26, 26), (2, 2, 2, 6, 1), ((0, 0),) * 3),
    "discriminator.conv_1": ((25, 25, 25), (5, 5, 5, 1, 32), ((2, 2),) * 3),
    "discriminator.conv_2": ((25, 25, 25), (5, 5, 5, 32, 8), ((2, 2),) * 3),
    "discriminator.conv_3": ((25, 25, 25), (5, 5, 5, 8, 8), ((2, 2),) * 3),
    "discriminator.conv_4": ((25, 25, 25), (5, 5, 5, 8, 8), ((1, 1),) * 3),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_convolutions_stay_what_they_are(name):
    assert_same(*PUBLISHED[name], batch=1)


counts = st.integers(1, 7)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(counts, counts, counts),
    st.tuples(counts, counts, counts),
    st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 3),
    st.booleans(),
    st.sampled_from([1, 2, 8, 16, 17]),
    st.sampled_from([1, 3, 8, 9, 16]),
)
def test_any_convolution_stays_what_it_is(cells, taps, pads, same, channels, filters):
    if same:
        pads = same_pads(taps)
    # As far as the padded image must hold the kernel, zeros are added.
    pads = tuple(
        (before, max(after, k - n - before))
        for (before, after), n, k in zip(pads, cells, taps, strict=True)
    )
    assert_same(cells, (*taps, channels, filters), pads)


@pytest.mark.parametrize(
    ("name", "filters"),
    [("discriminator.conv_2", 16), ("discriminator.conv_3", 16), ("generator.conv_2", 12)],
)
def test_few_filters_fill_a_register_in_pairs(name, filters):
    cells, kernel_shape, pads = PUBLISHED[name]
    graph = tf.function(lambda x, w: convolve(x, w, pads)).get_concrete_function(
        tf.TensorSpec((1, *cells, kernel_shape[3])), tf.TensorSpec(kernel_shape)
    )
    widths = {
        operation.inputs[1].shape[-1]
        for operation in graph.graph.get_operations()
        if operation.type == "Conv3D"
    }
    assert widths == {filters}


def plain_layers(zeros, **arguments):
    return [keras.layers.ZeroPadding3D(zeros), keras.layers.Conv3D(8, (3, 4, 5), **arguments)]


@pytest.mark.parametrize("plain", [False, True])
def test_the_layer_is_keras_padding_and_convolution(plain, tmp_path):
    inputs = keras.Input((7, 9, 11, 2))
    theirs = keras.Sequential([inputs, *plain_layers((1, 0, 3))])
    ours = keras.Model(inputs, Conv3D(8, (3, 4, 5), zeros=(1, 0, 3))(inputs))
    assert ours.output_shape == theirs.output_shape
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    if plain:
        set_plain(ours)
    ours.set_weights([np.random.default_rng(3).normal(size=w.shape) for w in theirs.weights])
    theirs.set_weights(ours.get_weights())
    images = np.random.default_rng(2).normal(size=(2, 7, 9, 11, 2)).astype(np.float32)
    expected = theirs.predict_on_batch(images)
    np.testing.assert_allclose(ours.predict_on_batch(images), expected, rtol=1e-4, atol=1e-4)
    ours.save(tmp_path / "layer.keras")
    again = keras.saving.load_model(tmp_path / "layer.keras")
    np.testing.assert_allclose(again.predict_on_batch(images), expected, rtol=1e-4, atol=1e-4)


def test_same_keeps_the_size_with_even_kernels_too():
    inputs = keras.Input((6, 7, 8, 2))
    layer = Conv3D(8, (6, 3, 4), padding="same")
    assert layer(inputs).shape[1:] == (6, 7, 8, 8)
    assert layer.pads == ((2, 3), (1, 1), (1, 2))


odd = st.sampled_from((1, 3, 5))


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.integers(3, 7)] * 3),
    st.tuples(odd, odd, odd, st.integers(1, 2), st.integers(1, 3)),
    st.tuples(*[st.booleans()] * 3),
)
def test_layers_as_channels_are_the_convolution_of_what_lies_around(cells, kernel_shape, periodic):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, *cells, kernel_shape[3])).astype(np.float32)
    kernel = tf.constant(rng.normal(size=kernel_shape), tf.float32)
    around = images
    for axis, (wraps, taps) in enumerate(zip(periodic, kernel_shape[:3], strict=True)):
        pads = [(0, 0)] * 5
        pads[axis + 1] = (taps // 2, taps // 2)
        around = np.pad(around, pads, mode="wrap" if wraps else "constant")
    expected = with_gradients(convolve_plainly, tf.constant(around), kernel, ((0, 0),) * 3)
    found = with_gradients(
        lambda images, kernel, _: convolve_layers(images, kernel, periodic),
        tf.constant(images),
        kernel,
        None,
    )
    for index in (0, 2):  # the output and the kernel's gradient
        scale = np.abs(expected[index]).max()
        np.testing.assert_allclose(found[index], expected[index], rtol=0, atol=1e-5 * scale)

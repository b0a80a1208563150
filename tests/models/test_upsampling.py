"""Convolutions of repeated cells, with fewer products: the same numbers, and the same gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d.models.convolution import convolve, convolve_plainly
from gan3d.models.layers import Conv3D
from gan3d.models.upsampling import convolve_upsampled, repeat_cells

pytestmark = pytest.mark.tensorflow


def assert_same(cells, kernel_shape, pads, factors):
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(2, *cells, kernel_shape[3])), tf.float32)
    kernel = tf.constant(rng.normal(size=kernel_shape), tf.float32)

    def with_gradients(function):
        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            out = function()
            weights = tf.constant(np.random.default_rng(1).normal(size=out.shape), tf.float32)
            total = tf.reduce_sum(weights * out)
        return [out, *tape.gradient(total, [images, kernel])]

    expected = with_gradients(lambda: convolve_plainly(repeat_cells(images, factors), kernel, pads))
    found = with_gradients(lambda: convolve_upsampled(images, kernel, pads, factors, convolve))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize(
    "sizes",
    [
        ((7, 7, 8), (6, 5, 8, 64, 6), ((2, 2), (2, 2), (0, 0)), (2, 2, 2)),
        ((13, 14, 9), (3, 3, 8, 6, 6), ((1, 1), (0, 0), (3, 3)), (2, 2, 3)),
    ],
    ids=["conv_2", "conv_3"],
)
def test_the_published_convolutions_stay_what_they_are(sizes):
    assert_same(*sizes)


few, pad = st.integers(1, 4), st.tuples(*[st.integers(0, 3)] * 2)


@settings(max_examples=40)
@given(
    st.tuples(few, few, few),
    st.tuples(*[st.integers(1, 5)] * 3, st.integers(1, 2), st.integers(1, 3)),
    st.tuples(pad, pad, pad),
    st.tuples(few, few, few),
)
def test_any_convolution_of_repeated_cells_stays_what_it_is(cells, kernel_shape, pads, factors):
    sizes = zip(cells, factors, pads, kernel_shape[:3], strict=True)
    if any(count * factor + sum(zeros) < taps for count, factor, zeros, taps in sizes):
        return  # the kernel does not fit
    assert_same(cells, kernel_shape, pads, factors)


@pytest.mark.parametrize("around", [{"padding": "same"}, {"zeros": (1, 0, 2)}])
def test_the_layer_is_keras_s_two(around):
    images = np.random.default_rng(0).normal(size=(2, 4, 3, 5, 2)).astype(np.float32)
    layer = Conv3D(3, (3, 2, 4), upsampling=(2, 3, 2), **around)
    found = layer(images)
    assert layer.compute_output_shape(images.shape) == found.shape
    again = Conv3D.from_config(layer.get_config())
    again.build(images.shape)
    again.set_weights(layer.get_weights())
    again.plain = again.repeats = True
    np.testing.assert_allclose(again(images), found, atol=1e-5)
    larger = keras.layers.UpSampling3D((2, 3, 2))(images)
    single = Conv3D(3, (3, 2, 4), **around)
    single.build(larger.shape)
    single.set_weights(layer.get_weights())
    np.testing.assert_allclose(single(larger), found, atol=1e-5)

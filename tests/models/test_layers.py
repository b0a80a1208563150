"""Layers that do what Keras's do, faster."""

import keras
import numpy as np
import pytest

from gan3d.models.layers import Dropout

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5])
def test_dropout_drops_what_keras_drops(rate):
    ours, theirs = Dropout(rate, seed=7), keras.layers.Dropout(rate, seed=7)
    inputs = np.random.default_rng(0).normal(size=(20, 1000)).astype(np.float32)
    for _ in range(2):
        found, expected = ours(inputs, training=True), theirs(inputs, training=True)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert np.mean(np.asarray(found) == 0) == pytest.approx(rate, abs=0.02)
    np.testing.assert_array_equal(ours(inputs, training=False), inputs)


def test_dropout_in_16_bits_drops_the_share_that_is_asked_for():
    inputs = np.ones((20, 10_000))
    found = keras.ops.cast(Dropout(0.2, dtype="bfloat16", seed=7)(inputs, training=True), "float32")
    assert np.mean(np.asarray(found) == 0) == pytest.approx(0.2, abs=0.005)
    assert set(np.unique(found)) == {0.0, 1.25}

"""The further terms of the losses, against values worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d.config import CellScale, LossWeights
from gan3d.training.response import Response, fit_layers
from gan3d.training.terms import (
    GeneratorTerms,
    features_term,
    gradient_penalty,
    layers_term,
    response_term,
)

pytestmark = pytest.mark.tensorflow

ALL = LossWeights(response=1.0, layers=1.0, features=1.0)
RESPONSE = Response(
    (9.9,), (10.0, 100.0), 100.0, 1,
    gev_coefficients=(1.0, 2.0),
    layer_coefficients=((0.1, 0.5), (-0.1, 0.5)),
)  # fmt: skip


def floats(*rows):
    return tf.constant(rows, tf.float32)


def test_the_response_of_each_shower_counts():
    """Sums of 2 and 3 GeV where 4 and 2 are the mean: 1/2 too little, 1/2 too much."""
    layers, expected = floats([1, 1], [0, 3]), floats([4], [2])
    assert float(response_term(layers, expected)) == pytest.approx(0.5)
    nothing = floats([4], [0])
    assert float(response_term(layers, nothing)) == pytest.approx(0.25)


def test_the_mean_shares_of_the_layers_count():
    """Shares (1/2, 1/2) and (0, 1): in the mean (1/4, 3/4), where (3/4, 1/4) is expected."""
    layers, expected = floats([1, 1], [0, 3]), floats([2], [3])
    shares = floats([0.5, 0.5], [1.0, 0.0])
    assert float(layers_term(layers, expected, shares)) == pytest.approx(1.0)
    assert float(layers_term(layers, expected, floats([0.5, 0.5], [0, 1]))) == 0.0


def test_the_means_of_features_are_matched():
    generated, real = floats([1, 2], [3, 2]), floats([0, 5], [0, 3])
    assert float(features_term(generated, real)) == pytest.approx((2**2 + 2**2) / 2)


def test_of_a_linear_logit_the_penalty_is_the_square_of_its_slope_in_units_of_the_images():
    images = tf.constant(np.random.default_rng(0).random((3, 2, 2, 2, 1)), tf.float32)
    slope = tf.constant(np.arange(8.0).reshape(1, 2, 2, 2, 1), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        logit = tf.reduce_sum(images * slope, axis=(1, 2, 3, 4))
    found = float(gradient_penalty(tape.gradient(logit, images), images))
    assert found == pytest.approx(0.5 * float(tf.reduce_mean(images**2)) * 140, rel=1e-5)
    other = 1e-3 * images
    with tf.GradientTape() as tape:
        tape.watch(other)
        logit = tf.reduce_sum(1e3 * other * slope, axis=(1, 2, 3, 4))
    assert float(gradient_penalty(tape.gradient(logit, other), other)) == pytest.approx(
        found, rel=1e-4
    )


@pytest.mark.parametrize("scale", [CellScale(), CellScale(0.85), CellScale(log_gev=1e-4)])
@given(share=st.sampled_from([0.0, 1e-7, 1e-3, 1.0]))
@settings(max_examples=4)
def test_values_and_gradients_are_finite_whatever_showers_hold(scale, share):
    terms = GeneratorTerms(ALL, scale, RESPONSE)
    images = tf.constant(scale.seen(np.full((2, 3, 3, 2, 1), share, np.float32)))
    targets = terms.expect(floats([0.2], [0.9])) | {"features": floats([0.0], [1.0])}
    with tf.GradientTape() as tape:
        tape.watch(images)
        features = tf.reduce_sum(images, axis=(2, 3, 4))
        total = terms.weighted(terms.losses(images, features, targets))
    assert np.isfinite(total)
    if scale.power == 1.0:  # a power has no slope at 0, as in angle51's own outputs
        assert np.isfinite(tape.gradient(total, images)).all()


def test_images_count_in_gev_whatever_the_networks_see():
    gev = np.random.default_rng(0).random((2, 3, 3, 2)).astype(np.float32)
    said = []
    for scale in (CellScale(), CellScale(0.5), CellScale(log_gev=1e-3)):
        measured = GeneratorTerms(ALL, scale, RESPONSE).measure(tf.constant(scale.seen(gev)))
        said.append(measured)
        np.testing.assert_allclose(measured["response"][:, 0], gev.sum(axis=(1, 2, 3)), rtol=1e-4)
        np.testing.assert_allclose(tf.reduce_sum(measured["layers"], axis=1), 1.0, rtol=1e-5)


def test_without_labels_the_fits_say_what_is_expected():
    expected = GeneratorTerms(ALL, CellScale(), RESPONSE).expect(floats([0.5], [1.0]))
    np.testing.assert_allclose(expected["response"][:, 0], [0.5 * 2.5, 3.0])
    log = np.log([0.5, 1.0])
    np.testing.assert_allclose(
        expected["layers"], np.stack([0.5 + 0.1 * log, 0.5 - 0.1 * log], axis=1), rtol=1e-6
    )


def test_the_fit_of_the_layers_finds_a_parabola_in_the_logarithm():
    scaled = np.linspace(0.1, 1.0, 30)
    share = 0.4 + 0.05 * np.log(scaled) + 0.02 * np.log(scaled) ** 2
    layers = np.stack([share, 1 - share], axis=1) * scaled[:, None]
    layers[3] = 0.0  # an empty shower says nothing
    first, second = fit_layers(layers, scaled)
    np.testing.assert_allclose(first, [0.02, 0.05, 0.4], atol=1e-9)
    np.testing.assert_allclose(second, [-0.02, -0.05, 0.6], atol=1e-9)
    assert len(fit_layers(layers[:2], scaled[[0, 0]])[0]) == 1


def test_a_response_comes_back_from_json():
    assert Response.from_dict(RESPONSE.as_dict()) == RESPONSE
    old = {k: v for k, v in RESPONSE.as_dict().items() if "gev_" not in k and "layer_" not in k}
    assert Response.from_dict(old).layer_coefficients is None


def test_terms_without_a_weight_are_not_there():
    terms = GeneratorTerms(LossWeights(), CellScale(), RESPONSE)
    assert terms.names == ()
    assert terms.measure(None) == {}
    assert terms.expect(None) == {}

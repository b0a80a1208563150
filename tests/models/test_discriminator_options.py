"""Options of discriminators: bounded spectra, the deviation in the batch, the features."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan3d.config import Data, Experiment, Geometry, Model
from gan3d.errors import ConfigError
from gan3d.models import architecture_of
from gan3d.models.discriminator_options import (
    LargestSingularValue,
    MinibatchDeviation,
    SpectralConv3D,
    SpectralDense,
    normalise_spectrum,
    show_deviation,
    with_features,
)
from gan3d.models.layers import Conv3D

pytestmark = pytest.mark.tensorflow

SHAPE = (6, 6, 6)


def small(dropout=0.2):
    """A discriminator with everything that those of architectures have."""
    images = keras.Input((*SHAPE, 1), name="images")
    x = keras.layers.LeakyReLU()(Conv3D(16, 3, padding="same", name="conv_1")(images))
    x = keras.layers.Conv3D(4, 3, strides=2, padding="same", name="conv_2")(x)
    x = keras.layers.Dropout(dropout)(keras.layers.Flatten(name="features")(x))
    outputs = {
        "generation": keras.layers.Dense(1, activation="sigmoid", name="generation")(x),
        "auxiliary": keras.layers.Dense(1, kernel_initializer="ones", name="auxiliary")(x),
    }
    return keras.Model(images, outputs, name="discriminator")


def batch(count=5):
    return np.random.default_rng(0).random((count, *SHAPE, 1)).astype(np.float32)


def largest(kernel):
    return np.linalg.svd(np.reshape(kernel, (-1, np.shape(kernel)[-1])), compute_uv=False)[0]


def test_power_iteration_finds_the_largest_singular_value():
    kernel = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 2, 5)), tf.float32)
    layer = LargestSingularValue()
    layer.build(tuple(kernel.shape))
    for _ in range(60):
        layer.advance(kernel)
    assert float(layer.call(kernel)) == pytest.approx(largest(kernel), rel=1e-4)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        sigma = layer.call(kernel)
    # The derivative of a singular value is the product of its vectors: of length 1.
    assert float(tf.norm(tape.gradient(sigma, kernel))) == pytest.approx(1.0, rel=1e-3)


def test_after_some_passes_all_kernels_but_the_estimators_are_bounded():
    keras.utils.set_random_seed(0)
    network = normalise_spectrum(small(), 1.5, ["auxiliary"])
    for _ in range(60):
        network(batch(), training=True)
    for name in ("conv_1", "conv_2", "generation"):
        assert largest(network.get_layer(name).kernel) == pytest.approx(1.5, rel=1e-3), name
    assert type(network.get_layer("auxiliary")) is keras.layers.Dense
    assert isinstance(network.get_layer("conv_1"), SpectralConv3D)
    assert isinstance(network.get_layer("conv_1"), Conv3D)
    assert set(network.output) == {"generation", "auxiliary"}


def test_only_training_moves_the_vectors_and_files_have_them(tmp_path):
    network, other = (normalise_spectrum(small(), 1.0, []) for _ in range(2))
    vectors = [w for w in network.non_trainable_weights if w.name == "u"]
    assert len(vectors) == 4
    network(batch())
    assert all((vector.numpy() == 1.0).all() for vector in vectors)
    network(batch(), training=True)
    assert not any((vector.numpy() == 1.0).all() for vector in vectors if vector.shape[0] > 1)
    network.save_weights(tmp_path / "a.weights.h5")
    other.load_weights(tmp_path / "a.weights.h5")
    for ours, theirs in zip(network.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_with_mixed_precision_the_vectors_stay_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = normalise_spectrum(small(), 1.0, [])
        assert np.isfinite(network(batch(), training=True)["generation"]).all()
        assert network.get_layer("conv_1").spectrum.u.numpy().dtype == np.float32
    finally:
        keras.config.set_dtype_policy("float32")


def test_showers_that_are_alike_have_no_deviation():
    layer = MinibatchDeviation()
    features = np.float32([[1, 0], [3, 4]])
    np.testing.assert_allclose(layer(features), [[1, 0, 1.5], [3, 4, 1.5]], rtol=1e-4)
    alike = tf.ones((4, 3))
    with tf.GradientTape() as tape:
        tape.watch(alike)
        said = layer(alike)
    assert float(said[0, -1]) == pytest.approx(1e-4)
    assert np.isfinite(tape.gradient(said, alike)).all()


def test_the_head_is_told_the_deviation():
    network = show_deviation(small(dropout=0.0))
    assert network.get_layer("generation").kernel.shape[0] == 4 * 27 + 1
    assert network.get_layer("auxiliary").kernel.shape[0] == 4 * 27
    images = batch()
    alone = network(images[:1])["generation"][0]
    assert not np.allclose(network(images)["generation"][0], alone, rtol=1e-5)


@pytest.mark.parametrize("spectral", [False, True])
def test_features_make_the_probability(spectral):
    network = normalise_spectrum(small(), 1.0, []) if spectral else small()
    featured = with_features(network, "key")
    said = featured.network(batch())
    logit = featured.logit(said["features"])
    np.testing.assert_allclose(tf.sigmoid(logit), said["generation"], rtol=1e-5)
    assert {id(w) for w in featured.network.weights} == {id(w) for w in network.weights}


def test_a_head_of_another_kind_is_refused():
    images = keras.Input((3,))
    other = keras.Model(images, {"generation": keras.layers.Dense(1, name="generation")(images)})
    with pytest.raises(ConfigError, match=r"training\.x: wants a discriminator whose last layer"):
        with_features(other, "training.x")


def experiment(architecture, shape, data=None, **model):
    return Experiment(
        data=Data(files=["a.h5"], geometry=Geometry(shape=shape), **(data or {})),
        model=Model(architecture=architecture, **model),
    )


def test_every_architecture_takes_what_makes_sense():
    ours = experiment("ecal25", (25, 25, 25), spectral_norm=1.0, minibatch_deviation=True)
    network = architecture_of(ours).build_discriminator(ours.model)
    assert isinstance(network.get_layer("generation"), SpectralDense)
    assert network.get_layer("minibatch_deviation") is not None
    plain = experiment("ecal25", (25, 25, 25))
    names = [layer.name for layer in architecture_of(plain).build_discriminator(plain.model).layers]
    assert "minibatch_deviation" not in names


def test_what_an_architecture_has_built_in_is_refused():
    ours = experiment("compact", (6, 6, 6), minibatch_deviation=True)
    with pytest.raises(ConfigError, match=r"minibatch_deviation: the discriminator of compact"):
        architecture_of(ours)
    for key in ("cell_power", "cell_log_gev"):
        with pytest.raises(ConfigError, match=rf"data\.{key}: compact has the physics"):
            architecture_of(experiment("compact", (6, 6, 6), {key: 0.5}))

"""The published networks: parameters, layers, shapes, and what their outputs mean."""

import keras
import numpy as np
import pytest

from gan3d.config import Model
from gan3d.models import get_architecture

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def ecal25():
    architecture = get_architecture("ecal25")
    return (
        architecture,
        architecture.build_generator(Model()),
        architecture.build_discriminator(Model()),
    )


def images(rng, count):
    return rng.gamma(0.1, 1e-2, (count, 25, 25, 25, 1)).astype(np.float32)


def test_parameter_counts_are_the_published_ones(ecal25):
    _, generator, discriminator = ecal25
    assert generator.count_params() == 872_948
    assert discriminator.count_params() == 73_450


def test_generator_makes_showers_that_are_never_negative(ecal25):
    architecture, generator, _ = ecal25
    latent = np.random.default_rng(0).normal(size=(3, architecture.latent_dim))
    out = generator.predict_on_batch([latent.astype(np.float32), np.full((3, 1), 0.5, np.float32)])
    assert out.shape == (3, 25, 25, 25, 1)
    assert out.min() >= 0
    assert out.max() > 0


def test_incident_energy_enters_as_the_scale_of_the_latent_vector(ecal25):
    architecture, generator, _ = ecal25
    latent = np.random.default_rng(1).normal(size=(2, architecture.latent_dim)).astype(np.float32)
    one = np.ones((2, 1), np.float32)
    np.testing.assert_allclose(
        generator.predict_on_batch([latent, 3 * one]),
        generator.predict_on_batch([3 * latent, one]),
        rtol=1e-4,
        atol=1e-6,
    )


def test_discriminator_outputs_probability_energy_and_ecal_sum(ecal25):
    _, _, discriminator = ecal25
    batch = images(np.random.default_rng(2), 4)
    out = discriminator.predict_on_batch(batch)
    assert set(out) == {"generation", "auxiliary", "ecal"}
    assert all(value.shape == (4, 1) for value in out.values())
    assert np.all((out["generation"] >= 0) & (out["generation"] <= 1))
    np.testing.assert_allclose(out["ecal"][:, 0], batch.sum((1, 2, 3, 4)), rtol=1e-5)


def test_layers_follow_the_published_order(ecal25):
    _, generator, discriminator = ecal25
    convolutions = [
        (layer.filters, layer.kernel_size, layer.padding)
        for layer in generator.layers
        if isinstance(layer, keras.layers.Conv3D)
    ]
    assert convolutions == [
        (64, (6, 6, 8), "same"),
        (6, (6, 5, 8), "valid"),
        (6, (3, 3, 8), "valid"),
        (1, (2, 2, 2), "valid"),
    ]
    kinds = [type(layer).__name__ for layer in discriminator.layers]
    first = ["Conv3D", "LeakyReLU", "Dropout"]
    block = ["ZeroPadding3D", "Conv3D", "LeakyReLU", "BatchNormalization", "Dropout"]
    assert kinds[1:19] == first + 3 * block


@pytest.mark.parametrize("name", ["ecal25", "ecal25-mkl16"])
def test_switches_remove_dropout_and_batch_norm(name):
    architecture = get_architecture(name)
    settings = Model(architecture=name, dropout=0.0, batch_norm=False)
    for network in (
        architecture.build_generator(settings),
        architecture.build_discriminator(settings),
    ):
        kinds = {type(layer).__name__ for layer in network.layers}
        assert not kinds & {"Dropout", "BatchNormalization"}


def test_every_filter_count_of_mkl16_is_a_multiple_of_16_but_for_the_output():
    architecture = get_architecture("ecal25-mkl16")
    for network in (
        architecture.build_generator(Model()),
        architecture.build_discriminator(Model()),
    ):
        convolutions = [lay for lay in network.layers if isinstance(lay, keras.layers.Conv3D)]
        odd = [layer.filters for layer in convolutions if layer.filters % 16]
        assert odd == ([1] if network.name == "generator" else [])
        # oneDNN blocks the input channels too; only an image has 1.
        assert all(layer.kernel.shape[-2] % 16 == 0 for layer in convolutions[1:])


@pytest.mark.parametrize("name", ["ecal25", "ecal25-mkl16", "ecal25-compact"])
def test_networks_survive_a_keras_file_in_safe_mode(name, tmp_path):
    architecture = get_architecture(name)
    rng = np.random.default_rng(3)
    latent = rng.normal(size=(2, architecture.latent_dim)).astype(np.float32)
    energy = np.full((2, 1), 0.5, np.float32)
    batch = images(rng, 2)
    judged = [batch, energy] if architecture.discriminator_sees_energy else batch
    for network, inputs in (
        (architecture.build_generator(Model()), [latent, energy]),
        (architecture.build_discriminator(Model()), judged),
    ):
        path = tmp_path / f"{network.name}.keras"
        network.save(path)
        again = keras.saving.load_model(path, safe_mode=True)
        before, after = network.predict_on_batch(inputs), again.predict_on_batch(inputs)
        keras.tree.map_structure(np.testing.assert_array_equal, before, after)


@pytest.mark.parametrize("name", ["ecal25", "ecal25-mkl16", "ecal25-compact"])
def test_no_layer_carries_code(name):
    architecture = get_architecture(name)
    for network in (
        architecture.build_generator(Model()),
        architecture.build_discriminator(Model()),
    ):
        assert "Lambda" not in {type(layer).__name__ for layer in network.layers}

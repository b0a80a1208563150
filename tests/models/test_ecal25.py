"""The published networks: parameters, layers, shapes, and what their outputs mean."""

import keras
import numpy as np
import pytest

from gan3d.config import Model
from gan3d.models import get_architecture
from gan3d.models.arithmetic import forward_flops
from gan3d.models.layers import Conv3D

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
        (layer.filters, layer.kernel_size, layer.padding, layer.zeros)
        for layer in generator.layers
        if isinstance(layer, keras.layers.Conv3D)
    ]
    assert convolutions == [
        (64, (6, 6, 8), "same", (0, 0, 0)),
        (6, (6, 5, 8), "valid", (2, 2, 0)),
        (6, (3, 3, 8), "valid", (1, 0, 3)),
        (1, (2, 2, 2), "valid", (0, 0, 0)),
    ]
    kinds = [type(layer).__name__ for layer in discriminator.layers]
    first = ["Conv3D", "LeakyReLU", "Dropout"]
    block = ["Conv3D", "LeakyReLU", "BatchNormalization", "Dropout"]
    assert kinds[1:16] == first + 3 * block
    zeros = [layer.zeros for layer in discriminator.layers if isinstance(layer, Conv3D)]
    assert zeros == [(2, 2, 2)] * 3 + [(1, 1, 1)]


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


def test_arithmetic_is_that_of_all_products_or_of_those_without_zeros(ecal25):
    _, generator, discriminator = ecal25
    assert forward_flops(discriminator) == pytest.approx(1.57e9, rel=0.01)
    for network in (generator, discriminator):
        left = 0
        for layer in network.layers:
            if isinstance(layer, keras.layers.Dense):
                left += 2 * np.prod(layer.kernel.shape)
            if isinstance(layer, Conv3D):
                # Of ones with a kernel of ones every output is its number of products.
                ones = np.ones((1, *layer.upsampled(layer.input.shape[1:4]), 1), np.float32)
                padded = np.pad(ones, ((0, 0), *layer.pads, (0, 0)))
                kernel = np.ones((*layer.kernel_size, 1, 1), np.float32)
                products = keras.ops.sum(keras.ops.conv(padded, kernel, padding="valid"))
                left += 2 * int(products) * np.prod(layer.kernel.shape[3:])
        assert forward_flops(network, zeros=False) == left < forward_flops(network)


def test_zeros_of_strided_convolutions_are_left_out_too():
    inputs = keras.Input((7, 8, 5, 1))
    layer = keras.layers.Conv3D(1, (3, 4, 5), strides=2, padding="same")
    network = keras.Model(inputs, layer(inputs))
    layer.kernel.assign(np.ones(layer.kernel.shape))
    products = np.sum(network.predict_on_batch(np.ones((1, 7, 8, 5, 1), np.float32)))
    assert forward_flops(network, zeros=False) == 2 * int(products)

"""The compact GAN: its arithmetic, what it is given, what it can learn, and that it can be kept."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan3d.config import Model
from gan3d.errors import DataError
from gan3d.models import get_architecture
from gan3d.models.arithmetic import forward_flops, step_flops

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def compact(sample_showers):
    """Architecture, generator, discriminator, adapted to `images` and `energy`."""
    architecture = get_architecture("ecal25-compact")
    generator = architecture.build_generator(Model())
    discriminator = architecture.build_discriminator(Model())
    ecal, target = sample_showers
    energy = (target[:, 1:2] / 100.0).astype(np.float32)
    before = [w.numpy() for n in (generator, discriminator) for w in n.trainable_weights]
    architecture.adapt(generator, discriminator, ecal, energy)
    after = [w.numpy() for n in (generator, discriminator) for w in n.trainable_weights]
    return architecture, generator, discriminator, ecal, energy, before, after


def latents(architecture, count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, architecture.latent_dim)).astype(np.float32)


def pair(name):
    architecture = get_architecture(name)
    return architecture.build_generator(Model()), architecture.build_discriminator(Model())


def test_arithmetic_of_the_published_networks_is_the_published_one():
    generator, discriminator = pair("ecal25")
    assert forward_flops(generator) == pytest.approx(0.51e9, rel=0.01)
    assert forward_flops(discriminator) == pytest.approx(1.57e9, rel=0.01)
    assert step_flops(generator, discriminator, 2) == pytest.approx(19.5e9, rel=0.02)


def test_a_step_costs_at_most_a_tenth_of_the_published_one():
    compact, published = (step_flops(*pair(n), 2) for n in ("ecal25-compact", "ecal25"))
    assert 0 < compact < published / 10


def test_a_dense_layer_and_a_convolution_count_two_operations_per_multiply_add():
    inputs = keras.Input((4, 4, 4, 2))
    hidden = keras.layers.Conv3D(3, (1, 2, 3), padding="same")(inputs)
    outputs = keras.layers.Dense(5)(keras.layers.Flatten()(hidden))
    model = keras.Model(inputs, outputs)
    assert forward_flops(model) == 2 * (64 * 6 * 2 * 3) + 2 * (192 * 5)


def test_shapes_and_the_sum_of_cells(compact):
    architecture, generator, discriminator, _, energy, *_ = compact
    images = generator.predict_on_batch([latents(architecture, 3), energy[:3]])
    assert images.shape == (3, 25, 25, 25, 1)
    outputs = discriminator.predict_on_batch([images, energy[:3]])
    assert {name: value.shape for name, value in outputs.items()} == {
        "generation": (3, 1),
        "auxiliary": (3, 1),
        "ecal": (3, 1),
    }
    np.testing.assert_allclose(outputs["ecal"][:, 0], images.sum(axis=(1, 2, 3, 4)), rtol=1e-4)


@pytest.mark.parametrize("scaled_energy", [1e-3, 0.1, 1.0, 20.0])
def test_energies_are_finite_and_never_negative(compact, scaled_energy):
    architecture, generator, *_ = compact
    extreme = 3.0 * latents(architecture, 4)
    images = generator.predict_on_batch([extreme, np.full((4, 1), scaled_energy, np.float32)])
    assert np.isfinite(images).all()
    assert (images >= 0).all()


def test_the_untrained_generator_has_the_response_and_sparsity_of_its_training_showers(compact):
    architecture, generator, _, ecal, energy, *_ = compact
    images = generator.predict_on_batch([latents(architecture, 100), energy])[..., 0]
    response = images.sum(axis=(1, 2, 3)) / energy[:, 0]
    assert response.mean() == pytest.approx(
        (ecal.sum(axis=(1, 2, 3)) / energy[:, 0]).mean(), rel=0.02
    )
    assert (images > 1e-5).mean() == pytest.approx((ecal > 1e-5).mean(), rel=0.1)
    np.testing.assert_allclose(images.mean((0, 1, 2))[5:15], ecal.mean((0, 1, 2))[5:15], rtol=0.15)


def test_adapting_leaves_trainable_weights_alone(compact):
    *_, before, after = compact
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_adapting_to_a_single_shower_or_a_single_energy_stays_finite(compact):
    architecture, _, _, ecal, energy, *_ = compact
    generator, discriminator = pair("ecal25-compact")
    for images, energies in ((ecal[:1], energy[:1]), (ecal, np.full_like(energy, 0.5))):
        architecture.adapt(generator, discriminator, images, energies)
        out = generator.predict_on_batch([latents(architecture, 2), energy[:2]])
        assert np.isfinite(out).all()
        assert out.sum() > 0


def test_adapting_to_empty_showers_is_an_error(compact):
    architecture, generator, discriminator, ecal, energy, *_ = compact
    with pytest.raises(DataError, match="empty"):
        architecture.adapt(generator, discriminator, np.zeros_like(ecal), energy)


def test_every_trainable_weight_of_the_generator_learns_through_the_discriminator(compact):
    architecture, *_, ecal, energy, _, _ = compact
    generator, discriminator = pair("ecal25-compact")
    architecture.adapt(generator, discriminator, ecal, energy)
    # Where two weights are multiplied and one starts at 0, the other has no gradient at first.
    for weight in (
        generator.get_layer("lateral_modes").shapes,
        generator.get_layer("correlated_noise").kernel,
    ):
        weight.assign(np.random.default_rng(0).normal(0.0, 0.01, weight.shape))
    with tf.GradientTape() as tape:
        energy_b1 = tf.constant(energy[:4])
        images = generator([tf.constant(latents(architecture, 4)), energy_b1], training=True)
        out = discriminator([images, energy_b1], training=True)["generation"]
        loss = tf.reduce_mean(tf.math.log(out))
    weights = generator.trainable_weights
    gradients = tape.gradient(loss, [w.value for w in weights])
    for weight, gradient in zip(weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.isfinite(gradient.numpy()).all(), weight.path
        assert np.abs(gradient.numpy()).max() > 0, weight.path


def test_correlated_noise_keeps_its_variance(compact):
    _, generator, *_ = compact
    layer = type(generator.get_layer("correlated_noise"))()
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(8, 25, 25, 25, 1)).astype(np.float32)
    log_expected = rng.uniform(-12.0, -3.0, noise.shape).astype(np.float32)
    layer([noise, log_expected])
    kernel = np.zeros(layer.kernel.shape)
    kernel[1, 1, 4, 0] = (0.5, 0.3)
    layer.kernel.assign(kernel)
    inner = np.asarray(layer([noise, log_expected]))[..., :-1, 0]
    assert inner.std() == pytest.approx(1.0, abs=0.01)
    neighbours = np.corrcoef(inner[..., 1:].ravel(), inner[..., :-1].ravel())[0, 1]
    assert 0.3 / (1 + 0.3**2) < neighbours < 0.5 / (1 + 0.5**2)


def test_lateral_modes_keep_the_mean(compact):
    _, generator, *_ = compact
    layer = type(generator.get_layer("lateral_modes"))((5, 5, 3), modes=4, rank=2)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(20_000, 4)).astype(np.float32)
    terms = np.tile(np.float32([1.0, -0.7, 0.49]), (20_000, 1))
    layer([noise[:2], terms[:2]])
    layer.shapes.assign(rng.normal(0.0, 0.3, layer.shapes.shape))
    layer.strengths.assign(rng.normal(0.0, 0.3, layer.strengths.shape))
    factors = np.exp(np.asarray(layer([noise, terms])))
    assert factors.std() > 0.1
    np.testing.assert_allclose(factors.mean(axis=0), 1.0, atol=0.05)


@pytest.mark.parametrize("which", ["generator", "discriminator"])
def test_saved_networks_load_in_safe_mode_and_answer_the_same(compact, which, tmp_path):
    architecture, generator, discriminator, ecal, energy, *_ = compact
    network = {"generator": generator, "discriminator": discriminator}[which]
    first = {"generator": latents(architecture, 2), "discriminator": ecal[:2, ..., None]}[which]
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    expected, found = (n.predict_on_batch([first, energy[:2]]) for n in (network, loaded))
    for a, b in zip(tf.nest.flatten(expected), tf.nest.flatten(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-7)

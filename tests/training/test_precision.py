"""Training in 16 bits: what stays in float32, and the scale of the loss."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import Listener, begin, resume

from gan3d.config import Model, Optimizer
from gan3d.errors import TrainingError
from gan3d.models import architecture_names, get_architecture
from gan3d.training.optimizers import build_optimizer, scale_loss
from gan3d.training.trainer import _check_precision

pytestmark = pytest.mark.tensorflow

MIXED = ("mixed_bfloat16", "mixed_float16")


@pytest.fixture(autouse=True)
def precision():
    """Set a policy, for this test alone."""
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


def step_once(trainer, step=0):
    showers = next(iter(trainer.loader.epoch(0)))
    return trainer.step(
        showers.images_nxyz,
        showers.energy_n[:, None] / np.float32(100),
        step=step,
        learning_rate=1e-3,
        average_decay=0.0,
    )


def weights(trainer):
    return [w.numpy() for w in trainer.step.generator.trainable_variables]


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        (name, policy)
        for name in architecture_names()
        for policy in MIXED
        # `ecal25-mkl16` is built as `ecal25` is; a processor takes minutes for so much in float16.
        if name != "ecal25-mkl16" and (name, policy) != ("angle51", "mixed_float16")
    ],
)
def test_weights_cells_and_outputs_stay_in_float32(precision, name, policy):
    precision(policy)
    architecture = get_architecture(name)
    generator = architecture.build_generator(Model())
    discriminator = architecture.build_discriminator(Model())
    for network in (generator, discriminator):
        assert {w.dtype for w in network.weights} <= {"float32"}
    rng = np.random.default_rng(1)
    latent_bz = rng.normal(size=(2, architecture.latent_dim)).astype(np.float32)
    energy_b1 = np.array([[0.2], [0.9]], np.float32)
    labels = [np.array([[1.2], [1.7]], np.float32)] * bool(architecture.labels)
    images_bxyzc = generator([latent_bz, energy_b1, *labels]).numpy()
    assert images_bxyzc.dtype == np.float32
    # Not float32 with the values of 16 bits.
    hits = images_bxyzc[images_bxyzc > 0]
    rounded = tf.cast(tf.cast(hits, policy.removeprefix("mixed_")), tf.float32).numpy()
    assert np.mean(hits != rounded) > 0.9
    outputs = discriminator(architecture.judged(images_bxyzc, energy_b1))
    assert {output.dtype for output in outputs.values()} == {tf.float32}
    np.testing.assert_allclose(
        outputs["ecal"][:, 0], images_bxyzc.sum(axis=(1, 2, 3, 4)), rtol=1e-5
    )


@pytest.mark.parametrize("policy", MIXED)
def test_the_networks_compute_in_sixteen_bits_and_say_nearly_the_same(precision, policy):
    architecture = get_architecture("ecal25")
    plain = architecture.build_discriminator(Model())
    precision(policy)
    mixed = architecture.build_discriminator(Model())
    mixed.set_weights(plain.get_weights())
    assert mixed.get_layer("conv_2").compute_dtype == policy.removeprefix("mixed_")
    images_bxyzc = np.random.default_rng(1).exponential(0.01, (2, 25, 25, 25, 1)).astype(np.float32)
    exact, near = (each(images_bxyzc)["auxiliary"].numpy() for each in (plain, mixed))
    assert not np.array_equal(exact, near)
    np.testing.assert_allclose(near, exact, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("policy", MIXED)
def test_the_first_step_is_that_of_float32_within_the_rounding(precision, make_trainer, policy):
    settings = {
        "model.dropout": 0.0,
        "training.optimizer.name": "sgd",
        "training.optimizer.loss_scale": 16.0,  # so small that no update overflows
    }
    plain = make_trainer(**settings)
    before = weights(plain)
    losses = step_once(plain)
    exact = [b - a for a, b in zip(before, weights(plain), strict=True)]
    precision(policy)
    mixed = make_trainer(**settings)
    assert all(np.array_equal(a, b) for a, b in zip(weights(mixed), before, strict=True))
    near_losses = step_once(mixed)
    near = [b - a for a, b in zip(before, weights(mixed), strict=True)]
    for name, loss in losses.items():
        assert near_losses[name] == pytest.approx(loss, rel=0.05, abs=0.02), name
    # The updates as one vector. The errors are relative: they turn where a sign does.
    a, b = (np.concatenate([part.ravel() for part in parts]) for parts in (exact, near))
    assert a @ b > 0.9 * np.linalg.norm(a) * np.linalg.norm(b)
    assert np.linalg.norm(b) == pytest.approx(np.linalg.norm(a), rel=0.1)
    assert not np.array_equal(a, b)


def test_an_update_that_overflows_is_left_out_and_the_scale_halved(precision, make_trainer):
    precision("mixed_float16")
    trainer = make_trainer(**{"training.optimizer.loss_scale": 1e30})
    before = weights(trainer)
    losses = step_once(trainer)
    assert np.isfinite(list(losses.values())).all()
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(trainer), strict=True))
    updates = trainer.experiment.training.generator_updates
    scale = float(trainer.step.generator_optimizer.dynamic_scale.numpy())
    assert scale == pytest.approx(1e30 / 2**updates)


def test_the_scale_is_doubled_after_so_many_updates_and_taken_out_again(precision):
    precision("mixed_float16")
    variable = keras.Variable(np.array([1.0], np.float32))
    settings = Optimizer(name="sgd", loss_scale=8.0, loss_scale_growth_steps=3)
    optimizer = build_optimizer(settings, [variable])
    scales = []
    for _ in range(7):
        scales.append(float(scale_loss(optimizer, np.float32(1.0))))
        optimizer.apply([tf.constant([scales[-1]])], [variable])
    assert scales == [8, 8, 8, 16, 16, 16, 32]
    # Seven updates by a gradient of 1.
    np.testing.assert_allclose(variable.numpy(), 1 - 7 * settings.learning_rate, rtol=1e-6)


def test_without_float16_nothing_is_scaled(precision):
    precision("mixed_bfloat16")
    optimizer = build_optimizer(Optimizer(), [keras.Variable(np.array([1.0], np.float32))])
    assert scale_loss(optimizer, 3.0) == 3.0


@pytest.mark.parametrize("before", ["float32", *MIXED])
@pytest.mark.parametrize("after", ["float32", *MIXED])
def test_a_run_goes_on_in_another_precision(precision, make_trainer, before, after):
    precision(before)
    first = make_trainer(**{"training.epochs": 1, "training.optimizer.loss_scale": 64.0})
    begin(first)
    first.train(Listener(), None)
    precision(after)
    second = make_trainer(**{"training.epochs": 2, "training.optimizer.loss_scale": 128.0})
    resume(second)
    assert all(np.array_equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
    if after == "mixed_float16":
        scale = float(second.step.generator_optimizer.dynamic_scale.numpy())
        assert scale == (64.0 if before == after else 128.0)
    second.train(Listener(), None)
    assert second.position.epoch == 2


def test_ranks_of_unlike_precision_are_refused(monkeypatch):
    monkeypatch.setattr(
        "gan3d.training.trainer.gather_text",
        lambda communicator, text: text + "mixed_bfloat16\n",
    )
    with pytest.raises(TrainingError, match="rank 0: float32, rank 1: mixed_bfloat16"):
        _check_precision(None)

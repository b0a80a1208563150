"""Options of the training in the compiled step and in a run."""

import json
import math
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import begin, resume

from gan3d.errors import ConfigError
from gan3d.models.layers import Conv3D, convolved_plainly
from gan3d.training.terms import gradient_penalty

pytestmark = pytest.mark.tensorflow

ALL = {
    "training.loss_weights": "{response: 1, layers: 1, features: 1, gradient_penalty: 0.1}",
    "training.label_smoothing": 0.1,
    "training.optimizer": "{name: adam, discriminator_learning_rate: 0.004}",
    "training.weight_average": "{decay: 0.9}",
    "training.warmup_epochs": 1,
    "data.cell_log_gev": 1e-3,
    "model.spectral_norm": 1.0,
    "model.minibatch_deviation": "true",
}
TOLD = ["generator.response", "generator.layers", "generator.features"]


def step_of(trainer, number=0, rate=1e-3):
    showers = next(iter(trainer.loader.epoch(0)))
    return trainer.step(
        showers.images_nxyz,
        showers.energy_n[:, None] / np.float32(100),
        step=number,
        learning_rate=rate,
        average_decay=0.0,
    )


def test_all_together_train_and_a_resumed_run_has_the_same_bits(
    make_trainer, listen, checkpoint_arrays
):
    whole = make_trainer(**ALL)
    begin(whole)
    whole.train(listen())
    expected = checkpoint_arrays(whole.folder)
    shutil.rmtree(max((whole.folder / "checkpoints").glob("step-*")))
    rest = make_trainer(**ALL)
    resume(rest)
    rest.train(listen())
    found = checkpoint_arrays(whole.folder)
    assert any("spectrum" in name for name in expected)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)

    response = json.loads((whole.folder / "response.json").read_text())
    np.testing.assert_allclose(response["gev_coefficients"], [0.0, 2.0], atol=1e-4)
    assert len(response["layer_coefficients"]) == 3
    for line in (whole.folder / "history.jsonl").open():
        losses = json.loads(line)
        penalty = "discriminator.real.gradient_penalty"
        assert all(math.isfinite(losses[name]) and losses[name] > 0 for name in (*TOLD, penalty))
        for who, further in (
            ("generator", sum(losses[name] for name in TOLD)),
            ("discriminator.real", 0.1 * losses[penalty]),
            ("discriminator.fake", 0.0),
        ):
            published = sum(
                weight * losses[f"{who}.{name}"]
                for name, weight in (("generation", 8), ("auxiliary", 0.2), ("ecal", 0.1))
            )
            assert losses[f"{who}.loss"] == pytest.approx(published + further, rel=1e-4)


def test_without_options_nothing_of_them_is_there(make_trainer):
    step = make_trainer().step
    assert not any(name.endswith((*TOLD, "gradient_penalty")) for name in step.loss_names)
    assert step._featured is None
    assert step._response.layer_coefficients is None
    kinds = {type(layer) for layer in step.discriminator.layers}
    assert not any(kind.__name__.startswith("Spectral") for kind in kinds)


def test_only_the_label_of_monte_carlo_is_smoothed(make_trainer):
    """With one output p: -log p becomes -0.9 log p - 0.1 log(1 - p)."""
    plain = {"training.label_flip": 0, "model.dropout": 0, "training.batch_size": 1}
    one, smooth = (
        step_of(make_trainer(**plain, **{"training.label_smoothing": s})) for s in (0, 0.1)
    )
    p = math.exp(-one["discriminator.real.generation"])
    expected = -0.9 * math.log(p) - 0.1 * math.log(1 - p)
    assert smooth["discriminator.real.generation"] == pytest.approx(expected, rel=1e-4)


def test_the_discriminators_rate_follows_the_schedule_of_both(make_trainer):
    trainer = make_trainer(**{"training.optimizer.discriminator_learning_rate": 4e-3})
    step_of(trainer, rate=5e-4)  # a schedule has halved the 1e-3 of the experiment
    assert float(trainer.step.generator_optimizer.learning_rate) == pytest.approx(5e-4)
    assert float(trainer.step.discriminator_optimizer.learning_rate) == pytest.approx(2e-3)


def test_the_penalty_is_differentiated_through_our_convolutions():
    """Their own gradients hold kernels that cannot be differentiated again."""
    keras.utils.set_random_seed(0)
    images = keras.Input((5, 5, 5, 1))
    x = Conv3D(16, 3, padding="same", activation="tanh")(images)
    x = Conv3D(4, 3, zeros=(1, 1, 1), activation="tanh")(x)
    network = keras.Model(images, keras.layers.Dense(1)(keras.layers.Flatten()(x)))
    shown = tf.constant(np.random.default_rng(0).random((2, 5, 5, 5, 1)), tf.float32)
    kernel = network.layers[1].kernel.value

    def penalty():
        with tf.GradientTape() as tape:
            tape.watch(shown)
            logit = network(shown)
        return gradient_penalty(tape.gradient(logit, shown), shown)

    with convolved_plainly(network), tf.GradientTape() as outer:
        value = penalty()
    slope = outer.gradient(value, kernel)
    assert not any(layer.plain for layer in network.layers if isinstance(layer, Conv3D))
    way = tf.random.stateless_normal(kernel.shape, (1, 2))
    values = []
    for sign in (1.0, -1.0):
        kernel.assign_add(sign * 1e-3 * way)
        values.append(float(penalty()))
        kernel.assign_sub(sign * 1e-3 * way)
    expected = (values[0] - values[1]) / 2e-3
    assert float(tf.reduce_sum(slope * way)) == pytest.approx(expected, rel=1e-2)


def test_the_penalty_is_refused_where_16_bits_would_lose_it(make_trainer):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with pytest.raises(ConfigError, match="gradient_penalty: in mixed_float16"):
            make_trainer(**{"training.loss_weights.gradient_penalty": 1})
    finally:
        keras.config.set_dtype_policy("float32")

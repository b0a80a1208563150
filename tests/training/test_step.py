"""The step: which weights it moves, and what its switches do."""

import math

import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.tensorflow

SIGNATURE = [
    ((4, 4, 4, 3), tf.float32),
    ((4, 1), tf.float32),
    ((), tf.int64),
    ((), tf.float32),
    ((), tf.float32),
    ((0,), tf.float32),
]
"""What the compiled step of the tiny networks takes."""


def run(trainer, steps=1, rate=1e-3, decay=0.0):
    batches = trainer.loader.epoch(0)
    for index, showers in zip(range(steps), batches, strict=False):
        losses = trainer.step(
            showers.images_nxyz,
            showers.energy_n[:, None] / np.float32(100),
            step=index,
            learning_rate=rate,
            average_decay=decay,
        )
    return losses


def values(network):
    return [weight.numpy() for weight in network.trainable_variables]


def moved(before, network):
    return [bool(np.any(a != b)) for a, b in zip(before, values(network), strict=True)]


def test_a_step_moves_every_trainable_weight_of_both_networks(make_trainer):
    trainer = make_trainer()
    generator, discriminator = trainer.step.generator, trainer.step.discriminator
    before = values(generator), values(discriminator)
    losses = run(trainer)
    assert all(moved(before[0], generator))
    assert all(moved(before[1], discriminator))
    assert set(losses) == set(trainer.step.loss_names)


def test_flags_travel_with_the_gradients_and_change_nothing(make_trainer):
    plain, flagged = make_trainer(), make_trainer()
    showers = next(iter(plain.loader.epoch(0)))
    arguments = showers.images_nxyz, showers.energy_n[:, None] / np.float32(100)
    settings = {"step": 0, "learning_rate": 1e-3, "average_decay": 0.0}
    losses = plain.step(*arguments, **settings)
    assert plain.step.flagged == []
    assert flagged.step(*arguments, **settings, flags=(False, True, False)) == losses
    assert flagged.step.flagged == [False, True, False]
    for network in ("generator", "discriminator"):
        ours, theirs = (values(getattr(each.step, network)) for each in (plain, flagged))
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_published_weights_make_the_loss(make_trainer):
    losses = run(make_trainer())
    for who in ("discriminator.real", "discriminator.fake", "generator"):
        expected = (
            8 * losses[f"{who}.generation"]
            + 0.2 * losses[f"{who}.auxiliary"]
            + 0.1 * losses[f"{who}.ecal"]
        )
        assert losses[f"{who}.loss"] == pytest.approx(expected, rel=1e-4)


def test_real_showers_are_compared_with_their_own_ecal_sum(make_trainer):
    assert run(make_trainer())["discriminator.real.ecal"] == pytest.approx(0.0, abs=1e-3)


def test_flipping_every_label_turns_the_cross_entropy_around(make_trainer):
    """With one output p for the whole batch, -log p becomes -log(1 - p)."""
    losses = {}
    for flip in (0.0, 1.0):
        trainer = make_trainer(
            **{"training.label_flip": flip, "model.dropout": 0.0, "training.batch_size": 1}
        )
        losses[flip] = run(trainer)["discriminator.real.generation"]
    assert math.exp(-losses[0.0]) + math.exp(-losses[1.0]) == pytest.approx(1.0, abs=1e-4)


def test_the_average_follows_the_recursion(make_trainer):
    trainer = make_trainer(**{"training.weight_average": "{decay: 0.5, start_epoch: 0}"})
    step = trainer.step
    expected = [weight.numpy() for weight in step.generator.weights]
    for _ in range(3):
        run(trainer, decay=0.5)
        now = [weight.numpy() for weight in step.generator.weights]
        expected = [0.5 * e + 0.5 * n for e, n in zip(expected, now, strict=True)]
    for average, value in zip(step.average_weights, expected, strict=True):
        np.testing.assert_allclose(average.numpy(), value, rtol=1e-5, atol=1e-7)
    with step.average_in_generator():
        np.testing.assert_allclose(step.generator.weights[0].numpy(), expected[0], rtol=1e-5)
    np.testing.assert_array_equal(step.generator.weights[0].numpy(), now[0])


@pytest.mark.parametrize("name", ["rmsprop", "adam", "sgd", "nadam", "adamw"])
def test_every_optimiser_trains(make_trainer, name):
    trainer = make_trainer(**{"training.optimizer.name": name})
    before = values(trainer.step.generator)
    assert all(math.isfinite(value) for value in run(trainer, steps=3).values())
    assert all(moved(before, trainer.step.generator))


def test_generated_showers_are_asked_for_the_energies_of_the_training_showers(make_trainer):
    trainer = make_trainer()
    batches = [trainer.step._generator_input(step, 0, None, (), {}) for step in range(200)]
    energies = np.concatenate([batch.energy_b1.numpy() for batch in batches])
    low, high = trainer.response.energy_range_gev
    assert energies.min() >= low / 100
    assert energies.max() <= high / 100
    assert energies.mean() == pytest.approx((low + high) / 200, rel=0.05)


def test_they_may_have_the_energies_of_the_steps_own_showers(make_trainer):
    step = make_trainer(**{"training.incident_energies": "showers"}).step
    energy_b1 = np.array([[0.1], [0.9], [0.2], [0.3]], np.float32)
    first, second = (step._generator_input(0, draw, energy_b1, (), {}) for draw in (0, 1))
    for batch in (first, second):
        np.testing.assert_array_equal(batch.energy_b1, energy_b1)
        np.testing.assert_allclose(batch.measured["ecal"], 2.0 * energy_b1, rtol=1e-4)
    assert not np.allclose(first.source, second.source)


def test_per_cent_of_a_sum_are_of_a_tenth_of_the_mean_at_least(make_trainer):
    """These showers have 2 GeV at 100 GeV; one that has nothing should have cost 1e9 per cent."""
    step = make_trainer().step
    energy_b1 = np.array([[0.5], [1.0]], np.float32)
    from gan3d.training.step import _Batch

    said = {"generation": energy_b1, "auxiliary": energy_b1, "ecal": np.float32([[0.3], [1.0]])}
    shower = _Batch(None, energy_b1, (), {"ecal": np.float32([[0.0], [2.0]])})
    losses = step._losses(said, np.ones((2, 1), np.float32), shower)
    assert float(losses["ecal"]) == pytest.approx(100 * (0.3 / 0.1 + 0.5) / 2, rel=1e-4)


def test_the_target_ecal_sum_is_the_fitted_response(make_trainer):
    trainer = make_trainer()
    energy = np.linspace(0.1, 1.0, 7, dtype=np.float32)[:, None]
    np.testing.assert_allclose(
        trainer.step._mean_sum(trainer.response.coefficients, energy),
        trainer.response.ecal_gev(100 * energy),
        rtol=1e-5,
    )


def test_xla_computes_the_same(make_trainer):
    """With the kinks away that turn rounding into steps (test_plain_step), and without dropout,
    for which XLA draws other numbers."""
    smooth = {
        "model.leaky_slope": 1.0,
        "model.dropout": 0.0,
        "training.optimizer.epsilon": 1e-2,
    }
    plain, compiled = make_trainer(**smooth), make_trainer(**smooth, **{"node.xla": "true"})
    for network in ("generator", "discriminator"):
        getattr(compiled.step, network).set_weights(getattr(plain.step, network).get_weights())
    losses = [run(trainer, steps=4) for trainer in (plain, compiled)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3, abs=1e-4)
    for network in ("generator", "discriminator"):
        ours, theirs = (values(getattr(each.step, network)) for each in (compiled, plain))
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-5)
    operations = [
        operation.node_def.attr["_XlaMustCompile"].b
        for operation in compiled.step.function.get_concrete_function(
            *(tf.TensorSpec(shape, dtype) for shape, dtype in SIGNATURE)
        ).graph.get_operations()
    ]
    assert sum(operations) == 2 + compiled.experiment.training.generator_updates

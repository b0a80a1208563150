"""Training on labels: they reach both networks, each with its shower."""

import numpy as np
import pytest
import tensorflow as tf
from labelled import CONFIG, write_labelled

from gan3d.config import load_experiment
from gan3d.data import ShowerLoader, divide, network_labels, survey_files
from gan3d.models import architecture_of
from gan3d.models.angle_layers import measure_angle
from gan3d.runtime import SingleProcess
from gan3d.training.response import measure_response
from gan3d.training.step import AdversarialStep

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("labelled_architectures")]


@pytest.fixture
def make(tmp_path):
    """A step of the labelled networks and a batch: make(**{"training.batch_size": 4})."""
    write_labelled(tmp_path / "train.h5", 20, seed=1)
    write_labelled(tmp_path / "heldout.h5", 10, seed=2)
    (tmp_path / "e.yaml").write_text(CONFIG)

    def made(**changes):
        import keras

        overrides = [f"{key}={value}" for key, value in changes.items()]
        experiment = load_experiment(tmp_path / "e.yaml", overrides)
        labels = experiment.model.labels
        train = divide(survey_files(experiment.data, labels), experiment.data.split).train
        passes = experiment.horovod.backward_passes_per_step
        rows = experiment.training.batch_size * passes
        loader = ShowerLoader(train, experiment.data, batch_size=rows, labels=labels)
        showers = next(iter(loader.epoch(0)))
        loader.close()
        architecture = architecture_of(experiment)
        keras.utils.set_random_seed(3)
        step = AdversarialStep(
            architecture,
            architecture.build_generator(experiment.model),
            architecture.build_discriminator(experiment.model),
            experiment.training,
            measure_response(train, experiment),
            SingleProcess(),
            1,
            experiment.horovod,
        )
        batch = (
            showers.images_nxyz,
            showers.energy_n[:, None] / np.float32(100),
            network_labels(showers.columns, labels) if labels else None,
        )
        return step, batch

    return made


def do(step, batch, number=0):
    return step(*batch, step=number, learning_rate=1e-3, average_decay=0.0)


def test_every_weight_moves_the_embeddings_too(make):
    step, batch = make()
    networks = step.generator, step.discriminator
    before = [[w.numpy() for w in network.trainable_weights] for network in networks]
    losses = do(step, batch)
    assert {name.rpartition(".")[2] for name in losses} == {
        *("generation", "auxiliary", "ecal", "angle", "loss", "ecal_gev")
    }
    for network, values in zip(networks, before, strict=True):
        for weight, value in zip(network.trainable_weights, values, strict=True):
            assert np.any(weight.numpy() != value), weight.path
    assert any("embedding_particle" in w.path for w in step.generator.trainable_weights)


def test_generated_showers_get_conditions_and_targets_of_the_batch(make):
    step, (images, energy, labels) = make()
    measured = step._measure(tf.constant(images))
    shower = step._generator_input(tf.constant(0, tf.int64), 1, energy, (labels,), measured)
    np.testing.assert_array_equal(shower.energy_b1, energy)
    np.testing.assert_array_equal(shower.labels[0], labels)
    np.testing.assert_allclose(shower.measured["ecal"][:, 0], images.sum(axis=(1, 2, 3)), rtol=1e-5)
    pitch = (5.1, 5.1, 5.1)
    np.testing.assert_allclose(shower.measured["angle"], measure_angle(images, pitch), rtol=1e-6)
    assert [tuple(each.shape) for each in shower.generator_inputs] == [(4, 5), (4, 1), (4, 2)]


def test_with_the_energy_alone_incident_energies_are_drawn(make):
    step, (images, energy, labels) = make(
        **{"model.conditions": "[energy]", "data.particles": "[11, 22]"}
    )
    assert labels is None
    shower = step._generator_input(tf.constant(0, tf.int64), 1, energy, (), step._measure(images))
    assert not np.isin(shower.energy_b1, energy).any()
    mean_b1 = step._mean_sum(step._response.coefficients, shower.energy_b1)
    np.testing.assert_array_equal(shower.measured["ecal"], mean_b1)
    assert shower.labels == ()


def test_monte_carlo_is_held_against_what_its_own_images_show(make):
    step, batch = make()
    losses = do(step, batch)
    assert losses["discriminator.real.angle"] == pytest.approx(0.0, abs=1e-6)
    assert losses["discriminator.real.ecal"] == pytest.approx(0.0, abs=1e-3)
    assert losses["discriminator.fake.angle"] > 0.0


def test_another_label_is_another_step(make):
    losses = []
    for change in (0.0, 0.5):
        step, (images, energy, labels) = make()
        labels = labels + np.array([[change, 0]], np.float32)
        losses.append(do(step, (images, energy, labels)))
    for who in ("discriminator.real", "discriminator.fake", "generator"):
        assert losses[0][f"{who}.generation"] != losses[1][f"{who}.generation"], who


def test_backward_passes_of_parts_are_those_of_the_whole_batch(make):
    """Labels and targets stay with their showers where a batch is taken in parts."""
    plain = {
        "model.batch_norm": "false",
        "training.label_flip": 0,
        "training.optimizer": "{name: sgd}",
        "training.learning_rate_scaling": "none",
    }
    whole, batch = make(**plain)
    parts, same = make(**plain, **{"training.batch_size": 2, "horovod.backward_passes_per_step": 2})
    for one, other in zip(batch, same, strict=True):
        np.testing.assert_array_equal(one, other)
    assert do(whole, batch) == pytest.approx(do(parts, same), rel=1e-4)
    for one, other in zip(whole.generator.weights, parts.generator.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)

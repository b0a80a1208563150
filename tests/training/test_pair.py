"""Training on two images of one shower: targets, terms of the losses, checkpoints."""

import json

import numpy as np
import pytest
from tiny import Listener, begin, resume

from gan3d.config import LossWeights, load_experiment
from gan3d.data import ShowerLoader, divide, read_part, survey_files
from gan3d.models import Output
from gan3d.runtime import SingleProcess
from gan3d.training.losses import discriminator_losses
from gan3d.training.response import Response, measure_response
from gan3d.training.trainer import Trainer
from gan3d.validation import compare_images

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def make(pair_experiment, tmp_path):
    """A trainer: make("run", **{"training.epochs": 2})."""
    loaders = []

    def trainer(folder="run", **changes):
        experiment = load_experiment(pair_experiment, [f"{k}={v}" for k, v in changes.items()])
        division = divide(survey_files(experiment.data), experiment.data.split)
        loaders.append(
            ShowerLoader(division.train, experiment.data, batch_size=4, seed=experiment.run.seed)
        )
        return Trainer(
            experiment,
            tmp_path / folder,
            survey_files(experiment.data),
            loaders[-1],
            read_part(division.validation, experiment.data),
            SingleProcess(),
            measure_response(division.train, experiment),
        )

    yield trainer
    for loader in loaders:
        loader.close()


def test_each_image_has_a_response_of_its_own(make):
    trainer = make()
    response, experiment = trainer.response, trainer.experiment
    part = divide(trainer.files, experiment.data.split).train
    showers = read_part(part, experiment.data)
    hcal = experiment.data.images.split(showers.images_nxyz)["HCAL"].sum((1, 2, 3))
    assert response.further_means["HCAL"] == pytest.approx(hcal.mean(), rel=1e-5)
    scaled = showers.energy_n[:, None] / np.float32(100)
    targets = trainer.step._mean_sum(response.further_coefficients["HCAL"], scaled)
    expected = np.polyval(np.polyfit(scaled[:, 0], hcal / scaled[:, 0], 1), scaled) * scaled
    np.testing.assert_allclose(targets, expected, rtol=1e-3)
    assert Response.from_dict(json.loads(json.dumps(response.as_dict()))) == response


def test_a_step_moves_all_weights_and_tells_the_terms_of_both_images(make):
    weights = "{response: 1.0, layers: 2.0, features: 0.1, further_sums: {HCAL: 3.0}}"
    trainer = make(**{"training.loss_weights": weights})
    networks = trainer.step.generator, trainer.step.discriminator
    before = [[w.numpy() for w in network.trainable_variables] for network in networks]
    showers = next(iter(trainer.loader.epoch(0)))
    energy = showers.energy_n[:, None] / np.float32(100)
    losses = trainer.step(
        showers.images_nxyz, energy, step=0, learning_rate=1e-3, average_decay=0.0
    )
    for network, values in zip(networks, before, strict=True):
        for weight, value in zip(network.trainable_variables, values, strict=True):
            assert (weight.numpy() != value).any(), weight.path
    assert losses["discriminator.real.HCAL"] == pytest.approx(0.0, abs=1e-3)
    told = {"generation": 8, "auxiliary": 0.2, "ecal": 0.1, "HCAL": 3, "response": 1, "layers": 2}
    total = sum(weight * losses[f"generator.{name}"] for name, weight in told.items())
    total += 0.1 * losses["generator.features"]
    assert losses["generator.loss"] == pytest.approx(total, rel=1e-4)

    # The layers of both images count.
    measured = trainer.step._terms.measure(showers.images_nxyz)
    parts = trainer.experiment.data.images.split(showers.images_nxyz)
    layers = np.concatenate([each.sum((1, 2)) for each in parts.values()], axis=1)
    shares = layers / layers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(measured["layers"], shares, rtol=1e-4)
    assert len(trainer.response.layer_coefficients) == 5 + 7

    # Of an empty HCAL the error is what should be there, in per cent of the mean.
    said = {output.name: np.zeros((4, 1), np.float32) for output in trainer.architecture.outputs}
    shower = trainer.step._generator_input(0, 0, energy, (), {})
    target = np.asarray(shower.measured["HCAL"])
    assert target.min() >= 0.0 < target.mean()
    found = float(trainer.step._losses(said, energy, shower)["HCAL"])
    mean = trainer.response.further_means["HCAL"]
    assert found == pytest.approx(100 * target.mean() / mean, rel=1e-4)


def test_a_sum_without_a_weight_of_its_own_has_that_of_the_first():
    outputs = (
        Output("ecal", "mean_absolute_error"),
        Output("HCAL", "mean_absolute_error", image="HCAL"),
    )
    said = {"ecal": np.float32([[1]]), "HCAL": np.float32([[2]])}
    targets = {"ecal": np.float32([[3]]), "HCAL": np.float32([[8]])}
    for further, weight in (({}, 0.1), ({"HCAL": 5.0}, 5.0)):
        weights = LossWeights(further_sums=further)
        losses = discriminator_losses(outputs, said, targets, weights, {"HCAL": 2.0})
        assert float(losses["HCAL"]) == 3.0
        assert float(losses["loss"]) == pytest.approx(0.1 * 2 + weight * 3)


def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(make, checkpoint_arrays, tmp_path):
    def examine(generated, reference):
        experiment = trainer.experiment
        return compare_images(
            generated, reference, experiment.data.geometries, experiment.validation
        )

    trainer = make("whole")
    begin(trainer)
    trainer.train(Listener(), examine)
    record = trainer.history[-1]
    each = [record[f"validation.{name}.optimisation_metric"] for name in ("ECAL", "HCAL")]
    assert record["validation.optimisation_metric"] == pytest.approx(np.mean(each))
    assert record["validation.hits.separation"] == record["validation.ECAL.hits.separation"]
    trainer = make("parts", **{"training.epochs": 1})
    begin(trainer)
    trainer.train(Listener())
    trainer = make("parts")
    resume(trainer)
    trainer.train(Listener())
    whole, parts = (checkpoint_arrays(tmp_path / name) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(values, parts[name], err_msg=name)

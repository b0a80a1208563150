"""The variable-angle network: its published size, and what it says."""

import keras
import numpy as np
import pytest

from gan3d.config import CellScale, Data, Experiment, Geometry, Model
from gan3d.errors import ConfigError
from gan3d.models import Wanted, architecture_of, get_architecture

pytestmark = pytest.mark.tensorflow

MODEL = Model(architecture="angle51", conditions=["energy", "theta"])
SHAPE = (51, 51, 25)


@pytest.fixture(scope="module")
def architecture():
    return get_architecture("angle51", Wanted(MODEL, Geometry(shape=SHAPE), CellScale(0.85)))


@pytest.fixture(scope="module")
def networks(architecture):
    keras.utils.set_random_seed(0)
    return architecture.build_generator(MODEL), architecture.build_discriminator(MODEL)


def test_it_has_the_published_number_of_parameters(networks):
    generator, discriminator = networks
    assert (generator.count_params(), discriminator.count_params()) == (1_365_047, 87_402)


def test_the_generator_maps_latent_energy_and_angle_to_the_published_grid(networks, architecture):
    generator, _ = networks
    assert [tensor.name for tensor in generator.inputs] == ["latent", "energy", "labels"]
    assert 2 + architecture.latent_dim == 256
    assert generator.output_shape == (None, *SHAPE, 1)


def test_the_discriminator_measures_in_gev_what_images_to_the_power_hold(networks, architecture):
    _, discriminator = networks
    rng = np.random.default_rng(0)
    gev = np.zeros((2, *SHAPE), np.float32)
    gev[:, 20:30, 20:30] = rng.exponential(0.005, (2, 10, 10, 25))
    images = np.power(gev, np.float32(0.85))[..., None]
    said = discriminator(images)
    assert set(said) == {"generation", "auxiliary", "angle", "ecal", "bins"}
    assert said["bins"].shape == (2, 8)
    np.testing.assert_allclose(said["ecal"][:, 0], gev.sum(axis=(1, 2, 3)), rtol=1e-4)
    for output in architecture.outputs:
        if output.measure is not None:
            target = np.asarray(output.measure(images))
            # An empty bin of Monte Carlo counts as 1.
            np.testing.assert_allclose(
                target, np.maximum(said[output.name], 1.0 if output.name == "bins" else -10)
            )


def test_its_losses_are_the_published_ones(architecture):
    assert {output.name: output.loss for output in architecture.outputs} == {
        "generation": "binary_crossentropy",
        "auxiliary": "mean_absolute_percentage_error",
        "angle": "mean_absolute_error",
        "ecal": "mean_absolute_percentage_error",
        "bins": "mean_absolute_percentage_error",
    }


@pytest.mark.parametrize(
    ("conditions", "given"),
    [(["energy"], "energy"), (["energy", "particle"], "energy, particle")],
)
def test_it_wants_an_angle_and_nothing_else(conditions, given):
    model = Model(architecture="angle51", conditions=conditions)
    experiment = Experiment(data=Data(files=["a.h5"]), model=model)
    with pytest.raises(ConfigError, match=rf"angle51 takes energy and a number, not \[{given}\]"):
        architecture_of(experiment)


@pytest.mark.parametrize("name", ["ecal25", "ecal25-mkl16"])
def test_fixed_angle_networks_take_the_energy_alone(name):
    model = Model(architecture=name, conditions=["energy", "theta"])
    experiment = Experiment(data=Data(files=["a.h5"]), model=model)
    with pytest.raises(ConfigError, match=rf"{name} takes energy alone, not \[energy, theta\]"):
        architecture_of(experiment)


def test_another_grid_than_the_preset_is_refused():
    from gan3d.training.checks import check_grid

    data = Data(files=["a.h5"], geometry=Geometry(shape=(25, 25, 25)))
    model = Model(architecture="angle51", conditions=["energy", "theta"])
    with pytest.raises(
        ConfigError, match=r"angle51 makes images of \(51, 51, 25\) cells, but .*25"
    ):
        check_grid(architecture_of(Experiment(data=data, model=model)), data)

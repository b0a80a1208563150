"""A whole run on networks so small that a step takes a millisecond: fixtures of several rooms."""

from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

SHAPE = (4, 4, 3)
LATENT = 5

TINY = """\
data: {files: [train.h5], validation_files: [heldout.h5], geometry: {shape: [4, 4, 3]}}
model: {architecture: tiny-labelled}
"""
"""Of an experiment, for the command that knows the architectures of the tests."""


def write_tiny(path: Path, count: int, seed: int, shape: tuple[int, int, int] = SHAPE) -> None:
    """An LCD file of showers of 4 x 4 x 3 or other cells that deposit 2 % of their energy."""
    rng = np.random.default_rng(seed)
    energy = rng.uniform(10, 100, count)
    cells = rng.dirichlet(np.ones(int(np.prod(shape))), count).reshape(count, *shape)
    target = np.zeros((count, 5), np.float32)
    target[:, 0], target[:, 1], target[:, 4] = 11, energy, energy
    path.unlink(missing_ok=True)  # HDF5 does not overwrite a file that a loader has open
    with h5py.File(path, "w") as file:
        file["ECAL"] = (cells * 0.02 * energy[:, None, None, None]).astype(np.float32)
        file["target"] = target


def make_tiny_architecture():
    """Networks for images of 4 x 4 x 3 cells."""
    import keras
    from keras import layers

    from gan3d.models import Architecture
    from gan3d.models.layers import BatchNormalization, EcalSum

    def build_generator(settings):
        latent, energy = keras.Input((LATENT,), name="latent"), keras.Input((1,), name="energy")
        x = layers.Concatenate()([latent, energy])
        x = layers.Dense(int(np.prod(SHAPE)), bias_initializer="ones", name="cells")(x)
        x = BatchNormalization()(x) if settings.batch_norm else x
        images = layers.Reshape((*SHAPE, 1))(layers.ReLU()(x))
        return keras.Model([latent, energy], images, name="generator")

    def build_discriminator(settings):
        images = keras.Input((*SHAPE, 1), name="images")
        x = layers.LeakyReLU(settings.leaky_slope)(layers.Dense(8)(layers.Flatten()(images)))
        x = layers.Dropout(settings.dropout)(x) if settings.dropout else x
        outputs = {
            "generation": layers.Dense(1, activation="sigmoid", name="generation")(x),
            "auxiliary": layers.Dense(1, name="auxiliary")(x),
            "ecal": EcalSum(name="ecal")(images),
        }
        return keras.Model(images, outputs, name="discriminator")

    return Architecture(
        name="tiny",
        latent_dim=LATENT,
        image_shape=SHAPE,
        build_generator=build_generator,
        build_discriminator=build_discriminator,
    )


@pytest.fixture(scope="session")
def tiny_architecture():
    return make_tiny_architecture()


@pytest.fixture
def tiny_files(tmp_path) -> Callable[..., None]:
    """Write train.h5 and heldout.h5: tiny_files(train_seed=1)."""

    def write(train_seed: int = 1) -> None:
        write_tiny(tmp_path / "train.h5", 20, seed=train_seed)
        write_tiny(tmp_path / "heldout.h5", 10, seed=2)

    return write


@pytest.fixture
def make_trainer(
    tmp_path, monkeypatch, tiny_architecture, tiny_files
) -> Iterator[Callable[..., object]]:
    """A trainer of the tiny networks: make_trainer(**{"training.epochs": 2})."""
    from gan3d.config import load_experiment
    from gan3d.data import ShowerLoader, divide, read_part, survey_files
    from gan3d.models.registry import with_options
    from gan3d.runtime import SingleProcess
    from gan3d.training.response import measure_response
    from gan3d.training.trainer import Trainer
    from gan3d.training.transfer import find_start

    def architecture_of(experiment):
        return with_options(tiny_architecture, experiment.model)

    monkeypatch.setattr("gan3d.training.trainer.architecture_of", architecture_of)
    monkeypatch.setattr("gan3d.generation.run.architecture_of", architecture_of)
    tiny_files()
    path = tmp_path / "experiment.yaml"
    path.write_text(
        "data: {files: [train.h5], validation_files: [heldout.h5],"
        " geometry: {shape: [4, 4, 3]}}\n"
        "training: {epochs: 2, batch_size: 4, warmup_epochs: 0, response_degree: 1}\n"
    )

    loaders = []

    def make(folder="run", **changes):
        experiment = load_experiment(path, [f"{key}={value}" for key, value in changes.items()])
        files = survey_files(experiment.data)
        division = divide(files, experiment.data.split)
        loader = ShowerLoader(
            division.train,
            experiment.data,
            batch_size=experiment.training.batch_size,
            seed=experiment.run.seed,
        )
        loaders.append(loader)
        heldout = read_part(division.validation, experiment.data)
        response = measure_response(division.train, experiment)
        run = tmp_path / folder
        start = find_start(experiment)
        return Trainer(experiment, run, files, loader, heldout, SingleProcess(), response, start)

    yield make
    for loader in loaders:
        loader.close()


def begin(trainer, environment=None):
    """Let `trainer` begin a run, alone."""
    from gan3d.runtime import SingleProcess

    trainer.join(SingleProcess())
    trainer.describe(environment or {}, resumed=False)


def resume(trainer, environment=None):
    """Let `trainer` go on with the run in its folder, alone."""
    from gan3d.runtime import SingleProcess

    trainer.load()
    trainer.join(SingleProcess())
    trainer.describe(environment or {}, resumed=True)


class Listener:
    """Keeps what it is told; `at_step` is called with the number of steps that are done."""

    def __init__(self, at_step=lambda step: None):
        self.at_step, self.steps, self.records = at_step, 0, []

    def started(self, **_):
        pass

    def step_done(self, **_):
        self.steps += 1
        self.at_step(self.steps)

    def epoch_done(self, record):
        self.records.append(record)


@pytest.fixture
def listen() -> type[Listener]:
    return Listener

"""Runs of tiny networks to export: not trained, but with weights as if they were."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import SHAPE, make_tiny_architecture

from gan3d.config import load_experiment
from gan3d.export import Metadata
from gan3d.generation.run import TrainedRun


@pytest.fixture(scope="session")
def untouched_run(tmp_path_factory):
    import keras

    folder = tmp_path_factory.mktemp("run")
    (folder / "data.json").write_text(
        json.dumps(
            {
                "files": [
                    {
                        "path": "/somewhere/train.h5",
                        "showers": 20,
                        "size_bytes": 4000,
                        "energy_sum_gev": 1100.5,
                    }
                ]
            }
        )
    )
    path = folder / "config.yaml"
    path.write_text(f"data: {{files: [train.h5], geometry: {{shape: {list(SHAPE)}}}}}\n")
    experiment = load_experiment(path)
    keras.utils.set_random_seed(1)
    generator = make_tiny_architecture().build_generator(experiment.model)
    rng = np.random.default_rng(1)
    for weight in generator.weights:  # also the moving averages of batch norm
        weight.assign(
            rng.uniform(0.3, 1.0, weight.shape)
            * rng.choice([-1, 1], weight.shape) ** ("variance" not in weight.path)
        )
    return TrainedRun(
        folder, experiment, folder / "step-00000005", generator, "5" * 64, (10.0, 100.0)
    )


@pytest.fixture
def run(untouched_run, monkeypatch, tiny_architecture):
    monkeypatch.setattr("gan3d.generation.run.architecture_of", lambda _: tiny_architecture)
    return untouched_run


@pytest.fixture
def with_data(run):
    """The run with another section `data`: with_data(cell_power=0.85)."""

    def changed(**changes):
        data = run.experiment.data.model_copy(update=changes)
        return replace(run, experiment=run.experiment.model_copy(update={"data": data}))

    return changed


@pytest.fixture(scope="session")
def metadata():
    """What a model of a test's own says of itself."""
    return Metadata(
        gan3d_version="1",
        model="test",
        weights_sha256="",
        latent="input",
        latent_dim=1000,
        image_shape=(1000, 1, 1),
        cell_size_mm=(1, 1, 1),
        energy_range_gev=(1, 2),
        threshold_gev=0,
        training_data=[],
        training_data_sha256="",
    )

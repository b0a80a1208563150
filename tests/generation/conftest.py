"""Runs to generate from: one of tiny networks that was trained, one as the command finds it."""

import json

import pytest
from tiny import begin


@pytest.fixture
def trained_folder(make_trainer, listen):
    trainer = make_trainer(
        **{"training.epochs": 2, "training.weight_average": "{decay: 0.5, start_epoch: 1}"}
    )
    begin(trainer)
    metrics = iter([0.1, 0.2])
    trainer.train(listen(), lambda *_: {"optimisation_metric": next(metrics)})
    return trainer.folder


@pytest.fixture(scope="session")
def compact_folder(tmp_path_factory):
    """The folder of a run of `ecal25-compact` that was not trained at all."""
    import keras

    from gan3d.config import Model
    from gan3d.models import get_architecture
    from gan3d.models.weights import CHECKPOINTS, GENERATOR_WEIGHTS, checkpoint_name

    folder = tmp_path_factory.mktemp("compact") / "run"
    checkpoint = folder / CHECKPOINTS / checkpoint_name(1)
    checkpoint.mkdir(parents=True)
    keras.utils.set_random_seed(0)
    model = Model(architecture="ecal25-compact")
    generator = get_architecture(model.architecture).build_generator(model)
    generator.save_weights(checkpoint / GENERATOR_WEIGHTS)
    (folder / "config.yaml").write_text(
        "data: {files: [train.h5]}\nmodel: {architecture: ecal25-compact}\n"
    )
    (folder / "response.json").write_text(json.dumps({"energy_range_gev": [10.0, 100.0]}))
    return folder

"""A trained run of tiny networks to generate from."""

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

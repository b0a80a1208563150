"""Trials that begin with another run's weights: `training.init_from` in a study."""

from __future__ import annotations

from pathlib import Path

from gan3d.config import Experiment
from gan3d.config.load import naming_places
from gan3d.errors import ConfigError
from gan3d.tuning.study import Study, Tell, base_overrides, naming_overrides

INIT_FROM = "training.init_from"


def check_start(study: Study, experiment: Experiment, tell: Tell, node: Path | None = None) -> None:
    """Check the run that all trials begin with; those of a choice `Space.check` tries.

    Raises ConfigError where there is none that can be read, and where there are folds.
    """
    assert study.experiment is not None
    named = experiment.training.init_from is not None
    if study.trial.folds and (named or INIT_FROM in study.search):
        raise ConfigError(
            tell(
                ["trial", "folds"],
                f"excludes {INIT_FROM}: that run may have been trained on showers that a fold "
                "holds out; leave one of them out",
            )
        )
    if named:
        overrides = base_overrides(study)
        with naming_overrides(study, tell), naming_places(Path(study.experiment), overrides, node):
            find_run(experiment)


def find_run(experiment: Experiment) -> None:
    """Raise ConfigError, which begins with the key, where `training.init_from` cannot be read."""
    from gan3d.training.transfer import find_start

    find_start(experiment)

"""`gan3d train`: train the networks of an experiment file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gan3d.cli.console import make_console
from gan3d.cli.progress import ProgressDisplay, TrainingProgress
from gan3d.config import Experiment, load_experiment

if TYPE_CHECKING:
    from gan3d.data import Showers
    from gan3d.training.trainer import Examine

EXAMPLE = """\b
Examples:
  gan3d train configs/ecal25-compact.yaml
  gan3d train configs/ecal25.yaml --set training.epochs=5 --run runs/short
  horovodrun -np 2 gan3d train configs/ecal25.yaml
"""


@click.command(name="train", epilog=EXAMPLE)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one key.")
@click.option("--run", "folder", type=click.Path(path_type=Path), help="The run's folder.")
@click.option("--resume", is_flag=True, help="Go on from the run's newest checkpoint.")
def command(config: Path, overrides: tuple[str, ...], folder: Path | None, resume: bool) -> None:
    """Train the networks that CONFIG describes.

    The same command runs on one process and, under horovodrun, mpirun or srun, on many ranks.
    The run's folder is runs/NAME, NAME being the file's, unless --run or run.folder names another.
    """
    experiment = load_experiment(config, overrides)
    train(experiment, folder or experiment.run.folder or Path("runs") / config.stem, resume=resume)


def train(experiment: Experiment, folder: Path, *, resume: bool = False) -> None:
    """Train as `experiment` says in the run's folder `folder`, showing progress on rank 0.

    What can be checked without TensorFlow is checked before it is loaded.
    """
    from gan3d.data import ShardLoader, divide, expand_patterns, read_part
    from gan3d.models import check_architecture
    from gan3d.runtime import apply_node, connect, describe_environment, launched
    from gan3d.training.records import check_resumable, check_run_folder

    check_architecture(experiment.model.architecture)
    launch = launched()
    first = launch.rank == 0
    if first:
        check_run_folder(folder, resume=resume)
        if resume:
            check_resumable(folder, experiment)
    division = divide(expand_patterns(experiment.data.files), experiment.data)
    loader = ShardLoader(
        division.train,
        batch_size=experiment.training.batch_size,
        rank=launch.rank,
        size=launch.size,
        seed=experiment.run.seed,
        threshold_gev=experiment.data.threshold_gev,
        shuffle=experiment.data.shuffle,
    )
    heldout = None
    if first and experiment.validation.epoch_showers:
        heldout = read_part(
            division.validation,
            threshold_gev=experiment.data.threshold_gev,
            limit=experiment.validation.epoch_showers,
        )

    apply_node(experiment.node)
    communicator = connect(experiment.node)
    # Only now: this imports Keras and TensorFlow.
    from gan3d.training.trainer import Interrupted, Trainer

    trainer = Trainer(experiment, folder, loader, heldout, communicator)
    if resume:
        trainer.resume(describe_environment(communicator))
    else:
        trainer.start(describe_environment(communicator))
    with ProgressDisplay(make_console(), shown=first) as display:
        examine = _examiner(experiment)
        if heldout is not None and not examine(heldout, heldout):
            display.say(
                "note: no bin of validation.energy_bins_gev holds validation.minimum_showers of "
                "the held-out showers, so the epochs are not judged"
            )
        try:
            trainer.train(TrainingProgress(display), examine)
        except Interrupted:
            display.say(f"checkpoint written in {folder}; go on with --resume")
            raise
        display.say(f"run: {folder}")
    communicator.shutdown()


def _examiner(experiment: Experiment) -> Examine:
    """The comparison made after every epoch: validation's metrics."""
    from gan3d.validation import compare_showers

    def examine(generated: Showers, reference: Showers) -> Mapping[str, float]:
        return compare_showers(
            generated, reference, experiment.data.geometry, experiment.validation
        )

    return examine

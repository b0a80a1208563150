"""`gan3d train`: train the networks of an experiment file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gan3d.cli.console import make_console
from gan3d.cli.progress import ProgressDisplay, TrainingProgress
from gan3d.config import Experiment, load_experiment

if TYPE_CHECKING:
    from gan3d.data import Showers, Survey
    from gan3d.runtime import Communicator
    from gan3d.training.response import Response
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
    from gan3d.data import ShowerLoader, divide
    from gan3d.models import check_architecture
    from gan3d.runtime import apply_node, connect, describe_environment, launched
    from gan3d.training.records import check_resumable, check_run_folder

    check_architecture(experiment.model.architecture)
    launch = launched()
    first = launch.rank == 0
    found = heldout = None
    if first:
        check_run_folder(folder, resume=resume)
        if resume:
            check_resumable(folder, experiment)
        found = _find(experiment, folder, launch.size, resume=resume)
        heldout = found.heldout

    apply_node(experiment.node)
    communicator = connect(experiment.node)
    # Only now: this imports Keras and TensorFlow.
    from gan3d.training.trainer import Interrupted, Trainer

    files, response = _share(communicator, found)
    loader = ShowerLoader(
        divide(files, experiment.data.split).train,
        experiment.data,
        batch_size=experiment.training.batch_size,
        rank=communicator.rank,
        size=communicator.size,
        seed=experiment.run.seed,
        last_epoch=experiment.training.epochs - 1,
    )
    trainer = Trainer(experiment, folder, files, loader, heldout, communicator, response)
    if resume:
        trainer.resume(describe_environment(communicator))
    else:
        trainer.start(describe_environment(communicator))
    with ProgressDisplay(make_console(), shown=first) as display:
        examine = _examiner(experiment)
        for skipped in files.skipped:
            display.say(f"skipped: {skipped.reason}")
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
    loader.close()
    communicator.shutdown()


@dataclass(frozen=True)
class _Found:
    """What rank 0 finds before training."""

    files: Survey
    response: Response
    heldout: Showers | None


def _find(experiment: Experiment, folder: Path, ranks: int, *, resume: bool) -> _Found:
    """Look at the files of a run and at showers of each.

    Files that turn out to be bad end this, or are left out where that is asked for.
    """
    from gan3d.data import check_unchanged, count_steps, divide, leave_out, read_part, survey_files
    from gan3d.training.records import read_response, read_survey
    from gan3d.training.response import measure_response

    data, showers = experiment.data, experiment.validation.epoch_showers
    skip = data.on_bad_file == "skip"
    files = read_survey(folder) if resume else survey_files(data)
    response = read_response(folder) if resume else None
    if resume and not skip:
        check_unchanged(files, data)
    while True:
        bad: dict[Path, str] = {}
        division = divide(files, data.split)
        count_steps(division.train, batch_size=experiment.training.batch_size, size=ranks)
        if not resume:
            response = measure_response(division.train, experiment, bad if skip else None)
        heldout = None
        if showers:
            heldout = read_part(division.validation, data, limit=showers, bad=bad if skip else None)
        if response is not None and (resume or not bad):
            # A run that goes on keeps its list of files, by which its position counts.
            return _Found(files, response, heldout)
        files = leave_out(files, bad)


def _share(communicator: Communicator, found: _Found | None) -> tuple[Survey, Response]:
    """Give all ranks what rank 0 found."""
    from gan3d.data import Survey
    from gan3d.runtime import share_text
    from gan3d.training.response import Response

    mine = [found.files.as_dict(), found.response.as_dict()] if found else []
    files, response = json.loads(share_text(communicator, json.dumps(mine)))
    return Survey.from_dict(files), Response.from_dict(response)


def _examiner(experiment: Experiment) -> Examine:
    """The comparison made after every epoch: validation's metrics."""
    from gan3d.validation import compare_showers

    def examine(generated: Showers, reference: Showers) -> Mapping[str, float]:
        return compare_showers(
            generated, reference, experiment.data.model_geometry, experiment.validation
        )

    return examine

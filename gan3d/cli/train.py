"""`gan3d train`: train the networks of an experiment file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gan3d.cli.console import make_console
from gan3d.cli.progress import ProgressDisplay, TrainingProgress
from gan3d.config import Experiment, load_experiment, naming_places
from gan3d.errors import ConfigError, Gan3dError, Preempted, RankLostError, UsageError

if TYPE_CHECKING:
    from gan3d.data import Showers
    from gan3d.runtime import Communicator
    from gan3d.training.judging import Examine
    from gan3d.training.session import Found, Session
    from gan3d.training.trainer import Listener

EXAMPLE = """\b
Examples:
  gan3d train configs/ecal25-compact.yaml
  gan3d train configs/ecal25.yaml --set training.epochs=5 --run runs/short
  gan3d train configs/ecal25.yaml --node configs/nodes/auto.yaml
  gan3d train configs/ecal25.yaml --dry-run --ranks 128
  horovodrun -np 2 gan3d train configs/ecal25.yaml
"""


@click.command(name="train", epilog=EXAMPLE)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--node", type=click.Path(path_type=Path), help="Lay this node's file upon CONFIG.")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one key.")
@click.option("--run", "folder", type=click.Path(path_type=Path), help="The run's folder.")
@click.option("--resume", is_flag=True, help="Go on from the run's newest checkpoint.")
@click.option("--auto-resume", is_flag=True, help="The same if there is a run, else start one.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what would run, and end.")
@click.option("--ranks", type=click.IntRange(min=1), help="With --dry-run: plan for so many.")
@click.pass_context
def command(
    ctx: click.Context,
    config: Path,
    node: Path | None,
    overrides: tuple[str, ...],
    folder: Path | None,
    resume: bool,
    auto_resume: bool,
    dry_run: bool,
    ranks: int | None,
) -> None:
    """Train the networks that CONFIG describes.

    The same command runs on one process and, under horovodrun, mpirun or srun, on many ranks.
    The run's folder is runs/NAME, NAME being the file's, unless --run or run.folder names another.

    SIGTERM, SIGUSR1 (batch systems) and Ctrl-C end it between two steps with a checkpoint; the exit
    code is then 75, or 130 after Ctrl-C. It is 75 as well when run.max_minutes are over.
    """
    experiment = load_experiment(config, overrides, node)
    folder = folder or experiment.run.folder or Path("runs") / config.stem
    if auto_resume:
        from gan3d.training.records import holds_run

        resume = resume or holds_run(folder)
    if dry_run:
        from gan3d.cli.dry_run import dry_run as plan
        from gan3d.runtime import launched

        launch = launched()
        if launch.rank == 0:
            with naming_places(config, overrides, node):
                plan(experiment, folder, ranks=ranks or launch.size, resume=resume)
        return
    if ranks is not None:
        raise UsageError("--ranks is for --dry-run; ranks are started by horovodrun -np N")
    with naming_places(config, overrides, node):
        finished = train(experiment, folder, resume=resume)
    if not finished:
        ctx.exit(Preempted.exit_code)


def train(
    experiment: Experiment,
    folder: Path,
    *,
    resume: bool = False,
    communicator: Communicator | None = None,
    told_to_stop: Callable[[], bool] = lambda: False,
    heard: Callable[[Mapping[str, Any]], None] = lambda record: None,
) -> bool:
    """Train as `experiment` says in the run's folder `folder`, showing progress on rank 0.

    What can be checked without TensorFlow is checked before it is loaded. Returns whether all
    epochs are done or it has stopped early; not so when `run.max_minutes` are over.

    For ranks that train several runs: they stay joined in `communicator`, `told_to_stop` counts as
    SIGTERM to this rank, and `heard` is told every epoch's line of history.
    """
    from gan3d.models import check_networks
    from gan3d.runtime import apply_node, launched, noted_signals, run_ranks
    from gan3d.training.records import write_status
    from gan3d.training.session import Session, find

    check_networks(experiment)
    launch = launched()
    found = find(experiment, folder, launch.size, resume=resume) if launch.rank == 0 else None
    check_judged(experiment, found)
    apply_node(experiment.node)
    with ExitStack() as stack:
        display = stack.enter_context(ProgressDisplay(make_console(), shown=launch.rank == 0))
        signals = stack.enter_context(noted_signals(told_to_stop))

        def begin(session: Session) -> tuple[Listener, Examine | None]:
            display.shown = session.trainer.communicator.rank == 0
            examine = _examiner(experiment)
            _say_first(display, session, examine)
            return TrainingProgress(display, heard), examine

        session = Session(experiment, folder, found, resume=resume, signals=signals, begin=begin)
        stack.enter_context(session)
        try:
            ranks = run_ranks(session, experiment.horovod, communicator)
        except KeyboardInterrupt as error:
            status = "requeue" if isinstance(error, Preempted) else "interrupted"
            _say_last(session, status, "stopped between two steps by a signal")
            display.say(f"checkpoint written in {folder}; go on with --resume")
            raise
        except RankLostError as error:
            raise RankLostError(session.rank_lost(str(error))) from error
        except Exception as error:  # it goes on; whoever waits for the run must learn of its end
            said = (
                str(error) if isinstance(error, Gan3dError) else f"{type(error).__name__}: {error}"
            )
            _say_last(session, "failed", said, any_rank=True)
            raise
        stopped_early = session.trainer.stopped_early
        all_done = session.trainer.position.epoch >= experiment.training.epochs
        finished = all_done or bool(stopped_early)
        if ranks.rank == 0 and finished:
            write_status(folder, "finished", stopped_early)
        elif ranks.rank == 0:
            write_status(folder, "requeue", "run.max_minutes are over")
        if stopped_early:
            display.say(stopped_early)
        if not finished:
            display.say("run.max_minutes are over; go on with --resume")
        display.say(f"run: {folder}")
    if communicator is None:
        ranks.shutdown()
    return finished


def check_judged(experiment: Experiment, found: Found | None) -> None:
    """Raise ConfigError where the training goes by a number of the judgement that it will not have.

    `found` is what rank 0 has found, None on others.
    """
    monitored = {
        key: name
        for key, name in experiment.training.monitored.items()
        if name.startswith("validation.")
    }
    if not monitored or found is None or found.heldout is None:
        return
    from gan3d.validation import METRICS

    numbers = [f"validation.{name}" for name in METRICS]
    judged = _examiner(experiment)(found.heldout, found.heldout)
    for key, name in monitored.items():
        if name not in numbers:
            near = difflib.get_close_matches(name, numbers, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"{key}: '{name}' is no number of the judgement; did you mean '{near}'?"
            )
        if not judged:
            raise ConfigError(
                f"{key}: {name}, but no epoch will have it: no bin of validation.energy_bins_gev "
                f"holds validation.minimum_showers ({experiment.validation.minimum_showers}) of "
                f"the {len(found.heldout)} held-out showers"
            )


def _say_last(session: Session, status: str, message: str, *, any_rank: bool = False) -> None:
    """Leave word in the run's folder, if there is a run: rank 0, or the one that knows why."""
    from gan3d.training.records import holds_run, write_status

    communicator = session.communicator
    writes = communicator is not None and (any_rank or communicator.rank == 0)
    if writes and holds_run(session.folder):
        write_status(session.folder, status, message)


def _say_first(display: ProgressDisplay, session: Session, examine: Examine) -> None:
    trainer = session.trainer
    for note in trainer.notes:
        display.say(note)
    for skipped in trainer.files.skipped:
        display.say(f"skipped: {skipped.reason}")
    heldout = trainer.judge.heldout
    if heldout is not None and not examine(heldout, heldout):
        display.say(
            "note: no bin of validation.energy_bins_gev holds validation.minimum_showers of "
            "the held-out showers, so the epochs are not judged"
        )


def _examiner(experiment: Experiment) -> Examine:
    """The comparison made after every epoch: validation's metrics."""

    def examine(generated: Showers, reference: Showers) -> Mapping[str, float]:
        # Only now: other ranks than the first never compare, and SciPy takes a second to import.
        from gan3d.validation import compare_images

        return compare_images(
            generated, reference, experiment.data.geometries, experiment.validation
        )

    return examine

"""`gan3d tune`: search for better parameters of an experiment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gan3d.cli.console import make_console
from gan3d.cli.tune_block import WORKER
from gan3d.errors import Preempted, RunError, TrainingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import optuna

    from gan3d.tuning.allocation import BlockPlan, Host
    from gan3d.tuning.results import Results
    from gan3d.tuning.run import Checked

EXAMPLE = """\b
Examples:
  gan3d tune configs/tune/ecal25-compact.yaml
  gan3d tune study.yaml --run studies/wide --set budget.trials=100
  gan3d tune study.yaml --hosts node1:4,node2:4 --block-size 4
  gan3d tune study.yaml --dry-run
"""


@click.command(name="tune", epilog=EXAMPLE)
@click.argument("config", metavar="STUDY", type=click.Path(path_type=Path))
@click.option("--node", type=click.Path(path_type=Path), help="Lay this node's file upon trials.")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one key.")
@click.option("--run", "folder", type=click.Path(path_type=Path), help="The study's folder.")
@click.option("--resume", is_flag=True, help="Only go on with a study that is there.")
@click.option("--block-size", type=click.IntRange(min=1), help="Ranks that train a trial together.")
@click.option("--blocks", type=click.IntRange(min=1), help="Blocks side by side, at most.")
@click.option("-H", "--hosts", help="Hosts and slots, as horovodrun takes them: node1:4,node2:4.")
@click.option("--hostfile", type=click.Path(path_type=Path), help="The same, from a file.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what would run, and end.")
@click.option("--report", "reports", is_flag=True, help="Only write the results that are there.")
@click.pass_context
def command(
    ctx: click.Context,
    config: Path,
    node: Path | None,
    overrides: tuple[str, ...],
    folder: Path | None,
    resume: bool,
    block_size: int | None,
    blocks: int | None,
    hosts: str | None,
    hostfile: Path | None,
    dry_run: bool,
    reports: bool,
) -> None:
    """Search for better parameters of an experiment, as STUDY says.

    Blocks of ranks train one trial each, side by side, on the hosts that are named, in a job of
    Slurm on those of the job, or else on this machine. Each trial is a run in the study's folder
    (studies/NAME, NAME being the file's), which gets best.yaml, trials.csv and a report. Called
    again, it goes on; called several times at once, the calls share the work.

    SIGTERM, SIGUSR1 and Ctrl-C end it with checkpoints; the exit code is then 75, or 130. It is 75
    as well when budget.minutes are over, and 1 when all trials have failed or diverged.
    """
    from gan3d.runtime import launched
    from gan3d.tuning import load_study
    from gan3d.tuning.allocation import parse_hosts, read_hostfile
    from gan3d.tuning.run import STUDY, check_folder, check_study, plan_blocks

    if launched().size > 1:
        raise UsageError(
            "gan3d tune starts ranks itself: call it once, without a launcher, and name the hosts "
            "with --hosts"
        )
    if hosts is not None and hostfile is not None:
        raise UsageError("--hosts and --hostfile exclude each other")
    more = {"blocks.size": block_size, "blocks.count": blocks}
    overrides += tuple(f"{key}={value}" for key, value in more.items() if value is not None)
    study, tell = load_study(config, overrides)
    checked = check_study(study, tell, node)
    folder = folder or Path("studies") / config.stem
    if (resume or reports) and not (folder / STUDY).exists():
        raise RunError(f"{folder}: no study here; start one without --resume")
    given: Sequence[Host] = ()
    if hosts is not None:
        given = parse_hosts(hosts)
    elif hostfile is not None:
        given = read_hostfile(hostfile)
    plans = plan_blocks(checked.study, given)
    if dry_run:
        _say_plan(checked, folder, plans)
    elif reports:
        check_folder(checked, folder)
        _write(checked, folder, make_console().print)
    elif _tune(checked, folder, plans):
        ctx.exit(Preempted.exit_code)


def _tune(checked: Checked, folder: Path, plans: Sequence[BlockPlan]) -> bool:
    """Run the study and write its results; returns whether it is only out of time."""
    from gan3d.runtime import noted_signals
    from gan3d.tuning.results import write_tables
    from gan3d.tuning.run import prepare_folder, run_study

    # What is in another study's folder, or in a run's, stays as it is.
    prepare_folder(checked, folder)
    console = make_console()

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    written, took = -math.inf, 0.0

    def note(studies: Sequence[optuna.Study]) -> None:
        """Write tables, but for at most a hundredth of the time: they grow with the study."""
        nonlocal written, took
        if time.monotonic() - written < 100.0 * took:
            return
        began = time.monotonic()
        write_tables(checked, folder, studies)
        written = time.monotonic()
        took = written - began

    for plan in plans:
        say(str(plan))
    with noted_signals() as signals:
        try:
            coordinator = run_study(checked, folder, plans, WORKER, signals, say, note)
        finally:
            results = _write(checked, folder, say)
    if not coordinator.is_out_of_time:
        _check_any_went_well(results)
    return coordinator.is_out_of_time


def _check_any_went_well(results: Results) -> None:
    """Raise TrainingError where all trials have failed or diverged."""
    from gan3d.tuning.storage import outcome

    bad = [trial for trial in results.trials if outcome(trial) in ("failed", "diverged")]
    if bad and len(bad) == len(results.trials):
        raise TrainingError(
            f"all trials have failed or diverged ({results.counts()}); the last one: "
            f"{bad[-1].user_attrs.get('reason', 'it does not say why')}"
        )


def _write(checked: Checked, folder: Path, say: Callable[[str], None]) -> Results:
    from gan3d.tuning.report import write_study_report
    from gan3d.tuning.results import best_files, write_tables

    results = write_tables(checked, folder)
    if not results.done:
        say(f"no trial has gone well yet, so there is nothing to report ({results.counts()})")
        return results
    page = write_study_report(checked, results, folder / "report")
    for line in results.summary():
        say(line)
    if results.times is not None:
        say(str(results.times))
    for path in best_files(checked, folder, results):
        say(f"best experiment: {path}")
    say(f"report: {page}")
    return results


def _say_plan(checked: Checked, folder: Path, plans: Sequence[BlockPlan]) -> None:
    """What would run."""
    from gan3d.tuning.block import choose_launcher
    from gan3d.tuning.coordinator import shown
    from gan3d.tuning.run import first_points

    study = checked.study
    click.echo(f"study: {folder}")
    for objective in study.objective:
        verb = "maximize" if objective.maximized else "minimize"
        click.echo(f"objective: {verb} {objective.label}")
    click.echo(f"sampler {study.sampler.name}, pruner {study.pruner.name}, seed {study.seed}")
    for plan in plans:
        launcher = choose_launcher(plan, study.blocks.launcher)
        click.echo(f"{plan}{'' if launcher == 'none' else f' (by {launcher})'}")
    for key, number in study.budget.model_dump(exclude_none=True).items():
        if not key.startswith("failures"):
            click.echo(f"budget: {number:g} {key}")
    if checked.experiment is not None and study.default_first:
        _, why = checked.space.default(checked.experiment)
        if why:
            click.echo(f"the experiment as it is will not be tried: {why}")
    for key, words in checked.space.describe():
        click.echo(f"{key}: {words}")
    for number, values in enumerate(first_points(checked, len(plans))):
        click.echo(f"point {number}: {shown(values)}")

"""`gan3d validate`: generated showers against Monte Carlo, in a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gan3d.cli.console import make_console
from gan3d.errors import DataError, UsageError

if TYPE_CHECKING:
    from gan3d.config import Data, Experiment, Geometry, Validation
    from gan3d.data import Showers
    from gan3d.generation import TrainedRun
    from gan3d.validation import Judgement

EXAMPLE = """\b
Examples:
  gan3d validate showers.h5 --reference 'data/EleEscan_1_*.h5' --out report
  gan3d validate runs/quickstart
  gan3d validate runs/quickstart --select
"""

_WORD_STYLE = {"agrees": "green", "close": "yellow", "differs": "red"}


@click.command(name="validate", epilog=EXAMPLE)
@click.argument("generated", nargs=-1, required=True)
@click.option(
    "--reference",
    "reference",
    metavar="GLOB",
    multiple=True,
    help="Monte Carlo files, a name or a quoted pattern. Default for a run: its held-out showers.",
)
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the report. Default for a run: RUN/report.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Experiment file with the energy bins, thresholds and geometry to use. "
    "Default: the run's own, or the built-in ones.",
)
@click.option("--select", "selects", is_flag=True, help="Judge all checkpoints of a run instead.")
@click.option("--showers", type=click.IntRange(min=1), help="With --select: of each checkpoint.")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
def command(
    generated: tuple[str, ...],
    reference: tuple[str, ...],
    folder: Path | None,
    config: Path | None,
    selects: bool,
    showers: int | None,
    as_json: bool,
) -> None:
    """Judge GENERATED showers against Monte Carlo and write a report.

    GENERATED are shower files (names or quoted patterns), taken together as one sample, or the
    folder of one run, which then generates showers with the incident energies of the reference.
    Writes index.html, which opens offline, and metrics.json.

    With --select, every checkpoint that a run has kept (run.keep_checkpoints) generates showers.
    The table says which is the best, and whether by more than chance; best.json then names it, for
    `gan3d generate --checkpoint best`. RUN/selection has the numbers and the curve.
    """
    runs = [name for name in generated if Path(name).is_dir()]
    if runs and len(generated) > 1:
        raise UsageError(
            f"{', '.join(generated)}: name either shower files or one run; "
            "validate several runs one by one"
        )
    if showers is not None and not selects:
        raise UsageError("--showers is for --select; a report takes validation.showers")
    from gan3d.config import load_experiment

    experiment = load_experiment(config) if config else None
    if selects:
        from gan3d.cli.select import select

        select(
            generated,
            reference,
            folder=folder,
            experiment=experiment,
            showers=showers,
            as_json=as_json,
        )
        return
    judged = _judge_run if runs else _judge_files
    judgement, page = judged(generated, reference, folder, experiment)
    if as_json:
        click.echo(json.dumps(judgement.metrics, indent=1))
    else:
        show_verdict(judgement, page, make_console())


def _judge_files(
    generated: Sequence[str],
    reference: Sequence[str],
    folder: Path | None,
    experiment: Experiment | None,
) -> tuple[Judgement, Path]:
    from gan3d.data import check_folder, expand_patterns, read_showers, regrid

    expand_patterns(generated)
    if not reference or folder is None:
        missing = "--reference GLOB" if not reference else "--out DIR"
        raise UsageError(f"{missing} is missing: it is needed for shower files")
    from gan3d.config import Geometry, Validation

    check_folder(folder)
    shape = experiment.data.geometry.shape if experiment else None
    threshold_gev = _threshold(experiment)
    theirs = read_showers(reference, shape=shape, threshold_gev=threshold_gev)
    if experiment:
        theirs = regrid(theirs, experiment.data.model_geometry.shape)
    ours = read_showers(generated, shape=theirs.image_shape, threshold_gev=threshold_gev)
    names = {
        "Generated": _names(expand_patterns(generated)),
        "Reference": _names(expand_patterns(reference)),
    }
    return report_on(
        ours,
        theirs,
        folder,
        geometry=experiment.data.model_geometry
        if experiment
        else Geometry(shape=theirs.image_shape),
        settings=experiment.validation if experiment else Validation(),
        title=f"{names['Generated']} against Geant4",
        facts={**names, "Cells set to 0": f"below {threshold_gev:g} GeV, in both"},
    )


def _judge_run(
    generated: Sequence[str],
    reference: Sequence[str],
    folder: Path | None,
    experiment: Experiment | None,
) -> tuple[Judgement, Path]:
    import gan3d
    from gan3d.config import Node
    from gan3d.data import check_folder
    from gan3d.generation import find_checkpoint
    from gan3d.runtime import apply_node
    from gan3d.training.records import read_history

    path = Path(generated[0])
    find_checkpoint(path)
    apply_node(Node())
    trained = gan3d.load_run(path)
    folder = folder or path / "report"
    check_folder(folder)
    experiment = experiment or trained.experiment
    settings = experiment.validation
    showers, source = reference_showers(trained.experiment.data, reference)
    click.echo(f"generating {settings.showers or len(showers)} showers with {path}", err=True)
    return report_on(
        generate_like(trained, showers, settings),
        showers,
        folder,
        geometry=experiment.data.model_geometry,
        settings=settings,
        title=f"{path.resolve().name}: {trained.experiment.model.architecture} against Geant4",
        facts={**run_facts(trained, settings), "Reference": source},
        history=read_history(path),
    )


def report_on(
    generated: Showers,
    reference: Showers,
    folder: Path,
    *,
    geometry: Geometry,
    settings: Validation,
    title: str,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, Any]] | None = None,
) -> tuple[Judgement, Path]:
    """Judge, and write the report into `folder`; returns the judgement and the page's path.

    `facts` name the samples; errors quote those called Generated, Run and Reference.
    """
    from gan3d.validation import judge, write_report

    try:
        judgement = judge(generated, reference, geometry, settings)
    except DataError as error:
        named = [
            f"{name.lower()}: {facts[name]}"
            for name in ("Generated", "Run", "Reference")
            if name in facts
        ]
        raise DataError(f"{error} ({'; '.join(named)})") from error
    return judgement, write_report(judgement, folder, title=title, facts=facts, history=history)


def generate_like(trained: TrainedRun, reference: Showers, settings: Validation) -> Showers:
    """Showers of a run with the reference's incident energies, from the first on and over again."""
    import numpy as np

    energy_n = np.resize(reference.energy_n, settings.showers or len(reference))
    return trained.generate(energy_n=energy_n, seed=settings.seed)


def run_facts(trained: TrainedRun, settings: Validation) -> dict[str, str]:
    """What a report says of the run that its showers come from."""
    return {
        "Run": str(trained.path),
        "Model": trained.identity,
        "Incident energies": "those of the reference",
        "Seed of the generated showers": str(settings.seed),
    }


def reference_showers(data: Data, patterns: Sequence[str]) -> tuple[Showers, str]:
    """What a run of `data` is judged against, and where it is from: files, or its held-out ones."""
    from gan3d.data import expand_patterns, read_showers, regrid

    if not patterns:
        return heldout_showers(data)
    whole = read_showers(patterns, shape=data.geometry.shape, threshold_gev=data.threshold_gev)
    return regrid(whole, data.model_geometry.shape), _names(expand_patterns(patterns))


def heldout_showers(data: Data) -> tuple[Showers, str]:
    """The showers that training does not see, and where they come from, in words."""
    import numpy as np

    from gan3d.data import divide, read_part, survey_files

    part = divide(survey_files(data), data.split).validation
    names = _names([part.files[number].path for number in np.unique(part.file_b)])
    return read_part(part, data), f"held-out showers of {names}"


def show_verdict(judgement: Judgement, page: Path, console: Console) -> None:
    """Print the table of metrics with their noise, what to beware of, and where the report is."""
    from gan3d.validation.report import headline, show_ratio, show_value

    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, caption_justify="left")
    table.add_column("metric", overflow="fold")
    for column in ("value", "noise", "value/noise"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for verdict in judgement.verdicts:
        table.add_row(
            verdict.name,
            show_value(verdict, verdict.value),
            show_value(verdict, verdict.noise),
            show_ratio(verdict),
            f"[{_WORD_STYLE[verdict.word]}]{verdict.word}[/]",
        )
    table.caption = (
        "0 is perfect. noise: the same metric of one half of the reference against the other."
    )
    console.print(table)
    for remark in judgement.remarks:
        console.print(f"note: {remark}", markup=False)
    console.print(headline(judgement), markup=False)
    console.print(f"report: {page}", markup=False, soft_wrap=True)


def _threshold(experiment: Experiment | None) -> float:
    if experiment:
        return experiment.data.threshold_gev
    from gan3d.config import Data

    threshold_gev: float = Data.model_fields["threshold_gev"].default
    return threshold_gev


def _names(paths: Sequence[Path]) -> str:
    """Files by name: all of a few, the first and the last of many."""
    names = [path.name for path in paths]
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} … {names[-1]} ({len(names)} files)"

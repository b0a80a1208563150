"""`gan3d validate`: generated showers against Monte Carlo, in a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gan3d.cli.console import make_console
from gan3d.cli.reference import (
    NotedLabels,
    generate_like,
    labels_of,
    names_of,
    naming,
    open_reference,
    read_sample,
    run_facts,
)
from gan3d.cli.sample_checks import (
    CHALLENGE_REMARK,
    check_alike,
    check_cell_size,
    check_coordinates,
    check_reference,
    left_out,
    not_learnt,
    seen_in_training,
)
from gan3d.cli.sources import REFERENCE, Source, parse_sources, split_label
from gan3d.cli.verdict_table import show_verdicts
from gan3d.errors import UsageError

if TYPE_CHECKING:
    from gan3d.config import Experiment
    from gan3d.generation import TrainedRun
    from gan3d.validation import Judgement, Sample

EXAMPLE = """\b
Examples:
  gan3d validate showers.h5 --reference 'data/EleEscan_*.h5' --out report
  gan3d validate runs/quickstart
  gan3d validate runs/quickstart --select
  gan3d validate runs/a runs/b runs/b@best --reference 'data/*.h5' --out DIR
  gan3d validate gan='g_*.h5' flow='f_*.h5' --reference 'data/*.h5' --out DIR
"""


_PROBABILITY = "Probability of being Monte Carlo"
"""An output of discriminators."""


_DISCRIMINATED = 1000
"""Showers of each sample that a run's discriminator is asked about: enough for a histogram."""


@click.command(name="validate", epilog=EXAMPLE)
@click.argument("generated", nargs=-1, required=True)
@click.option(
    "--reference",
    "reference",
    metavar="GLOB",
    multiple=True,
    help="Monte Carlo files, a name or a quoted pattern. Default for runs: their held-out showers.",
)
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the report. Default for one run: RUN/report.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Experiment file with the bins, thresholds and geometry to use. "
    "Default: the (first) run's own, or the built-in ones.",
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

    GENERATED are shower files (names or quoted patterns), taken together as one sample, or folders
    of runs, which then generate showers with the incident energies of the reference; RUN@best or
    RUN@STEP takes another checkpoint than the last. Several samples are compared side by side;
    NAME=FILES makes files a sample of their own.
    Writes index.html, which opens offline, metrics.json, and the figures as PDF and PNG.

    With --select, every checkpoint that a run has kept (run.keep_checkpoints) generates showers.
    The table says which is the best, and whether by more than chance; best.json then names it, for
    `gan3d generate --checkpoint best`. RUN/selection has the numbers and the curve.
    """
    if showers is not None and not selects:
        raise UsageError("--showers is for --select; a report takes validation.showers")
    label, patterns = _reference_named(reference)
    from gan3d.config import load_experiment

    experiment = load_experiment(config) if config else None
    if selects:
        from gan3d.cli.select import select

        select(
            generated,
            patterns,
            folder=folder,
            experiment=experiment,
            showers=showers,
            as_json=as_json,
        )
        return
    judgements, page = _judge(parse_sources(generated), patterns, label, folder, experiment)
    if as_json:
        from gan3d.validation.report import flat_metrics

        click.echo(json.dumps(flat_metrics(judgements), indent=1))
    else:
        show_verdicts(judgements, page, make_console())


def _reference_named(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """What the reference is called, and its patterns."""
    named = [split_label(argument) for argument in arguments]
    labels = list(dict.fromkeys(label for label, _ in named if label))
    if len(labels) > 1:
        raise UsageError(f"--reference: one sample has one name, not {' and '.join(labels)}")
    return (labels or [REFERENCE])[0], [what for _, what in named]


def _judge(
    sources: Sequence[Source],
    reference: Sequence[str],
    label: str,
    folder: Path | None,
    experiment: Experiment | None,
) -> tuple[list[Judgement], Path]:
    """Judge all samples against the reference and write the report."""
    import numpy as np

    import gan3d
    from gan3d.config import Node
    from gan3d.data import check_folder, expand_patterns, holds_challenge, stated_geometry
    from gan3d.generation import find_checkpoint
    from gan3d.validation import judge_images, summarise_images

    runs = {each.label: each.run for each in sources if each.run is not None}
    for source in sources:
        if source.run is not None:
            find_checkpoint(source.run, source.checkpoint)
            check_reference(source.run, reference)
        else:
            expand_patterns(source.patterns)
    if not reference and len(runs) < len(sources):
        raise UsageError("--reference GLOB is missing: it is needed for shower files")
    if folder is None:
        if len(sources) > 1 or not runs:
            raise UsageError("--out DIR is missing: it is needed for files and for several samples")
        folder = next(iter(runs.values())) / "report"
    check_folder(folder)
    trained = {}
    if runs:
        from gan3d.runtime import apply_node

        apply_node(Node())
        trained = {
            each.label: gan3d.load_run(each.run, each.checkpoint)
            for each in sources
            if each.run is not None
        }
        check_alike(trained, reference)
    first = next(iter(trained.values()), None)
    own = experiment or (first.experiment if first else None)
    labels = labels_of(trained)
    setting, blocks, named = open_reference(reference, own, first, labels)
    noted = NotedLabels(labels)
    samples = [*([reference] if reference else []), *(s.patterns for s in sources if s.patterns)]
    read = [(patterns, setting.cells) for patterns in samples]
    check_coordinates(read)
    for patterns in samples:
        check_cell_size(patterns, setting)
    # Where nothing says that these are the cells of a cylinder.
    remarks = []
    if not setting.geometry.is_cylinder and any(
        holds_challenge(patterns, shape=shape) or stated_geometry(patterns, shape=shape)
        for patterns, shape in read
    ):
        remarks.append(CHALLENGE_REMARK)
    remarks += left_out(read, setting.further)
    with naming({"Reference": named}):
        theirs = summarise_images(
            noted.passing(blocks), setting.geometries, setting.validation, label=label
        )
    facts: dict[str, str] = {}
    judgements = []
    outputs: dict[str, dict[str, Any]] = {}
    for source in sources:
        run, scores = trained.get(source.label), None
        if run is not None:
            own_facts = run_facts(run, setting.validation)
            count = setting.validation.showers or len(theirs.observables)
            click.echo(f"generating {count} showers with {run.path}", err=True)
            showers = generate_like(run, theirs.observables, noted, setting.validation)
        else:
            own_facts = {"Generated": names_of(expand_patterns(source.patterns))}
        with naming({**own_facts, "Reference": named}):
            if run is None:
                showers = read_sample(source.patterns, setting)
            ours = summarise_images(
                showers, setting.geometries, setting.validation, label=source.label
            )
            if run is not None and len(theirs.kept_rows_k) and _can_judge(run, ours, theirs):
                said, scores = discriminated(run, ours, theirs)
                # Each discriminator knows its own generator only: a picture of one run's.
                outputs = said if len(sources) == 1 else {}
            click.echo(
                f"judging {len(ours.observables)} showers against {len(theirs.observables)}",
                err=True,
            )
            judgements.append(
                judge_images(ours, theirs, setting.geometries, setting.validation, scores=scores)
            )
        judgements[-1].remarks.extend(remarks)
        if run is not None and reference:
            judgements[-1].remarks.extend(seen_in_training(run, expand_patterns(reference)))
        if run is not None and run.labels:
            rows = np.arange(len(theirs.observables))
            remarked = not_learnt(run, noted.columns(rows))
            judgements[-1].remarks.extend(f"{run.path} {each}." for each in remarked)
        prefix = f"{source.label}: " if len(sources) > 1 else ""
        facts |= {f"{prefix}{name}": fact for name, fact in own_facts.items()}
    title = _title(sources, trained, facts)
    facts |= {
        "Reference": named,
        "Cells set to 0": f"below {setting.threshold_gev:g} GeV, in all samples",
    }
    click.echo("writing the report", err=True)
    return judgements, write_named(judgements, folder, facts, trained, outputs, title=title)


def _title(
    sources: Sequence[Source], trained: Mapping[str, TrainedRun], facts: Mapping[str, str]
) -> str:
    if len(sources) > 1:
        return ", ".join(source.label for source in sources) + " against Monte Carlo"
    run = trained.get(sources[0].label)
    if run is None:
        return f"{facts['Generated']} against Monte Carlo"
    name = run.path.resolve().name
    return f"{name}: {run.experiment.model.architecture} against Monte Carlo"


def write_named(
    judgements: Sequence[Judgement],
    folder: Path,
    facts: Mapping[str, str],
    trained: Mapping[str, TrainedRun],
    outputs: Mapping[str, Mapping[str, Any]],
    *,
    title: str,
) -> Path:
    """Write the report, with what the runs' folders say of their training; returns the page."""
    from gan3d.training.records import read_history
    from gan3d.validation import write_report

    return write_report(
        judgements,
        folder,
        title=title,
        facts=facts,
        histories={label: read_history(run.path) for label, run in trained.items()},
        outputs=outputs,
    )


def _can_judge(run: TrainedRun, *samples: Sample) -> bool:
    """Whether samples have the labels that the run's discriminator wants to see."""
    return all(
        label.column in sample.some(1).columns for sample in samples for label in run.judged_labels
    )


def discriminated(
    run: TrainedRun, generated: Sample, reference: Sample
) -> tuple[dict[str, dict[str, Any]], tuple[Any, Any]]:
    """What a run's discriminator says of some showers of both samples.

    By the samples' labels, the reference's first, and the titles of the outputs; and its
    probabilities of being Monte Carlo, of generated and of reference showers.
    """
    said = {}
    for sample in (reference, generated):
        showers = sample.some(_DISCRIMINATED)
        outputs = run.discriminate(showers)
        said[sample.label] = {
            _PROBABILITY: outputs["generation"],
            "Estimated over true incident energy": outputs["auxiliary"] / showers.energy_n,
        }
    return said, (said[generated.label][_PROBABILITY], said[reference.label][_PROBABILITY])

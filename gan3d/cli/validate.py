"""`gan3d validate`: generated showers against Monte Carlo, in a report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gan3d.cli.console import make_console
from gan3d.cli.sources import REFERENCE, Source, parse_sources, split_label
from gan3d.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gan3d.config import Condition, Data, Experiment, Geometry, Validation
    from gan3d.data import Shape, Showers
    from gan3d.generation import TrainedRun
    from gan3d.validation import Judgement, Observables, Sample

EXAMPLE = """\b
Examples:
  gan3d validate showers.h5 --reference 'data/EleEscan_*.h5' --out report
  gan3d validate runs/quickstart
  gan3d validate runs/quickstart --select
  gan3d validate runs/a runs/b runs/b@best --reference 'data/*.h5' --out DIR
  gan3d validate gan='g_*.h5' flow='f_*.h5' --reference 'data/*.h5' --out DIR
"""

_WORD_STYLE = {
    "agrees": "green",
    "unclear": "dim",
    "close": "yellow",
    "differs": "red",
    "too alike": "magenta",
}

_MARKS = {"agrees": "=", "unclear": "?", "close": "~", "differs": "!", "too alike": "&"}
"""What the colours say, where there are none."""

_CHALLENGE = (
    "Files of the Fast Calorimeter Challenge have cells in angle, radius and layer, as have those "
    "of a cylinder. They are taken "
    "as if these were x, y and depth: energies, layers, hits and classifiers are what they say; "
    "barycentres, widths, radii and angles in x and y are no lengths (data.geometry.coordinates: "
    "cylindrical takes them as what they are)."
)

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


@dataclass
class Setting:
    """What all samples are judged with."""

    geometries: Mapping[str, Geometry]
    """The grids of all images of the showers, by their names."""
    validation: Validation
    threshold_gev: float
    file_shape: Shape
    """Cells of the reference's files in the first image, before they are put on its geometry."""

    @property
    def geometry(self) -> Geometry:
        """The grid of the first image, or the only one."""
        return next(iter(self.geometries.values()))

    @property
    def further(self) -> dict[str, Shape]:
        """Cells of the further images, by their names."""
        return {name: each.shape for name, each in list(self.geometries.items())[1:]}


def _judge(
    sources: Sequence[Source],
    reference: Sequence[str],
    label: str,
    folder: Path | None,
    experiment: Experiment | None,
) -> tuple[list[Judgement], Path]:
    """Judge all samples against the reference and write the report."""
    import gan3d
    from gan3d.config import Node
    from gan3d.data import check_folder, expand_patterns, holds_challenge, stated_geometry
    from gan3d.generation import find_checkpoint
    from gan3d.validation import judge_images, summarise_images

    runs = {each.label: each.run for each in sources if each.run is not None}
    for source in sources:
        if source.run is not None:
            find_checkpoint(source.run, source.checkpoint)
            _check_reference(source.run, reference)
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
        _check_alike(trained, reference)
    first = next(iter(trained.values()), None)
    own = experiment or (first.experiment if first else None)
    labels = _labels_of(trained)
    setting, blocks, named = _open_reference(reference, own, first, labels)
    noted = NotedLabels(labels)
    read = [(reference, setting.file_shape)] if reference else []
    read += [(each.patterns, setting.geometry.shape) for each in sources if each.patterns]
    _check_coordinates(read)
    for patterns, shape in read:
        _check_cell_size(patterns, setting, shape)
    # Where nothing says that these are the cells of a cylinder.
    remarks = []
    if not setting.geometry.is_cylinder and any(
        holds_challenge(patterns, shape=shape) or stated_geometry(patterns, shape=shape)
        for patterns, shape in read
    ):
        remarks.append(_CHALLENGE)
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
            own_facts = {"Generated": _names(expand_patterns(source.patterns))}
        with naming({**own_facts, "Reference": named}):
            if run is None:
                showers = _read(source.patterns, setting)
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
            judgements[-1].remarks.extend(_seen_in_training(run, expand_patterns(reference)))
        prefix = f"{source.label}: " if len(sources) > 1 else ""
        facts |= {f"{prefix}{name}": fact for name, fact in own_facts.items()}
    title = _title(sources, trained, facts)
    facts |= {
        "Reference": named,
        "Cells set to 0": f"below {setting.threshold_gev:g} GeV, in all samples",
    }
    click.echo("writing the report", err=True)
    return judgements, write_named(judgements, folder, facts, trained, outputs, title=title)


def left_out(
    samples: Iterable[tuple[Sequence[str], Shape | None]], judged: Iterable[str]
) -> list[str]:
    """Remarks where files, of which the first of each sample counts, hold more than is judged.

    `samples` are patterns and the cells of the first image, `judged` the names of the further
    images that are.
    """
    from gan3d.data import expand_patterns, open_shower_file

    found = {}
    for patterns, shape in samples:
        path = expand_patterns(patterns)[0]
        with open_shower_file(path, shape=shape) as file:
            more = [name for name in file.left_out if name not in judged]
        if more:
            found[path.name] = (
                f"{path.name}: {', '.join(more)} of it is not judged; data.further_images of the "
                "experiment (--config) names further images of showers"
            )
    return list(found.values())


def _check_reference(run: Path, patterns: Sequence[str]) -> None:
    """Look at the files of a reference, before TensorFlow is loaded for the run.

    Raises DataError, naming the file, for one of another grid, or without a label that the run is
    conditioned on, and for particles that the run's experiment does not allow together.
    """
    from gan3d.config import load_experiment
    from gan3d.data import survey_files

    experiment = load_experiment(run / "config.yaml")
    if patterns:
        own = {"files": list(patterns), "validation_files": None, "on_bad_file": "error"}
        survey_files(experiment.data.model_copy(update=own), experiment.model.labels)


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


def _check_alike(trained: Mapping[str, TrainedRun], reference: Sequence[str]) -> None:
    """Raise UsageError where runs cannot be judged against one reference."""
    runs = list(trained.values())
    first = runs[0]
    for run in runs[1:]:
        shapes, others_shapes = (r.experiment.data.images.shapes for r in (first, run))
        if shapes != others_shapes:
            raise UsageError(
                f"{run.path} generates images of {_in_cells(others_shapes)} cells, {first.path} "
                f"of {_in_cells(shapes)}; compare runs of one geometry"
            )
        data, others = (r.experiment.data for r in (first, run))
        if data.threshold_gev != others.threshold_gev:
            raise UsageError(
                f"{first.path} sets cells below {data.threshold_gev:g} GeV to 0, {run.path} those "
                f"below {others.threshold_gev:g} GeV; compare runs of one data.threshold_gev"
            )
        same = (data.files, data.validation_files, data.split) == (
            others.files,
            others.validation_files,
            others.split,
        )
        if not reference and not same:
            raise UsageError(
                f"{first.path} and {run.path} hold out different showers: give --reference GLOB"
            )


def _in_cells(shapes: Mapping[str, Shape]) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in shapes.values())


def _labels_of(trained: Mapping[str, TrainedRun]) -> list[Condition]:
    """All that any of the runs is conditioned on beside the energy, each column once."""
    return list({label.column: label for run in trained.values() for label in run.labels}.values())


class NotedLabels:
    """Labels of showers that pass by, for networks that are to get the same."""

    def __init__(self, labels: Sequence[Condition]) -> None:
        """Note the columns of `labels`."""
        self._labels = labels
        self._parts: list[dict[str, NDArray[Any]]] = []

    def passing(self, blocks: Iterable[Showers]) -> Iterator[Showers]:
        """The same blocks."""
        from gan3d.data import pick_columns

        for block in blocks:
            self._parts.append(pick_columns(block.columns, self._labels))
            yield block

    def columns(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The columns of the showers with these numbers."""
        import numpy as np

        return {
            label.column: np.concatenate([part[label.column] for part in self._parts])[rows]
            for label in self._labels
        }


def _open_reference(
    patterns: Sequence[str],
    experiment: Experiment | None,
    run: TrainedRun | None,
    labels: Sequence[Condition],
) -> tuple[Setting, Iterator[Showers], str]:
    """How to judge, the reference's showers block by block, and their files in words.

    The first run's data section says what is on the images, `experiment` all else.
    """
    from gan3d.config import FIRST_IMAGE, Data, Validation
    from gan3d.data import expand_patterns, stream_showers

    settings = experiment.validation if experiment else Validation()
    holder = run.experiment if run else experiment
    if holder is None:
        threshold_gev: float = Data.model_fields["threshold_gev"].default
        shape, blocks = stream_showers(patterns, threshold_gev=threshold_gev)
        geometry = _geometry_of(patterns, shape)
        setting = Setting({FIRST_IMAGE: geometry}, settings, threshold_gev, shape)
        return setting, blocks, _names(expand_patterns(patterns))
    data = holder.data
    setting = Setting(data.geometries, settings, data.threshold_gev, data.geometry.shape)
    return setting, *reference_blocks(data, patterns, labels)


def _geometry_of(patterns: Sequence[str], shape: Shape) -> Geometry:
    """The grid as the files state it, and the published one where they do not."""
    from gan3d.config import Geometry
    from gan3d.data import stated_cell_size, stated_geometry

    if stated := stated_cell_size(patterns):
        return Geometry(shape=shape, cell_size_mm=stated)
    return stated_geometry(patterns) or Geometry(shape=shape)


def reference_blocks(
    data: Data, patterns: Sequence[str], labels: Sequence[Condition] = ()
) -> tuple[Iterator[Showers], str]:
    """What a run of `data` is judged against, and where it is from: files, or its held-out ones.

    Raises DataError, naming the file, where one lacks one of `labels`.
    """
    from gan3d.data import check_labels, expand_patterns, open_for, stream_showers

    if not patterns:
        return heldout_blocks(data, labels)
    for path in expand_patterns(patterns) if labels else []:
        with open_for(path, data) as file:
            check_labels(file.read_columns(0, file.count), labels, path)
    _, blocks = stream_showers(
        patterns,
        shape=data.geometry.shape,
        grid=data.images.shape,
        threshold_gev=data.threshold_gev,
        further=data.images.further,
    )
    return blocks, _names(expand_patterns(patterns))


def _check_coordinates(read: Sequence[tuple[Sequence[str], Shape]]) -> None:
    """Raise DataError where some files say to hold a cylinder, and others cells along x and y."""
    from gan3d.data import stated_cell_size, stated_geometry

    around, along = (
        [", ".join(patterns) for patterns, shape in read if stated(patterns, shape=shape)]
        for stated in (stated_geometry, stated_cell_size)
    )
    if around and along:
        raise DataError(
            f"{'; '.join(around)}: cells of a cylinder, but those of {'; '.join(along)} are along "
            "(x, y, layer); only showers in equal cells compare"
        )


def _check_cell_size(patterns: Sequence[str], setting: Setting, shape: Shape) -> None:
    """Raise DataError where files state other cells than all samples are taken to have."""
    import numpy as np

    from gan3d.data import stated_cell_size, stated_geometry

    _check_cylinder(stated_geometry(patterns, shape=shape), patterns, setting.geometry)
    for name, cells in setting.further.items():
        stated = stated_cell_size(patterns, shape=cells, image=name)
        assumed = setting.geometries[name].pitch
        if stated is not None and not np.allclose(stated, assumed, rtol=1e-3):
            raise _other_cells(patterns, stated, assumed, f"data.further_images.{name}")
    stated, assumed = stated_cell_size(patterns, shape=shape), setting.geometry.pitch
    if stated is not None and setting.geometry.is_cylinder:
        raise DataError(
            f"{', '.join(patterns)}: cells along (x, y, layer), but those of a cylinder are "
            "reckoned with (data.geometry.coordinates)"
        )
    if stated is not None and not np.allclose(stated, assumed, rtol=1e-3):
        raise _other_cells(patterns, stated, assumed, "data.geometry")


def _other_cells(
    patterns: Sequence[str], stated: Sequence[float], assumed: Sequence[float], key: str
) -> DataError:
    said, wanted = (" x ".join(f"{each:g}" for each in size) for size in (stated, assumed))
    return DataError(
        f"{', '.join(patterns)}: cells of {said} mm, but {wanted} mm are reckoned with: other "
        f"showers' files or {key}.cell_size_mm; only showers in equal cells compare"
    )


def _check_cylinder(stated: Geometry | None, patterns: Sequence[str], assumed: Geometry) -> None:
    """Raise DataError where files hold the cells of another cylinder than is reckoned with."""
    import numpy as np

    if stated is None or not assumed.is_cylinder:
        # Of the Challenge's cells as (x, y, layer) there is a remark.
        return
    if not np.allclose(stated.pitch, assumed.pitch, rtol=1e-3):
        said, wanted = (
            f"{each.pitch[1]:g} mm in radius and {each.pitch[2]:g} mm in depth"
            for each in (stated, assumed)
        )
        raise DataError(
            f"{', '.join(patterns)}: cells of {said}, but {wanted} are reckoned with "
            "(data.geometry.cell_size_mm); only showers in equal cells compare"
        )


def _read(patterns: Sequence[str], setting: Setting) -> Iterator[Showers]:
    from gan3d.data import stream_showers

    _, blocks = stream_showers(
        patterns,
        shape=setting.geometry.shape,
        threshold_gev=setting.threshold_gev,
        further=setting.further,
    )
    return blocks


@contextmanager
def naming(facts: Mapping[str, str]) -> Iterator[None]:
    """Let errors of the data quote those of `facts` that say where showers come from."""
    try:
        yield
    except DataError as error:
        named = [
            f"{name.lower()}: {facts[name]}"
            for name in ("Generated", "Run", "Reference")
            if name in facts
        ]
        raise DataError(f"{error} ({'; '.join(named)})") from error


def generate_like(
    trained: TrainedRun, reference: Observables, noted: NotedLabels, settings: Validation
) -> Iterator[Showers]:
    """Showers of a run with the reference's incident energies, from the first on and over again.

    What the run is conditioned on beside the energy are the reference's `noted` labels. Where the
    reference's angles are known, each shower bears that of its incident particle.
    """
    import numpy as np

    rows = np.resize(np.arange(len(reference)), settings.showers or len(reference))
    energy_n = reference.energy_n[rows].astype(np.float32)
    theta_n, first = reference.theta_n[rows], 0
    columns = noted.columns(rows) if trained.labels else {}
    for block in trained.stream(energy_n, seed=settings.seed, columns=columns):
        last = first + len(block)
        yield replace(block, columns={"theta": theta_n[first:last], **block.columns})
        first = last


def run_facts(trained: TrainedRun, settings: Validation) -> dict[str, str]:
    """What a report says of the run that its showers come from."""
    return {
        "Run": str(trained.path),
        "Model": trained.identity,
        "Incident energies": "those of the reference",
        **{f"Condition {label.name}": "that of the reference" for label in trained.labels},
        "Seed of the generated showers": str(settings.seed),
    }


def heldout_blocks(data: Data, labels: Sequence[Condition] = ()) -> tuple[Iterator[Showers], str]:
    """The showers that training does not see, and where they come from, in words."""
    import numpy as np

    from gan3d.data import divide, stream_part, survey_files

    part = divide(survey_files(data, labels or None), data.split).validation
    names = _names([part.files[number].path for number in np.unique(part.file_b)])
    return stream_part(part, data), f"held-out showers of {names}"


def _seen_in_training(run: TrainedRun, paths: Sequence[Path]) -> Iterator[str]:
    """A remark where the reference has files that the run was trained on."""
    from gan3d.training.records import read_survey

    trained = {(file.path.name, file.size_bytes) for file in read_survey(run.path).files}
    seen = [path for path in paths if (path.name, path.stat().st_size) in trained]
    if seen:
        yield (
            f"{run.path} was trained on {_names(seen)}: showers that a generator has learnt from "
            "flatter it. Take others as the reference, or leave --reference out."
        )


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


def show_verdicts(judgements: Sequence[Judgement], page: Path, console: Console) -> None:
    """Print the table of metrics, what to beware of, and where the report is."""
    from gan3d.validation.report import headlines, remarks

    show_table = _show_one if len(judgements) == 1 else _show_several
    show_table(judgements, console)
    for name in judgements[0].further:
        console.print(f"{name}:", markup=False)
        show_table([each.further[name] for each in judgements], console)
    for remark in remarks(judgements):
        console.print(f"note: {remark}", markup=False)
    for line in headlines(judgements):
        console.print(line, markup=False)
    console.print(f"report: {page}", markup=False, soft_wrap=True)


def _show_one(judgements: Sequence[Judgement], console: Console) -> None:
    from gan3d.validation.report import show, show_beyond

    (judgement,) = judgements
    table = _table("value", "perfect", "beyond")
    table.add_column("verdict", no_wrap=True)
    for verdict in judgement.verdicts:
        kind, estimate = verdict.metric.kind, verdict.estimate
        table.add_row(
            verdict.name,
            show(kind, estimate.value, estimate.error),
            show(kind, estimate.noise),
            show_beyond(verdict),
            f"[{_WORD_STYLE[verdict.word]}]{verdict.word}[/]",
        )
    table.caption = (
        "perfect: what a perfect generator has on average in samples of these sizes; beyond: "
        "standard deviations beyond that. Verdicts: the report says how they are reached."
    )
    console.print(table)


def _show_several(judgements: Sequence[Judgement], console: Console) -> None:
    from statistics import median

    from gan3d.validation.report import agreement, show

    table = _table(*(each.label for each in judgements), "perfect")
    by_name = [{verdict.name: verdict for verdict in each.verdicts} for each in judgements]
    for name, first in by_name[0].items():
        if not all(name in verdicts for verdicts in by_name):
            continue
        kind = first.metric.kind
        values = [
            f"[{_WORD_STYLE[word]}]{show(kind, verdicts[name].value)} {_MARKS[word]}[/]"
            for verdicts in by_name
            for word in (verdicts[name].word,)
        ]
        noise = median(verdicts[name].estimate.noise for verdicts in by_name)
        table.add_row(name, *values, show(kind, noise))
    table.caption = (
        "perfect: what a perfect generator has on average in samples of these sizes (the median of "
        "those of the samples). Green, =: agrees with it; grey, ?: unclear; yellow, ~: close; "
        "red, !: differs; magenta, &: too alike."
    )
    console.print(table)
    for each in judgements:
        further = [*each.feature_verdicts, *each.bin_verdicts]
        console.print(
            f"{each.label}: of {len(further)} distances of distributions and metrics in bins "
            f"{agreement(further)}.",
            markup=False,
        )


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, caption_justify="left")
    table.add_column("metric", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=len(columns) <= 3)
    return table


def _names(paths: Sequence[Path]) -> str:
    """Files by name: all of a few, the first and the last of many."""
    names = [path.name for path in paths]
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} … {names[-1]} ({len(names)} files)"

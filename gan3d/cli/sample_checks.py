"""Whether runs and files can be judged against each other, as far as their files say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan3d.cli.reference import Setting, names_of
from gan3d.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gan3d.data import FileCells, Shape
    from gan3d.export import ExportedModel
    from gan3d.generation import TrainedRun

CHALLENGE_REMARK = (
    "Files of the Fast Calorimeter Challenge have cells in angle, radius and layer, as have those "
    "of a cylinder. They are taken "
    "as if these were x, y and depth: energies, layers, hits and classifiers are what they say; "
    "barycentres, widths, radii and angles in x and y are no lengths (data.geometry.coordinates: "
    "cylindrical takes them as what they are)."
)


def left_out(
    samples: Iterable[tuple[Sequence[str], FileCells]], judged: Iterable[str]
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
            unread = (*file.further_images, *file.left_out)
            more = [name for name in unread if name not in judged]
        if more:
            found[path.name] = (
                f"{path.name}: {', '.join(more)} of it is not judged; data.further_images of the "
                "experiment (--config) names further images of showers"
            )
    return list(found.values())


def check_reference(run: Path, patterns: Sequence[str]) -> None:
    """Look at the files of a reference, before TensorFlow is loaded for the run.

    Raises DataError, naming the file, for one of another grid, or without a label that the run is
    conditioned on, and for particles that the run's experiment does not allow together.
    """
    from gan3d.config import load_experiment
    from gan3d.data import survey_files
    from gan3d.models import architecture_of, told_labels

    experiment = load_experiment(run / "config.yaml")
    if patterns:
        own = {"files": list(patterns), "validation_files": None, "on_bad_file": "error"}
        labels = told_labels(architecture_of(experiment), experiment.model)
        survey_files(experiment.data.model_copy(update=own), labels, cropped=True)


def check_alike(trained: Mapping[str, TrainedRun], reference: Sequence[str]) -> None:
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


def check_coordinates(read: Sequence[tuple[Sequence[str], FileCells]]) -> None:
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


def check_cell_size(patterns: Sequence[str], setting: Setting) -> None:
    """Raise DataError where files state other cells than all samples are taken to have."""
    from gan3d.data import (
        refuse_other_cells,
        refuse_other_cylinder,
        stated_cell_size,
        stated_geometry,
    )

    where, shape, why = ", ".join(patterns), setting.cells, "only showers in equal cells compare"
    # Of the Challenge's cells as (x, y, layer) there is a remark.
    cylinder = stated_geometry(patterns, shape=shape)
    refuse_other_cylinder(where, cylinder, setting.geometry, why=why)
    for name, cells in setting.further.items():
        stated = stated_cell_size(patterns, shape=cells, image=name)
        key = f"data.further_images.{name}"
        refuse_other_cells(where, stated, setting.geometries[name], why=why, key=key)
    stated = stated_cell_size(patterns, shape=shape)
    refuse_other_cells(where, stated, setting.geometry, why=why)


def seen_in_training(run: TrainedRun, paths: Sequence[Path]) -> Iterator[str]:
    """A remark where the reference has files that the run was trained on."""
    from gan3d.training.records import read_survey

    trained = {(file.path.name, file.size_bytes) for file in read_survey(run.path).files}
    seen = [path for path in paths if (path.name, path.stat().st_size) in trained]
    if seen:
        yield (
            f"{run.path} was trained on {names_of(seen)}: showers that a generator has learnt from "
            "flatter it. Take others as the reference, or leave --reference out."
        )


def not_learnt(
    trained: TrainedRun | ExportedModel, columns: Mapping[str, NDArray[Any]]
) -> Iterator[str]:
    """A remark for each condition with categories in `columns` that no training shower had."""
    import numpy as np

    for label in trained.labels:
        seen = trained.seen_categories.get(label.column, label.values)
        unseen = [str(each) for each in np.unique(columns[label.column]) if each not in seen]
        if label.kind == "categories" and unseen:
            yield (
                f"was trained with {label.name} {', '.join(map(str, seen))} only: showers of "
                f"{label.name} {', '.join(unseen)} are made of what it has not learnt"
            )

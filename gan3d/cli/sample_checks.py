"""Whether runs and files can be judged against each other, as far as their files say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gan3d.cli.reference import Setting, names_of
from gan3d.errors import DataError, UsageError

if TYPE_CHECKING:
    from gan3d.config import Geometry
    from gan3d.data import Shape
    from gan3d.generation import TrainedRun

CHALLENGE_REMARK = (
    "Files of the Fast Calorimeter Challenge have cells in angle, radius and layer, as have those "
    "of a cylinder. They are taken "
    "as if these were x, y and depth: energies, layers, hits and classifiers are what they say; "
    "barycentres, widths, radii and angles in x and y are no lengths (data.geometry.coordinates: "
    "cylindrical takes them as what they are)."
)


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
        survey_files(experiment.data.model_copy(update=own), labels)


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


def check_coordinates(read: Sequence[tuple[Sequence[str], Shape]]) -> None:
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


def check_cell_size(patterns: Sequence[str], setting: Setting, shape: Shape) -> None:
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

"""The showers that are judged, what they are judged against, and what a report says of both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan3d.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gan3d.config import Condition, Data, Experiment, Geometry, Validation
    from gan3d.data import FileCells, Shape, Showers
    from gan3d.generation import TrainedRun
    from gan3d.validation import Observables


_UNTOLD = (
    "as in the first reference file; --config RUN/config.yaml says what a run's are cropped to"
)
"""About files of other cells, where no experiment is given."""


@dataclass
class Setting:
    """What all samples are judged with."""

    geometries: Mapping[str, Geometry]
    """The grids of all images of the showers, by their names."""
    validation: Validation
    threshold_gev: float
    cells: FileCells
    """Cells of files in the first image, before they are put on its geometry."""

    @property
    def geometry(self) -> Geometry:
        """The grid of the first image, or the only one."""
        return next(iter(self.geometries.values()))

    @property
    def further(self) -> dict[str, Shape]:
        """Cells of the further images, by their names."""
        return {name: each.shape for name, each in list(self.geometries.items())[1:]}


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


def open_reference(
    patterns: Sequence[str],
    experiment: Experiment | None,
    run: TrainedRun | None,
    labels: Sequence[Condition],
) -> tuple[Setting, Iterator[Showers], str]:
    """How to judge, the reference's showers block by block, and their files in words.

    The first run's data section says what is on the images, `experiment` all else.
    """
    from gan3d.config import FIRST_IMAGE, Data, Validation
    from gan3d.data import FileCells, expand_patterns, stream_showers

    settings = experiment.validation if experiment else Validation()
    holder = run.experiment if run else experiment
    if holder is None:
        threshold_gev: float = Data.model_fields["threshold_gev"].default
        cells = FileCells(None, where=_UNTOLD)
        shape, blocks = stream_showers(patterns, shape=cells, threshold_gev=threshold_gev)
        geometry = _geometry_of(patterns, shape)
        cells = replace(cells, shape=shape)
        setting = Setting({FIRST_IMAGE: geometry}, settings, threshold_gev, cells)
        return setting, blocks, names_of(expand_patterns(patterns))
    data = holder.data
    setting = Setting(data.geometries, settings, data.threshold_gev, FileCells.of(data))
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
    from gan3d.data import FileCells, check_labels, expand_patterns, open_for, stream_showers

    if not patterns:
        return heldout_blocks(data, labels)
    for path in expand_patterns(patterns) if labels else []:
        with open_for(path, data, cropped=True) as file:
            check_labels(file.read_columns(0, file.count), labels, path)
    _, blocks = stream_showers(
        patterns,
        shape=FileCells.of(data),
        threshold_gev=data.threshold_gev,
        further=data.images.further,
    )
    return blocks, names_of(expand_patterns(patterns))


def heldout_blocks(data: Data, labels: Sequence[Condition] = ()) -> tuple[Iterator[Showers], str]:
    """The showers that training does not see, and where they come from, in words."""
    import numpy as np

    from gan3d.data import divide, stream_part, survey_files

    part = divide(survey_files(data, labels or None), data.split).validation
    names = names_of([part.files[number].path for number in np.unique(part.file_b)])
    return stream_part(part, data), f"held-out showers of {names}"


def read_sample(patterns: Sequence[str], setting: Setting) -> Iterator[Showers]:
    """The showers of files that are judged, block by block, in the cells of `setting`."""
    from gan3d.data import stream_showers

    _, blocks = stream_showers(
        patterns,
        shape=setting.cells,
        threshold_gev=setting.threshold_gev,
        further=setting.further,
    )
    return blocks


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


def labels_of(trained: Mapping[str, TrainedRun]) -> list[Condition]:
    """All that any of the runs is conditioned on beside the energy, each column once."""
    return list({label.column: label for run in trained.values() for label in run.labels}.values())


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


def names_of(paths: Sequence[Path]) -> str:
    """Files by name: all of a few, the first and the last of many."""
    names = [path.name for path in paths]
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} … {names[-1]} ({len(names)} files)"

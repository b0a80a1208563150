"""Which files an experiment has and how many showers each holds: found once, the same on all ranks.

One process surveys the files and passes the result on as plain data (`as_dict`, `from_dict`), so
that thousands of ranks do not open thousands of files each, and so that all of them divide the same
showers even where their views of a file system differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gan3d.config import Condition, Data
from gan3d.data.chunks import is_shortage
from gan3d.data.formats import expand_patterns, open_for
from gan3d.data.labels import (
    Categories,
    LabelRange,
    Particles,
    check_labels,
    found_categories,
    particle_codes,
)
from gan3d.data.showers import UNKNOWN_PARTICLE
from gan3d.data.stated import check_stated_grid
from gan3d.errors import DataError


@dataclass(frozen=True)
class FileEntry:
    """A shower file as it was when it was surveyed."""

    path: Path
    """The file."""
    showers: int
    """Showers in it."""
    block_rows: int
    """Showers that are best read at once."""
    size_bytes: int
    """Its size; another one later means that it is no longer the same file."""
    energy_sum_gev: float
    """Sum of the incident energies (GeV), which tells other showers under the same name."""
    labels: tuple[LabelRange, ...] = ()
    """Ranges of the labels that networks are conditioned on, in the file's units."""
    particles: tuple[int, ...] = ()
    """PDG codes of its showers, ascending; none where it does not say, or nobody asked."""
    categories: tuple[Categories, ...] = ()
    """Values that occur of the labels that have categories; none where there is no such label, and
    in runs of before this was noted."""


@dataclass(frozen=True)
class SkippedFile:
    """A file that cannot be used and is left out (`data.on_bad_file: skip`)."""

    path: Path
    """The file."""
    reason: str
    """What is wrong with it."""


@dataclass(frozen=True)
class Survey:
    """The files of an experiment, in the order in which their showers are counted."""

    files: tuple[FileEntry, ...]
    """Files of `data.files`."""
    validation_files: tuple[FileEntry, ...] | None = None
    """Files of `data.validation_files`; None: held-out showers are divided from `files`."""
    skipped: tuple[SkippedFile, ...] = ()
    """Files that were left out."""

    @property
    def pdg_id(self) -> int:
        """The particle of all showers of `files`; 0: not all say it, or they are of several."""
        said = {entry.particles for entry in self.files}
        one = len(said) == 1 and len(particles := said.pop()) == 1
        return particles[0] if one else UNKNOWN_PARTICLE

    @property
    def categories(self) -> dict[str, tuple[int, ...]]:
        """Values that occur in `files` of the labels with categories, by their columns, ascending.

        Without those of which not all files say them.
        """
        said = [dict(entry.categories) for entry in self.files]
        columns = [name for name in (said[0] if said else {}) if all(name in own for own in said)]
        return {
            name: tuple(sorted({value for own in said for value in own[name]})) for name in columns
        }

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: plain(item) for key, item in value.items()}
            if isinstance(value, list | tuple):
                return [plain(item) for item in value]
            return str(value) if isinstance(value, Path) else value

        fields: dict[str, Any] = plain(asdict(self))
        return fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Survey:
        """Return the survey that `as_dict` gave these fields. Raises KeyError or TypeError."""

        def entries(items: list[dict[str, Any]]) -> tuple[FileEntry, ...]:
            return tuple(map(entry, items))

        def entry(item: dict[str, Any]) -> FileEntry:
            # Runs of before there were labels, particles or categories have none.
            labels = tuple((name, low, high) for name, low, high in item.get("labels", ()))
            particles = tuple(item.get("particles", ()))
            own = {
                "path": Path(item["path"]),
                "labels": labels,
                "particles": particles,
                "categories": tuple(
                    (name, tuple(values)) for name, values in item.get("categories", ())
                ),
            }
            return FileEntry(**{**item, **own})

        validation = fields["validation_files"]
        return cls(
            files=entries(fields["files"]),
            validation_files=None if validation is None else entries(validation),
            skipped=tuple(
                SkippedFile(Path(item["path"]), item["reason"]) for item in fields["skipped"]
            ),
        )


def leave_out(found: Survey, bad: Mapping[Path, str]) -> Survey:
    """Return `found` without the files `bad`, which are noted as skipped with what is wrong.

    Raises DataError if no file to train on, or none of those to hold out, is left.
    """
    skipped = [SkippedFile(path, reason) for path, reason in bad.items()]

    def kept(entries: tuple[FileEntry, ...], key: str) -> tuple[FileEntry, ...]:
        left = tuple(entry for entry in entries if entry.path not in bad)
        if not left:
            raise DataError(
                f"{key}: none of {len(entries)} files can be used; {bad[entries[0].path]}"
            )
        return left

    validation = found.validation_files
    return Survey(
        kept(found.files, "data.files"),
        None if validation is None else kept(validation, "data.validation_files"),
        (*found.skipped, *skipped),
    )


def survey_files(
    data: Data, labels: Sequence[Condition] | None = None, *, cropped: bool = False
) -> Survey:
    """Open and check every file that `data` names.

    For networks that are conditioned on `labels`, if only on none beside the energy, the labels and
    the incident particles of all showers and the cells that files state are checked; with None the
    files are for something else. With `cropped` they may have the cells of `data.grid` already.

    Raises DataError for a pattern without files, for a bad file (`data.on_bad_file: error`), where
    no good file is left (`skip`), for a file that is both trained on and held out, and for a
    mixture of particles that nobody declared (`data.particles`).
    """
    skipped: list[SkippedFile] = []
    paths = expand_patterns(data.files)
    validation: list[Path] | None = None
    if data.validation_files is not None:
        validation = expand_patterns(data.validation_files)
        training = {path.resolve() for path in paths}
        for path in validation:
            if path.resolve() in training:
                raise DataError(f"{path}: named both in data.files and in data.validation_files")
    look = _Look(data, labels, skipped, cropped=cropped)
    return Survey(
        look(paths, "data.files"),
        None if validation is None else look(validation, "data.validation_files"),
        tuple(skipped),
    )


def check_unchanged(found: Survey, data: Data, labels: Sequence[Condition] | None = None) -> None:
    """Raise DataError, naming the first, if files of `found` are not those that `data` names now.

    For a run that goes on. Files may have moved: their names and what they hold count. Where bad
    files are skipped, one may be gone or bad by now, but it may not hold other showers.
    """
    now = survey_files(data, labels)
    for before, after, key in (
        (found.files, now.files, "data.files"),
        (found.validation_files or (), now.validation_files or (), "data.validation_files"),
    ):
        if data.on_bad_file == "skip":
            good = {entry.path: entry for entry in after}
            before = tuple(entry for entry in before if entry.path in good)
            after = tuple(good[entry.path] for entry in before)
        if len(before) != len(after):
            raise DataError(
                f"{key}: the run began with {len(before)} files, now there are {len(after)}; "
                "give it the same files, or start a new run"
            )
        for old, new in zip(before, after, strict=True):
            if _named(old) != _named(new):
                raise DataError(
                    f"{new.path}: the run began with other training showers: {_describe(old)}, now "
                    f"{_describe(new)}; give it the same files, or start a new run"
                )


def _named(entry: FileEntry) -> FileEntry:
    """The entry wherever the file is, without what older runs did not note."""
    return replace(entry, path=Path(entry.path.name), particles=(), categories=())


def _describe(entry: FileEntry) -> str:
    return (
        f"{entry.path.name} with {entry.showers} showers of {entry.energy_sum_gev:.7g} GeV in "
        f"{entry.size_bytes} bytes"
    )


class _Look:
    """Looks at files, and notes those that cannot be used."""

    def __init__(
        self,
        data: Data,
        labels: Sequence[Condition] | None,
        skipped: list[SkippedFile],
        *,
        cropped: bool,
    ) -> None:
        self._data, self._labels, self._skipped, self._cropped = data, labels, skipped, cropped
        self._particles = Particles(data.particles, labels or ())

    def __call__(self, paths: Sequence[Path], key: str) -> tuple[FileEntry, ...]:
        """Entries of the files that `key` names."""
        entries = []
        for path in paths:
            try:
                entry = self._entry(path)
            except (DataError, OSError) as error:
                if is_shortage(error):
                    raise
                reason = str(error)
                if isinstance(error, OSError):  # it has gone while it was looked at
                    reason = f"{path}: cannot be read: {error.strerror or error}"
                if self._data.on_bad_file == "error":
                    raise DataError(reason) from error
                self._skipped.append(SkippedFile(path, reason))
                continue
            # No file is bad for it: it is the experiment that must say what it wants.
            self._particles.add(entry.particles, path)
            entries.append(entry)
        self._particles.refuse_mixture()
        if not entries:
            reason = self._skipped[0].reason
            raise DataError(f"{key}: none of {len(paths)} files can be used; {reason}")
        return tuple(entries)

    def _entry(self, path: Path) -> FileEntry:
        """The entry of a file, with the PDG codes in it, if they matter."""
        with open_for(path, self._data, cropped=self._cropped) as file:
            energy = float(file.energy_n.sum(dtype=np.float64))
            size = path.stat().st_size
            entry = FileEntry(path, file.count, file.block_rows, size, energy)
            if self._labels is None:
                return entry
            check_stated_grid(path, file, self._data)
            columns = file.read_columns(0, file.count)
            ranges = check_labels(columns, self._labels, path)
            return replace(
                entry,
                labels=ranges,
                particles=particle_codes(columns),
                categories=found_categories(columns, self._labels),
            )

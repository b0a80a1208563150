"""Numbered showers in numbered files, any of which can be made alone.

Who makes showers that depend on a seed and their number alone can write them file by file, in any
order, by any process, and go on after a break with the files that are not there yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from gan3d.data.aside import check_folder, remove_leftovers
from gan3d.data.formats import open_shower_file
from gan3d.data.shower_file import ShowerFile
from gan3d.errors import DataError, UsageError

SUFFIXES = {"lcd": ".h5", "parquet": ".parquet"}
"""Layouts that showers are made in, and how their files' names end."""


@dataclass(frozen=True)
class PlannedFile:
    """A file and the numbers of the showers that belong into it."""

    path: Path
    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first


def plan_files(name: Callable[[int], Path], count: int, showers_per_file: int) -> list[PlannedFile]:
    """Files for showers 0 to `count`, numbered from 1; the last may hold fewer showers."""
    return [
        PlannedFile(name(number), first, min(first + showers_per_file, count))
        for number, first in enumerate(range(0, count, showers_per_file), start=1)
    ]


def missing_files(
    files: Sequence[PlannedFile],
    holds: Callable[[PlannedFile, ShowerFile], bool],
    *,
    replace: bool = False,
) -> list[PlannedFile]:
    """The files that are still to be written; nothing is written yet.

    A file that is there already is left out if it has the right number of showers and `holds` says
    that they are the right ones; what a killed process left half-written is removed. Raises
    UsageError if one holds other showers, unless they may be replaced; DataError if one is damaged
    or a folder, or the folder cannot be made or written to.
    """
    for folder in {file.path.parent for file in files}:
        check_folder(folder)
    for file in files:
        if file.path.is_dir():
            raise DataError(
                f"{file.path}: is a folder with the name of a file; remove or rename it"
            )
    remove_leftovers(file.path for file in files)
    return [file for file in files if not _is_whole(file, holds, replace=replace)]


def other_files(
    plan: Sequence[PlannedFile],
    own: Collection[str],
    command: str,
    *,
    replace: bool,
    suffixes: Collection[str],
) -> list[Path]:
    """Files that are numbered as those of `plan` are, beside them, and none of them.

    Whoever reads the folder would take their showers for those of the plan. `own` are attributes
    that all files of `command` have. Raises UsageError where one was not made by it, and for any
    unless they may be replaced; removing them is left to the caller.
    """
    first = plan[0].path
    stem = re.sub(r"[0-9]+$", "", first.stem)
    planned = {file.path for file in plan}
    others = sorted(
        path
        for path in first.parent.glob(f"{stem}*")
        if path not in planned
        and path.suffix in suffixes
        and path.stem.removeprefix(stem).isdecimal()
    )
    for path in others:
        # Files of Monte Carlo may well have such names, too.
        if not _has_attributes(path, own):
            raise UsageError(
                f"{path}: was not made by {command}, and would be taken for one of its files; "
                "name another folder"
            )
    if others and not replace:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UsageError(
            f"{others[0]}{more}: of an earlier call that made more files, or others; name another "
            "folder, or remove them with --force"
        )
    return others


def _has_attributes(path: Path, names: Collection[str]) -> bool:
    try:
        with open_shower_file(path, check=False) as file:
            return set(names) <= set(file.attributes)
    except DataError:
        return False


def _is_whole(
    planned: PlannedFile, holds: Callable[[PlannedFile, ShowerFile], bool], *, replace: bool
) -> bool:
    if not planned.path.exists():
        return False
    try:
        with open_shower_file(planned.path) as file:
            whole = file.count == len(planned) and holds(planned, file)
    except DataError:
        if replace:
            return False
        raise
    if not whole and not replace:
        raise UsageError(
            f"{planned.path}: is there and holds other showers; name another folder, or replace it "
            "with --force"
        )
    return whole

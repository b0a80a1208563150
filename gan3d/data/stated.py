"""The grid of cells that files state, and whether it is the one that is reckoned with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from gan3d.config import FIRST_IMAGE, Data, Geometry
from gan3d.data.challenge import CHALLENGE_CELL_SIZES_MM, ChallengeFile
from gan3d.data.file_cells import FileCells, in_cells
from gan3d.data.formats import expand_patterns, open_shower_file
from gan3d.data.shower_file import ShowerFile
from gan3d.data.sparse import Shape
from gan3d.errors import DataError

Pitch = Sequence[float]
"""Cell pitch along (x, y, layer), mm."""

_ATTRIBUTE = "geometry"


def stated_cell_size(
    patterns: Sequence[str | Path],
    *,
    shape: Shape | FileCells | None = None,
    image: str = FIRST_IMAGE,
) -> tuple[float, float, float] | None:
    """The cell pitch along (x, y, layer) in mm that files state; None where none does.

    Raises DataError where they state different ones, and as `open_shower_file` does.
    """
    found: dict[tuple[float, float, float], Path] = {}
    for path in expand_patterns(patterns):
        with open_shower_file(path, shape=shape, image=image) as file:
            if file.cell_size_mm is not None:
                found.setdefault(file.cell_size_mm, path)
    if len(found) > 1:
        (one, path), (other, another) = list(found.items())[:2]
        raise DataError(
            f"{path} has cells of {_in_mm(one)}, {another} of {_in_mm(other)}: they are not of one "
            "detector"
        )
    return next(iter(found), None)


def geometry_attributes(geometry: Geometry) -> dict[str, str]:
    """What files of showers say of these cells: of a cylinder all, else nothing.

    Its images look like any others. `stated_geometry` reads it back.
    """
    return {_ATTRIBUTE: geometry.model_dump_json()} if geometry.is_cylinder else {}


def stated_geometry(
    patterns: Sequence[str | Path], *, shape: Shape | FileCells | None = None
) -> Geometry | None:
    """The cylinder whose cells files say to hold; None where none does.

    Cells of the Challenge's data sets 2 and 3 are taken for theirs. Raises DataError where files
    hold different ones, or say it wrongly, and as `open_shower_file` does.
    """
    found: dict[Geometry | None, Path] = {}
    for path in expand_patterns(patterns):
        with open_shower_file(path, shape=shape) as file:
            found.setdefault(_cylinder_of(path, file), path)
    if len(found) > 1:
        path, another = list(found.values())[:2]
        raise DataError(
            f"{path} and {another} hold the cells of different calorimeters, or one of a cylinder "
            "and the other not: they are not of one detector"
        )
    return next(iter(found), None)


def check_stated_grid(path: Path, file: ShowerFile, data: Data) -> None:
    """Raise DataError where the open file at `path` states other cells than `data` has.

    What is not stated, such as the cells of the Challenge's files, is taken for what `data` says.
    """
    stated, geometry = _stated_by(path, file), data.geometry
    why = "networks are made for these"
    if stated is not None and stated.is_cylinder and not geometry.is_cylinder:
        raise DataError(
            f"{path}: cells of a cylinder, but those along (x, y, layer) are reckoned with "
            f"(data.geometry.coordinates); {why}"
        )
    where = str(path)
    refuse_other_cylinder(where, stated, geometry, why=why)
    refuse_other_cells(where, file.cell_size_mm, geometry, why=why)
    for name, further in data.further_images.items():
        with open_shower_file(path, image=name, check=False) as image:
            key = f"data.further_images.{name}"
            refuse_other_cells(where, image.cell_size_mm, further, why=why, key=key)


def refuse_other_cells(
    where: str, stated: Pitch | None, assumed: Geometry, *, why: str, key: str = "data.geometry"
) -> None:
    """Raise DataError where files (`where`) state other cells along x and y than are assumed."""
    if stated is None:
        return
    if assumed.is_cylinder:
        raise DataError(
            f"{where}: cells along (x, y, layer), but those of a cylinder are reckoned with "
            "(data.geometry.coordinates)"
        )
    if not np.allclose(stated, assumed.pitch, rtol=_EQUAL):
        raise DataError(
            f"{where}: cells of {_in_mm(stated)}, but {_in_mm(assumed.pitch)} are reckoned with: "
            f"other showers' files or {key}.cell_size_mm; {why}"
        )


def refuse_other_cylinder(
    where: str, stated: Geometry | None, assumed: Geometry, *, why: str
) -> None:
    """Raise DataError where files (`where`) state the cells of another cylinder than is assumed."""
    if stated is None or not assumed.is_cylinder:
        return
    if not np.allclose(stated.pitch, assumed.pitch, rtol=_EQUAL):
        said, wanted = (
            f"{each.pitch[1]:g} mm in radius and {each.pitch[2]:g} mm in depth"
            for each in (stated, assumed)
        )
        raise DataError(
            f"{where}: cells of {said}, but {wanted} are reckoned with "
            f"(data.geometry.cell_size_mm); {why}"
        )


_EQUAL = 1e-3
"""Relative difference of sizes that rounding explains."""


def _cylinder_of(path: Path, file: ShowerFile) -> Geometry | None:
    size_mm = CHALLENGE_CELL_SIZES_MM.get(file.image_shape)
    if _ATTRIBUTE in file.attributes or file.layout != ChallengeFile.layout or size_mm is None:
        return _stated_by(path, file)
    return Geometry(coordinates="cylindrical", shape=file.image_shape, cell_size_mm=size_mm)


def _stated_by(path: Path, file: ShowerFile) -> Geometry | None:
    """The grid that an attribute of the file states."""
    said = file.attributes.get(_ATTRIBUTE)
    if said is None:
        return None
    try:
        geometry = Geometry.model_validate_json(str(said))
    except ValidationError as error:
        raise DataError(
            f"{path}: its attribute '{_ATTRIBUTE}' is no grid of cells: {said}"
        ) from error
    if file.images is None and geometry.shape != file.image_shape:
        raise DataError(
            f"{path}: images have {in_cells(file.image_shape)}, its attribute '{_ATTRIBUTE}' says "
            f"{in_cells(geometry.shape)}"
        )
    return geometry


def _in_mm(size_mm: Pitch) -> str:
    return " x ".join(f"{each:g}" for each in size_mm) + " mm"

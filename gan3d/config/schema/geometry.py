"""The grid of cells that an image covers, and the names of images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gan3d.config.schema.section import PositiveFloat, PositiveInt, Section

Coordinates = Literal["cartesian", "cylindrical"]
CellSize = tuple[PositiveFloat | None, PositiveFloat, PositiveFloat]


def check_cell_size(coordinates: Coordinates, cell_size_mm: CellSize) -> None:
    """Raise ValueError where the size of cells is not what these coordinates have."""
    if coordinates == "cylindrical" and cell_size_mm[0] is not None:
        raise ValueError(
            "cell_size_mm: the cells of a cylinder divide the full turn: expected [null, radius, "
            f"layer], such as [null, 4.65, 3.4], not {list(cell_size_mm)}"
        )
    if coordinates == "cartesian" and cell_size_mm[0] is None:
        raise ValueError(
            "cell_size_mm: null is for the angle of a cylinder (coordinates: cylindrical), whose "
            "cells divide the full turn"
        )


class Geometry(Section):
    """The regular grid of calorimeter cells that a shower image covers."""

    coordinates: Coordinates = "cartesian"
    """cartesian: cells along (x, y, layer). cylindrical: along (angle, radius, layer), around the
    particle's direction, from -pi to pi and from the axis outwards, as in the Fast Calorimeter
    Challenge; the last cell of the turn is the first one's neighbour."""
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (25, 25, 25)
    """Cells along (x, y, layer), or (angle, radius, layer)."""
    cell_size_mm: CellSize = (5.1, 5.1, 5.1)
    """Cell pitch along (x, y, layer) in mm. CLIC-like: 5.1 x 5.1 mm cells, one layer per 5.1 mm.
    Of a cylinder [null, radius, layer]: the cells of a turn divide it."""

    @model_validator(mode="after")
    def _cells_fit(self) -> Self:
        check_cell_size(self.coordinates, self.cell_size_mm)
        return self

    @property
    def is_cylinder(self) -> bool:
        """Whether the first axis is an angle, and goes round."""
        return self.coordinates == "cylindrical"

    @property
    def periodic(self) -> tuple[bool, bool, bool]:
        """Along which axes the last cell is the first one's neighbour."""
        return self.is_cylinder, False, False

    @property
    def pitch(self) -> tuple[float, float, float]:
        """Cell pitch along the axes: mm, but rad along an angle."""
        x, y, z = self.cell_size_mm
        return (2.0 * math.pi / self.shape[0] if x is None else x), y, z

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """What a cell measures along the axes (mm); along an angle halfway out."""
        x, y, z = self.pitch
        return (x * 0.5 * self.shape[1] * y if self.is_cylinder else x), y, z


ImageName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]

# Other datasets of shower files, and other losses, lower case.
_TAKEN_IMAGES = frozenset(
    (
        *("ecal", "target", "energy", "theta", "mtheta", "eta", "pdg", "px", "py", "pz", "ywindow"),
        *("showers", "incident_energies", "cell", "deposit", "generation", "auxiliary", "angle"),
        *("bins", "response", "layers", "features", "gradient_penalty", "loss", "ecal_gev"),
        *("images", "labels", "joint", "joint_activation", "all_features"),
    )
)


def check_image_names(names: Iterable[str]) -> None:
    """Raise ValueError where further images cannot be called so."""
    given = list(names)
    lowered = [name.lower() for name in given]
    for name in given:
        if name.lower() in _TAKEN_IMAGES or lowered.count(name.lower()) > 1:
            raise ValueError(
                f"{name}: is the name of something else, or of two images (upper and lower case "
                "count alike)"
            )

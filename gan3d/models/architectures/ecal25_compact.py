"""`ecal25-compact`: `compact` for the 25 x 25 x 25 cells of the published fixed-angle 3DGAN."""

from __future__ import annotations

from gan3d.config import Geometry
from gan3d.models.architectures.compact import compact
from gan3d.models.presets import PRESET_GRIDS
from gan3d.models.registry import Architecture, Wanted


def design(wanted: Wanted) -> Architecture:
    """The preset, for the conditions that are wanted."""
    geometry = Geometry(shape=PRESET_GRIDS["ecal25-compact"])
    return compact("ecal25-compact", geometry, wanted.model)

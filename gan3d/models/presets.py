"""The grids of presets: the published networks make these alone."""

from __future__ import annotations

from types import MappingProxyType

from gan3d.errors import ConfigError

Shape = tuple[int, int, int]

PRESET_GRIDS = MappingProxyType(
    {
        "ecal25": (25, 25, 25),
        "ecal25-mkl16": (25, 25, 25),
        "ecal25-compact": (25, 25, 25),
        "angle51": (51, 51, 25),
    }
)
"""Cells along (x, y, layer), by the architecture's name."""


def check_shape(architecture: str, makes: Shape, seen: Shape) -> None:
    """Raise ConfigError where networks make images of another grid than they would see."""
    if makes != seen:
        raise ConfigError(
            f"model.architecture: {architecture} makes images of {makes} cells, but the networks "
            f"would see {seen} (data.geometry.shape, or data.grid where files are cropped or "
            "padded)"
        )

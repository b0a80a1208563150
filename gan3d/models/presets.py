"""The grids of presets: the published networks make these alone."""

from __future__ import annotations

from types import MappingProxyType

from gan3d.config import Experiment
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


def one_image_only(experiment: Experiment) -> ConfigError:
    """What to say where networks take one image of a shower, and there are several."""
    data = experiment.data
    return ConfigError(
        f"model.architecture: {experiment.model.architecture} takes one image of a shower, and "
        f"data.further_images names {', '.join(data.further_images)}; expected one that takes "
        "several: convolutional"
    )


def check_shape(architecture: str, makes: Shape, seen: Shape) -> None:
    """Raise ConfigError where networks make images of another grid than they would see."""
    if makes != seen:
        raise ConfigError(
            f"model.architecture: {architecture} makes images of {makes} cells, but the networks "
            f"would see {seen} (data.geometry.shape, or data.grid where files are cropped or "
            "padded)"
        )

"""What must fit together before training; for the trainer, and for the dry run before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gan3d.config import Data, Training
from gan3d.errors import ConfigError
from gan3d.training.response import Response

if TYPE_CHECKING:
    from gan3d.models import Architecture

# How far beyond the training showers' energies generated ones may go, as a share of the range.
_ENERGY_MARGIN = 0.05


def check_grid(architecture: Architecture, data: Data) -> None:
    """Raise ConfigError where the networks make images of another grid than they would see."""
    seen = data.model_geometry.shape
    if architecture.image_shape != seen:
        raise ConfigError(
            f"model.architecture: {architecture.name} makes images of "
            f"{architecture.image_shape} cells, but the networks would see {seen} "
            "(data.geometry.shape, or data.grid where files are cropped or padded)"
        )


def check_energies(training: Training, response: Response) -> None:
    """Raise ConfigError where incident energies are asked for at which `response` is not known."""
    asked = training.incident_energy_gev
    low, high = response.energy_range_gev
    # Uniform energies of n showers end about a range / n before the ends of their range.
    margin = _ENERGY_MARGIN * (high - low)
    if asked is not None and not low - margin <= asked[0] < asked[1] <= high + margin:
        raise ConfigError(
            f"training.incident_energy_gev: {asked[0]:g} to {asked[1]:g} GeV, but the training "
            f"showers, to which the response is fitted, have {low:.4g} to {high:.4g} GeV"
        )

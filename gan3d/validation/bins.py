"""Bins of incident energy and of incident angle."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Validation
from gan3d.validation.measures import Float
from gan3d.validation.observables import Observables

_DECIMALS = 4
"""Of an angle in degrees: as files have them, in single precision, 60 degrees may be a bit less."""


# Bounds may have dots of their own: bin.0.5-1GeV.hits.ks.
_IN_BIN = re.compile(r"bin\.(?P<bin>[^G]+GeV|[^d]+deg)\.(?P<name>.+)")


@dataclass(frozen=True)
class Bin:
    """A range of incident energies or angles; the upper bound belongs to the uppermost bin."""

    quantity: Literal["energy", "angle"]
    low: float
    """Lower bound: GeV, or degrees."""
    high: float
    """Upper bound: GeV, or degrees."""
    closed: bool = False
    """Whether the upper bound is included."""

    @property
    def name(self) -> str:
        """As it is written in metrics: `10-40GeV`, `60-90deg`."""
        return f"{self.low:g}-{self.high:g}{'GeV' if self.quantity == 'energy' else 'deg'}"

    @property
    def title(self) -> str:
        """As it is written for a reader: `10–40 GeV`, `60–90°`."""
        return f"{self.low:g}–{self.high:g}{' GeV' if self.quantity == 'energy' else '°'}"

    def rows(self, sample: Observables) -> NDArray[np.bool_]:
        """Which showers are inside: (N,). None whose angle is not known."""
        return self.inside(sample.energy_n, sample.theta_n)

    def inside(self, energy_n: Float, theta_n: Float) -> NDArray[np.bool_]:
        """Which showers of these energies (GeV) and angles (rad) are inside: (N,)."""
        return self.holds(
            energy_n if self.quantity == "energy" else np.degrees(theta_n).round(_DECIMALS)
        )

    def holds(self, values_n: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Which energies (GeV) or angles (degrees) are inside: (N,)."""
        below_n = values_n <= self.high if self.closed else values_n < self.high
        inside_n: NDArray[np.bool_] = (values_n >= self.low) & below_n
        return inside_n


def bins_of(settings: Validation) -> list[Bin]:
    """All bins that the settings name, those of energy first."""
    energies, angles = settings.energy_bins_gev, settings.angle_bins_deg
    return [
        Bin("energy", low, high, high == max(h for _, h in energies)) for low, high in energies
    ] + [Bin("angle", low, high, high == max(h for _, h in angles)) for low, high in angles]


def split_name(name: str) -> tuple[str | None, str]:
    """A metric's name as that of its bin, None where it is of all showers, and what follows."""
    found = _IN_BIN.fullmatch(name)
    return (found["bin"], found["name"]) if found else (None, name)

"""Bins of incident energy, of incident angle, and of the incident particle."""

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
_IN_BIN = re.compile(r"bin\.(?P<bin>[^G]+GeV|[^d]+deg|pdg-?\d+)\.(?P<name>.+)")

_PARTICLES = {
    11: "e⁻",
    -11: "e⁺",
    13: "μ⁻",
    -13: "μ⁺",
    22: "γ",
    111: "π⁰",
    211: "π⁺",
    -211: "π⁻",
    130: "K⁰L",
    321: "K⁺",
    -321: "K⁻",
    2112: "n",
    2212: "p",
}
"""Those that calorimeters are tested with, by PDG code."""


@dataclass(frozen=True)
class Bin:
    """A range of incident energies or angles, or a kind of particle.

    The upper bound belongs to the uppermost bin.
    """

    quantity: Literal["energy", "angle", "particle"]
    low: float
    """Lower bound: GeV, or degrees; of a particle, its PDG code."""
    high: float
    """Upper bound: GeV, or degrees; the same code."""
    closed: bool = False
    """Whether the upper bound is included."""

    @property
    def name(self) -> str:
        """As it is written in metrics: `10-40GeV`, `60-90deg`, `pdg22`."""
        if self.quantity == "particle":
            return f"pdg{self.low:.0f}"
        return f"{self.low:g}-{self.high:g}{'GeV' if self.quantity == 'energy' else 'deg'}"

    @property
    def title(self) -> str:
        """As it is written for a reader: `10–40 GeV`, `60–90°`, `γ`."""
        if self.quantity == "particle":
            return _PARTICLES.get(int(self.low), f"PDG code {self.low:.0f}")
        return f"{self.low:g}–{self.high:g}{' GeV' if self.quantity == 'energy' else '°'}"

    def rows(self, sample: Observables) -> NDArray[np.bool_]:
        """Which showers are inside: (N,). None whose angle, or particle, is not known."""
        return self.inside(sample.energy_n, sample.theta_n, sample.pdg_n)

    def inside(self, energy_n: Float, theta_n: Float, pdg_n: Float) -> NDArray[np.bool_]:
        """Which showers of these energies (GeV), angles (rad) and PDG codes are inside: (N,)."""
        if self.quantity == "particle":
            return self.holds(pdg_n)
        return self.holds(
            energy_n if self.quantity == "energy" else np.degrees(theta_n).round(_DECIMALS)
        )

    def holds(self, values_n: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Which energies (GeV), angles (degrees) or PDG codes are inside: (N,)."""
        below_n = values_n <= self.high if self.closed else values_n < self.high
        inside_n: NDArray[np.bool_] = (values_n >= self.low) & below_n
        return inside_n


def bins_of(settings: Validation) -> list[Bin]:
    """All bins that the settings name, those of energy first."""
    energies, angles = settings.energy_bins_gev, settings.angle_bins_deg
    return [
        Bin("energy", low, high, high == max(h for _, h in energies)) for low, high in energies
    ] + [Bin("angle", low, high, high == max(h for _, h in angles)) for low, high in angles]


def particle_bins(generated: Observables, reference: Observables) -> list[Bin]:
    """One for each kind of particle of both samples, where the reference has several."""
    kinds, ours = (np.unique(each.pdg_n[~np.isnan(each.pdg_n)]) for each in (reference, generated))
    if len(kinds) < 2:
        return []
    return [Bin("particle", code, code, closed=True) for code in kinds.tolist() if code in ours]


def split_name(name: str) -> tuple[str | None, str]:
    """A metric's name as that of its bin, None where it is of all showers, and what follows."""
    found = _IN_BIN.fullmatch(name)
    return (found["bin"], found["name"]) if found else (None, name)

"""The detector's mean response, fitted to the training showers.

The published 3DGAN trains against fixed polynomials for ECAL/Ep, which belong to its detector.
Here the polynomial is fitted to the showers at hand and kept with the run.

Where networks are conditioned on more than the energy, such as the angle, with which the response
changes, the targets of generated showers come from Monte Carlo (`gan3d.training.step`); the fit is
then the mean over the other conditions, and only its range of energies is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Experiment
from gan3d.data import Part, sample_sums
from gan3d.errors import DataError


@dataclass(frozen=True)
class Response:
    """Mean ECAL sum (GeV) of a shower: e * polyval(coefficients, e) with e = Ep / energy scale.

    With a `data.cell_power` p the sum is of the cell energies raised to it, in GeV ** p.
    """

    coefficients: tuple[float, ...]
    """Highest power first, as numpy.polyval takes them; GeV."""
    energy_range_gev: tuple[float, float]
    """Incident energies (GeV) of the showers that were fitted."""
    energy_scale_gev: float
    """Unit of e (GeV)."""
    showers: int
    """Showers that were fitted."""

    def ecal_gev(self, energy_n: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Mean ECAL sum (GeV) of showers with incident energies `energy_n` (GeV)."""
        scaled = np.asarray(energy_n, np.float64) / self.energy_scale_gev
        return np.asarray(scaled * np.polyval(self.coefficients, scaled))

    def as_dict(self) -> dict[str, object]:
        """The fields, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Response:
        """Return the response that `as_dict` gave these fields. Raises KeyError or TypeError."""
        low, high = fields["energy_range_gev"]
        return cls(
            coefficients=tuple(fields["coefficients"]),
            energy_range_gev=(low, high),
            energy_scale_gev=fields["energy_scale_gev"],
            showers=fields["showers"],
        )


def measure_response(
    train: Part, experiment: Experiment, bad: dict[Path, str] | None = None
) -> Response | None:
    """Fit the response to `data.statistics_showers` of the training showers.

    Raises DataError as `fit_response` does, and where the showers cannot be read; with `bad`, files
    that cannot be used are noted there with what is wrong, and if there are any, None is returned.
    """
    data = experiment.data
    ecal_n, energy_n = sample_sums(train, data, data.statistics_showers, bad)
    if bad:
        return None
    return fit_response(
        ecal_n,
        energy_n,
        degree=experiment.training.response_degree,
        energy_scale_gev=data.energy_scale_gev,
    )


def fit_response(
    ecal_n: NDArray[np.floating[Any]],
    energy_n: NDArray[np.floating[Any]],
    *,
    degree: int,
    energy_scale_gev: float,
) -> Response:
    """Least-squares polynomial of ECAL/e in e = Ep / `energy_scale_gev`.

    `ecal_n` (ECAL sums) and `energy_n` (incident energies), both in GeV, are those of training
    showers. Raises DataError where they do not determine the polynomial.
    """
    scaled = np.asarray(energy_n, np.float64) / energy_scale_gev
    if len(np.unique(scaled)) <= degree:
        raise DataError(
            f"training.response_degree: {len(scaled)} training showers of "
            f"{len(np.unique(scaled))} different energies do not determine a polynomial of degree "
            f"{degree}; lower the degree or give showers of more energies"
        )
    # `fit` works on a domain scaled to -1..1, where the powers are far from parallel.
    fit: Any = np.polynomial.Polynomial.fit(  # type: ignore[no-untyped-call] # NumPy 2.0 lacks it
        scaled, np.asarray(ecal_n, np.float64) / scaled, degree
    )
    ascending = fit.convert().coef
    # `convert` drops nothing, but a constant fit comes back shorter: keep degree + 1 numbers.
    ascending = np.pad(ascending, (0, degree + 1 - len(ascending)))
    return Response(
        coefficients=tuple(float(c) for c in ascending[::-1]),
        energy_range_gev=(float(np.min(energy_n)), float(np.max(energy_n))),
        energy_scale_gev=energy_scale_gev,
        showers=len(scaled),
    )

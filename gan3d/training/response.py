"""The detector's mean response, fitted to the training showers.

The published 3DGAN trains against fixed polynomials for ECAL/Ep, which belong to its detector.
Here the polynomial is fitted to the showers at hand and kept with the run.

Where networks are conditioned on more than the energy, such as the angle, with which the response
changes, the targets of generated showers come from Monte Carlo (`gan3d.training.step`); the fit is
then the mean over the other conditions, and only its range of energies is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import FIRST_IMAGE, Experiment
from gan3d.data import Part, sample_layers, sample_sums
from gan3d.errors import DataError

_LAYER_DEGREE = 2


@dataclass(frozen=True)
class Response:
    """Mean ECAL sum (GeV) of a shower: e * polyval(coefficients, e) with e = Ep / energy scale.

    Sums are in GeV whatever the networks see of cells.
    """

    coefficients: tuple[float, ...]
    """Highest power first, as numpy.polyval takes them; GeV."""
    energy_range_gev: tuple[float, float]
    """Incident energies (GeV) of the showers that were fitted."""
    energy_scale_gev: float
    """Unit of e (GeV)."""
    showers: int
    """Showers that were fitted."""
    gev_coefficients: tuple[float, ...] | None = None
    """As `coefficients`, of the sum of all images; None: nobody asked for them."""
    layer_coefficients: tuple[tuple[float, ...], ...] | None = None
    """Of each layer, its mean share in a shower's energy as a polynomial of ln(e), highest power
    first; None: nobody asked for them."""

    further_coefficients: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """As `coefficients`, of the sum of each further image (`data.further_images`), by its name."""
    further_means: Mapping[str, float] = field(default_factory=dict)
    """Mean sum (GeV) of each further image over the showers that were fitted: the unit of errors of
    the sum."""
    in_gev: bool = True
    """Whether sums are in GeV. Older runs have those of what their networks see."""

    def ecal_gev(self, energy_n: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Mean ECAL sum (GeV) of showers with incident energies `energy_n` (GeV)."""
        scaled = np.asarray(energy_n, np.float64) / self.energy_scale_gev
        return np.asarray(scaled * np.polyval(self.coefficients, scaled))

    def mean_per_energy(self) -> float:
        """ECAL sum over e, the mean over the range of energies (GeV)."""
        low, high = self.energy_range_gev
        scaled = np.linspace(low, high, 101) / self.energy_scale_gev
        return float(np.mean(np.polyval(self.coefficients, scaled)))

    def as_dict(self) -> dict[str, object]:
        """The fields, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Response:
        """Return the response that `as_dict` gave these fields. Raises KeyError or TypeError."""
        low, high = fields["energy_range_gev"]
        gev, layers = fields.get("gev_coefficients"), fields.get("layer_coefficients")
        return cls(
            coefficients=tuple(fields["coefficients"]),
            energy_range_gev=(low, high),
            energy_scale_gev=fields["energy_scale_gev"],
            showers=fields["showers"],
            gev_coefficients=None if gev is None else tuple(gev),
            layer_coefficients=None if layers is None else tuple(map(tuple, layers)),
            further_coefficients={
                name: tuple(each) for name, each in fields.get("further_coefficients", {}).items()
            },
            further_means=fields.get("further_means", {}),
            in_gev=fields.get("in_gev", False),
        )


def measure_response(
    train: Part, experiment: Experiment, bad: dict[Path, str] | None = None
) -> Response | None:
    """Fit the response to `data.statistics_showers` of the training showers.

    Raises DataError as `fit_response` does, and where the showers cannot be read; with `bad`, files
    that cannot be used are noted there with what is wrong, and if there are any, None is returned.
    """
    data = experiment.data
    sum_n, energy_n = sample_sums(train, data, data.statistics_showers, bad)
    if bad:
        return None
    training = experiment.training
    fits = {
        name: fit_response(
            each_n,
            energy_n,
            degree=training.response_degree,
            energy_scale_gev=data.energy_scale_gev,
        )
        for name, each_n in sum_n.items()
    }
    further = data.images.further
    response = replace(
        fits[FIRST_IMAGE],
        further_coefficients={name: fits[name].coefficients for name in further},
        further_means={name: float(sum_n[name].mean()) for name in further},
    )
    weights = training.loss_weights
    if experiment.model.labels or not (weights.response or weights.layers):
        return response
    layers_nz, energy_n = sample_layers(train, data, data.statistics_showers)
    gev = fit_response(
        layers_nz.sum(axis=1),
        energy_n,
        degree=training.response_degree,
        energy_scale_gev=data.energy_scale_gev,
    )
    return replace(
        response,
        gev_coefficients=gev.coefficients,
        layer_coefficients=fit_layers(layers_nz, energy_n / data.energy_scale_gev),
    )


def fit_layers(
    layers_nz: NDArray[np.float64], scaled_n: NDArray[np.float64]
) -> tuple[tuple[float, ...], ...]:
    """Least-squares parabola in ln(e) of each layer's share in the energy of showers.

    `layers_nz` are the energies in layers, `scaled_n` the incident energies e over the scale. The
    maximum moves deeper with the logarithm of the energy. Fewer different energies than three give
    a straight line, or the mean. Showers without energy are left out.
    """
    lit_n = layers_nz.sum(axis=1) > 0.0
    shares_nz = layers_nz[lit_n] / layers_nz[lit_n].sum(axis=1, keepdims=True)
    degree = min(_LAYER_DEGREE, len(np.unique(scaled_n[lit_n])) - 1)
    found_tz = np.polyfit(np.log(scaled_n[lit_n]), shares_nz, degree)
    return tuple(tuple(map(float, column)) for column in found_tz.T)


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

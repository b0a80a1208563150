"""Quantities of a shower whose distributions are compared, each one number.

Several rise or fall with the incident energy Ep. Such a quantity is compared with its mean at that
Ep, by a quadratic fit in ln Ep to both samples together, as a difference or as a ratio. So two
samples need not hold the same incident energies, and a wide range of energies does not hide that a
distribution at given Ep is too narrow. The fit does not know which shower is of which sample, so
that it favours neither: exchanging showers leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from gan3d.config import FIRST_IMAGE, Validation
from gan3d.validation.measures import Float
from gan3d.validation.observables import AXES, Observables


@dataclass(frozen=True)
class Feature:
    """One number per shower."""

    title: str
    """What it is, for a reader."""
    values: Callable[[Observables], Float]
    """(N,); NaN where it is undefined, as for a shower without energy."""
    at_energy: Literal["as it is", "difference", "ratio"] = "as it is"
    """How it is compared with the mean at the same incident energy."""


def _moment(axis: int, order: int) -> Callable[[Observables], Float]:
    return lambda sample: sample.moments_nao[:, axis, order - 1]


def _width(axis: int) -> Callable[[Observables], Float]:
    return lambda sample: np.sqrt(sample.moments_nao[:, axis, 1])


def _standardised(axis: int, order: int) -> Callable[[Observables], Float]:
    """The central moment over that power of the width: skewness (3) and kurtosis (4)."""

    def values(sample: Observables) -> Float:
        variance_n = sample.moments_nao[:, axis, 1]
        width_n = np.sqrt(np.where(variance_n > 0.0, variance_n, np.nan))
        values_n: Float = sample.moments_nao[:, axis, order - 1] / width_n**order
        return values_n

    return values


def _occupancy(threshold: int) -> Callable[[Observables], Float]:
    return lambda sample: sample.layer_hits_ntz[:, threshold].sum(axis=1).astype(np.float64)


def _fraction(part: int) -> Callable[[Observables], Float]:
    return lambda sample: sample.layer_fractions_n3[:, part]


def _radius(index: int) -> Callable[[Observables], Float]:
    return lambda sample: sample.radii_mm_ns[:, index]


def _angle(plane: int) -> Callable[[Observables], Float]:
    return lambda sample: sample.angle_n2[:, plane]


def features(
    settings: Validation, image: str = FIRST_IMAGE, others: Sequence[str] = ()
) -> Mapping[str, Feature]:
    """All features by their name in `metrics.json`.

    `image` is what is looked at, `others` are further images of the same showers.
    """
    found = {
        "total_energy": Feature(f"{image}/Ep", lambda s: s.sampling_fraction_n),
        "hits": Feature("Number of hits at given Ep", lambda s: s.hits_n.astype(float), "ratio"),
    }
    for index, threshold_gev in enumerate(settings.occupancy_thresholds_gev):
        if threshold_gev != settings.hit_threshold_gev:
            kev = 1e6 * threshold_gev
            found[f"hits_{kev:g}kev"] = Feature(
                f"Cells above {kev:g} keV at given Ep", _occupancy(index), "ratio"
            )
    for axis, name in enumerate(AXES):
        energy: Literal["as it is", "difference"] = "difference" if name == "layer" else "as it is"
        found |= {
            f"barycentre_{name}": Feature(f"Barycentre in {name}", _moment(axis, 1), energy),
            f"width_{name}": Feature(f"Width in {name}", _width(axis), "difference"),
            f"skewness_{name}": Feature(
                f"Skewness in {name}", _standardised(axis, 3), "difference"
            ),
            f"kurtosis_{name}": Feature(
                f"Kurtosis in {name}", _standardised(axis, 4), "difference"
            ),
        }
    found |= {
        "start": Feature("Shower start", lambda s: s.start_mm_n, "difference"),
        "maximum_layer": Feature("Shower maximum", lambda s: s.maximum_layer_n, "difference"),
    }
    for index, share in enumerate(settings.containment_shares):
        percent = f"{100 * share:g}"
        found[f"radius_{percent}"] = Feature(f"R{percent}", _radius(index), "difference")
    for part, name in enumerate(("first", "middle", "last")):
        found[f"{name}_third"] = Feature(
            f"{name.capitalize()} third of layers / {image}", _fraction(part), "difference"
        )
    for plane, name in enumerate(AXES[:2]):
        found[f"angle_{name}"] = Feature(f"Angle in the plane of {name}", _angle(plane))
    found["angle_to_track"] = Feature("Angle to the incident particle", angle_to_track)
    if others:
        everything = " + ".join((image, *others))
        found["images.share"] = Feature(
            f"{image}/({everything})", lambda s: s.share_n, "difference"
        )
        found["images.energy"] = Feature(
            f"({everything})/Ep", lambda s: s.all_energy_n / s.energy_n, "difference"
        )
        for index, name in enumerate(others):
            found[f"images.{name}"] = Feature(f"{name}/Ep", _other(index), "difference")
    return found


def _other(index: int) -> Callable[[Observables], Float]:
    return lambda sample: sample.others_energy_no[:, index] / sample.energy_n


def angle_to_track(sample: Observables) -> Float:
    """Measured less true angle (rad): the particle flies in the plane (y, layer), at theta to y.

    NaN where the true one is not known, and for a cylinder, which lies around the particle.
    """
    if sample.geometry.is_cylinder:
        return np.full(len(sample), np.nan)
    angle_n: Float = sample.angle_n2[:, 1] - (np.pi / 2 - sample.theta_n)
    return angle_n


@dataclass(frozen=True)
class Scale:
    """How the values of one feature are compared: from both samples together, used throughout.

    The curve is held constant outside of the energies that it was fitted to.
    """

    feature: Feature
    curve: Float
    """Coefficients (highest first) of the mean as a polynomial in ln(Ep / GeV)."""
    energy_range_gev: tuple[float, float]
    """Incident energies of the fit."""

    @classmethod
    def fitted(cls, feature: Feature, sample: Observables) -> Self | None:
        """The scale of a feature; None where no shower of the sample has it."""
        values_n = feature.values(sample)
        defined_n = np.isfinite(values_n)
        if not defined_n.any():
            return None
        energy_n = sample.energy_n
        energy_range = float(energy_n.min()), float(energy_n.max())
        return cls(
            feature, quadratic(np.log(energy_n[defined_n]), values_n[defined_n]), energy_range
        )

    def compared(self, sample: Observables) -> Float:
        """What is compared of each shower: (N,); NaN where it is undefined."""
        values_n = self.feature.values(sample)
        return _compared(self.feature, values_n, sample.energy_n, self.curve, self.energy_range_gev)


def quadratic(x_n: Float, y_n: Float) -> Float:
    """Least squares, coefficients highest first; also defined when all x are equal.

    y_n (N,) or (N, K): (3,) or (3, K).
    """
    coefficients: Float = np.linalg.lstsq(np.vander(x_n, 3), y_n, rcond=None)[0]
    return coefficients


def _compared(
    feature: Feature, values_n: Float, energy_n: Float, curve: Float, range_gev: tuple[float, float]
) -> Float:
    if feature.at_energy == "as it is":
        return values_n
    expected_n = np.polyval(curve, np.log(np.clip(energy_n, *range_gev)))
    if feature.at_energy == "difference":
        difference_n: Float = values_n - expected_n
        return difference_n
    # Counts: below one the fit says nothing.
    ratio_n: Float = values_n / np.maximum(expected_n, 1.0)
    return ratio_n

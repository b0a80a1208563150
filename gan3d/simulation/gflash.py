"""Shapes of electromagnetic showers: the parametrisation of Grindhammer & Peters, hep-ex/0001020.

The formulas and constants are those of the paper's appendix: A.1 for homogeneous media, A.2 for
sampling calorimeters; Geant4's `GFlashSamplingShowerParameterisation` uses the same. Depths t are
in radiation lengths along the shower's axis, radii in Molière radii, energies in GeV; y is the
energy divided by the critical energy. A calorimeter enters by its effective Z, by the inverse of
its sampling frequency, 1/F_S = (thickness of a layer)/X0, and by ê = e/mip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Calorimeter
from gan3d.config.simulation import LOWEST_Y

Array = NDArray[np.float64]

_DEEPEST_TAU = 10.0  # far behind the showers that the radii, which grow exponentially, are made for
_LARGEST_SIGMA = 0.5
_SMALLEST_ALPHA = 1.1
_SMALLEST_MAXIMUM = 0.5


@dataclass(frozen=True)
class Medium:
    """What the shapes of showers depend on."""

    z: float
    """Effective atomic number."""
    layer_x0: float
    """Thickness of a layer in radiation lengths: 1/F_S."""
    e_over_mip: float
    """ê, signal of electrons over that of minimum-ionising particles."""
    critical_energy_gev: float
    """Effective critical energy, GeV."""

    @classmethod
    def of(cls, calorimeter: Calorimeter) -> Self:
        """Return the medium that a calorimeter is; ê by section 2 of the paper."""
        return cls(
            z=calorimeter.effective_z,
            layer_x0=calorimeter.cell_size_mm[2] / calorimeter.radiation_length_mm,
            e_over_mip=1.0 / (1.0 + 0.007 * (calorimeter.absorber_z - calorimeter.sensor_z)),
            critical_energy_gev=1e-3 * calorimeter.critical_energy_mev,
        )

    def log_y(self, energy: Array) -> Array:
        """ln(E/Ec) of energies in GeV.

        Showers softer than `LOWEST_Y` (the lesser half of a photon's pair) get the shape of that.
        """
        return np.asarray(np.log(np.maximum(energy / self.critical_energy_gev, LOWEST_Y)))


@dataclass(frozen=True)
class ShapeMoments:
    """Distribution of ln T and ln α over showers: two correlated normal distributions.

    T is the depth of the maximum, α the shape parameter of dE/dt ~ t^(α-1) exp(-(α-1) t/T).
    """

    mean_log_t: Array
    sigma_log_t: Array
    mean_log_alpha: Array
    sigma_log_alpha: Array
    correlation: Array

    def draw(self, normal_2: Array) -> tuple[Array, Array]:
        """Return (T, α) for two standard normal numbers, shape (..., 2) over that of the moments.

        Both are made of the sum and the difference of the two, which gives them the correlation
        (equation 11).
        """
        both = np.sqrt((1.0 + self.correlation) / 2.0) * normal_2[..., 0]
        against = np.sqrt((1.0 - self.correlation) / 2.0) * normal_2[..., 1]
        log_t = self.mean_log_t + self.sigma_log_t * (both + against)
        log_alpha = self.mean_log_alpha + self.sigma_log_alpha * (both - against)
        maximum = np.maximum(np.exp(log_t), _SMALLEST_MAXIMUM)
        return maximum, np.maximum(np.exp(log_alpha), _SMALLEST_ALPHA)


def homogeneous_maximum(log_y: Array) -> Array:
    """Return exp<ln T> in a homogeneous medium (equation 7, A.1.2)."""
    return log_y - 0.812


def homogeneous_alpha(log_y: Array, medium: Medium) -> Array:
    """Return exp<ln α> in a homogeneous medium (equation 8, A.1.2)."""
    return 0.81 + (0.458 + 2.26 / medium.z) * log_y


def shape_moments(log_y: Array, medium: Medium) -> ShapeMoments:
    """Return how T and α are distributed in a sampling calorimeter (equations 7 to 10 with A.2)."""
    maximum = homogeneous_maximum(log_y) - 0.55 * medium.layer_x0 - 0.69 * (1.0 - medium.e_over_mip)
    alpha = homogeneous_alpha(log_y, medium) - 0.476 * medium.layer_x0
    return ShapeMoments(
        mean_log_t=np.log(np.maximum(maximum, _SMALLEST_MAXIMUM)),
        sigma_log_t=np.minimum(1.0 / (-2.5 + 1.25 * log_y), _LARGEST_SIGMA),
        mean_log_alpha=np.log(np.maximum(alpha, _SMALLEST_ALPHA)),
        sigma_log_alpha=np.minimum(1.0 / (-0.82 + 0.79 * log_y), _LARGEST_SIGMA),
        correlation=0.784 - 0.023 * log_y,
    )


def contained(depth: Array, maximum: Array, alpha: Array) -> Array:
    """Return the share of a shower's energy above `depth` (the paper's equation 2, integrated).

    The profile is a gamma distribution with β = (α-1)/T; depths below 0 hold nothing. The arguments
    broadcast.
    """
    return regularised_gamma(alpha, np.maximum(depth, 0.0) * (alpha - 1.0) / maximum)


def regularised_gamma(alpha: Array, x: Array) -> Array:
    """Return P(α, x), the lower incomplete gamma function over Γ(α), for 0 < α < 500 and x >= 0.

    By its power series (Abramowitz & Stegun 6.5.29), whose terms are all positive, as far as they
    change the sum: then no value depends on those that are computed with it.
    """
    # Beyond, P is 1 to all digits (for α up to 500), and the series would overflow.
    x = np.minimum(x, alpha + 200.0)
    log_gamma = np.reshape([math.lgamma(value + 1.0) for value in alpha.flat], alpha.shape)
    shape = np.broadcast_shapes(alpha.shape, x.shape)
    term, total = np.ones(shape), np.ones(shape)
    divisor = alpha
    while True:
        divisor = divisor + 1.0
        term *= x / divisor
        longer = total + term
        if np.array_equal(longer, total):
            break
        total = longer
    with np.errstate(divide="ignore"):  # x = 0 gives exp(-inf) = 0
        front = np.exp(alpha * np.log(x) - x - log_gamma)
    return np.asarray(np.minimum(front * total, 1.0))


@dataclass(frozen=True)
class RadialProfile:
    """f(r) = p 2rRc²/(r²+Rc²)² + (1-p) 2rRt²/(r²+Rt²)²: a core and a tail (equation 23)."""

    core: Array
    """Rc, Molière radii."""
    tail: Array
    """Rt, Molière radii."""
    core_share: Array
    """p, the share of the energy in the core."""


def radial_profile(energy: Array, tau: Array, medium: Medium) -> RadialProfile:
    """Return the radial profile of a shower of `energy` (GeV) at depth τ.

    Equations 24 to 26 with the constants of A.1.3 and A.2. τ is what `scaled_depth` gives.
    """
    log_energy = medium.log_y(energy) + math.log(medium.critical_energy_gev)
    tau = np.minimum(tau, _DEEPEST_TAU)
    core = 0.0251 + 0.00319 * log_energy + (0.1162 - 0.000381 * medium.z) * tau
    tail = (0.659 - 0.00309 * medium.z) * (
        np.exp(-2.59 * (tau - 0.645)) + np.exp((0.3585 + 0.0421 * log_energy) * (tau - 0.645))
    )
    height = 2.632 - 0.00094 * medium.z
    position = 0.401 + 0.00187 * medium.z
    width = 1.313 - 0.0686 * log_energy
    depth = (position - tau) / width
    share = height * np.exp(depth - np.exp(depth))
    # The corrections for sampling.
    no_signal = 1.0 - medium.e_over_mip
    fading = medium.layer_x0 * np.exp(-tau)
    core = core - 0.0203 * no_signal + 0.0397 * fading
    tail = tail - 0.14 * no_signal - 0.495 * fading
    share = share + no_signal * (0.348 - 0.642 * medium.layer_x0 * np.exp(-((tau - 1.0) ** 2)))
    return RadialProfile(
        np.maximum(core, _SMALLEST_RADIUS),
        np.maximum(tail, _SMALLEST_RADIUS),
        np.clip(share, 0.0, 1.0),
    )


_SMALLEST_RADIUS = 0.005


def scaled_depth(depth: Array, maximum: Array, alpha: Array, mean_log_alpha: Array) -> Array:
    """Return τ of a depth (equation 34): t/<t> of this shower, times <t>/T of the average one."""
    average = np.exp(mean_log_alpha)
    return np.asarray(depth / maximum * (alpha - 1.0) / alpha * average / (average - 1.0))


def mean_spots(energy: Array, resolution: float) -> Array:
    """Return how many energy spots a shower of `energy` (GeV) is made of (A.2).

    `resolution` is c of σ(E)/E = c/sqrt(E/GeV).
    """
    return np.asarray(10.3 / resolution * energy**0.959)


def spot_shape(maximum: Array, alpha: Array, medium: Medium) -> tuple[Array, Array]:
    """Return (T, α) of the spots' number along the axis, from those of the energy (A.2)."""
    return (
        maximum * (0.813 + 0.0019 * medium.z),
        np.maximum(alpha * (0.844 + 0.0026 * medium.z), _SMALLEST_ALPHA),
    )

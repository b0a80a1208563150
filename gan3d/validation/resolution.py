"""The response and the energy resolution of a calorimeter as functions of the incident energy.

Both are measured on ECAL/Ep in intervals of the incident energy Ep. The resolution is a robust
width, since leakage gives real showers a tail to low energies that a standard deviation would
mostly see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gan3d.errors import DataError
from gan3d.validation.measures import Float, Integer
from gan3d.validation.observables import Observables

_ONE_SIGMA = (0.158655, 0.841345)
"""Probabilities at -1 and +1 standard deviation of a Gaussian: its central 68 %."""
_WIDTH_ERROR = 0.96
"""Standard error of half the central 68 % of N Gaussian values, times sqrt(N) and over the width:
sqrt((p (1 - p) - p^2) / 2) / phi(1) with p = 0.1587 and phi the standard normal density."""
_FEWEST_SHOWERS = 10
"""With fewer in an interval, its outer 16 % are one or two showers, and the width means nothing."""
_FEWEST_POINTS = 3
_INTERVALS = 9
"""Of the incident energy: enough for a fit of two parameters, and few enough for a width each."""
_REWEIGHTINGS = 20
"""Far more than needed: the weights change by less than 1e-6 after about five."""


@dataclass(frozen=True)
class Curve:
    """A quantity in intervals of incident energy; NaN where an interval has too few showers."""

    energy_i: Float
    """Geometric mean of the incident energies in each interval (GeV), see `fit_resolution`."""
    value_i: Float
    """The quantity, dimensionless."""
    error_i: Float
    """Its standard error."""
    showers_i: Integer
    """How many showers there are in each interval."""


@dataclass(frozen=True)
class ResolutionFit:
    """sigma/E = a / sqrt(E) (+) c, the terms added in quadrature, E in GeV."""

    stochastic: float
    """a, in sqrt(GeV): 0.16 is 16 %/sqrt(E)."""
    stochastic_error: float
    """Standard error of a."""
    constant: float
    """c: 0.017 is 1.7 %."""
    constant_error: float
    """Standard error of c."""
    chi2: float
    """Sum over points of the squared deviation over the error."""
    ndf: int
    """Points less parameters."""

    def at(self, energy_gev: Float | float) -> Float:
        """The fitted sigma/E at incident energies (GeV)."""
        value: Float = np.sqrt(self.stochastic**2 / np.asarray(energy_gev) + self.constant**2)
        return value


def response_curve(sample: Observables, edges_gev: Float) -> Curve:
    """Mean of ECAL/Ep in intervals of Ep, with its standard error, std / sqrt(N).

    Args:
        sample: the showers.
        edges_gev: ascending edges of the intervals (GeV); the last edge belongs to the last one.

    """
    return _curve(sample, edges_gev, _mean)


def resolution_curve(sample: Observables, edges_gev: Float) -> Curve:
    """Half of the central 68 % interval of ECAL/Ep over its median, in intervals of Ep.

    For a Gaussian it is sigma/E. Its standard error is taken as a Gaussian's, 0.96 / sqrt(N) of it
    (variance of sample quantiles, p (1 - p) / (N f^2); Kendall's Advanced Theory of Statistics,
    vol. 1, 10.10); the error of the median is small against it. An interval with fewer than 10
    showers, or with a median of 0, has NaN. Arguments as `response_curve`.
    """
    return _curve(sample, edges_gev, _robust_width)


def fit_resolution(curve: Curve) -> ResolutionFit:
    """Fit sigma/E = a / sqrt(E) (+) c to a curve of `resolution_curve`; a and c are not negative.

    Source: Particle Data Group, Review of Particle Physics, "Particle detectors at accelerators",
    electromagnetic calorimeters; the noise term b / E is left out, as simulated cells have none.

    (sigma/E)^2 is linear in 1/E, so linear least squares find the minimum for certain, without a
    starting point, and stay defined at a = 0 or c = 0, where derivatives by a and c vanish. An
    interval is described by the geometric mean of its energies: the robust width of showers of
    mixed energies is that at the geometric mean to 0.5 %, even where E rises fourfold within an
    interval; at the centre and at the mean of 1/E it is 4 % off there. Errors are taken relative to
    the fitted curve: relative to the measured one, points that fluctuated down would weigh most.
    The error of a (and of c) is sqrt(a^2 + d) - a with d the standard error of a^2, which is d / 2a
    for a well measured a and an upper limit of one sigma at a = 0.

    Raises:
        DataError: fewer than 3 points at different energies have a width and an error.

    """
    usable = _usable(curve)
    energy, value = curve.energy_i[usable], curve.value_i[usable]
    if not can_be_fitted(curve):
        raise DataError(
            f"the resolution has {len(np.unique(energy))} usable energies, at least "
            f"{_FEWEST_POINTS} are needed for a fit, each with {_FEWEST_SHOWERS} showers that hold "
            "energy: take more showers, a wider range of incident energies or fewer intervals"
        )
    terms = np.stack([1.0 / energy, np.ones_like(energy)], axis=1)
    relative_error = 2.0 * curve.error_i[usable] / value  # of the square
    expected = value**2
    for _ in range(_REWEIGHTINGS):
        error = relative_error * expected
        squares = _least_squares(terms / error[:, None], value**2 / error)
        expected = terms @ squares
    weighted = terms / error[:, None]
    spread = np.sqrt(np.diag(np.linalg.inv(weighted.T @ weighted)))
    roots, upper = np.sqrt(squares), np.sqrt(squares + spread)
    return ResolutionFit(
        stochastic=float(roots[0]),
        stochastic_error=float(upper[0] - roots[0]),
        constant=float(roots[1]),
        constant_error=float(upper[1] - roots[1]),
        chi2=float((((value**2 - expected) / error) ** 2).sum()),
        ndf=len(value) - 2,
    )


def can_be_fitted(curve: Curve) -> bool:
    """Whether there are points at 3 different energies with a width and an error."""
    return len(np.unique(curve.energy_i[_usable(curve)])) >= _FEWEST_POINTS


def _usable(curve: Curve) -> NDArray[np.bool_]:
    positive_i = (curve.value_i > 0.0) & (curve.error_i > 0.0) & (curve.energy_i > 0.0)
    usable_i: NDArray[np.bool_] = (
        positive_i & np.isfinite(curve.value_i) & np.isfinite(curve.error_i)
    )
    return usable_i


def energy_edges(samples: Sequence[Observables]) -> Float:
    """Edges (GeV) of equal intervals over the incident energies that all samples have."""
    filled = [sample.energy_n for sample in samples if len(sample)]
    low = max(float(energy_n.min()) for energy_n in filled)
    high = min(float(energy_n.max()) for energy_n in filled)
    if low >= high:  # one energy only, or no common range
        low, high = 0.95 * float(filled[0].min()), 1.05 * float(filled[0].max())
    return np.linspace(low, high, _INTERVALS + 1)


def split_by_energy(values_n: Float, energy_n: Float, edges_gev: Float) -> list[Float]:
    """Finite values grouped by the interval of incident energy; the last edge is inside.

    Args:
        values_n: one per shower, (N,).
        energy_n: incident energies (GeV), (N,).
        edges_gev: ascending edges (GeV), one more than there are intervals.

    """
    interval_n = np.searchsorted(edges_gev, energy_n, side="right") - 1
    interval_n[energy_n == edges_gev[-1]] = len(edges_gev) - 2
    finite: NDArray[np.bool_] = np.isfinite(values_n)
    return [values_n[(interval_n == i) & finite] for i in range(len(edges_gev) - 1)]


def central_interval(values: Float) -> tuple[float, float]:
    """Quantiles that enclose the central 68 % of the values; NaN where there are none.

    Estimated without bias for Gaussian values (Blom's plotting positions, NumPy's
    `normal_unbiased`): with NumPy's default the interval of 30 values is 6 % too narrow.
    """
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, _ONE_SIGMA, method="normal_unbiased")
    return float(low), float(high)


def _curve(
    sample: Observables, edges_gev: Float, measure: Callable[[Float], tuple[float, float]]
) -> Curve:
    inside = split_by_energy(sample.energy_n, sample.energy_n, edges_gev)
    values = split_by_energy(sample.sampling_fraction_n, sample.energy_n, edges_gev)
    measured = np.array([measure(each) for each in values])
    energies = [np.exp(np.log(each).mean()) if len(each) else np.nan for each in inside]
    showers = np.array([len(each) for each in inside])
    return Curve(np.array(energies), measured[:, 0], measured[:, 1], showers)


def _mean(values: Float) -> tuple[float, float]:
    if len(values) < 2:
        return (float(values.mean()) if len(values) else float("nan")), float("nan")
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _robust_width(values: Float) -> tuple[float, float]:
    median = float(np.median(values)) if len(values) >= _FEWEST_SHOWERS else 0.0
    if median <= 0.0:
        return float("nan"), float("nan")
    low, high = central_interval(values)
    width = (high - low) / (2.0 * median)
    return width, _WIDTH_ERROR * width / float(np.sqrt(len(values)))


def _least_squares(terms: Float, values: Float) -> Float:
    """Least squares in two parameters that are not negative, of positive terms and values."""
    squares: Float = np.linalg.lstsq(terms, values, rcond=None)[0]
    if (squares >= 0.0).all():
        return squares
    # With one below 0 the minimum lies where that one is 0; both cannot be.
    kept = int(np.argmax(squares))
    squares = np.zeros(2)
    squares[kept] = (terms[:, kept] @ values) / (terms[:, kept] @ terms[:, kept])
    return squares

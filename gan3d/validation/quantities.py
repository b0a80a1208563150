"""Plain physics numbers of samples: means with their errors, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gan3d.validation.features import quadratic
from gan3d.validation.measures import Float
from gan3d.validation.observables import Observables
from gan3d.validation.positions import middle_mm
from gan3d.validation.resampling import same_energies


@dataclass(frozen=True)
class Quantity:
    """A line of the table of plain physics numbers, as text."""

    name: str
    reference: str
    """Mean ± standard error."""
    generated: list[tuple[str, str]]
    """Of each generated sample: mean ± standard error, and the difference to the reference."""


def quantities(generated: Sequence[Observables], reference: Observables) -> list[Quantity]:
    """Mean values with their standard errors, and their difference in per cent and in errors."""
    threshold_kev = 1e6 * reference.settings.hit_threshold_gev
    half_mm, image = middle_mm(reference.geometry), reference.image

    def moment(axis: int, order: int) -> Callable[[Observables], Float]:
        return lambda sample: sample.moments_nao[:, axis, order - 1]

    rows: list[tuple[str, Callable[[Observables], Float], int]] = [
        ("Incident energy Ep [GeV]", lambda s: s.energy_n, 2),
        (f"{image} [GeV]", lambda s: s.total_energy_n, 4),
        (f"Sampling fraction {image}/Ep [%]", lambda s: 100.0 * s.sampling_fraction_n, 3),
        *_of_all_images(reference),
        (
            f"Cells above {threshold_kev:g} keV",
            lambda s: s.hits_n.astype(np.float64),
            1,
        ),
        ("Layer with most energy", lambda s: s.maximum_layer_n, 2),
        ("Depth of the barycentre [mm]", moment(2, 1), 2),
        ("Length, rms in depth [mm]", lambda s: np.sqrt(moment(2, 2)(s)), 2),
        ("Width, rms in x [mm]", lambda s: np.sqrt(moment(0, 2)(s)), 2),
        ("Width, rms in y [mm]", lambda s: np.sqrt(moment(1, 2)(s)), 2),
        ("Barycentre in x from the centre [mm]", lambda s: moment(0, 1)(s) - half_mm[0], 3),
        ("Barycentre in y from the centre [mm]", lambda s: moment(1, 1)(s) - half_mm[1], 3),
        (f"First third of layers / {image} [%]", lambda s: 100.0 * s.layer_fractions_n3[:, 0], 2),
        (f"Last third of layers / {image} [%]", lambda s: 100.0 * s.layer_fractions_n3[:, 2], 2),
    ]
    return [
        _quantity(name, measure, generated, reference, digits) for name, measure, digits in rows
    ]


def _of_all_images(
    reference: Observables,
) -> list[tuple[str, Callable[[Observables], Float], int]]:
    if not reference.others:
        return []
    everything = " + ".join((reference.image, *reference.others))
    return [
        (f"{everything} [GeV]", lambda s: s.all_energy_n, 4),
        (f"{reference.image}/({everything}) [%]", lambda s: 100.0 * s.share_n, 3),
    ]


def _quantity(
    name: str,
    measure: Callable[[Observables], Float],
    generated: Sequence[Observables],
    reference: Observables,
    digits: int,
) -> Quantity:
    theirs, columns = _mean(measure(reference)), []
    for sample in generated:
        ours = _mean(measure(sample))
        if same_energies(sample.energy_n, reference.energy_n):
            # What the spread of the incident energies does is the same in both means.
            errors = [_mean(_at_energy(measure, each))[1] for each in (sample, reference)]
        else:
            errors = [ours[1], theirs[1]]
        columns.append((_text(ours, digits), _difference(ours[0], theirs, math.hypot(*errors))))
    return Quantity(name, _text(theirs, digits), columns)


def _at_energy(measure: Callable[[Observables], Float], sample: Observables) -> Float:
    """What is left of the values when their mean at their incident energy is taken away."""
    values_n, logarithm_n = measure(sample), np.log(sample.energy_n)
    defined_n = np.isfinite(values_n)
    curve = quadratic(logarithm_n[defined_n], values_n[defined_n])
    left_n: Float = values_n - np.polyval(curve, logarithm_n)
    return left_n


def _text(mean: tuple[float, float], digits: int) -> str:
    return f"{mean[0]:.{digits}f} ± {mean[1]:.{digits}f}"


def _difference(ours: float, reference: tuple[float, float], error: float) -> str:
    theirs, their_error = reference
    # What is left of rounding is no error.
    known = error > 1e-9 * abs(theirs)
    significance = f"{abs(ours - theirs) / error:.1f} σ" if known else ""
    # Per cent of a quantity that is compatible with 0 say nothing.
    relative = f"{100.0 * (ours / theirs - 1.0):+.1f} %" if abs(theirs) > 5 * their_error else ""
    return ", ".join(part for part in (relative, significance) if part)


def _mean(values_n: Float) -> tuple[float, float]:
    values = values_n[np.isfinite(values_n)]
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))

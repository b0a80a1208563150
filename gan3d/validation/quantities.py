"""Plain physics numbers of samples: means with their errors, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gan3d.validation.measures import Float
from gan3d.validation.observables import Observables


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
    half_mm = [
        cells * pitch / 2
        for cells, pitch in zip(
            reference.geometry.shape, reference.geometry.cell_size_mm, strict=True
        )
    ]

    def moment(axis: int, order: int) -> Callable[[Observables], Float]:
        return lambda sample: sample.moments_nao[:, axis, order - 1]

    rows: list[tuple[str, Callable[[Observables], Float], int]] = [
        ("Incident energy Ep [GeV]", lambda s: s.energy_n, 2),
        ("ECAL [GeV]", lambda s: s.total_energy_n, 4),
        ("Sampling fraction ECAL/Ep [%]", lambda s: 100.0 * s.sampling_fraction_n, 3),
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
        ("First third of layers / ECAL [%]", lambda s: 100.0 * s.layer_fractions_n3[:, 0], 2),
        ("Last third of layers / ECAL [%]", lambda s: 100.0 * s.layer_fractions_n3[:, 2], 2),
    ]
    return [
        _quantity(name, [measure(each) for each in generated], measure(reference), digits)
        for name, measure, digits in rows
    ]


def _quantity(name: str, generated: list[Float], reference_n: Float, digits: int) -> Quantity:
    theirs = _mean(reference_n)
    return Quantity(
        name,
        _text(theirs, digits),
        [(_text(ours, digits), _difference(ours, theirs)) for ours in map(_mean, generated)],
    )


def _text(mean: tuple[float, float], digits: int) -> str:
    return f"{mean[0]:.{digits}f} ± {mean[1]:.{digits}f}"


def _difference(generated: tuple[float, float], reference: tuple[float, float]) -> str:
    (ours, our_error), (theirs, their_error) = generated, reference
    error = math.hypot(our_error, their_error)
    significance = f"{abs(ours - theirs) / error:.1f} σ" if error > 0.0 else ""
    # Per cent of a quantity that is compatible with 0 say nothing.
    relative = f"{100.0 * (ours / theirs - 1.0):+.1f} %" if abs(theirs) > 5 * their_error else ""
    return ", ".join(part for part in (relative, significance) if part)


def _mean(values_n: Float) -> tuple[float, float]:
    values = values_n[np.isfinite(values_n)]
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))

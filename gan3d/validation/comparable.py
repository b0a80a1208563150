"""Whether two samples can be judged against each other, and which showers and bins of them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from gan3d.data import LARGEST_FRACTION
from gan3d.errors import DataError
from gan3d.validation.bins import Bin
from gan3d.validation.observables import Observables
from gan3d.validation.resampling import at_common_angles, at_common_energies, spread_alike
from gan3d.validation.sample import Sample


def check_comparable(generated: Observables, reference: Observables) -> None:
    """Raise DataError for too few showers, empty ones alone, and units that are not GeV and rad."""
    minimum = reference.settings.minimum_showers
    for sample in (generated, reference):
        if len(sample) < minimum:
            raise DataError(
                f"{sample.label}: {len(sample)} showers are too few to judge, at least {minimum} "
                "are needed (validation.minimum_showers)"
            )
        if sample.empty_n.all():
            raise DataError(f"{sample.label}: all {len(sample)} showers are empty (no energy)")
        response = float(sample.sampling_fraction_n.mean())
        if response > LARGEST_FRACTION:
            raise DataError(
                f"{sample.label}: the cells hold {response:.3g} times the incident energy: "
                "are cells in MeV, or incident energies in TeV (both must be in GeV), or were they "
                "made by a network that has hardly been trained?"
            )
    ratio = float(generated.sampling_fraction_n.mean() / reference.sampling_fraction_n.mean())
    if 500.0 < ratio < 2000.0 or 500.0 < 1.0 / ratio < 2000.0:
        raise DataError(
            f"{generated.label}: {reference.image}/Ep is {ratio:.3g} times that of "
            f"{reference.label}: one of them has cells or incident energies in other units. All "
            "must be in GeV"
        )
    for sample in (generated, reference):
        if reference.settings.angle_bins_deg and np.isnan(sample.theta_n).all():
            raise DataError(
                f"{sample.label}: validation.angle_bins_deg asks for bins of angle, but the "
                "showers' file says no angle (theta); remove the bins, or take other files"
            )
        # float32 of pi is above pi.
        largest = float(np.nanmax(np.abs(sample.theta_n), initial=0.0))
        if reference.settings.angle_bins_deg and largest > math.pi + 1e-6:
            raise DataError(
                f"{sample.label}: angles (theta) up to {largest:.4g}, expected rad, between -pi "
                "and pi; are they in degrees?"
            )


def spread_differently(generated: Observables, reference: Observables) -> str:
    """Over which incident conditions; empty where over none."""
    unlike = []
    if not spread_alike(generated.energy_n, reference.energy_n):
        unlike.append("energy")
    angles = generated.theta_n, reference.theta_n
    if not any(np.isnan(each).any() for each in angles) and not spread_alike(*angles):
        unlike.append("angle")
    return " and ".join(unlike)


def at_common_conditions(
    generated: Sample, reference: Sample, unlike: str
) -> tuple[Sample, Sample]:
    """As many showers of both at each incident energy and, if these are unlike, at each angle.

    Raises DataError where they are too few.
    """
    ours, theirs = generated.observables, reference.observables
    rng = np.random.default_rng([theirs.settings.seed, 3])
    if "angle" in unlike:
        rows_n, rows_m = at_common_angles(
            (ours.energy_n, ours.theta_n), (theirs.energy_n, theirs.theta_n), rng
        )
    else:
        rows_n, rows_m = at_common_energies(ours.energy_n, theirs.energy_n, rng)
    minimum = theirs.settings.minimum_showers
    if len(rows_n) < minimum:
        raise DataError(
            f"{ours.label} and {theirs.label} are spread differently over incident {unlike}: only "
            f"{len(rows_n)} showers of both are at about the same, at least {minimum} are needed "
            "(validation.minimum_showers); generate showers at the reference's conditions (gan3d "
            "generate --like)"
        )
    return generated.rows(rows_n), reference.rows(rows_m)


def usable_bins(
    bins: Iterable[Bin], generated: Observables, reference: Observables
) -> tuple[list[Bin], list[str]]:
    """Those of `bins` with enough showers of both, and remarks on those that are left out.

    Raises DataError where no energy bin has.
    """
    usable, remarks, counts = [], [], []
    minimum = reference.settings.minimum_showers
    for each in bins:
        ours, theirs = int(each.rows(generated).sum()), int(each.rows(reference).sum())
        if each.quantity == "energy":
            counts.append(f"{each.name} {ours} and {theirs}")
        if min(ours, theirs) >= minimum:
            usable.append(each)
        else:
            remarks.append(
                f"{each.quantity.capitalize()} bin {each.name} is left out: {ours} generated and "
                f"{theirs} reference showers, at least {minimum} of each are needed."
            )
    if not any(each.quantity == "energy" for each in usable):
        ranges = " and ".join(
            f"{each.energy_n.min():g} to {each.energy_n.max():g}" for each in (generated, reference)
        )
        raise DataError(
            f"no energy bin holds {minimum} showers of both {generated.label} and "
            f"{reference.label} ({', '.join(counts)}), whose incident energies are {ranges}, taken "
            "for GeV: generate others, set validation.energy_bins_gev, or convert from MeV"
        )
    return usable, remarks

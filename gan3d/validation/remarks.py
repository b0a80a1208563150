"""What a reader must know before trusting the numbers, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from gan3d.validation.bins import bins_of
from gan3d.validation.measures import cell_energy_edges
from gan3d.validation.observables import Observables
from gan3d.validation.outliers import Outliers
from gan3d.validation.verdict import Estimate

_THRESHOLD_SHARE = 0.01
"""Cells below all of the other sample's; there are a few in any sample of another size."""


def sample_remarks(generated: Observables, reference: Observables) -> Iterator[str]:
    """On empty showers, showers outside of all bins, other particles and other thresholds."""
    for sample in (generated, reference):
        empty = int(sample.empty_n.sum())
        if empty:
            yield (
                f"{sample.label}: {empty} of {len(sample)} showers are empty. They count in "
                "energies, profiles and hits, and have no moments."
            )
    for each in bins_of(reference.settings):
        for sample in (generated, reference):
            empty_n = sample.empty_n[each.rows(sample)]
            if len(empty_n) and empty_n.all():
                yield (
                    f"{sample.label}: all showers in {each.name} are empty; their moments count "
                    "as 100 % off."
                )
    energy_bins = [each for each in bins_of(reference.settings) if each.quantity == "energy"]
    for sample in (generated, reference):
        inside_n = np.any([each.rows(sample) for each in energy_bins], axis=0)
        outside = int((~inside_n).sum())
        if outside:
            yield (
                f"{sample.label}: {outside} of {len(sample)} showers lie outside of all energy "
                "bins: means, profiles and moments leave them out (validation.energy_bins_gev)."
            )
    ours, theirs = (set(sample.pdg_n[~np.isnan(sample.pdg_n)]) for sample in (generated, reference))
    if ours and theirs and ours != theirs:
        codes = [", ".join(f"{code:g}" for code in sorted(each)) for each in (ours, theirs)]
        yield (
            f"Not of the same particles: {generated.label} has PDG code {codes[0]}, "
            f"{reference.label} {codes[1]}."
        )
    yield from _threshold_remarks(generated, reference)


def _threshold_remarks(generated: Observables, reference: Observables) -> Iterator[str]:
    """Whether cells of one sample begin far below those of the other."""
    edges = cell_energy_edges(reference.settings)
    for low, high in ((generated, reference), (reference, generated)):
        counts, others = low.cell_counts_nb.sum(axis=0), high.cell_counts_nb.sum(axis=0)
        if not (counts.any() and others.any()):
            continue
        first = int(np.flatnonzero(others)[0])
        share = counts[:first].sum() / counts.sum()
        if share > _THRESHOLD_SHARE:
            yield (
                f"{low.label}: {100 * share:.0f} % of the cells with energy hold less than any of "
                f"{high.label}, which begin at {edges[max(first - 1, 0)]:.1g} GeV. Unless that is "
                "physics, set cells below the same threshold to 0 in both."
            )


def outlier_remarks(
    found: Outliers, estimate: Estimate, generated: Observables, reference: Observables
) -> Iterator[str]:
    """On generated showers that are beyond all of the reference."""
    if estimate.p <= reference.settings.false_alarms:
        yield (
            f"{generated.label}: {found.count} of {found.showers} showers are beyond all of "
            f'{reference.label} in "{found.title}" at given Ep: up to {abs(found.farthest):.2g} '
            f"mean deviations away, {reference.label}'s up to {abs(found.limit):.2g}."
        )


def copy_remarks(
    estimates: Mapping[str, Estimate], generated: Observables, reference: Observables
) -> Iterator[str]:
    """On showers that are there twice, or nearly, from `copies.*` and `near_copies.*`."""
    within = round(estimates["copies.within"].value * len(generated))
    if within:
        yield (
            f"{generated.label}: {within} of {len(generated)} showers are copies of others, so "
            "there are fewer independent ones than the uncertainties take them for."
        )
    for name, other in (("within", "others"), ("of_reference", reference.label)):
        nearly = estimates.get(f"near_copies.{name}")
        exact = estimates[f"copies.{name}"]
        if nearly is not None and nearly.value > exact.value:
            yield (
                f"{generated.label}: {100 * nearly.value:.2g} % of the showers are nearly the same "
                f"as {'others' if name == 'within' else f'showers of {other}'}, nearer than "
                "independent ones ever are."
            )
    shared = round(estimates["copies.of_reference"].value * len(generated))
    if shared:
        yield (
            f"{generated.label}: {shared} of {len(generated)} showers are also in "
            f"{reference.label}: the samples are not independent."
        )

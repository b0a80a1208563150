"""Generated showers against a reference: all metrics, their noise level, and a verdict in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.errors import DataError
from gan3d.validation.measures import Float, Integer
from gan3d.validation.metrics import METRICS, Binning, bin_name, compare
from gan3d.validation.observables import Observables, observe
from gan3d.validation.sample import Sample, summarise

Word = Literal["agrees", "close", "differs"]


@dataclass(frozen=True)
class Verdict:
    """What one metric says."""

    name: str
    """Name in `metrics.json`."""
    title: str
    """What is compared."""
    kind: str
    """`relative error` or `separation power`."""
    value: float
    """Of generated against reference."""
    noise: float
    """Of one half of the reference against the other, mean over random halvings."""
    word: Word
    """`agrees` within the noise, `close` beyond it but small, or `differs`."""

    @property
    def ratio(self) -> float:
        """Value over noise; 0 where both are 0."""
        if self.noise == 0.0:
            return 0.0 if self.value == 0.0 else float("inf")
        return self.value / self.noise


@dataclass(frozen=True)
class Judgement:
    """The result of `judge`: everything that a report shows."""

    metrics: dict[str, float]
    """Flat, dotted name -> number; `noise.NAME` beside each NAME, and the numbers of showers."""
    verdicts: list[Verdict]
    """One for each of `gan3d.validation.metrics.METRICS`."""
    remarks: list[str]
    """What a reader must know before trusting the numbers: bins left out, empty showers, ..."""
    generated: Sample
    """What was judged."""
    reference: Sample
    """What it was judged against."""
    energy_bins_gev: list[tuple[float, float]]
    """The energy bins that held enough showers."""

    @property
    def settings(self) -> Validation:
        """The settings in force."""
        return self.reference.observables.settings


def judge(
    generated: Showers | Iterable[Showers],
    reference: Showers | Iterable[Showers],
    geometry: Geometry,
    settings: Validation,
    *,
    labels: tuple[str, str] = ("Generated", "Geant4"),
) -> Judgement:
    """Compare generated showers with reference ones, given whole or as blocks.

    Every metric has a twin `noise.NAME`: the same metric of one random half of the reference
    against the other, averaged over `settings.noise_splits` halvings, in which neighbours in
    incident energy go to different halves. Halves of N showers hold N/2 each, so for as many
    generated showers as the reference has, a perfect generator scores below its noise twin: about
    1/sqrt(2) of it in relative errors and 1/2 in separation powers.

    Args:
        generated: images_nxyz (N, x, y, layer) in GeV and energy_n (N,) in GeV.
        reference: the same of the Monte Carlo.
        geometry: the grid of cells of both.
        settings: energy bins, thresholds and sample sizes.
        labels: what generated and reference are called.

    Raises:
        DataError: either is not fit to be judged (see `observe`), holds fewer than
            `settings.minimum_showers`, is empty of energy or in other units than the other, or no
            energy bin holds enough showers of both.

    """
    generated_sample = summarise(generated, geometry, settings, label=labels[0])
    reference_sample = summarise(reference, geometry, settings, label=labels[1])
    ours, theirs = generated_sample.observables, reference_sample.observables
    _check_comparable(ours, theirs)
    energy_bins, remarks = _usable_bins(ours, theirs)
    remarks += _sample_remarks(ours, theirs)

    binning = Binning.from_reference(theirs)
    metrics = compare(ours, theirs, binning, energy_bins)
    noise = _noise(theirs, binning, energy_bins)
    verdicts = [
        Verdict(
            name,
            metric.title,
            metric.kind,
            metrics[name],
            noise[name],
            _word(metrics[name], noise[name], settings),
        )
        for name, metric in METRICS.items()
    ]
    sizes = {
        "generated.showers": len(ours),
        "generated.empty_showers": int(ours.empty_n.sum()),
        "reference.showers": len(theirs),
        "reference.empty_showers": int(theirs.empty_n.sum()),
    }
    return Judgement(
        metrics=metrics | {f"noise.{name}": value for name, value in noise.items()} | sizes,
        verdicts=verdicts,
        remarks=remarks,
        generated=generated_sample,
        reference=reference_sample,
        energy_bins_gev=energy_bins,
    )


def compare_showers(
    generated: Showers, reference: Showers, geometry: Geometry, settings: Validation
) -> dict[str, float]:
    """The inclusive metrics alone, without noise and verdict: quick, for every epoch of a training.

    Unlike `judge` it takes showers as bad as an untrained network makes them (empty ones, any
    response). It returns nothing where no energy bin holds `settings.minimum_showers` of both.

    Raises:
        DataError: as `observe`.

    """
    ours = observe(generated, geometry, settings, label="generated showers")
    theirs = observe(reference, geometry, settings, label="reference showers")
    energy_bins = [
        (low, high)
        for low, high in settings.energy_bins_gev
        if min(len(ours.in_energy_bin(low, high)), len(theirs.in_energy_bin(low, high)))
        >= settings.minimum_showers
    ]
    if not energy_bins:
        return {}
    metrics = compare(ours, theirs, Binning.from_reference(theirs), energy_bins)
    return {name: metrics[name] for name in METRICS}


def halves(energy_n: Float, rng: np.random.Generator) -> tuple[Integer, Integer]:
    """Two disjoint random halves with nearly the same incident energies, as sorted indices.

    Of every two neighbours in energy one goes to each half, at random; with an odd number, the
    shower of highest energy goes to neither.
    """
    order_n = np.argsort(energy_n, kind="stable")
    pairs_p2 = order_n[: len(order_n) // 2 * 2].reshape(-1, 2)
    swapped_p = rng.integers(0, 2, len(pairs_p2))
    rows_p = np.arange(len(pairs_p2))
    return np.sort(pairs_p2[rows_p, swapped_p]), np.sort(pairs_p2[rows_p, 1 - swapped_p])


def _noise(
    reference: Observables, binning: Binning, energy_bins: list[tuple[float, float]]
) -> dict[str, float]:
    rng = np.random.default_rng(reference.settings.seed)
    splits = []
    for _ in range(reference.settings.noise_splits):
        one, other = halves(reference.energy_n, rng)
        splits.append(compare(reference.select(one), reference.select(other), binning, energy_bins))
    return {name: float(np.mean([split[name] for split in splits])) for name in splits[0]}


def _word(value: float, noise: float, settings: Validation) -> Word:
    if value <= settings.agrees_within_noise * noise:
        return "agrees"
    return "close" if value <= settings.close_below else "differs"


# ----------------------------------------------------------------- what can and cannot be judged


def _check_comparable(generated: Observables, reference: Observables) -> None:
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
        if response > 1.0:
            raise DataError(
                f"{sample.label}: the cells hold {response:.3g} times the incident energy: "
                "are cells in MeV, or incident energies in TeV? Both must be in GeV"
            )
    ratio = float(generated.sampling_fraction_n.mean() / reference.sampling_fraction_n.mean())
    if 500.0 < ratio < 2000.0 or 500.0 < 1.0 / ratio < 2000.0:
        raise DataError(
            f"{generated.label}: ECAL/Ep is {ratio:.3g} times that of {reference.label}: one of "
            "them has cells or incident energies in other units. All must be in GeV"
        )


def _usable_bins(
    generated: Observables, reference: Observables
) -> tuple[list[tuple[float, float]], list[str]]:
    usable, remarks, counts = [], [], []
    minimum = reference.settings.minimum_showers
    for low, high in reference.settings.energy_bins_gev:
        ours = len(generated.in_energy_bin(low, high))
        theirs = len(reference.in_energy_bin(low, high))
        counts.append(f"{bin_name(low, high)} {ours} and {theirs}")
        if min(ours, theirs) >= minimum:
            usable.append((low, high))
        else:
            remarks.append(
                f"Energy bin {bin_name(low, high)} is left out: {ours} generated and {theirs} "
                f"reference showers, at least {minimum} of each are needed."
            )
    if not usable:
        raise DataError(
            f"no energy bin holds {minimum} showers of both {generated.label} and "
            f"{reference.label} ({', '.join(counts)}): generate other incident energies or set "
            "validation.energy_bins_gev (all energies in GeV)"
        )
    return usable, remarks


def _sample_remarks(generated: Observables, reference: Observables) -> Iterator[str]:
    for sample in (generated, reference):
        empty = int(sample.empty_n.sum())
        if empty:
            yield (
                f"{sample.label}: {empty} of {len(sample)} showers are empty. They count in "
                "energies, profiles and hits, and have no moments."
            )
    for low, high in reference.settings.energy_bins_gev:
        for sample in (generated, reference):
            inside = sample.in_energy_bin(low, high)
            if len(inside) and inside.empty_n.all():
                yield (
                    f"{sample.label}: all showers in {bin_name(low, high)} are empty; their "
                    "moments count as 100 % off."
                )
    if _distance(generated.energy_n, reference.energy_n) > 1.95:
        yield (
            "Generated and reference showers are spread differently over incident energy. The "
            "metrics are per unit of incident energy, but what depends on it more subtly (depth, "
            "resolution) differs for that reason too: prefer the energy bins."
        )


def _distance(energy_n: Float, energy_m: Float) -> float:
    """Kolmogorov-Smirnov distance times sqrt(n m / (n + m)); above 1.95 for 1 in 1000 pairs."""
    at = np.concatenate([energy_n, energy_m])
    below_n = np.searchsorted(np.sort(energy_n), at, side="right") / len(energy_n)
    below_m = np.searchsorted(np.sort(energy_m), at, side="right") / len(energy_m)
    scale = np.sqrt(len(energy_n) * len(energy_m) / (len(energy_n) + len(energy_m)))
    return float(np.abs(below_n - below_m).max() * scale)

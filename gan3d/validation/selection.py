"""Which checkpoint of a run is the best, and whether it is better by more than chance.

All are compared with the same reference showers, and each generates the same incident energies from
the same latents, so much of the chance in their metrics is common to them. What is left in the
difference of two is estimated by leaving out the same groups of incident particles in both. Where
generators are as good as the noise, this says up to 1.6 times too much (a mean of absolute values
cannot fall below 0), so what it calls different is different.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gan3d.config import FIRST_IMAGE, Geometry, Validation
from gan3d.data import Showers, make_folder, written_aside
from gan3d.errors import DataError
from gan3d.validation.bins import Bin, bins_of
from gan3d.validation.catalogue import METRICS
from gan3d.validation.measures import Float
from gan3d.validation.metrics import Scales, compare, filled, put_together, scales
from gan3d.validation.observables import Observables
from gan3d.validation.resampling import jackknife_error, pairs
from gan3d.validation.several import observe_images

METRIC = "optimisation_metric"
"""What checkpoints are chosen by."""


class Checkpoint(Protocol):
    """Where in training showers come from, as `gan3d.generation.Checkpoint` says it."""

    @property
    def epoch(self) -> float:
        """Epochs done."""

    @property
    def step(self) -> int:
        """Steps done in all."""


@dataclass(frozen=True)
class Candidate:
    """What was found of one checkpoint."""

    epoch: float
    """Epochs done."""
    step: int
    """Steps done in all."""
    metrics: dict[str, float]
    """All of `METRICS`, inclusive: averaged or taken over the energy bins; of several images see
    `select_checkpoint`."""
    error: float
    """Standard error of the optimisation metric."""
    above_best: float
    """By how much the optimisation metric is above that of the best."""
    above_best_error: float
    """Standard error of this difference; 0 for the best."""
    as_good: bool
    """Whether this difference is within chance (`validation.alike_within_errors`)."""

    @property
    def metric(self) -> float:
        """The optimisation metric."""
        return self.metrics[METRIC]


@dataclass(frozen=True)
class Selection:
    """The checkpoints of a run, judged alike."""

    candidates: list[Candidate]
    """In the order given."""
    noise: dict[str, float]
    """All of `METRICS` of samples as large, drawn from the reference."""
    bins: list[Bin]
    """The energy bins that held enough showers."""
    generated_showers: int
    """Of each checkpoint."""
    reference_showers: int
    """What they were compared with."""
    settings: Validation
    """The settings in force."""

    @property
    def best(self) -> Candidate:
        """The one with the smallest optimisation metric; of equal ones the first."""
        return min(self.candidates, key=lambda candidate: candidate.metric)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "best": {"epoch": self.best.epoch, "step": self.best.step, METRIC: self.best.metric},
            "checkpoints": [
                {
                    "epoch": each.epoch,
                    "step": each.step,
                    **each.metrics,
                    f"{METRIC}.error": each.error,
                    f"{METRIC}.above_best": each.above_best,
                    f"{METRIC}.above_best.error": each.above_best_error,
                    "as_good_as_best": each.as_good,
                }
                for each in self.candidates
            ],
            "noise": self.noise,
            "energy_bins_gev": [[each.low, each.high] for each in self.bins],
            "generated.showers": self.generated_showers,
            "reference.showers": self.reference_showers,
            "seed": self.settings.seed,
        }


def select_checkpoint(
    streams: Iterable[tuple[Checkpoint, Showers | Iterable[Showers]]],
    reference: Showers | Observables | Mapping[str, Observables],
    geometry: Geometry | Mapping[str, Geometry],
    settings: Validation,
) -> Selection:
    """Judge the showers of each checkpoint against the same reference.

    Of the showers only what is measured on them is kept, and that of one checkpoint at a time.
    In a notebook::

        streams = gan3d.generation.stream_checkpoints(path, reference.energy_n)
        selection = select_checkpoint(streams, reference, geometry, settings)

    The metric of the best is the smallest of several and so, by chance, a little too small: showers
    that did not choose it tell how good it is. Where showers have several images, it is the mean
    over these; their metrics have their names before them, those of the first their own, too.

    Args:
        streams: each checkpoint with its showers, whole or as blocks: images_nxyz (N, x, y, layer)
            in GeV and energy_n (N,) in GeV, which must be the reference's from the first on and
            over again.
        reference: the same of the Monte Carlo, or what `observe` measured on it; of several images
            what `observe_images` did.
        geometry: the grid of cells of both; of several images those by their names.
        settings: energy bins, thresholds, `error_groups` and `alike_within_errors`.

    Raises:
        DataError: no energy bin holds enough showers (see `usable_bins`), energies are not the
            reference's, there is no checkpoint, or as `observe`.

    """
    geometries = {FIRST_IMAGE: geometry} if isinstance(geometry, Geometry) else geometry
    if isinstance(reference, Mapping):
        theirs = reference
    elif isinstance(reference, Observables):
        theirs = {next(iter(geometries)): reference}
    else:
        usable_bins(reference.energy_n, len(reference), settings)
        theirs = observe_images([reference], geometries, settings, label="reference showers")
    first = next(iter(theirs.values()))
    usable_bins(first.energy_n, len(first), settings)
    without_gn = _without_groups(first.energy_n, settings.error_groups)
    found: list[tuple[Checkpoint, dict[str, float], Float]] = []
    showers, bins = 0, []
    for checkpoint, generated in streams:
        label = f"showers of step {checkpoint.step}"
        blocks = [generated] if isinstance(generated, Showers) else generated
        ours = observe_images(blocks, geometries, settings, label=label)
        energy_n = next(iter(ours.values())).energy_n
        showers = len(energy_n)
        if not np.array_equal(energy_n, np.resize(first.energy_n, showers)):
            raise DataError(f"{label}: their incident energies are not those of the reference")
        bins = usable_bins(first.energy_n, showers, settings)
        of_images = {
            name: _measured(ours[name], theirs[name], bins, without_gn) for name in geometries
        }
        metrics = _of_all_images({name: values for name, (values, _) in of_images.items()})
        without_g = np.mean([without for _, without in of_images.values()], axis=0)
        found.append((checkpoint, metrics, without_g))
    if not found:
        raise DataError("no checkpoint to choose from")
    _, best, best_without_g = min(found, key=lambda each: each[1][METRIC])
    candidates = []
    for checkpoint, metrics, without_g in found:
        above, error = metrics[METRIC] - best[METRIC], jackknife_error(without_g - best_without_g)
        candidates.append(
            Candidate(
                epoch=checkpoint.epoch,
                step=checkpoint.step,
                metrics=metrics,
                error=jackknife_error(without_g),
                above_best=above,
                above_best_error=error,
                as_good=above <= settings.alike_within_errors * error,
            )
        )
    return Selection(
        candidates=candidates,
        noise=_of_all_images({name: _noise(each, showers, bins) for name, each in theirs.items()}),
        bins=bins,
        generated_showers=showers,
        reference_showers=len(first),
        settings=settings,
    )


def _measured(
    ours: Observables, theirs: Observables, bins: Sequence[Bin], without_gn: Float
) -> tuple[dict[str, float], Float]:
    """All of `METRICS` of an image, and the optimisation metric without each group of showers."""
    together, weights = put_together(ours, theirs)
    values = compare(together, weights, bins, _main(together))
    of_particle_n = np.arange(len(ours)) % len(theirs)
    left_out = (
        np.pad(without_gn[:, of_particle_n], ((0, 0), (0, len(theirs)))),
        np.pad(without_gn, ((0, 0), (len(ours), 0))),
    )
    without_g = compare(together, left_out, bins, {})[METRIC]
    return {name: float(values[name][0]) for name in METRICS}, without_g


def _of_all_images(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Of one image as they are; of several as `gan3d.validation.compare_images` has them."""
    found = dict(next(iter(metrics.values())))
    if len(metrics) > 1:
        for image, values in metrics.items():
            found |= {f"{image}.{name}": value for name, value in values.items()}
        found[METRIC] = float(np.mean([values[METRIC] for values in metrics.values()]))
    return found


def usable_bins(
    energy_n: NDArray[np.floating[Any]], showers: int, settings: Validation
) -> list[Bin]:
    """The energy bins that hold `settings.minimum_showers` of both samples.

    `energy_n` (GeV) are the incident energies of the reference, of which the `showers` generated
    ones have the first, over and over again. Needs no showers, so it can be asked before any are
    generated. Raises DataError where no bin does.
    """
    generated_n = np.resize(energy_n, showers)
    minimum, usable, counts = settings.minimum_showers, [], []
    for each in bins_of(settings):
        if each.quantity != "energy":
            continue
        ours, theirs = int(each.holds(generated_n).sum()), int(each.holds(energy_n).sum())
        counts.append(f"{each.name} {ours} and {theirs}")
        if min(ours, theirs) >= minimum:
            usable.append(each)
    if not usable:
        raise DataError(
            f"no energy bin holds {minimum} generated and {minimum} reference showers "
            f"({', '.join(counts)}): take more showers, or set validation.energy_bins_gev or "
            "validation.minimum_showers"
        )
    return usable


def _without_groups(energy_n: Float, groups: int) -> Float:
    """Weights, 0 or 1, that leave out each group of showers in turn: (groups, N).

    Neighbours in energy are in different groups, so that no energy bin becomes empty.
    """
    groups = min(groups, len(energy_n))
    group_n = np.empty(len(energy_n), np.int64)
    group_n[np.argsort(energy_n, kind="stable")] = np.arange(len(energy_n)) % groups
    without_gn: Float = (group_n != np.arange(groups)[:, None]).astype(np.float64)
    return without_gn


def _main(together: Observables) -> Scales:
    """How the features in `METRICS` are compared."""
    return {
        name: scale for name, scale in scales(together).items() if f"{name}.separation" in METRICS
    }


def _noise(reference: Observables, showers: int, bins: list[Bin]) -> dict[str, float]:
    settings = reference.settings
    rng = np.random.default_rng(settings.seed)
    drawn = pairs(
        np.resize(reference.energy_n, showers), reference.energy_n, settings.noise_replicas, rng
    )
    values = compare(reference, filled(reference, drawn, bins), bins, _main(reference))
    return {name: float(values[name].mean()) for name in METRICS}


def write_selection(
    selection: Selection,
    folder: Path,
    *,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write selection.json and the curve, selection.png and .pdf, into `folder`; returns the first.

    The folder is made where it is missing. All files are written aside and renamed.

    Args:
        selection: what `select_checkpoint` returned.
        folder: where the files go.
        facts: what a reader must know of the showers: run, model, reference.
        history: one mapping per epoch of the training; what it noted is drawn beside.

    Raises:
        DataError: the folder cannot be made or written to.

    """
    # Not at the top: matplotlib takes a second to import, and judging does not need it.
    from gan3d.validation import plots

    make_folder(folder)
    plots.save_figure(plots.selection_curve(selection, history), folder / "selection")
    written = folder / "selection.json"
    with written_aside(written) as aside:
        content = {**selection.as_dict(), "facts": dict(facts)}
        aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return written

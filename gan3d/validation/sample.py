"""One side of a comparison: what was measured on all its showers, and some to look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.errors import DataError
from gan3d.validation.observables import Observables, checked_chunks, concatenate, observe_chunk


@dataclass(frozen=True)
class Sample:
    """What a comparison needs to know about a sample; its size does not grow with the images."""

    observables: Observables
    """Per-shower values."""
    mean_image_xyz: NDArray[np.float64]
    """Mean energy of every cell (GeV)."""
    examples: Showers
    """For each of `example_energies`, the shower whose incident energy is nearest."""


def example_energies(settings: Validation) -> list[float]:
    """Incident energies (GeV) at which single showers are shown: the bins' centres, ascending."""
    return sorted({(low + high) / 2 for low, high in settings.energy_bins_gev})


def summarise(
    showers: Showers | Iterable[Showers],
    geometry: Geometry,
    settings: Validation,
    *,
    label: str = "showers",
) -> Sample:
    """Measure a sample in one pass over its showers, given whole or as blocks.

    Raises:
        DataError: as `gan3d.validation.observe`.

    """
    parts: list[Observables] = []
    image_sum_xyz = np.zeros(geometry.shape)
    examples = _Nearest(example_energies(settings))
    for chunk in checked_chunks(showers, geometry, label):
        parts.append(observe_chunk(chunk, geometry, settings, label=label))
        image_sum_xyz += chunk.images_nxyz.sum(axis=0, dtype=np.float64)
        examples.offer(chunk)
    if not parts:
        raise DataError(f"{label}: no showers")
    observables = concatenate(parts)
    return Sample(observables, image_sum_xyz / len(observables), examples.showers())


class _Nearest:
    """Keeps, of all showers offered, the one nearest in incident energy to each target."""

    def __init__(self, targets_gev: list[float]) -> None:
        self._targets_gev = targets_gev
        self._best: dict[float, tuple[float, NDArray[np.float32]]] = {}

    def offer(self, chunk: Showers) -> None:
        for target in self._targets_gev:
            row = int(np.argmin(np.abs(chunk.energy_n - target)))
            energy = float(chunk.energy_n[row])
            if target not in self._best or abs(energy - target) < abs(
                self._best[target][0] - target
            ):
                self._best[target] = (energy, chunk.images_nxyz[row].copy())

    def showers(self) -> Showers:
        kept = [self._best[target] for target in self._targets_gev]
        return Showers(
            np.stack([image_xyz for _, image_xyz in kept]),
            np.array([energy for energy, _ in kept], dtype=np.float32),
        )

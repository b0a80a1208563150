"""One side of a comparison: what was measured on all its showers, and some kept as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.errors import DataError
from gan3d.validation.measures import Integer
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
    kept_rows_k: Integer
    """Which showers `kept_kc` are, ascending: at most `settings.sample_showers`, at random."""
    kept_kc: sparse.csr_array
    """Their cells (GeV), (K, cells) with cells in the order of the image's axes."""
    further: Mapping[str, Sample] = field(default_factory=dict)
    """Further images of the same showers, of which the same are kept, by their names."""

    @property
    def label(self) -> str:
        """What the sample is called."""
        return self.observables.label

    @property
    def joint_kc(self) -> sparse.csr_array:
        """The kept showers' cells in all images, one image after the other."""
        if not self.further:
            return self.kept_kc
        parts = [self.kept_kc, *(each.kept_kc for each in self.further.values())]
        return sparse.csr_array(sparse.hstack(parts, format="csr"))

    def rows(self, rows: Integer) -> Sample:
        """The showers with these numbers, each at most once; examples stay.

        The mean image is that of those that are kept, where there are any.
        """
        place_n = np.full(len(self.observables), -1)
        place_n[rows] = np.arange(len(rows))
        kept = np.flatnonzero(place_n[self.kept_rows_k] >= 0)
        kept = kept[np.argsort(place_n[self.kept_rows_k[kept]])]
        mean_image_xyz = self.mean_image_xyz
        if len(kept):
            mean_image_xyz = self.kept_kc[kept].mean(axis=0).reshape(mean_image_xyz.shape)
        return replace(
            self,
            observables=self.observables.select(rows),
            mean_image_xyz=mean_image_xyz,
            kept_rows_k=place_n[self.kept_rows_k[kept]],
            kept_kc=self.kept_kc[kept],
            further={name: each.rows(rows) for name, each in self.further.items()},
        )

    def some(self, count: int) -> Showers:
        """At most `count` of the kept showers, at equal distances, as images.

        With the columns `theta` and `pdg`, where they are known of all. Several images of a shower
        come as one list of cells (`gan3d.config.images`).
        """
        kept = len(self.kept_rows_k)
        chosen = np.unique(np.linspace(0, kept - 1, min(count, kept)).astype(int))
        images = self.joint_kc[chosen].toarray().astype(np.float32)
        seen = self.observables.select(self.kept_rows_k[chosen])
        labels = {"theta": seen.theta_n, "pdg": seen.pdg_n}
        shape = (images.shape[1], 1, 1) if self.further else seen.geometry.shape
        return Showers(
            images.reshape(-1, *shape),
            seen.energy_n.astype(np.float32),
            {name: each_n for name, each_n in labels.items() if not np.isnan(each_n).any()},
        )


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
    summary = Summary(geometry, settings, label)
    for chunk in checked_chunks(showers, geometry, label):
        summary.offer(chunk)
    return summary.sample()


class Summary:
    """A sample that is measured chunk by chunk.

    Which showers are kept depends on their number, the label and the seed alone: of all images of
    the same showers the same ones.
    """

    def __init__(self, geometry: Geometry, settings: Validation, label: str) -> None:
        """Measure nothing yet."""
        self._geometry, self._settings, self._label = geometry, settings, label
        self._parts: list[Observables] = []
        self._image_sum_xyz = np.zeros(geometry.shape)
        self._examples = _Nearest(example_energies(settings))
        rng = np.random.default_rng([settings.seed, *label.encode()])
        self._kept = _Kept(settings.sample_showers, rng)

    def offer(self, chunk: Showers) -> None:
        """Measure showers that have been checked."""
        self._parts.append(observe_chunk(chunk, self._geometry, self._settings, label=self._label))
        self._image_sum_xyz += chunk.images_nxyz.sum(axis=0, dtype=np.float64)
        self._examples.offer(chunk)
        self._kept.offer(chunk)

    def sample(self) -> Sample:
        """What was measured. Raises DataError where there were no showers."""
        if not self._parts:
            raise DataError(f"{self._label}: no showers")
        observables = concatenate(self._parts)
        mean_xyz = self._image_sum_xyz / len(observables)
        rows_k, kept_kc = self._kept.showers(mean_xyz.size)
        return Sample(observables, mean_xyz, self._examples.showers(), rows_k, kept_kc)


class _Kept:
    """Keeps a random choice of all showers offered (Vitter's algorithm R, 1985), lit cells only."""

    def __init__(self, most: int, rng: np.random.Generator) -> None:
        self._most = most
        self._rng = rng
        self._offered = 0
        self._kept: list[tuple[int, NDArray[np.int32], NDArray[np.float32]]] = []

    def offer(self, chunk: Showers) -> None:
        if self._most == 0:
            return
        number_n = np.arange(self._offered, self._offered + len(chunk))
        self._offered += len(chunk)
        place_n = np.where(number_n < self._most, number_n, self._rng.integers(0, number_n + 1))
        for row in np.flatnonzero(place_n < self._most):
            cells = chunk.images_nxyz[row].reshape(-1)
            lit = np.flatnonzero(cells).astype(np.int32)
            entry = int(number_n[row]), lit, cells[lit]
            if number_n[row] < self._most:
                self._kept.append(entry)
            else:
                self._kept[place_n[row]] = entry

    def showers(self, cells: int) -> tuple[Integer, sparse.csr_array]:
        kept = sorted(self._kept, key=lambda entry: entry[0])
        starts = np.cumsum([0, *(len(lit) for _, lit, _ in kept)])
        empty_i, empty_f = [np.empty(0, np.int32)], [np.empty(0, np.float32)]
        lit = np.concatenate([lit for _, lit, _ in kept] or empty_i)
        values = np.concatenate([values for _, _, values in kept] or empty_f)
        kept_kc = sparse.csr_array((values, lit, starts), shape=(len(kept), cells))
        return np.array([number for number, _, _ in kept], np.int64), kept_kc


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

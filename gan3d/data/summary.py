"""What shower files hold, in figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gan3d.data.formats import open_shower_file


@dataclass(frozen=True, eq=False)
class Summary:
    """Figures of one or more files. The arrays have one entry a shower, shape (N,)."""

    energy_n: NDArray[np.float32]
    """Incident energy, GeV."""
    ecal_n: NDArray[np.float64]
    """Sum of all cells, GeV."""
    hits_n: NDArray[np.int64]
    """Number of cells above the hit threshold."""
    cell_energy_gev: tuple[float, float]
    """The smallest energy above 0 and the largest of any cell, GeV; zeros if all cells are 0."""
    image_shapes: tuple[tuple[int, int, int], ...]
    """Cells along (x, y, layer): all that occur, ascending."""
    particles: tuple[int, ...]
    """PDG codes that occur, ascending."""
    storage: tuple[str, ...]
    """How the cells are stored: all that occur."""
    size_bytes: int
    """Size on the disk."""

    @property
    def energy_range_gev(self) -> tuple[float, float]:
        """Smallest and largest incident energy, GeV."""
        return float(self.energy_n.min()), float(self.energy_n.max())

    @property
    def sampling_fraction(self) -> tuple[float, float]:
        """Mean of ECAL sum / incident energy, and half the interval of its central 68.3 %.

        That half-width is the standard deviation of a normal distribution, but tails do not move
        it; here it contains the spread with incident energy, too.
        """
        fraction_n = self.ecal_n / self.energy_n
        low, high = np.percentile(fraction_n, (15.865, 84.135))
        return float(fraction_n.mean()), float(high - low) / 2

    @property
    def mean_hits(self) -> float:
        """Mean number of cells above the hit threshold in a shower."""
        return float(self.hits_n.mean())

    def figures(self) -> dict[str, object]:
        """Return everything but the arrays, ready for JSON."""
        mean, width = self.sampling_fraction
        return {
            "showers": len(self.energy_n),
            "image_shapes": [list(shape) for shape in self.image_shapes],
            "particles": list(self.particles),
            "energy_range_gev": list(self.energy_range_gev),
            "sampling_fraction": {"mean": mean, "robust_width": width},
            "mean_hits": self.mean_hits,
            "cell_energy_range_gev": list(self.cell_energy_gev),
            "storage": list(self.storage),
            "size_bytes": self.size_bytes,
        }


def summarise(path: Path, *, hit_threshold_gev: float) -> Summary:
    """Read all of `path`, a block at a time. Raises DataError where it is not sound."""
    ecal, hits = [], []
    smallest, largest = np.inf, 0.0
    with open_shower_file(path) as file:
        for showers in file.blocks():
            deposit_h = showers.deposit_h
            ecal.append(showers.ecal_n)
            hits.append(showers.where(deposit_h > hit_threshold_gev).hits_n)
            smallest = min(smallest, float(deposit_h.min(initial=np.inf)))
            largest = max(largest, float(deposit_h.max(initial=0.0)))
        return Summary(
            energy_n=file.energy_n,
            ecal_n=np.concatenate(ecal),
            hits_n=np.concatenate(hits),
            cell_energy_gev=(smallest if largest > 0 else 0.0, largest),
            image_shapes=(file.image_shape,),
            particles=file.particles,
            storage=(file.storage,),
            size_bytes=path.stat().st_size,
        )


def combine(summaries: Sequence[Summary]) -> Summary:
    """Return the figures of all `summaries` (at least one) together."""
    lit = [each.cell_energy_gev for each in summaries if each.cell_energy_gev[1] > 0]
    return Summary(
        energy_n=np.concatenate([each.energy_n for each in summaries]),
        ecal_n=np.concatenate([each.ecal_n for each in summaries]),
        hits_n=np.concatenate([each.hits_n for each in summaries]),
        cell_energy_gev=(
            min((low for low, _ in lit), default=0.0),
            max((high for _, high in lit), default=0.0),
        ),
        image_shapes=tuple(sorted({shape for each in summaries for shape in each.image_shapes})),
        particles=tuple(sorted({code for each in summaries for code in each.particles})),
        storage=tuple(sorted({text for each in summaries for text in each.storage})),
        size_bytes=sum(each.size_bytes for each in summaries),
    )

"""What shower files hold, in figures: read block by block, in memory that files do not add to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.data.formats import open_shower_file
from gan3d.data.shower_file import ShowerFile
from gan3d.data.showers import known_particles
from gan3d.data.sparse import Shape

Range = tuple[float, float]
"""The smallest and the largest value."""


@dataclass(frozen=True, eq=False)
class Summary:
    """Figures of one or more files."""

    showers: int
    """Number of showers."""
    energy_range_gev: Range
    """Incident energy, GeV."""
    fraction: Sample
    """Sum of all cells / incident energy."""
    hits: int
    """Number of cells above the hit threshold, in all showers together."""
    lit: int
    """Number of cells with energy, in all showers together."""
    cells: int
    """Number of cells, with energy or without, in all showers together."""
    cell_energy_gev: Range
    """The smallest energy above 0 and the largest of any cell, GeV; zeros if all cells are 0."""
    theta_range_rad: Range | None
    """Polar angle of the incident particle, rad; None where the files do not say."""
    image_shapes: tuple[Shape, ...]
    """Cells along (x, y, layer): all that occur, ascending."""
    particles: tuple[int, ...]
    """PDG codes that occur, ascending; empty where the files do not say."""
    columns: tuple[str, ...]
    """Numbers of each shower besides its energy that occur, ascending: `model.conditions` may name
    them."""
    layouts: tuple[str, ...]
    """Formats that occur, ascending."""
    storage: tuple[str, ...]
    """How the cells are stored: all that occur."""
    size_bytes: int
    """Size on the disk."""

    @property
    def sampling_fraction(self) -> tuple[float, float]:
        """Mean of ECAL sum / incident energy, and half the interval of its central 68.3 %.

        That half-width is the standard deviation of a normal distribution, but tails do not move
        it; here it contains the spread with incident energy, too. Of more than `Sample.LIMIT`
        showers, evenly spaced ones stand for all in the width.
        """
        low, high = np.percentile(self.fraction.value_s, (15.865, 84.135))
        return self.fraction.total / self.showers, float(high - low) / 2

    @property
    def mean_hits(self) -> float:
        """Mean number of cells above the hit threshold in a shower."""
        return self.hits / self.showers

    @property
    def lit_fraction(self) -> float:
        """Share of cells with energy: the smaller, the sparser."""
        return self.lit / self.cells

    def figures(self) -> dict[str, object]:
        """Return everything but the sample, ready for JSON."""
        mean, width = self.sampling_fraction
        theta = self.theta_range_rad
        return {
            "showers": self.showers,
            "image_shapes": [list(shape) for shape in self.image_shapes],
            "particles": list(self.particles),
            "energy_range_gev": list(self.energy_range_gev),
            "theta_range_rad": None if theta is None else list(theta),
            "sampling_fraction": {"mean": mean, "robust_width": width},
            "mean_hits": self.mean_hits,
            "lit_fraction": self.lit_fraction,
            "cell_energy_range_gev": list(self.cell_energy_gev),
            "columns": list(self.columns),
            "layouts": list(self.layouts),
            "storage": list(self.storage),
            "size_bytes": self.size_bytes,
        }


@dataclass(frozen=True, eq=False)
class Sample:
    """Values of many showers: their sum, and so many of them that quantiles are known well."""

    LIMIT = 2**20
    """Values that are kept at most; their quantiles are then uncertain by a thousandth of the
    width."""

    total: float
    """Sum of all values."""
    value_s: NDArray[np.float64]
    """Every `stride`-th value, shape (S,)."""
    stride: int = 1
    """A power of 2."""

    @classmethod
    def join(cls, parts: Sequence[Sample]) -> Sample:
        """Return the values of all `parts` together."""
        stride = max(part.stride for part in parts)
        values = np.concatenate([part.value_s[:: stride // part.stride] for part in parts])
        while len(values) > cls.LIMIT:
            values, stride = values[::2], 2 * stride
        return cls(sum(part.total for part in parts), values, stride)


def summarise(
    path: Path,
    *,
    hit_threshold_gev: float,
    shape: Shape | None = None,
    progress: Callable[[int], None] = lambda showers: None,
) -> Summary:
    """Read all of `path`, a block at a time, and tell `progress` how many showers each had.

    Cells above `hit_threshold_gev` (GeV) are hits. `shape` is for files that do not say their own.
    Raises DataError where the file is not sound.
    """
    with open_shower_file(path, shape=shape, check=False) as file:
        size_bytes = path.stat().st_size
        blocks = []
        for first in range(0, file.count, file.block_rows):
            stop = min(first + file.block_rows, file.count)
            blocks.append(_block(file, first, stop, hit_threshold_gev))
            progress(stop - first)
            if len(blocks) == _JOINED_BLOCKS:
                blocks = [combine(blocks)]
        whole = combine(blocks)
    return Summary(**{**vars(whole), "size_bytes": size_bytes})


def combine(summaries: Sequence[Summary]) -> Summary:
    """Return the figures of all `summaries` (at least one) together."""
    lit = [each.cell_energy_gev for each in summaries if each.cell_energy_gev[1] > 0]
    theta = [each.theta_range_rad for each in summaries if each.theta_range_rad is not None]
    return Summary(
        showers=sum(each.showers for each in summaries),
        energy_range_gev=_around([each.energy_range_gev for each in summaries]),
        fraction=Sample.join([each.fraction for each in summaries]),
        hits=sum(each.hits for each in summaries),
        lit=sum(each.lit for each in summaries),
        cells=sum(each.cells for each in summaries),
        cell_energy_gev=_around(lit) if lit else (0.0, 0.0),
        theta_range_rad=_around(theta) if theta else None,
        image_shapes=tuple(sorted({shape for each in summaries for shape in each.image_shapes})),
        particles=tuple(sorted({code for each in summaries for code in each.particles})),
        columns=tuple(sorted({name for each in summaries for name in each.columns})),
        layouts=tuple(sorted({name for each in summaries for name in each.layouts})),
        storage=tuple(sorted({text for each in summaries for text in each.storage})),
        size_bytes=sum(each.size_bytes for each in summaries),
    )


def _block(file: ShowerFile, first: int, stop: int, hit_threshold_gev: float) -> Summary:
    showers = file.read_sparse(first, stop)
    deposit_h = showers.deposit_h
    fraction_n = showers.ecal_n / showers.energy_n
    theta_n = showers.columns.get("theta")
    return Summary(
        showers=len(showers),
        energy_range_gev=_range(showers.energy_n),
        fraction=Sample(float(fraction_n.sum()), fraction_n),
        hits=int(np.count_nonzero(deposit_h > hit_threshold_gev)),
        lit=len(deposit_h),
        cells=len(showers) * int(np.prod(file.image_shape)),
        cell_energy_gev=_range(deposit_h) if len(deposit_h) else (0.0, 0.0),
        theta_range_rad=None if theta_n is None else _range(theta_n),
        image_shapes=(file.image_shape,),
        particles=known_particles(showers.columns),
        columns=tuple(sorted(showers.columns)),
        layouts=(file.layout,),
        storage=(file.storage,),
        size_bytes=0,
    )


def _range(values: NDArray[Any]) -> Range:
    return float(values.min()), float(values.max())


def _around(ranges: Sequence[Range]) -> Range:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


_JOINED_BLOCKS = 64
"""Blocks whose figures are kept before they are joined."""

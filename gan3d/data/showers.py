"""The canonical batch of showers that every reader gives and every writer takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.errors import DataError

COLUMNS = {
    "pdg": "PDG code of the incident particle",
    "px": "momentum of the incident particle along x, GeV",
    "py": "momentum along y, GeV",
    "pz": "momentum along the layers, GeV",
    "theta": "polar angle, rad; pi/2 is perpendicular to the layers",
    "mtheta": "polar angle measured from the cells (barycentres), rad",
    "eta": "pseudorapidity",
    "ywindow": "shift of the image along y, cells",
}
"""Columns with a known meaning; a file may have others, which are kept as they are."""

UNKNOWN_PARTICLE = 0
"""PDG code of showers of which nobody says the particle; of no particle otherwise."""


def known_particles(columns: Mapping[str, NDArray[Any]]) -> tuple[int, ...]:
    """PDG codes of incident particles, ascending; empty where the columns do not say."""
    codes = np.unique(columns.get("pdg", np.empty(0, np.int64)))
    return tuple(int(code) for code in codes if code != UNKNOWN_PARTICLE)


@dataclass(frozen=True, eq=False)
class Showers:
    """Showers with the energies of their incident particles.

    Building one raises DataError if the two arrays do not fit together.
    """

    images_nxyz: NDArray[np.float32]
    """Energy deposited in the cells, shape (N, x, y, layer), GeV."""
    energy_n: NDArray[np.float32]
    """Energy of the incident particle, shape (N,), GeV."""
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What else the file says of each shower, shape (N,) each; see `COLUMNS`."""

    def __post_init__(self) -> None:
        if self.images_nxyz.ndim != 4 or self.energy_n.shape != self.images_nxyz.shape[:1]:
            raise DataError(
                "showers need images (N, x, y, layer) and incident energies (N,), not "
                f"{self.images_nxyz.shape} and {self.energy_n.shape}"
            )

    def __len__(self) -> int:
        return len(self.energy_n)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Cells along (x, y, layer)."""
        x, y, layers = self.images_nxyz.shape[1:]
        return x, y, layers

    def take(self, rows: slice | NDArray[np.int64]) -> Showers:
        """Return the showers of `rows`, in that order: views for a slice, copies for indices."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Showers(self.images_nxyz[rows], self.energy_n[rows], columns)


def gather(parts: Iterable[Showers], count: int, image_shape: tuple[int, int, int]) -> Showers:
    """Return the `count` showers of all `parts` as one, holding one part at a time besides it.

    Columns that not all parts have are left out. Raises DataError if the parts have another number
    of showers or another `image_shape`.
    """
    images = np.empty((count, *image_shape), np.float32)
    energy_n = np.empty(count, np.float32)
    columns: list[Mapping[str, NDArray[Any]]] = []
    done = 0
    for part in parts:
        end = done + len(part)
        columns.append(part.columns)
        if end > count or part.image_shape != image_shape:
            raise DataError(
                f"showers to gather have {end} images so far, of shape {part.image_shape}: "
                f"expected {count} of shape {image_shape}"
            )
        images[done:end], energy_n[done:end] = part.images_nxyz, part.energy_n
        done = end
    if done < count:
        raise DataError(f"only {done} of {count} showers were there to gather")
    names = (
        [name for name in columns[0] if all(name in each for each in columns)] if columns else []
    )
    joined = {name: np.concatenate([each[name] for each in columns]) for name in sorted(names)}
    return Showers(images, energy_n, joined)


def apply_threshold(showers: Showers, threshold_gev: float) -> None:
    """Set cells below `threshold_gev` (GeV) to 0, in place."""
    images = showers.images_nxyz
    for image in images:  # one at a time: no mask as large as a whole shard
        image[image < threshold_gev] = 0.0

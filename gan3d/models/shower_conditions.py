"""What a shower's statistics depend on: the incident energy, and labels where there are some.

NumPy only. Incident energies are Ep over the energy scale; labels (N, C) are as networks see them:
numbers as (value - offset) / scale, categories as their place in the list of values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Condition
from gan3d.errors import ConfigError

Array = NDArray[np.float64]

ENERGY_TERMS = 3
"""Terms of the polynomials in ln(Ep): mean and spread bend over a decade of energy."""
NUMBER_TERMS = 3
"""Of a further number u, standardised: u, its square, and u ln(Ep)."""


@dataclass(frozen=True)
class ShowerConditions:
    """How statistics depend on labels."""

    kinds: tuple[int, ...] = ()
    """Of each label: 0 for a number, else how many categories there are."""
    angle: tuple[int, float, float] | None = None
    """Column of the polar angle among the labels, and its offset and scale (rad): it counts with
    its cosine, which is 0 for showers perpendicular to the layers."""

    @classmethod
    def of(cls, labels: Sequence[Condition]) -> Self:
        """The conditions of networks with these labels.

        Raises ConfigError where two of them are categories, or two the angle.
        """
        kinds = tuple(len(label.values) for label in labels)
        if sum(kind > 0 for kind in kinds) > 1:
            names = [label.name for label in labels if label.kind == "categories"]
            raise ConfigError(
                f"model.conditions: {' and '.join(names)} are categories both, and compact "
                "networks take one; make one of all their combinations"
            )
        angles = [
            (place, label.offset, label.scale)
            for place, label in enumerate(labels)
            if label.is_polar
        ]
        if len(angles) > 1:
            raise ConfigError(
                "model.conditions: theta and mtheta are both the angle; compact networks take one"
            )
        return cls(kinds, angles[0] if angles else None)

    @property
    def numbers(self) -> list[int]:
        """Columns of labels that are numbers."""
        return [place for place, kind in enumerate(self.kinds) if kind == 0]

    @property
    def categories(self) -> int:
        """How many kinds of showers there are: 1 without categories."""
        return max((kind for kind in self.kinds if kind), default=1)

    @property
    def category_column(self) -> int | None:
        """Column of the label that is a category."""
        return next((place for place, kind in enumerate(self.kinds) if kind), None)

    @property
    def terms(self) -> int:
        """How many terms means and spreads have."""
        return self.categories * ENERGY_TERMS + NUMBER_TERMS * len(self.numbers)

    @property
    def extra(self) -> int:
        """How many terms labels add to those of the cells' shares."""
        return self.categories - 1 + len(self.numbers)

    def measured(self, labels_nc: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the numbers, (M,) each, for `standardised`."""
        values_nm = self._values(labels_nc)
        return values_nm.mean(axis=0), np.maximum(values_nm.std(axis=0), 1e-6)

    def standardised(self, labels_nc: Array, centre_m: Array, width_m: Array) -> Array:
        """The numbers, the angle as its cosine, around their mean and over their spread, (N, M)."""
        standard_nm: Array = (self._values(labels_nc) - centre_m) / width_m
        return standard_nm

    def one_hot(self, labels_nc: Array) -> Array:
        """1 for the category of each shower, (N, categories)."""
        if self.category_column is None:
            return np.ones((len(labels_nc), 1))
        one_hot_nc: Array = np.eye(self.categories)[labels_nc[:, self.category_column].astype(int)]
        return one_hot_nc

    def theta(self, labels_nc: Array) -> Array:
        """The polar angle (rad) of conditions that have one: (N,)."""
        assert self.angle is not None
        place, offset, scale = self.angle
        theta_n: Array = labels_nc[:, place].astype(np.float64) * scale + offset
        return theta_n

    def _values(self, labels_nc: Array) -> Array:
        values_nm = labels_nc[:, self.numbers].astype(np.float64)
        if self.angle is not None:
            values_nm[:, self.numbers.index(self.angle[0])] = np.cos(self.theta(labels_nc))
        return values_nm


def condition_terms(energy_n1: Array, numbers_nm: Array, one_hot_nc: Array) -> Array:
    """Terms of means and spreads, (N, T), the first being 1.

    Powers of ln(Ep); for each number u, standardised, u, its square and u ln(Ep); for each category
    but the first powers of ln(Ep) for it alone.
    """
    log_n1 = np.log(energy_n1)
    powers_nt = np.power(log_n1, np.arange(ENERGY_TERMS))
    parts = [powers_nt]
    for number_n1 in np.split(numbers_nm, numbers_nm.shape[1], axis=1) if numbers_nm.size else []:
        parts += [number_n1, number_n1**2, number_n1 * log_n1]
    parts += [powers_nt * one_hot_nc[:, c : c + 1] for c in range(1, one_hot_nc.shape[1])]
    return np.concatenate(parts, axis=1)


def weights_of_categories(
    numbers: int, weights_r: Array, theirs: Sequence[int], ours: Sequence[int]
) -> Array:
    """Weights (R, ...) for showers of the categories `theirs`, for those of `ours`.

    Their last rows are of `condition_terms`, which has `numbers` numbers. A category of both
    weighs what it did. One that is not in `theirs` begins as their first one; where it is not the
    first of `ours`, the rows that tell it from that are NaN, as they are not known.
    """
    tails = ENERGY_TERMS * (len(theirs) - 1)
    head_r, tail_r = np.split(weights_r, [len(weights_r) - tails])
    first = len(head_r) - NUMBER_TERMS * numbers - ENERGY_TERMS
    own = slice(first, first + ENERGY_TERMS)
    differences = [np.zeros_like(head_r[own]), *np.split(tail_r, max(1, len(theirs) - 1))]
    of_value = dict(zip(theirs, differences, strict=False))
    base = of_value.get(ours[0], differences[0])
    head_r = head_r.copy()
    head_r[own] += base
    unknown = np.full_like(base, np.nan)
    return np.concatenate(
        [head_r, *(of_value[each] - base if each in of_value else unknown for each in ours[1:])]
    )


# ----------------------------------------------------------------------------- inclined showers


def fit_slant(images_nxyz: NDArray[np.float32], energy_n1: Array, theta_n: Array) -> Array:
    """How the axis of inclined showers runs through the layers, (3,).

    The axis is `slant` cells away from where it is at pi/2, along y. The coefficients are those of
    the energy-weighted regression of the layers' barycentres.
    """
    layers = images_nxyz.shape[3]
    energy_nz = images_nxyz.sum(axis=(1, 2), dtype=np.float64)
    y_y = np.arange(images_nxyz.shape[2])
    y_nz = np.einsum("nxyz,y->nz", images_nxyz, y_y) / np.maximum(energy_nz, 1e-30)
    weight_nz = np.sqrt(energy_nz / energy_nz.sum(axis=1, keepdims=True).clip(1e-30))
    terms_nzs = np.concatenate(
        [_slant_terms(energy_n1, theta_n, layers), np.ones((*energy_nz.shape, 1))], axis=2
    )
    solution, *_ = np.linalg.lstsq(
        (terms_nzs * weight_nz[..., None]).reshape(-1, terms_nzs.shape[2]),
        (y_nz * weight_nz).ravel(),
        rcond=None,
    )
    coefficients_s: Array = solution[:-1]
    return coefficients_s


def slant(energy_n1: Array, theta_n: Array, coefficients_s: Array, layers: int) -> Array:
    """Cells along y by which an inclined shower's axis is away from the middle, (N, layer).

    cot(theta) (a + b ln(Ep) + c z): the images are centred on the shower, whose depth grows with
    ln(Ep).
    """
    shift_nz: Array = _slant_terms(energy_n1, theta_n, layers) @ coefficients_s
    return shift_nz


def _slant_terms(energy_n1: Array, theta_n: Array, layers: int) -> Array:
    cot_n1 = 1.0 / np.tan(theta_n)[:, None]
    ones_z = np.ones(layers)
    return np.stack(
        [cot_n1 * ones_z, cot_n1 * np.log(energy_n1) * ones_z, cot_n1 * np.arange(layers)], axis=2
    )


def upright(images_nxyz: NDArray[np.float32], cells_nz: NDArray[np.int64]) -> NDArray[np.float32]:
    """Images whose layers are moved back by whole cells along y; nothing comes in at the ends."""
    count = images_nxyz.shape[2]
    from_nyz = np.arange(count)[None, :, None] + cells_nz[:, None, :]
    inside_nyz = (from_nyz >= 0) & (from_nyz < count)
    taken_nxyz = np.take_along_axis(images_nxyz, np.clip(from_nyz, 0, count - 1)[:, None], axis=2)
    moved_nxyz: NDArray[np.float32] = taken_nxyz * inside_nyz[:, None].astype(np.float32)
    return moved_nxyz

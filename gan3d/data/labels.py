"""Labels of showers that networks are conditioned on: from a file's columns to network inputs.

What a label is, and how networks see it, says `gan3d.config.Condition`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Condition
from gan3d.config.schema.model import KNOWN_CONDITIONS
from gan3d.data.showers import UNKNOWN_PARTICLE
from gan3d.errors import DataError

Columns = Mapping[str, NDArray[Any]]
"""Numbers of showers by the name of their column, (N,) each."""

LabelRange = tuple[str, float, float]
"""A column, and the smallest and largest number in it."""

Categories = tuple[str, tuple[int, ...]]
"""A column, and the values that occur in it, ascending."""


def pick_columns(columns: Columns, labels: Sequence[Condition]) -> dict[str, NDArray[Any]]:
    """The columns of `labels`, (N,) each, as they travel: float32, categories int64."""
    return {
        label.column: np.asarray(
            columns[label.column], np.int64 if label.kind == "categories" else np.float32
        )
        for label in labels
    }


def network_labels(columns: Columns, labels: Sequence[Condition]) -> NDArray[np.float32]:
    """What networks see of `labels`, (N, C) in their order.

    Numbers as (value - offset) / scale, categories as their place in `Condition.values`. Raises
    DataError where a column is missing or holds what it must not.
    """
    seen = []
    for label in labels:
        if label.column not in columns:
            raise DataError(f"{label.name}: showers have no column '{label.column}'")
        values_n = np.asarray(columns[label.column])
        fault = find_fault(values_n, label)
        if fault is not None:
            raise DataError(fault)
        if label.kind == "categories":
            place_n = np.argmax(values_n[:, None] == np.array(label.values), axis=1)
            seen.append(place_n.astype(np.float32))
        else:
            scaled_n = (values_n.astype(np.float64) - label.offset) / label.scale
            seen.append(scaled_n.astype(np.float32))
    return np.stack(seen, axis=1)


def label_inputs(columns: Columns, labels: Sequence[Condition]) -> list[NDArray[np.float32]]:
    """The further inputs of networks: what `network_labels` gives, or nothing without labels."""
    return [network_labels(columns, labels)] if labels else []


def find_fault(values_n: NDArray[Any], label: Condition) -> str | None:
    """What is wrong with the values (N,) of a label, in the first shower that is; None: nothing."""
    if label.kind == "categories":
        good_n = np.isin(values_n, label.values)
        expected = "one of " + ", ".join(map(str, label.values))
        expected += " (model.conditions: values)"
    else:
        unit = "rad" if label.is_polar else label.unit
        good_n = np.isfinite(values_n)
        expected = f"a finite number{f' ({unit})' if unit else ''}"
        if good_n.all() and unit == "rad":
            # A polar angle is that to the axis z; below 0 it is to something else.
            good_n = ~in_degrees(values_n) & ((values_n >= 0.0) | (not label.is_polar))
            expected = f"rad, between {'0' if label.is_polar else '-pi'} and pi"
            degrees = in_degrees(values_n).any()
            expected += "; are the angles in degrees?" if degrees else " (across the layers: pi/2)"
        if good_n.all() and label.plane_rad:
            good_n = np.abs(np.sin(values_n, dtype=np.float64)) >= math.sin(label.plane_rad)
            expected = (
                f"at least {label.plane_rad:.3g} rad between the shower and the layers' plane, "
                "in which 0 and pi are"
            )
    if good_n.all():
        return None
    row = int(np.argmin(good_n))
    value = values_n[row]
    shown = str(value) if np.issubdtype(values_n.dtype, np.integer) else f"{value:.6g}"
    return f"shower {row}: '{label.column}' is {shown}, expected {expected}"


def in_degrees(angle_n: NDArray[Any]) -> NDArray[np.bool_]:
    """Which angles cannot be in rad, as none is beyond pi."""
    # float32 of pi is above pi.
    return np.asarray(np.abs(angle_n) > np.float32(math.pi))


def check_labels(
    columns: Columns, labels: Sequence[Condition], path: Path
) -> tuple[LabelRange, ...]:
    """Smallest and largest value of each of the `labels` that the file `path` has.

    `columns` are all of the file's. Raises DataError, naming the file, for a label that is missing
    or holds what it must not.
    """
    ranges = []
    for label in labels:
        if label.column not in columns:
            there = ", ".join(sorted(columns)) or "none"
            raise DataError(
                f"{path}: has no column '{label.column}', which model.conditions names "
                f"({label.name}); its columns: {there}"
            )
        values_n = columns[label.column]
        fault = find_fault(values_n, label)
        if fault is not None:
            raise DataError(f"{path}: {fault}")
        ranges.append((label.column, float(values_n.min()), float(values_n.max())))
    return tuple(ranges)


def found_categories(columns: Columns, labels: Sequence[Condition]) -> tuple[Categories, ...]:
    """The values that occur of each of the `labels` with categories, by its column, ascending."""
    return tuple(
        (label.column, tuple(int(value) for value in np.unique(columns[label.column])))
        for label in labels
        if label.kind == "categories"
    )


def particle_codes(columns: Columns) -> tuple[int, ...]:
    """PDG codes that occur in a file's columns, ascending; none where it does not say."""
    return tuple(int(code) for code in np.unique(columns.get("pdg", np.empty(0, np.int64))))


class Particles:
    """Which particles files hold: told of each file, it finds a mixture that nobody declared."""

    def __init__(self, allowed: Sequence[int] | None, labels: Sequence[Condition]) -> None:
        """`allowed` is `data.particles`, `labels` what networks are conditioned on."""
        own = [label for label in labels if label.column == "pdg" and label.kind == "categories"]
        # What a condition does not know, `check_labels` finds.
        self._allowed, self._any = allowed, bool(own)
        self._first: tuple[int, Path] | None = None
        self._codes: set[int] = set()
        self._mixture: str | None = None

    def add(self, codes: Sequence[int], path: Path) -> None:
        """Note the particles `codes` of the file `path`.

        Raises DataError where `data.particles` does not allow them.
        """
        codes = [code for code in codes if code != UNKNOWN_PARTICLE]
        if self._allowed is not None:
            others = [code for code in codes if code not in self._allowed]
            if others:
                allowed = ", ".join(map(str, self._allowed))
                raise DataError(
                    f"{path}: holds particles with PDG code {_listed(others)}, expected "
                    f"{allowed} (data.particles)"
                )
            return
        if self._any or not codes:
            return
        first, where = self._first or (codes[0], path)
        self._first = first, where
        self._codes.update(codes)
        others = [code for code in codes if code != first]
        if others and self._mixture is None:
            beside = f"{first}" if where == path else f"{first} in {where}"
            self._mixture = (
                f"{path}: holds particles with PDG code {_listed(others)} beside {beside}"
            )

    def refuse_mixture(self) -> None:
        """Raise DataError, naming the first file that makes one, for a mixture in the files."""
        if self._mixture is not None:
            # After all files: who does as is said is not told of another particle then.
            raise DataError(
                f"{self._mixture}, expected one kind of particle; condition the networks on it "
                f"(model.conditions: {conditions_for(self._codes)}), or allow it with "
                "data.particles"
            )


def conditions_for(codes: Collection[int]) -> str:
    """What `model.conditions` says for networks that are told particles of these PDG codes."""
    known = KNOWN_CONDITIONS["particle"]
    if set(codes) <= set(known.values):
        return f"[energy, {known.name}]"
    values = _listed(sorted(codes, key=lambda code: (abs(code), -code)))
    return f"[energy, {{name: {known.name}, values: [{values}]}}]"


def _listed(codes: Sequence[int]) -> str:
    return ", ".join(map(str, codes))

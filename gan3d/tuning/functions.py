"""Functions with known minima, for tests of the machinery: they take the place of a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Function = Callable[[Mapping[str, Any]], float]


def _sphere(values: Mapping[str, Any]) -> float:
    """Sum of squares of all numbers; 0 at 0."""
    return math.fsum(float(value) ** 2 for value in values.values() if _is_number(value))


def _branin(values: Mapping[str, Any]) -> float:
    """Branin's function of x in [-5, 10] and y in [0, 15].

    Its three minima are 0.397887, one of them at (pi, 2.275). Dixon & Szego 1978.
    """
    x, y = float(values["x"]), float(values["y"])
    bent = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bent**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def _rosenbrock(values: Mapping[str, Any]) -> float:
    """Rosenbrock's valley of x and y; 0 at (1, 1). Rosenbrock 1960."""
    x, y = float(values["x"]), float(values["y"])
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {"sphere": _sphere, "branin": _branin, "rosenbrock": _rosenbrock}
)

ARGUMENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"branin": ("x", "y"), "rosenbrock": ("x", "y")}
)
"""Keys that a search of the function must have; others take what they get."""


def at_epoch(value: float, epoch: int, epochs: int) -> float:
    """What a function of this value reports after `epoch` (from 1) of so many: it falls to it."""
    return value + (epochs - epoch) / epochs * (1.0 + abs(value))

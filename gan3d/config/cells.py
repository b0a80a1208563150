"""What networks see of cell energies: a power of them, or their logarithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_LARGEST_LOG = 30.0
"""What networks make beyond this is taken for it: 1e13 times `log_gev`, and finite."""


@dataclass(frozen=True)
class CellScale:
    """The scale of the images that networks see and make; E in GeV, both ways without a loss.

    E ** `power`, or, where `log_gev` is given, ln(1 + E / `log_gev`). 0 stays 0, and more stays
    more. Images may be NumPy arrays, or with `functions=keras.ops` tensors.
    """

    power: float = 1.0
    """`data.cell_power`."""
    log_gev: float | None = None
    """`data.cell_log_gev`."""

    @property
    def plain(self) -> bool:
        """Whether they are in GeV."""
        return self.log_gev is None and self.power == 1.0

    def seen(self, gev: Any, functions: Any = np) -> Any:
        """From GeV to what networks see; GeV stay as they are, to the last bit."""
        if self.log_gev is not None:
            return functions.log1p(gev / np.float32(self.log_gev))
        return gev if self.plain else functions.power(gev, np.float32(self.power))

    def gev(self, seen: Any, functions: Any = np) -> Any:
        """From what networks see, or make, to GeV."""
        if self.log_gev is not None:
            bounded = functions.minimum(seen, np.float32(_LARGEST_LOG))
            # exp(x) - 1, as exact for small x, in functions that ONNX has.
            ratio = functions.tanh(np.float32(0.5) * bounded) * (functions.exp(bounded) + 1.0)
            return ratio * np.float32(self.log_gev)
        return seen if self.plain else functions.power(seen, np.float32(1.0 / self.power))


GEV = CellScale()
"""The energies as they are."""

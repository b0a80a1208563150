"""What a file of showers offers, whatever its format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gan3d.data.showers import Showers


class ShowerFile(ABC):
    """An open file of showers, checked at opening as far as that is possible without its cells.

    A context manager: leaving it closes the file.
    """

    path: Path
    """The file."""
    image_shape: tuple[int, int, int]
    """Cells along (x, y, layer)."""
    energy_n: NDArray[np.float32]
    """Incident energies of all showers, shape (N,), GeV; finite and positive."""
    particles: tuple[int, ...]
    """PDG codes of the incident particles that occur, in ascending order."""
    storage: str
    """How the cells are stored, for people: compression and chunks."""

    @property
    def count(self) -> int:
        """Showers in the file; at least 1."""
        return len(self.energy_n)

    @property
    @abstractmethod
    def block_rows(self) -> int:
        """Showers that are best read at once: whole chunks, in a bounded amount of memory."""

    @abstractmethod
    def read(self, rows: slice | NDArray[np.int64]) -> Showers:
        """Return the showers of `rows`, in new arrays.

        `rows` is a slice with step 1 or ascending row numbers without repetition. Raises DataError,
        naming the file and the shower, if a cell is negative or not finite or the file is damaged.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file; reading raises afterwards."""

    def blocks(self) -> Iterator[Showers]:
        """Yield all showers in file order, `block_rows` at a time (the last block may be short)."""
        for start in range(0, self.count, self.block_rows):
            yield self.read(slice(start, min(start + self.block_rows, self.count)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

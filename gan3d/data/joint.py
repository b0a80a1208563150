"""Several images of the same showers, read from one file as one list of cells."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Data, Images
from gan3d.data.shower_file import ShowerFile
from gan3d.data.sparse import SparseShowers, join_images
from gan3d.errors import UsageError


def refuse_several(data: Data, where: object, doing: str) -> None:
    """Raise UsageError where `data` has several images of a shower, for what takes one.

    `where` and `doing` begin the message: what has them, and what cannot be done with it.
    """
    if data.further_images:
        names = ", ".join(data.geometries)
        raise UsageError(
            f"{where}: {doing} takes one image of a shower, and its networks have {names} "
            "(data.further_images); not built for several. All else is"
        )


class JointFile(ShowerFile):
    """The images of the same showers, each of which a reader of its own reads."""

    def __init__(self, readers: Mapping[str, ShowerFile]) -> None:
        """Take over `readers` of as many showers each, by the names of the images, in GeV."""
        first = next(iter(readers.values()))
        self._readers = list(readers.values())
        self.layout = first.layout  # type: ignore[misc] # that of the file
        self.path, self.count, self.unit_gev = first.path, first.count, first.unit_gev
        self.images = Images({name: reader.image_shape for name, reader in readers.items()})
        self.image_shape = self.images.shape
        self.storage = first.storage
        self.chunk_rows = max(reader.chunk_rows for reader in self._readers)
        self.cell_size_mm = first.cell_size_mm
        self.further_images = tuple(name for name in first.further_images if name not in readers)
        self.left_out = first.left_out
        self.double = any(reader.double for reader in self._readers)

    def read_energies(self, first: int, stop: int) -> NDArray[np.float32]:
        """See `ShowerFile`."""
        return self._readers[0].read_energies(first, stop)

    def read_cells(self, first: int, stop: int) -> SparseShowers:
        """See `ShowerFile`."""
        return join_images([reader.read_cells(first, stop) for reader in self._readers])

    def read_columns(self, first: int, stop: int) -> dict[str, NDArray[Any]]:
        """See `ShowerFile`."""
        return self._readers[0].read_columns(first, stop)

    def close(self) -> None:
        """See `ShowerFile`."""
        for reader in self._readers:
            reader.close()

    @cached_property
    def attributes(self) -> Mapping[str, str | int | float]:
        """See `ShowerFile`."""
        return self._readers[0].attributes

    @cached_property
    def particles(self) -> tuple[int, ...]:
        """See `ShowerFile`."""
        return self._readers[0].particles

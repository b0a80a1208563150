"""How several images of one shower go through everything that takes one.

An electromagnetic and a hadronic calorimeter, for example, see one shower in cells of different
sizes. Their cells, one image after the other, are one list of cells: an image of (cells, 1, 1),
which order, window, batches, steps and checkpoints take as any other. It is taken apart where cells
have neighbours: in the networks, and where showers are judged and written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

Shape = tuple[int, int, int]

FIRST_IMAGE = "ECAL"
"""Dataset of the first image, or the only one, in LCD files (`gan3d.data.lcd`)."""


@dataclass(frozen=True)
class Images:
    """The images of a shower, by their names, in the order in which their cells are numbered."""

    shapes: Mapping[str, Shape]
    """Cells along (x, y, layer) of each."""

    @property
    def single(self) -> bool:
        """Whether there is one, which then is as it is."""
        return len(self.shapes) == 1

    @property
    def further(self) -> dict[str, Shape]:
        """All but the first."""
        return dict(list(self.shapes.items())[1:])

    @property
    def shape(self) -> Shape:
        """That of the one image, or of all together: (cells, 1, 1)."""
        if self.single:
            return next(iter(self.shapes.values()))
        return sum(map(prod, self.shapes.values())), 1, 1

    @property
    def cells(self) -> dict[str, slice]:
        """Numbers of the cells of each, as slices."""
        found, start = {}, 0
        for name, shape in self.shapes.items():
            found[name] = slice(start, start + prod(shape))
            start += prod(shape)
        return found

    def locate(self, cell: int) -> tuple[str, Shape, int]:
        """The image that a cell is of, its shape, and the number of the cell in it."""
        name = next(name for name, cells in self.cells.items() if cell < cells.stop)
        return name, self.shapes[name], cell - self.cells[name].start

    def split(self, images_nxyz: Any) -> dict[str, Any]:
        """Each image (N, x, y, layer) of showers (N, *shape), as views of NumPy arrays."""
        if self.single:
            return dict.fromkeys(self.shapes, images_nxyz)
        cells_nc = images_nxyz.reshape(len(images_nxyz), -1)
        return {
            name: cells_nc[:, cells].reshape(len(images_nxyz), *self.shapes[name])
            for name, cells in self.cells.items()
        }

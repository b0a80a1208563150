"""The cells that files must have, where they may be cropped already."""

from __future__ import annotations

from dataclasses import dataclass

from gan3d.config import Data
from gan3d.data.sparse import Shape


@dataclass(frozen=True)
class FileCells:
    """Cells along (x, y, layer) of the first image of files, and of what is made of it."""

    shape: Shape | None
    """Cells of files; None: any."""
    grid: Shape | None = None
    """What images are cropped or padded to; files that have these cells already are taken as they
    are, beside those of `shape`. None: images stay as they are."""
    where: str = "data.geometry.shape"
    """What says `shape`, or what to do about it, for people."""

    @classmethod
    def of(cls, data: Data) -> FileCells:
        """Those of the files that showers of a run of `data` are compared with."""
        return cls(data.geometry.shape, data.grid)

    def takes(self, found: Shape) -> bool:
        """Whether files may have the cells `found`."""
        return self.shape is None or found in (tuple(self.shape), self.grid)

    def __str__(self) -> str:
        """The cells that are taken, and what says so."""
        wanted = "any cells" if self.shape is None else f"{in_cells(self.shape)} ({self.where})"
        return wanted + (f" or {in_cells(self.grid)} (data.grid)" if self.grid else "")


def in_cells(shape: Shape) -> str:
    """Such as "25×25×25 cells"."""
    return "×".join(str(length) for length in shape) + " cells"

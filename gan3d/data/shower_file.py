"""What a file of showers offers, whatever its format."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Images
from gan3d.data.showers import Showers, gather
from gan3d.data.sparse import SparseShowers
from gan3d.errors import DataError


class ShowerFile(ABC):
    """An open file of showers; several threads may read from it at once.

    Opening looks at the file's layout alone; `energy_n` looks at all incident energies, and
    reading at the showers that are read. A context manager: leaving it closes the file.
    """

    layout: ClassVar[str]
    """Name of the format, as `gan3d data convert --to` takes it."""

    path: Path
    """The file."""
    count: int
    """Showers in the file; at least 1."""
    image_shape: tuple[int, int, int]
    """Cells along (x, y, layer)."""
    images: Images | None = None
    """Where several images of a shower are read, their cells; `image_shape` is then that of all
    together. None: one is."""
    unit_gev: float = 1.0
    """The file's unit of energy, in GeV."""
    storage: str
    """How the cells are stored, for people: compression and chunks."""
    chunk_rows: int = 1
    """Showers that can only be read together (a compressed chunk, a row group)."""
    cell_size_mm: tuple[float, float, float] | None = None
    """Cell pitch along (x, y, layer) in mm, where the file says it."""
    further_images: tuple[str, ...] = ()
    """Cells of other images of the showers that are in the file and are not read."""
    left_out: tuple[str, ...] = ()
    """What else is in the file and is not read: neither cells nor one number a shower."""
    double: bool = False
    """Energies are stored in double precision; what is read is single."""

    @abstractmethod
    def read_energies(self, first: int, stop: int) -> NDArray[np.float32]:
        """Incident energies of the showers `first` to `stop`, in the file's unit, unchecked.

        Raises DataError if the file is damaged there.
        """

    @abstractmethod
    def read_cells(self, first: int, stop: int) -> SparseShowers:
        """Return showers `first` to `stop`, in the file's unit, with all columns, unchecked.

        Cells that are not 0 are there, NaN among them. Raises DataError, naming the file and the
        showers, if it is damaged there.
        """

    @abstractmethod
    def read_columns(self, first: int, stop: int) -> dict[str, NDArray[Any]]:
        """All columns of showers `first` to `stop`, (N,) each, unchecked, without any cell.

        Raises DataError if the file is damaged there.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file; reading raises afterwards."""

    @cached_property
    def attributes(self) -> Mapping[str, str | int | float]:
        """What the file says of itself as a whole: text and numbers by name."""
        return {}

    @cached_property
    def particles(self) -> tuple[int, ...]:
        """PDG codes of the incident particles, ascending; empty where the file does not say."""
        return ()

    @cached_property
    def energy_n(self) -> NDArray[np.float32]:
        """Incident energies of all showers, shape (N,), GeV; DataError if one is not > 0."""
        energy_n = self.read_energies(0, self.count)
        self._check_energies(energy_n, 0)
        return self._in_gev(energy_n)

    @property
    def block_rows(self) -> int:
        """Showers that are best read at once: whole chunks, in a bounded amount of memory."""
        wanted = max(1, _BLOCK_BYTES // self._image_bytes)
        if self.chunk_rows * self._image_bytes > _LARGEST_BLOCK_BYTES:
            # Chunks are then decompressed more than once: better than unbounded memory.
            return max(1, _LARGEST_BLOCK_BYTES // self._image_bytes)
        return self.chunk_rows * max(1, wanted // self.chunk_rows)

    def read_native(self, first: int, stop: int) -> SparseShowers:
        """Return showers `first` to `stop` in the file's own unit, bit for bit.

        Raises DataError, naming the file and the shower, if a cell is negative or not finite, an
        incident energy is not a positive number, or the file is damaged.
        """
        showers = self.read_cells(first, stop)
        self._check_energies(showers.energy_n, first)
        self._check_cells(showers, first)
        return showers

    def read_sparse(self, first: int, stop: int, *, threshold_gev: float = 0.0) -> SparseShowers:
        """Return showers `first` to `stop` in GeV, without cells below `threshold_gev` (GeV).

        Raises DataError as `read_native` does.
        """
        showers = self.read_native(first, stop)
        if self.unit_gev != 1.0:
            showers = showers.with_deposits(
                self._in_gev(showers.deposit_h), self._in_gev(showers.energy_n)
            )
        # Even without a threshold: -0.0 is no energy.
        return showers.where(showers.deposit_h >= max(threshold_gev, _SMALLEST))

    def read(self, rows: slice | NDArray[np.int64] = slice(None)) -> Showers:
        """Return the images of `rows` in GeV, in new arrays.

        `rows` is a slice with step 1 or ascending row numbers without repetition. Raises DataError
        as `read_native` does.
        """
        wanted = np.arange(self.count)[rows]
        return gather((part.dense() for part in self.pick(wanted)), len(wanted), self.image_shape)

    def pick(
        self, rows: NDArray[np.int64], *, threshold_gev: float = 0.0
    ) -> Iterator[SparseShowers]:
        """Yield the showers of ascending `rows` in GeV, block by block."""
        done = 0
        while done < len(rows):
            # Whole blocks, so that each chunk is decompressed once.
            stop = (int(rows[done]) // self.block_rows + 1) * self.block_rows
            end = int(np.searchsorted(rows, stop))
            first, last = int(rows[done]), int(rows[end - 1])
            showers = self.read_sparse(first, last + 1, threshold_gev=threshold_gev)
            yield showers if len(showers) == end - done else showers.take(rows[done:end] - first)
            done = end

    def blocks(self, *, native: bool = False) -> Iterator[SparseShowers]:
        """Yield all showers in file order, `block_rows` at a time (the last block may be short).

        In GeV, or with `native` in the file's unit, bit for bit.
        """
        read = self.read_native if native else self.read_sparse
        for start in range(0, self.count, self.block_rows):
            yield read(start, min(start + self.block_rows, self.count))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _image_bytes(self) -> int:
        return 4 * math.prod(self.image_shape)

    def _in_gev(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.unit_gev == 1.0:
            return values
        return (values * np.float64(self.unit_gev)).astype(np.float32)

    def _check_energies(self, energy_n: NDArray[np.float32], first: int) -> None:
        good_n = np.isfinite(energy_n) & (energy_n > 0)
        if not good_n.all():
            row = int(np.argmin(good_n))
            raise DataError(
                f"{self.path}: shower {first + row}: the incident energy must be a positive "
                f"number, it is {energy_n[row]:g} {self._unit}"
            )

    def _check_cells(self, showers: SparseShowers, first: int) -> None:
        deposit_h = showers.deposit_h
        # A NaN passes through min(), so two reductions without temporaries find all bad cells.
        if not len(deposit_h) or (deposit_h.min() >= 0.0 and deposit_h.max() < np.inf):
            return
        bad_h = ~np.isfinite(deposit_h) | (deposit_h < 0.0)
        worst = int(np.argmax(bad_h))
        row = int(showers.shower_h[worst])
        cell, shape, where = int(showers.cell_h[worst]), self.image_shape, ""
        if self.images is not None:
            name, shape, cell = self.images.locate(cell)
            where = f" of {name}"
        x, y, layer = np.unravel_index(cell, shape)
        what = "negative" if np.isfinite(deposit_h[worst]) else "not finite"
        raise DataError(
            f"{self.path}: shower {first + row}: the energy of cell (x={x}, y={y}, "
            f"layer={layer}){where} is {what}: {deposit_h[worst]:g} {self._unit}"
        )

    @property
    def _unit(self) -> str:
        return {1.0: "GeV", 1e-3: "MeV"}.get(self.unit_gev, f"× {self.unit_gev:g} GeV")


_BLOCK_BYTES = 6 * 2**20
"""Images of a block, if chunks allow it: small blocks mix well, large ones cost less."""
_LARGEST_BLOCK_BYTES = 64 * 2**20
_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)

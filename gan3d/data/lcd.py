"""The LCD schema for showers of a fixed angle, as in the published `EleEscan_*.h5` files.

`ECAL` (N, x, y, layer) holds cell energies in GeV, `target` (N, 5) or (N, 1, 5) holds the incident
particle as [PDG code, E, px, py, pz] in GeV.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gan3d.data.shower_file import ShowerFile
from gan3d.data.sparse import SparseShowers, from_images
from gan3d.errors import DataError

TARGET_COLUMNS = ("pdgID", "E", "px", "py", "pz")


class LcdFile(ShowerFile):
    """A fixed-angle LCD file; compressed or not, chunked or contiguous."""

    layout = "lcd"

    def __init__(self, path: Path) -> None:
        """Open and check `path`. Raises DataError if it is not a sound fixed-angle LCD file."""
        self.path = path
        try:
            self._file = h5py.File(path, "r", locking="best-effort")
        except OSError as error:
            raise DataError(
                f"{path}: HDF5 cannot open it, probably truncated or damaged ({error})"
            ) from error
        try:
            self._images = self._dataset("ECAL")
            self._target = self._dataset("target")
            self.image_shape = self._check_images()
            self._check_target(self._target)
            self.count = len(self._images)
            self.chunk_rows = self._images.chunks[0] if self._images.chunks else 1
            self.storage = _describe_storage(self._images)
        except BaseException:
            self._file.close()
            raise

    def read_energies(self, first: int, stop: int) -> NDArray[np.float32]:
        """See `ShowerFile`."""
        return self._read_target(first, stop)[:, 1].astype(np.float32)

    def read_cells(self, first: int, stop: int) -> SparseShowers:
        """See `ShowerFile`."""
        images = np.empty((stop - first, *self.image_shape), np.float32)
        try:
            self._images.read_direct(images, np.s_[first:stop])
        except OSError as error:
            raise DataError(
                f"{self.path}: showers {first} to {stop - 1} cannot be read, the file is damaged "
                f"({error})"
            ) from error
        target = self._read_target(first, stop)
        columns = {
            "pdg": target[:, 0].astype(np.int32),
            **{name: target[:, 2 + axis] for axis, name in enumerate(("px", "py", "pz"))},
        }
        return from_images(images, target[:, 1].astype(np.float32), columns)

    @cached_property
    def particles(self) -> tuple[int, ...]:
        """See `ShowerFile`."""
        particle_n = self._read_target(0, self.count)[:, 0]
        odd_n = particle_n != np.round(particle_n)
        if odd_n.any():
            row = int(np.argmax(odd_n))
            raise DataError(
                f"{self.path}: shower {row}: the PDG code must be a whole number, it is "
                f"{particle_n[row]:g}"
            )
        return tuple(int(code) for code in np.unique(particle_n))

    def close(self) -> None:
        """See `ShowerFile`."""
        self._file.close()

    def _dataset(self, name: str) -> h5py.Dataset:
        dataset = self._file.get(name)
        if not isinstance(dataset, h5py.Dataset):
            found = ", ".join(self._file) or "nothing"
            raise DataError(
                f"{self.path}: no dataset '{name}', as fixed-angle LCD files have (found {found})"
            )
        if dataset.dtype.kind != "f":
            raise DataError(
                f"{self.path}: '{name}' holds {dataset.dtype}, expected floating-point GeV"
            )
        return dataset

    def _check_images(self) -> tuple[int, int, int]:
        shape = self._images.shape
        if shape is None or len(shape) != 4 or 0 in shape[1:]:
            raise DataError(f"{self.path}: 'ECAL' has shape {shape}, expected (N, x, y, layer)")
        if shape[0] == 0:
            raise DataError(f"{self.path}: holds no showers ('ECAL' has shape {shape})")
        return shape[1], shape[2], shape[3]

    def _check_target(self, target: h5py.Dataset) -> None:
        columns = len(TARGET_COLUMNS)
        if target.shape is None or target.shape[1:] not in ((columns,), (1, columns)):
            raise DataError(
                f"{self.path}: 'target' has shape {target.shape}, expected (N, {columns}) or "
                f"(N, 1, {columns}): {', '.join(TARGET_COLUMNS)}"
            )
        if len(target) != len(self._images):
            raise DataError(
                f"{self.path}: 'ECAL' holds {len(self._images)} showers but 'target' {len(target)}"
            )

    def _read_target(self, first: int, stop: int) -> NDArray[Any]:
        try:
            values: NDArray[Any] = self._target[first:stop].reshape(-1, len(TARGET_COLUMNS))
        except OSError as error:
            raise DataError(
                f"{self.path}: 'target' cannot be read, the file is damaged ({error})"
            ) from error
        return values


def _describe_storage(images: h5py.Dataset) -> str:
    filters = [images.compression or "uncompressed"]
    if images.compression == "gzip":
        filters = [f"gzip {images.compression_opts}"]
    if images.shuffle:
        filters.append("shuffle")
    layout = f"chunks of {images.chunks[0]}" if images.chunks else "contiguous"
    if images.chunks and images.chunks[1:] != images.shape[1:]:
        layout = "chunks " + "×".join(str(length) for length in images.chunks)
    return ", ".join([*filters, layout])

"""The LCD schema for showers of a fixed angle, as in the published `EleEscan_*.h5` files.

`ECAL` (N, x, y, layer) holds cell energies in GeV, `target` (N, 5) or (N, 1, 5) holds the incident
particle as [PDG code, E, px, py, pz] in GeV.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from gan3d.data.shower_file import ShowerFile
from gan3d.data.showers import Showers
from gan3d.errors import DataError

TARGET_COLUMNS = ("pdgID", "E", "px", "py", "pz")

_BLOCK_BYTES = 16 * 2**20  # of float32 cells; larger only where one chunk is larger


class LcdFile(ShowerFile):
    """A fixed-angle LCD file; compressed or not, chunked or contiguous."""

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
            target = self._dataset("target")
            self.image_shape = self._check_images()
            self.energy_n, self.particles = self._check_target(target)
            self.storage = _describe_storage(self._images)
        except BaseException:
            self._file.close()
            raise

    @property
    def block_rows(self) -> int:
        """See `ShowerFile`."""
        wanted = max(1, _BLOCK_BYTES // (4 * int(np.prod(self.image_shape))))
        chunk = self._images.chunks[0] if self._images.chunks else 1
        return max(chunk, wanted // chunk * chunk)

    def read(self, rows: slice | NDArray[np.int64]) -> Showers:
        """See `ShowerFile`."""
        wanted = np.arange(self.count)[rows] if isinstance(rows, slice) else rows
        images = np.empty((len(wanted), *self.image_shape), np.float32)
        # In blocks of whole chunks, so that each is decompressed once, and dense: HDF5 is very slow
        # at picking scattered rows.
        done = 0
        while done < len(wanted):
            stop = (wanted[done] // self.block_rows + 1) * self.block_rows
            end = int(np.searchsorted(wanted, stop))
            self._read_into(images[done:end], wanted[done:end])
            done = end
        return Showers(images, self.energy_n[wanted])

    def close(self) -> None:
        """See `ShowerFile`."""
        self._file.close()

    def _read_into(self, images: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        first, stop = int(rows[0]), int(rows[-1]) + 1
        try:
            if stop - first == len(rows):
                self._images.read_direct(images, np.s_[first:stop])
            else:
                images[:] = self._images[first:stop][rows - first]
        except OSError as error:
            raise DataError(
                f"{self.path}: showers {first} to {stop - 1} cannot be read, the file is damaged "
                f"({error})"
            ) from error
        # A NaN passes through min(), so two reductions without temporaries find all bad cells.
        if images.min() >= 0.0 and images.max() < np.inf:
            return
        for row, image in zip(rows, images, strict=True):
            for bad, what in ((~np.isfinite(image), "not finite"), (image < 0.0, "negative")):
                if bad.any():
                    x, y, layer = np.argwhere(bad)[0]
                    raise DataError(
                        f"{self.path}: shower {row}: the energy of cell (x={x}, y={y}, "
                        f"layer={layer}) is {what}: {image[x, y, layer]:g} GeV"
                    )

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

    def _check_target(self, target: h5py.Dataset) -> tuple[NDArray[np.float32], tuple[int, ...]]:
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
        try:
            values = target[:].reshape(-1, columns)
        except OSError as error:
            raise DataError(
                f"{self.path}: 'target' cannot be read, the file is damaged ({error})"
            ) from error
        particle_n, energy_n = values[:, 0], values[:, 1].astype(np.float32)
        for wrong, what in (
            (~(np.isfinite(energy_n) & (energy_n > 0)), "the incident energy (GeV) must be > 0"),
            (particle_n != np.round(particle_n), "the PDG code must be a whole number"),
        ):
            if wrong.any():
                row = int(np.argmax(wrong))
                raise DataError(
                    f"{self.path}: shower {row}: {what}; 'target' is "
                    f"[{', '.join(f'{value:g}' for value in values[row])}]"
                )
        return energy_n, tuple(int(code) for code in np.unique(particle_n))


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

"""Showers into a fixed-angle LCD file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from gan3d.data.aside import written_aside
from gan3d.data.lcd import TARGET_COLUMNS
from gan3d.data.showers import Showers
from gan3d.errors import DataError, UsageError


@dataclass(frozen=True)
class _Particle:
    mass_gev: float
    energy_is_kinetic: bool  # otherwise total


# Masses: Particle Data Group 2024. Which energy a file states: the convention of the LCD samples.
_PARTICLES = {
    11: _Particle(0.000_510_998_95, energy_is_kinetic=True),
    -11: _Particle(0.000_510_998_95, energy_is_kinetic=True),
    22: _Particle(0.0, energy_is_kinetic=True),
    111: _Particle(0.134_976_8, energy_is_kinetic=False),
}


def write_showers(
    path: Path,
    blocks: Iterable[Showers],
    *,
    attributes: Mapping[str, str | int | float],
    pdg_id: int = 11,
    compression_level: int = 4,
    chunk_showers: int = 100,
) -> int:
    """Write `blocks` of showers to `path` and return how many showers they had.

    The file has `ECAL` (N, x, y, layer) float32, compressed by gzip at `compression_level` (0 to 9)
    after byte shuffle in chunks of `chunk_showers`, and `target` (N, 5) float32 = [pdgID, E, px,
    py, pz], for particles `pdg_id` along the layer axis; all in GeV. `attributes` are kept with
    the file. It appears under its name only when it is whole; one that was there is replaced.

    Raises UsageError for a particle other than electron, positron, photon and neutral pion, and
    DataError if the file cannot be written, the blocks hold no shower or differ in shape, or an
    energy is negative or not finite.
    """
    if pdg_id not in _PARTICLES:
        known = ", ".join(str(code) for code in _PARTICLES)
        raise UsageError(f"particle {pdg_id}: the LCD schema is known for PDG codes {known}")
    with written_aside(path) as aside:
        count = 0
        with h5py.File(aside, "w") as file:
            file.attrs.update(attributes)
            for showers in blocks:
                _check(showers, path, count)
                if "ECAL" not in file:
                    _create(file, showers.image_shape, compression_level, chunk_showers)
                elif file["ECAL"].shape[1:] != showers.image_shape:
                    raise DataError(
                        f"{path}: shower {count}: the image has shape {showers.image_shape}, "
                        f"those before it {file['ECAL'].shape[1:]}"
                    )
                end = count + len(showers)
                _append(file["ECAL"], showers.images_nxyz, count, end, path)
                _append(file["target"], _target(showers.energy_n, pdg_id), count, end, path)
                count = end
        if count == 0:
            raise DataError(f"{path}: there are no showers to write")
    return count


def _create(
    file: h5py.File, image_shape: tuple[int, int, int], compression_level: int, chunk_showers: int
) -> None:
    file.create_dataset(
        "ECAL",
        shape=(0, *image_shape),
        maxshape=(None, *image_shape),
        chunks=(chunk_showers, *image_shape),
        dtype=np.float32,
        compression="gzip",
        compression_opts=compression_level,
        shuffle=True,
        # Room for two chunks, or one that a block fills in part is compressed again for each block.
        rdcc_nbytes=2 * 4 * chunk_showers * int(np.prod(image_shape)),
    )
    columns = len(TARGET_COLUMNS)
    file.create_dataset(
        "target", shape=(0, columns), maxshape=(None, columns), chunks=(1024, columns), dtype="f4"
    )
    file["ECAL"].attrs.update({"unit": "GeV", "axes": "shower, x, y, layer"})
    file["target"].attrs.update({"unit": "GeV", "columns": ", ".join(TARGET_COLUMNS)})


def _append(
    dataset: h5py.Dataset, values: NDArray[np.float32], start: int, end: int, path: Path
) -> None:
    try:
        dataset.resize(end, axis=0)
        dataset[start:end] = values
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error}") from error


def _target(energy_n: NDArray[np.float32], pdg_id: int) -> NDArray[np.float32]:
    particle = _PARTICLES[pdg_id]
    energy = energy_n.astype(np.float64)
    total = energy + particle.mass_gev if particle.energy_is_kinetic else energy
    momentum = np.sqrt(np.maximum(total**2 - particle.mass_gev**2, 0.0))
    zero = np.zeros_like(energy)
    code = np.full_like(energy, pdg_id)
    columns = [code, energy, zero, zero, momentum]
    target: NDArray[np.float32] = np.stack(columns, axis=1).astype(np.float32)
    return target


def _check(showers: Showers, path: Path, offset: int) -> None:
    energy_n = showers.energy_n
    good = np.isfinite(energy_n) & (energy_n > 0)
    # A NaN or an infinity in an image survives into its extremes.
    lowest = showers.images_nxyz.min(axis=(1, 2, 3))
    highest = showers.images_nxyz.max(axis=(1, 2, 3))
    good &= (lowest >= 0) & (highest < np.inf)
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(
            f"{path}: shower {offset + row} is not fit to write: incident energy "
            f"{energy_n[row]:g} GeV, cells from {lowest[row]:g} to {highest[row]:g} GeV"
        )

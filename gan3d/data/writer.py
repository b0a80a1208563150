"""Showers into files of any layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan3d.config import Geometry
from gan3d.data.aside import remove_leftovers, written_aside
from gan3d.data.challenge import MEV, write_challenge
from gan3d.data.hdf5 import RESERVED
from gan3d.data.lcd import write_lcd
from gan3d.data.new_file import NewFile
from gan3d.data.parquet import UNITS, write_parquet
from gan3d.data.showers import UNKNOWN_PARTICLE, Showers
from gan3d.data.sparse import SparseShowers, from_images, join
from gan3d.errors import DataError, UsageError


def write_showers(
    path: Path,
    blocks: Iterable[Showers | SparseShowers],
    *,
    layout: str = "lcd",
    attributes: Mapping[str, str | int | float],
    pdg_id: int = UNKNOWN_PARTICLE,
    compression_level: int = 4,
    chunk_showers: int = 100,
    unit_gev: float = 1.0,
    cell_size_mm: tuple[float, float, float] | None = None,
    geometries: Mapping[str, Geometry] | None = None,
) -> int:
    """Write `blocks` of showers to `path` and return how many showers they had.

    `layout` is one of
    `lcd`: `ECAL` (N, x, y, layer) and `target` (N, 5) = [pdgID, E, px, py, pz] in GeV; momentum and
    PDG code are those of the columns, or of particles `pdg_id` along the layer axis (0: not known;
    the momentum of a code whose mass is not known is NaN). With a column
    `theta` it is a file of variable angle: `ECAL`, `energy` and the columns, (N, 1) each, with the
    PDG code where it is known.
    `challenge`: `incident_energies` (N, 1) and `showers` (N, cells) in MeV, and the columns.
    `parquet`: a shard, see `parquet`.

    Energies are float32 and all columns are written in their own types: what a reader gives comes
    back bit for bit, unless the unit changes. `unit_gev` is that of the blocks: 1, or 1e-3 for MeV;
    a shard keeps it. Compressed together, by gzip after byte shuffle (`parquet`: zstd) at
    `compression_level` (0 to 9), are `chunk_showers` showers: readers decompress all of them to get
    one, and shuffle them as one. 100 are 0.5 MB of gzip for 25 x 25 x 25 cells; with fewer, files
    grow. No more than these are held in memory. `attributes` and `cell_size_mm` (x, y, layer) are
    kept with the file. Showers of several images (`gan3d.config.images`) have `geometries`, the
    grids of all by their names: `lcd` files then have a dataset of each, shards their cells one
    image after the other. The file appears under its name only when it is whole; one that was there
    is replaced, and what a killed writer of it left is removed.

    Raises UsageError for an argument that is none of these. Raises DataError if the
    file cannot be written, or the blocks hold no shower, differ in shape or columns, or have an
    energy that is negative or not finite.
    """
    _check_arguments(layout, compression_level, chunk_showers, unit_gev)
    if geometries is not None and layout == "challenge":
        raise UsageError("layout challenge: holds one image of a shower; expected lcd or parquet")
    wanted_gev = {"lcd": 1.0, "challenge": MEV}.get(layout, unit_gev)
    count = 0

    def groups() -> Iterator[SparseShowers]:
        nonlocal count
        for showers in _regroup(_check(blocks, path), chunk_showers):
            count += len(showers)
            yield _convert(showers, unit_gev / wanted_gev)

    remove_leftovers([path])
    with written_aside(path) as aside:
        new = NewFile(
            path=path,
            aside=aside,
            attributes=attributes,
            cell_size_mm=cell_size_mm,
            unit_gev=wanted_gev,
            pdg_id=pdg_id,
            chunk_showers=chunk_showers,
            level=compression_level,
            geometries=geometries,
        )
        _WRITERS[layout](groups(), new)
        if count == 0:
            raise DataError(f"{path}: there are no showers to write")
    return count


def _check_arguments(
    layout: str, compression_level: int, chunk_showers: int, unit_gev: float
) -> None:
    if layout not in _WRITERS:
        raise UsageError(f"layout {layout!r}: expected {', '.join(_WRITERS)}")
    if not 0 <= compression_level <= 9:
        raise UsageError(f"compression level {compression_level}: expected 0 to 9")
    if chunk_showers < 1:
        raise UsageError(f"chunks of {chunk_showers} showers: expected 1 or more")
    if unit_gev not in UNITS.values():
        raise UsageError(f"a unit of {unit_gev} GeV: expected {' or '.join(UNITS)}")


def _check(blocks: Iterable[Showers | SparseShowers], path: Path) -> Iterator[SparseShowers]:
    """Yield `blocks` as lists of cells. Raises DataError for one that cannot be written."""
    shape = None
    kinds = None
    count = 0
    for block in blocks:
        if isinstance(block, Showers):
            showers = from_images(block.images_nxyz, block.energy_n, block.columns)
        else:
            showers = block
        where = f"{path}: shower {count}"
        shape = shape or showers.image_shape
        if showers.image_shape != shape:
            raise DataError(
                f"{where}: the image has shape {showers.image_shape}, those before it {shape}"
            )
        found = {name: values.dtype for name, values in showers.columns.items()}
        kinds = _check_columns(found, where) if kinds is None else kinds
        if any(values.shape != (len(showers),) for values in showers.columns.values()):
            raise DataError(f"{where}: columns must have one number for each shower")
        if found != kinds:
            raise DataError(
                f"{where}: it has the columns {_list(found)}, those before it {_list(kinds)}"
            )
        _check_values(showers, path, count)
        count += len(showers)
        if len(showers):
            yield showers.where(showers.deposit_h != 0)


def _check_columns(kinds: dict[str, np.dtype[Any]], where: str) -> dict[str, np.dtype[Any]]:
    for name, dtype in kinds.items():
        if name in RESERVED or not name or "/" in name or "." in name:
            raise DataError(f"{where}: a column cannot be named {name!r}")
        if dtype.kind not in "fiub":
            raise DataError(f"{where}: the column {name!r} holds {dtype}, expected numbers")
    return kinds


def _check_values(showers: SparseShowers, path: Path, offset: int) -> None:
    energy_n, deposit_h = showers.energy_n, showers.deposit_h
    good_n = np.isfinite(energy_n) & (energy_n > 0)
    good_h = (deposit_h >= 0) & (deposit_h < np.inf)
    good_n[showers.shower_h[~good_h]] = False
    if not good_n.all():
        row = int(np.argmin(good_n))
        own_h = deposit_h[showers.offset_n1[row] : showers.offset_n1[row + 1]]
        raise DataError(
            f"{path}: shower {offset + row} is not fit to write: incident energy "
            f"{energy_n[row]:g}, cells from {own_h.min(initial=0):g} to {own_h.max(initial=0):g}"
        )
    misplaced = showers.misplaced()
    if misplaced is not None:
        raise DataError(
            f"{path}: shower {offset + misplaced} is not fit to write: its cells are not ascending "
            f"numbers of an image {showers.image_shape}"
        )


def _regroup(blocks: Iterable[SparseShowers], size: int) -> Iterator[SparseShowers]:
    """Yield the showers of `blocks`, `size` at a time (the last ones may be fewer)."""
    waiting: list[SparseShowers] = []
    missing = size
    for block in blocks:
        start = 0
        while start < len(block):
            stop = min(start + missing, len(block))
            whole = stop - start == len(block)
            waiting.append(block if whole else block.take(slice(start, stop)))
            missing -= stop - start
            start = stop
            if missing == 0:
                yield join(waiting)
                waiting, missing = [], size
    if waiting:
        yield join(waiting)


def _convert(showers: SparseShowers, factor: float) -> SparseShowers:
    """Return `showers` with all energies times `factor`."""
    if factor == 1.0:
        return showers
    scale = np.float64(factor)
    return showers.with_deposits(
        (showers.deposit_h * scale).astype(np.float32),
        (showers.energy_n * scale).astype(np.float32),
    )


def _list(kinds: dict[str, np.dtype[Any]]) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in kinds.items()) or "none"


_WRITERS = {"lcd": write_lcd, "challenge": write_challenge, "parquet": write_parquet}

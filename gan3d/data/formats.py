"""From names to open shower files: patterns are expanded, formats recognised by content."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import h5py
import numpy as np

from gan3d.config import Data, Images
from gan3d.data.challenge import ChallengeFile
from gan3d.data.chunks import is_shortage
from gan3d.data.file_cells import FileCells, in_cells
from gan3d.data.hdf5 import faults_named, open_hdf5
from gan3d.data.joint import JointFile
from gan3d.data.lcd import ECAL, LcdFile, has_angle
from gan3d.data.parquet import ParquetFile
from gan3d.data.preprocessing import to_grid
from gan3d.data.shower_file import ShowerFile
from gan3d.data.showers import Showers, apply_threshold, gather
from gan3d.data.sparse import Shape, split_images
from gan3d.errors import DataError

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PARQUET_SIGNATURE = b"PAR1"
_FIRST_KEY = "data.geometry.shape; gan3d data: --shape"
_LAYOUTS = (
    "LCD (ECAL and target, or ECAL, energy and theta or mtheta), Fast Calorimeter Challenge "
    "(showers and incident_energies) or gan3d's Parquet"
)


def expand_patterns(patterns: Sequence[str | Path]) -> list[Path]:
    """Return the files that glob `patterns` (`**` for any depth) and plain names stand for.

    The files are sorted and none is named twice, whatever the patterns overlap in. Raises
    DataError for a pattern that matches no file and for a name that does not exist.
    """
    found: dict[Path, Path] = {}
    for pattern in map(str, patterns):
        try:
            for path in _expand(pattern):
                found.setdefault(path.resolve(), path)
        except OSError as error:  # a folder on the way that may not be searched, a name too long
            raise DataError(f"{pattern}: cannot be read: {error.strerror or error}") from error
    return sorted(found.values())


def open_shower_file(
    path: Path,
    *,
    shape: Shape | FileCells | None = None,
    check: bool = True,
    image: str = ECAL,
    further: Mapping[str, Shape | None] = MappingProxyType({}),
) -> ShowerFile:
    """Open `path` with the reader for its content: LCD, Challenge or Parquet.

    `shape` (x, y, layer) is what the images must have; of Challenge files, which do not say it, it
    is what they have; `FileCells` may allow two. `image` is the dataset that is read where LCD
    files have several images of a shower. With `further` images, by their names, all are read as
    one list of cells (`gan3d.config.images`), each of the shape given for it (None: any).
    Raises DataError, naming the file, if it is missing, unreadable, damaged, of
    an unknown format or empty, lacks an image, if its images do not have that shape, or, with
    `check`, if an incident energy is not a positive number.
    """
    cells = _file_cells(shape)
    file = _open(path, cells.shape, (image, *further))
    try:
        found = file.images.shapes if file.images else {image: file.image_shape}
        others = {
            name: FileCells(wanted, where=f"data.further_images.{name}.shape")
            for name, wanted in further.items()
        }
        for name, wanted in {image: cells, **others}.items():
            if not wanted.takes(found[name]):
                what = f"images '{name}'" if further else "images"
                raise DataError(f"{path}: {what} have {in_cells(found[name])}, expected {wanted}")
        if check:
            _ = file.energy_n
    except BaseException:
        file.close()
        raise
    return file


def open_for(path: Path, data: Data, *, check: bool = True, cropped: bool = False) -> ShowerFile:
    """Open `path` for all images of a shower that `data` names, as `open_shower_file` does.

    With `cropped` it may have the cells of `data.grid` already.
    """
    shape = FileCells.of(data) if cropped else data.geometry.shape
    return open_shower_file(path, shape=shape, check=check, further=data.images.further)


def read_showers(
    patterns: Sequence[str | Path],
    *,
    shape: Shape | None = None,
    threshold_gev: float = 0.0,
    limit: int | None = None,
) -> Showers:
    """Return the showers of all files that `patterns` name, in the order of the sorted files.

    Cells below `threshold_gev` (GeV) are set to 0. At most `limit` showers, the first ones, are
    read. All files are opened and checked before any cell is read. Raises DataError as
    `expand_patterns`, `open_shower_file` and `ShowerFile.read` do, and for files whose images
    differ in shape.
    """
    if limit is not None and limit < 1:
        raise DataError(f"no showers to read: the limit is {limit}")
    paths = expand_patterns(patterns)
    wanted: list[tuple[Path, int]] = []
    left = limit
    for path in paths:
        with open_shower_file(path, shape=shape) as file:
            shape = shape or file.image_shape
            rows = file.count if left is None else min(left, file.count)
            left = None if left is None else left - rows
            wanted.append((path, rows))
    count = sum(rows for _, rows in wanted)
    if shape is None:
        raise DataError("no showers to read: no files are named")

    def parts() -> Iterator[Showers]:
        for path, rows in wanted:
            if rows:
                with open_shower_file(path, shape=shape) as file:
                    yield file.read(slice(0, rows))

    showers = gather(parts(), count, shape)
    apply_threshold(showers, threshold_gev)
    return showers


def stream_showers(
    patterns: Sequence[str | Path],
    *,
    shape: Shape | FileCells | None = None,
    threshold_gev: float = 0.0,
    further: Mapping[str, Shape] = MappingProxyType({}),
) -> tuple[Shape, Iterator[Showers]]:
    """The showers of `read_showers`, block by block and with their columns, and their image shape.

    The grid of `FileCells` crops or pads the images as `regrid` does. With `further` images, by
    their names, all are read together, as `open_shower_file` has them. All files are opened and
    checked before this returns. Raises DataError as `read_showers` does.
    """
    paths = expand_patterns(patterns)
    cells, whole = _file_cells(shape), None
    for path in paths:
        with open_shower_file(path, shape=cells, further=further) as file:
            whole = file.image_shape
            if cells.shape is None:
                own = whole if file.images is None else next(iter(file.images.shapes.values()))
                cells = replace(cells, shape=own)
    if whole is None:
        raise DataError("no showers to read: no files are named")
    target = cells.grid or whole

    def blocks() -> Iterator[Showers]:
        for path in paths:
            with open_shower_file(path, shape=cells, further=further) as file:
                for block in file.pick(np.arange(file.count), threshold_gev=threshold_gev):
                    yield to_grid(block, target).dense()

    return target, blocks()


def stream_images(
    patterns: Sequence[str | Path], names: Sequence[str], *, threshold_gev: float = 0.0
) -> Iterator[Mapping[str, Showers]]:
    """Several images of the same showers, block by block, by their names, such as ECAL and HCAL.

    In the order of `read_showers`. Cells below `threshold_gev` (GeV) are set to 0. Raises DataError
    as `open_shower_file` does, and for a file without one of them.
    """
    first, *further = names
    for path in expand_patterns(patterns):
        with open_shower_file(path, image=first, further=dict.fromkeys(further)) as file:
            images = file.images or Images({first: file.image_shape})
            for block in file.pick(np.arange(file.count), threshold_gev=threshold_gev):
                yield {name: each.dense() for name, each in split_images(block, images).items()}


def holds_challenge(
    patterns: Sequence[str | Path], *, shape: Shape | FileCells | None = None
) -> bool:
    """Whether one of the files is a Challenge file, whose axes are (angle, radius, layer)."""
    for path in expand_patterns(patterns):
        with open_shower_file(path, shape=shape) as file:
            if file.layout == ChallengeFile.layout:
                return True
    return False


def _expand(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name its files, for example '{path / '*.h5'}'")
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is no regular file")
    if path.exists():  # also names that contain [ or *
        return [path]
    if not glob.has_magic(pattern):
        raise DataError(f"{path}: no such file")
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207 (leaves out hidden files, as shells do)
    # A link that leads nowhere is a file that is missing, not one that was not meant.
    matches = [match for match in map(Path, names) if match.is_file() or not match.exists()]
    if not matches:
        raise DataError(f"{pattern}: the pattern matches no file")
    return matches


def _open(path: Path, shape: Shape | None, images: Sequence[str]) -> ShowerFile:
    signature = _first_bytes(path, len(_HDF5_SIGNATURE))
    if signature.startswith(_PARQUET_SIGNATURE):
        return ParquetFile(path, images)
    # The signature may come later, after a block of the user's.
    if signature == _HDF5_SIGNATURE or h5py.is_hdf5(path):
        file = open_hdf5(path)
        try:
            with faults_named(path):
                return _open_hdf5(path, file, shape, images)
        except BaseException:
            file.close()
            raise
    what = "is neither an HDF5 nor a Parquet file" if signature else "is empty (0 bytes)"
    raise DataError(f"{path}: {what}; shower files are {_LAYOUTS}")


def _open_hdf5(
    path: Path, file: h5py.File, shape: Shape | None, images: Sequence[str]
) -> ShowerFile:
    names = sorted(file)
    is_lcd = "ECAL" in names and ("target" in names or has_angle(names))
    is_challenge = {"showers", "incident_energies"} <= set(names)
    if is_lcd and not is_challenge:
        readers = {image: LcdFile(path, file, image) for image in images}
        return JointFile(readers) if len(readers) > 1 else readers[images[0]]
    if is_challenge and not is_lcd:
        other = next((image for image in images if image != ECAL), None)
        if other is not None:
            raise DataError(
                f"{path}: has one image a shower, no '{other}'; LCD files and Parquet shards may "
                "have several"
            )
        return ChallengeFile(path, file, shape)
    what = "of two layouts at once" if is_lcd else "of no known layout"
    raise DataError(
        f"{path}: the datasets are {what}: found {', '.join(names) or 'none'}; shower files are "
        f"{_LAYOUTS}"
    )


def _first_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        if is_shortage(error):
            raise
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _file_cells(shape: Shape | FileCells | None) -> FileCells:
    return shape if isinstance(shape, FileCells) else FileCells(shape, where=_FIRST_KEY)

"""Showers from files of any format into shards of any format.

A shard is a file that holds a run of the showers, in their order. It appears under its name only
when it is whole, and says what it was made from, so that work that was interrupted goes on with the
shards that are missing.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gan3d.config import Data, Geometry
from gan3d.data.aside import (
    check_folder,
    format_bytes,
    made_folder,
    remove_leftovers_in,
    temporary_folder,
)
from gan3d.data.challenge import MEV
from gan3d.data.formats import open_shower_file
from gan3d.data.shower_file import ShowerFile
from gan3d.data.showers import UNKNOWN_PARTICLE
from gan3d.data.sparse import Shape, SparseShowers
from gan3d.data.split import Part
from gan3d.data.survey import FileEntry, Survey, survey_files
from gan3d.data.writer import write_showers
from gan3d.errors import DataError, UsageError

SUFFIXES = {"lcd": ".h5", "challenge": ".hdf5", "parquet": ".parquet"}
"""Endings of the names of files, by layout."""


@dataclass(frozen=True)
class ShardFormat:
    """How shards are written."""

    layout: str = "parquet"
    """Format, see `writer.write_showers`."""
    showers_per_file: int = 10_000
    """Showers of a shard; the last one may have fewer. 10 000 of the 25 x 25 x 25 electrons are
    30 MB as Parquet and 55 MB as gzip: large enough for parallel file systems, and few enough for
    many nodes to have files of their own."""
    compression_level: int = 4
    """See `writer.write_showers`."""
    chunk_showers: int = 100
    """See `writer.write_showers`."""
    pdg_id: int = 11
    """Incident particle where the sources do not say it and the layout wants it."""


@dataclass(frozen=True)
class Sources:
    """The files that showers come from; all have the same geometry and the same columns."""

    survey: Survey
    """The files, as training would find them."""
    image_shape: Shape
    """Cells along (x, y, layer)."""
    layouts: tuple[str, ...]
    """Formats that occur."""
    units_gev: tuple[float, ...]
    """Units of energy that occur, in GeV."""
    columns: tuple[str, ...]
    """What they say of each shower besides its energy."""
    further_images: dict[str, str]
    """Cells of other images of the showers, which are not read, each with a file that has them."""
    left_out: dict[str, str]
    """Other datasets that are not read, each with a file that has it."""
    attributes: dict[str, str | int | float]
    """What all of them say of themselves alike."""
    cell_size_mm: tuple[float, float, float] | None
    """Cell pitch, where all of them say the same."""
    double: bool
    """Some hold energies in double precision, of which single is kept."""

    @property
    def entries(self) -> tuple[FileEntry, ...]:
        """The files."""
        return self.survey.files

    def unit_gev(self, layout: str) -> float:
        """Return the unit of energy (GeV) that a file of `layout` made of these has."""
        if layout == "parquet":
            return self.units_gev[0] if len(self.units_gev) == 1 else 1.0
        return MEV if layout == "challenge" else 1.0

    def keeps_unit(self, layout: str) -> bool:
        """Tell whether the unit of all energies, and so every bit of single ones, stays."""
        return self.units_gev == (self.unit_gev(layout),)


@dataclass(frozen=True)
class Shard:
    """A file that is to be written."""

    path: Path
    """Its name."""
    part: Part
    """What it holds a run of."""
    first: int
    """Its first shower, counted over the showers of `part`."""
    stop: int
    """The one after its last."""
    identity: str
    """Differs between shards of other showers or another format."""

    def __len__(self) -> int:
        return self.stop - self.first


@dataclass(frozen=True)
class Written:
    """What came of it."""

    written: int
    """Shards that were written."""
    kept: int
    """Shards that were there, whole, from before."""


def open_sources(paths: Sequence[Path], shape: Shape | None = None) -> Sources:
    """Open every file and look at what it holds.

    `shape` is for files that do not say their own. Raises DataError for a bad file, and for one
    that differs in geometry or columns from the first.
    """
    try:
        with open_shower_file(paths[0], shape=shape, check=False) as file:
            image_shape = file.image_shape
        survey = survey_files(
            Data(files=[str(path) for path in paths], geometry=Geometry(shape=image_shape))
        )
    except DataError as error:
        _explain_shapes(paths, shape, error)
        raise
    layouts: set[str] = set()
    units: set[float] = set()
    further_images: dict[str, str] = {}
    left_out: dict[str, str] = {}
    columns: tuple[str, ...] | None = None
    attributes: dict[str, str | int | float] | None = None
    cell_sizes: set[tuple[float, float, float] | None] = set()
    double = False
    for entry in survey.files:
        with open_shower_file(entry.path, shape=image_shape, check=False) as file:
            mine = _column_kinds(file)
            if columns is not None and mine != columns:
                raise DataError(
                    f"{entry.path}: has the columns {_list(mine)}, {survey.files[0].path} has "
                    f"{_list(columns)}; convert them one after the other"
                )
            columns = mine
            layouts.add(file.layout)
            units.add(file.unit_gev)
            cell_sizes.add(file.cell_size_mm)
            double = double or file.double
            for name in file.further_images:
                further_images.setdefault(name, str(entry.path))
            for name in file.left_out:
                left_out.setdefault(name, str(entry.path))
            said = {name: said for name, said in file.attributes.items() if name != _IDENTITY}
            attributes = said if attributes is None else _in_both(attributes, said)
    return Sources(
        survey,
        image_shape,
        tuple(sorted(layouts)),
        tuple(sorted(units)),
        tuple(name.partition(" ")[0] for name in columns or ()),
        further_images,
        left_out,
        attributes or {},
        cell_sizes.pop() if len(cell_sizes) == 1 else None,
        double,
    )


def plan_shards(
    name: str, part: Part, sources: Sources, folder: Path, form: ShardFormat, origin: str = "all"
) -> list[Shard]:
    """Return the shards NAME-00000-of-00007 etc. that hold the showers of `part`, in their order.

    `origin` says which of the sources' showers those are. Raises UsageError for a name that is none
    of a file, and DataError if there are no showers.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise UsageError(f"'{name}' is no beginning of a file's name")
    total = len(part)
    if total == 0:
        raise DataError(f"{name}: there are no showers for it")
    count = -(-total // form.showers_per_file)
    made_of = {
        "sources": [{**asdict(entry), "path": entry.path.name} for entry in sources.entries],
        "columns": sources.columns,
        "origin": origin,
        "format": asdict(form),
    }
    shards = []
    for number in range(count):
        path = folder / f"{name}-{number:05d}-of-{count:05d}{SUFFIXES[form.layout]}"
        text = json.dumps([made_of, number], sort_keys=True)
        identity = hashlib.sha256(text.encode()).hexdigest()
        first = number * form.showers_per_file
        stop = min(first + form.showers_per_file, total)
        shards.append(Shard(path, part, first, stop, identity))
    return shards


def write_shards(
    shards: Sequence[Shard],
    sources: Sources,
    form: ShardFormat,
    *,
    names: Sequence[str],
    workers: int = 1,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Written:
    """Write those of `shards` (all of one folder) that are not there, `workers` at a time.

    Of `names` (as `plan_shards` takes them) the folder may have no other shards, which a pattern
    would later take for some of these; with `force` they are removed. `progress` is told how many
    showers of how many are done.

    Raises DataError, before anything is written, if the folder cannot be written to, holds such
    others, or has too little space; and if a source changes or turns out to be bad, or a shard
    cannot be written. Then, and if it is interrupted, whole shards stay, and folders that were made
    for nothing are removed.
    """
    folder = shards[0].path.parent
    check_folder(folder)
    kept = {shard.path for shard in shards if _is_whole(shard)}
    missing = [shard for shard in shards if shard.path not in kept]
    others = [path for path in _present(folder, names, form) if path not in kept]
    _check_others(others, sources, force)
    with made_folder(folder):
        remove_leftovers_in(folder, _name_pattern(names, form).fullmatch)
        if missing:
            _check_space(folder, missing, others, sources, form)
        for path in others:
            path.unlink()
        if missing:
            _write_all(missing, sources, form, workers, progress)
    return Written(len(missing), len(kept))


def _check_others(others: Sequence[Path], sources: Sources, force: bool) -> None:
    own = {entry.path.resolve() for entry in sources.entries}
    for path in others:
        if path.resolve() in own:
            raise DataError(f"{path}: is one of the files to read; take another folder or name")
        if path.is_dir():
            raise DataError(f"{path}: is a folder with the name of a shard; remove or rename it")
    if others and not force:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise DataError(
            f"{others[0]}{more}: made of other showers or in another way; take another folder or "
            "name, or replace what is there with --force"
        )


def _write_all(
    shards: Sequence[Shard],
    sources: Sources,
    form: ShardFormat,
    workers: int,
    progress: Callable[[int, int], None],
) -> None:
    stop = threading.Event()
    counting = threading.Lock()
    total, done = sum(map(len, shards)), 0

    def advance(count: int) -> None:
        nonlocal done
        if stop.is_set():
            raise _StoppedError
        with counting:
            done += count
            progress(done, total)

    with ThreadPoolExecutor(workers, thread_name_prefix="shard") as pool:
        try:
            tasks = [pool.submit(_write, shard, sources, form, advance) for shard in shards]
            finished, _ = wait(tasks, return_when=FIRST_EXCEPTION)
            for task in finished:
                task.result()
        finally:
            # Ctrl-C too: threads end with their next block and leave nothing half-written.
            stop.set()
            pool.shutdown(cancel_futures=True)


class _StoppedError(Exception):
    """Other work has failed or was interrupted."""


def _write(
    shard: Shard, sources: Sources, form: ShardFormat, advance: Callable[[int], None]
) -> None:
    def counted() -> Iterator[SparseShowers]:
        for showers in _read(shard.part, shard.first, shard.stop, sources, form.layout):
            advance(len(showers))
            yield showers

    attributes = {**sources.attributes, _IDENTITY: shard.identity}
    _write_file(shard.path, counted(), attributes, sources, form)


def _write_file(
    path: Path,
    showers: Iterable[SparseShowers],
    attributes: Mapping[str, str | int | float],
    sources: Sources,
    form: ShardFormat,
) -> int:
    # Files of variable angle need not say the particle, so nothing is assumed of it.
    pdg_id = UNKNOWN_PARTICLE if "theta" in sources.columns else form.pdg_id
    return write_showers(
        path,
        showers,
        layout=form.layout,
        attributes=attributes,
        pdg_id=pdg_id,
        compression_level=form.compression_level,
        chunk_showers=form.chunk_showers,
        unit_gev=sources.unit_gev(form.layout),
        cell_size_mm=sources.cell_size_mm,
    )


def _read(
    part: Part, first: int, stop: int, sources: Sources, layout: str
) -> Iterator[SparseShowers]:
    """Yield showers `first` to `stop` of `part`, in the unit of files of `layout`."""
    end_b = np.cumsum(part.count_b)
    blocks = range(
        int(np.searchsorted(end_b, first, side="right")), int(np.searchsorted(end_b, stop)) + 1
    )
    unit_gev = sources.unit_gev(layout)
    file: ShowerFile | None = None
    try:
        for block in blocks:
            entry = part.files[part.file_b[block]]
            if file is None or file.path != entry.path:
                if file is not None:
                    file.close()
                file = _reopen(entry, sources.image_shape)
            begin = int(end_b[block] - part.count_b[block])
            rows = part.rows(block)[max(0, first - begin) : stop - begin]
            low, high = int(rows[0]), int(rows[-1]) + 1
            showers = file.read_native(low, high)
            if len(showers) != len(rows):
                showers = showers.take(rows - low)
            yield _in_unit(showers, file.unit_gev, unit_gev)
    finally:
        if file is not None:
            file.close()


def _reopen(entry: FileEntry, shape: Shape) -> ShowerFile:
    file = open_shower_file(entry.path, shape=shape, check=False)
    size = entry.path.stat().st_size
    if size != entry.size_bytes or file.count != entry.showers:
        file.close()
        raise DataError(
            f"{entry.path}: has changed: it had {entry.showers} showers in {entry.size_bytes} "
            f"bytes, now {file.count} in {size}"
        )
    return file


def _in_unit(showers: SparseShowers, unit_gev: float, wanted_gev: float) -> SparseShowers:
    if unit_gev == wanted_gev:
        return showers
    factor = np.float64(unit_gev / wanted_gev)
    return showers.with_deposits(
        (showers.deposit_h * factor).astype(np.float32),
        (showers.energy_n * factor).astype(np.float32),
    )


def _is_whole(shard: Shard) -> bool:
    """Tell whether the shard is there as it would be written; whole files alone have its name."""
    if not shard.path.is_file():
        return False
    try:
        with open_shower_file(shard.path, check=False) as file:
            return file.attributes.get(_IDENTITY) == shard.identity and file.count == len(shard)
    except DataError:
        return False


def _present(folder: Path, names: Sequence[str], form: ShardFormat) -> list[Path]:
    """Return the files in `folder` that are called as shards of `names` are, of however many."""
    if not folder.is_dir():
        return []
    pattern = _name_pattern(names, form)
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))


def _name_pattern(names: Sequence[str], form: ShardFormat) -> re.Pattern[str]:
    either = "|".join(map(re.escape, names))
    return re.compile(rf"({either})-\d{{5,}}-of-\d{{5,}}{re.escape(SUFFIXES[form.layout])}")


def _check_space(
    folder: Path,
    shards: Sequence[Shard],
    others: Sequence[Path],
    sources: Sources,
    form: ShardFormat,
) -> None:
    """Raise DataError if the shards will probably not fit, also when `others` are gone.

    A few showers are written to see how large they become.
    """
    part = shards[0].part
    blocks = np.unique(np.linspace(0, len(part.count_b) - 1, _TRIAL_BLOCKS).astype(np.int64))
    few = part.select(blocks)
    showers = (
        block.take(slice(0, _TRIAL_SHOWERS))
        for block in _read(few, 0, len(few), sources, form.layout)
    )
    with temporary_folder("gan3d-trial-") as trial:
        path = trial / "trial"
        try:
            count = _write_file(path, showers, {}, sources, form)
        except DataError as error:
            said = str(error).removeprefix(f"{path}: ")
            if said == str(error):  # of a source
                raise
            raise DataError(
                f"{folder}: a few showers, written to {path.parents[1]} to learn how much space "
                f"is needed: {said}; the variable TMPDIR names another folder for that"
            ) from error
        bytes_per_shower = path.stat().st_size / count
    needed = bytes_per_shower * sum(map(len, shards))
    free = shutil.disk_usage(folder).free + sum(path.stat().st_size for path in others)
    if needed > free:
        raise DataError(
            f"{folder}: about {format_bytes(needed)} are needed, {format_bytes(free)} are free"
        )


def _explain_shapes(paths: Sequence[Path], shape: Shape | None, error: DataError) -> None:
    """Raise a DataError that names the files of two shapes, if that is what `error` came from."""
    wanted, wanted_by = shape, "expected"
    for path in paths:
        try:
            with open_shower_file(path, check=False) as file:
                mine = file.image_shape
        except DataError:  # bad for another reason
            return
        if wanted is None:
            wanted, wanted_by = mine, f"{path} has"
        elif mine != wanted:
            advice = "" if shape else "; convert them separately"
            raise DataError(
                f"{path}: images have {_cells(mine)} cells, {wanted_by} {_cells(wanted)}{advice}"
            ) from error


def _cells(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _column_kinds(file: ShowerFile) -> tuple[str, ...]:
    columns = file.read_cells(0, 1).columns
    return tuple(sorted(f"{name} ({values.dtype})" for name, values in columns.items()))


def _in_both(
    first: dict[str, str | int | float], second: dict[str, str | int | float]
) -> dict[str, str | int | float]:
    return {name: said for name, said in first.items() if second.get(name) == said}


def _list(columns: Sequence[str]) -> str:
    return ", ".join(columns) or "none"


_IDENTITY = "gan3d_shard"
"""Attribute of a shard that says what it was made from."""
_TRIAL_BLOCKS = 8
_TRIAL_SHOWERS = 25
"""Blocks, and showers of each, that are written to learn how large shards will be."""

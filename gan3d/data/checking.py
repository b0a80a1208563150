"""Whether shower files are sound: every file, every shower, every cell of every image.

Nothing ends the search: after a file that cannot be opened comes the next one, after a damaged
chunk the next chunk. Files are read block by block; 8 bytes a shower stay in memory, from which
duplicates are found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import FIRST_IMAGE
from gan3d.config.schema.model import POLAR_ANGLES
from gan3d.data.blocks import LARGEST_FRACTION
from gan3d.data.formats import open_shower_file
from gan3d.data.labels import conditions_for, in_degrees
from gan3d.data.shower_file import ShowerFile
from gan3d.data.showers import known_particles
from gan3d.data.sparse import Shape, SparseShowers
from gan3d.errors import DataError


@dataclass(frozen=True)
class Criteria:
    """What counts as sound."""

    shape: Shape | None = None
    """Cells along (x, y, layer) that the first image of all files must have; None: what most of
    them have."""
    threshold_gev: float = 1e-6
    """A shower without a cell of at least this energy (GeV) is empty."""
    fraction_factor: float = 3.0
    """A shower's sampling fraction may be this many times above or below the median of its file,
    and a file's median that of the files. In 17 000 Geant4 showers of electrons, photons and
    neutral pions (10 to 100 GeV, 20 radiation lengths) none was off by more than 1.6."""
    largest_fraction: float = LARGEST_FRACTION
    """The median of ECAL sum / incident energy of a file may not be above this: then the two are
    not in the same unit. The showers of calibrated calorimeters scatter around 1."""


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with a file."""

    kind: str
    """unopenable, unreadable, image, geometry, energy, negative, not_finite, angle, empty, fraction
    or duplicate."""
    text: str
    """What is wrong, for people."""
    showers: int = 0
    """How many showers it concerns; 0: the file as a whole."""
    first: int | None = None
    """The first of them, from 0."""


@dataclass(frozen=True)
class FileCheck:
    """What was found in a file."""

    path: Path
    """The file."""
    layout: str | None = None
    """Its format; None: it cannot be opened."""
    showers: int = 0
    """Showers in it."""
    image_shape: Shape | None = None
    """Cells along (x, y, layer) of its first image."""
    further: dict[str, Shape] = field(default_factory=dict)
    """Those of each further image of its showers, such as HCAL, by its name."""
    sampling_fraction: float | None = None
    """Median of ECAL sum / incident energy over its sound showers."""
    faults: list[Fault] = field(default_factory=list)
    """What is wrong with it."""
    notes: list[str] = field(default_factory=list)
    """What is worth knowing of it, and is not wrong."""

    def figures(self) -> dict[str, Any]:
        """Return everything but the path, ready for JSON."""
        return {
            "sound": not self.faults,
            "layout": self.layout,
            "showers": self.showers,
            "image_shape": None if self.image_shape is None else list(self.image_shape),
            "further_images": {name: list(shape) for name, shape in self.further.items()},
            "median_sampling_fraction": self.sampling_fraction,
            "faults": [
                {"kind": each.kind, "text": each.text, "showers": each.showers, "first": each.first}
                for each in self.faults
            ],
            "notes": self.notes,
        }


def check_files(
    paths: Sequence[Path],
    criteria: Criteria,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[FileCheck]:
    """Read all of `paths` and return what is wrong with each; nothing raises but the unforeseen.

    All images of the showers are read. That they are finite and not negative holds for each of
    them; energy that is missing, sampling fractions and copies are looked for in the first, as a
    shower need not reach the others. `progress` is told how many showers of how many have been
    looked at, those of every image counted.
    """
    opened = [_look(path, criteria.shape) for path in paths]
    total = sum(each.showers * (1 + len(each.further)) for each in opened)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    checks, fingerprints = [], []
    for each in opened:
        check, fingerprint_n = _read(each, criteria, advance) if each.layout else (each, _NONE)
        checks.append(check)
        fingerprints.append(fingerprint_n)
    _compare_shapes(checks)
    _compare_fractions(checks, criteria)
    _find_duplicates(checks, fingerprints)
    return checks


_NONE: NDArray[np.uint64] = np.empty(0, np.uint64)


class _Finding:
    """The showers of a file that have one kind of fault."""

    def __init__(self) -> None:
        self.showers = 0
        self.first: int | None = None
        self.cells = 0

    def add(self, bad_n: NDArray[np.bool_], first_row: int, cells: int = 0) -> None:
        """Note the showers that are True in `bad_n`; row 0 of it is `first_row` of the file."""
        count = int(np.count_nonzero(bad_n))
        if count and self.first is None:
            self.first = first_row + int(np.argmax(bad_n))
        self.showers += count
        self.cells += cells

    def fault(self, kind: str, what: str) -> list[Fault]:
        """Return the fault, or nothing if no shower has it."""
        if not self.showers:
            return []
        where = f"shower {self.first}" if self.showers == 1 else f"the first is {self.first}"
        return [Fault(kind, f"{what}: {where}", self.showers, self.first)]


def _look(path: Path, shape: Shape | None) -> FileCheck:
    try:
        with open_shower_file(path, shape=shape, check=False) as file:
            look = FileCheck(path, file.layout, file.count, file.image_shape)
            names, unread = file.further_images, file.left_out
    except DataError as error:
        return FileCheck(path, faults=[Fault("unopenable", _without_path(error, path))])
    for name in names:
        try:
            with open_shower_file(path, image=name, check=False) as file:
                look.further[name] = file.image_shape
        except DataError as error:
            look.faults.append(_of_image(name, error, path))
    if look.further:
        further = ", ".join(f"{name} of {_cells(cells)}" for name, cells in look.further.items())
        look.notes.append(f"several images of a shower were read: {FIRST_IMAGE}, {further} cells")
    if unread:
        listed = ", ".join(f"'{name}'" for name in unread)
        look.notes.append(f"not read: {listed}, neither cells nor a number a shower")
    return look


def _of_image(name: str, error: DataError, path: Path) -> Fault:
    return Fault("image", f"its image {name} cannot be read: {_without_path(error, path)}")


def _read(
    look: FileCheck, criteria: Criteria, advance: Callable[[int], None]
) -> tuple[FileCheck, NDArray[np.uint64]]:
    """Read a file whole; the fingerprint of a shower that is empty or cannot be read is 0."""
    try:
        file = open_shower_file(look.path, shape=criteria.shape, check=False)
    except DataError as error:  # it was there a moment ago
        look.faults.append(Fault("unopenable", _without_path(error, look.path)))
        return look, _NONE
    with file:
        scan = _Scan(file, criteria)
        for first, stop, showers in _blocks(file, scan.unreadable):
            if showers is not None:
                scan.look_at(showers, first)
            advance(stop - first)
    check = scan.result(look)
    for name in look.further:
        check.faults.extend(_read_further(look.path, name, scan.unreadable, advance))
    return check, scan.fingerprint_n


def _read_further(
    path: Path,
    name: str,
    known: Sequence[tuple[int, int, str]],
    advance: Callable[[int], None],
) -> list[Fault]:
    """Read a further image of a file whole; `known` are places that it cannot be read anyway."""
    cells = _Cells(name)
    unreadable: list[tuple[int, int, str]] = []
    try:
        file = open_shower_file(path, image=name, check=False)
    except DataError as error:  # it was there a moment ago
        return [_of_image(name, error, path)]
    with file:
        for first, stop, showers in _blocks(file, unreadable):
            if showers is not None:
                cells.look_at(showers, first)
            advance(stop - first)
    places = {(first, stop) for first, stop, _ in known}
    own = [each for each in unreadable if each[:2] not in places]
    return [*_unreadable(own, name), *cells.faults()]


class _Cells:
    """The cells of an image that cannot be."""

    def __init__(self, image: str = "") -> None:
        """`image` is named where a file has several."""
        self._of = f" of {image}" if image else ""
        self._negative, self._not_finite = _Finding(), _Finding()

    def look_at(self, showers: SparseShowers, first: int) -> NDArray[np.bool_]:
        """Note bad cells of showers, the first of which is row `first`; which showers have some."""
        bad_n = np.zeros(len(showers), bool)
        for finding, bad_h in (
            (self._negative, showers.deposit_h < 0),
            (self._not_finite, ~np.isfinite(showers.deposit_h)),
        ):
            hit_n = np.bincount(showers.shower_h[bad_h], minlength=len(showers)) > 0
            finding.add(hit_n, first, int(np.count_nonzero(bad_h)))
            bad_n |= hit_n
        return bad_n

    def faults(self) -> list[Fault]:
        """What was found."""
        return [
            fault
            for kind, finding, what in (
                ("negative", self._negative, "with negative energy"),
                ("not_finite", self._not_finite, "with an energy that is not finite"),
            )
            for fault in finding.fault(
                kind, f"{_count(finding.cells, 'cell')}{self._of} {what} in {_in(finding)}"
            )
        ]


class _Scan:
    """What is known of a file while it is read."""

    def __init__(self, file: ShowerFile, criteria: Criteria) -> None:
        self._file = file
        self._criteria = criteria
        self.unreadable: list[tuple[int, int, str]] = []
        self._energy, self._empty = _Finding(), _Finding()
        self._cells = _Cells(FIRST_IMAGE if file.further_images else "")
        self._particles: set[int] = set()
        self._angles = {name: _Finding() for name in POLAR_ANGLES}
        self._fraction_n = np.full(file.count, np.nan, np.float32)
        self.fingerprint_n = np.zeros(file.count, np.uint64)

    def look_at(self, showers: SparseShowers, first: int) -> None:
        """Look at showers in the file's unit, the first of which is row `first`."""
        rows = slice(first, first + len(showers))
        energy_n, deposit_h, shower_h = showers.energy_n, showers.deposit_h, showers.shower_h
        wrong_energy_n = ~(np.isfinite(energy_n) & (energy_n > 0))
        self._energy.add(wrong_energy_n, first)
        bad_n = wrong_energy_n | self._cells.look_at(showers, first)
        self._particles.update(known_particles(showers.columns))
        for name, finding in self._angles.items():
            if name in showers.columns:
                angle_n = showers.columns[name]
                finding.add(~np.isfinite(angle_n) | in_degrees(angle_n), first)
        unit_gev = self._file.unit_gev
        lit_h = deposit_h * unit_gev >= self._criteria.threshold_gev
        empty_n = np.bincount(shower_h[lit_h], minlength=len(showers)) == 0
        self._empty.add(empty_n & ~bad_n, first)
        good_n = ~(bad_n | empty_n)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            self._fraction_n[rows] = np.where(good_n, showers.ecal_n / energy_n, np.nan)
        self.fingerprint_n[rows] = np.where(good_n, _fingerprints(showers, unit_gev), 0)

    def result(self, look: FileCheck) -> FileCheck:
        """Return what was found, beside what the first `look` at the file has."""
        fraction_n = self._fraction_n
        good_n = np.isfinite(fraction_n)
        median = float(np.median(fraction_n[good_n])) if good_n.any() else None
        empty = f"without a cell of at least {self._criteria.threshold_gev:g} GeV"
        faults = [
            *_unreadable(self.unreadable),
            *self._energy.fault("energy", f"{_in(self._energy)} without positive incident energy"),
            *self._cells.faults(),
            *(
                fault
                for name, finding in self._angles.items()
                for fault in finding.fault(
                    "angle",
                    f"{_in(finding)} with '{name}' beyond pi or not finite, expected rad; are the "
                    "angles in degrees?",
                )
            ),
            *self._empty.fault("empty", f"{_in(self._empty)} {empty}"),
        ]
        if median is not None:
            faults += self._far_from(median, fraction_n)
        notes = list(look.notes)
        if len(self._particles) > 1:
            notes.append(
                f"holds several particles, PDG codes {', '.join(map(str, sorted(self._particles)))}"
                f": networks train on them with model.conditions: {conditions_for(self._particles)}"
                ", or with data.particles"
            )
        return replace(look, sampling_fraction=median, faults=[*faults, *look.faults], notes=notes)

    def _far_from(self, median: float, fraction_n: NDArray[np.float32]) -> list[Fault]:
        criteria = self._criteria
        if median > criteria.largest_fraction:
            return [
                Fault(
                    "fraction",
                    f"the sum of cells is {median:.3g} times the incident energy (median): "
                    "not the same unit",
                )
            ]
        far = _Finding()
        factor = criteria.fraction_factor
        far.add((fraction_n > median * factor) | (fraction_n < median / factor), 0)
        if not far.showers or far.first is None:
            return []
        return far.fault(
            "fraction",
            f"{_in(far)} with a sampling fraction more than {factor:g} times off the file's "
            f"median of {100 * median:.3g} % ({100 * fraction_n[far.first]:.3g} % in the first)",
        )


def _blocks(
    file: ShowerFile, unreadable: list[tuple[int, int, str]]
) -> Iterator[tuple[int, int, SparseShowers | None]]:
    """Yield (first, stop, showers) in the file's unit; None for what cannot be read.

    What cannot be read as a block is tried chunk by chunk, so that no more than the damage is lost.
    """
    for first in range(0, file.count, file.block_rows):
        stop = min(first + file.block_rows, file.count)
        try:
            yield first, stop, file.read_cells(first, stop)
        except DataError:
            for begin in range(first, stop, file.chunk_rows):
                end = min(begin + file.chunk_rows, stop)
                yield begin, end, _read_or_note(file, begin, end, unreadable)


def _read_or_note(
    file: ShowerFile, first: int, stop: int, unreadable: list[tuple[int, int, str]]
) -> SparseShowers | None:
    try:
        return file.read_cells(first, stop)
    except DataError as error:
        if unreadable and unreadable[-1][1] == first:
            begin, _, reason = unreadable[-1]
            unreadable[-1] = (begin, stop, reason)
        else:
            unreadable.append((first, stop, _without_path(error, file.path)))
        return None


def _unreadable(places: list[tuple[int, int, str]], image: str = "") -> list[Fault]:
    if not places:
        return []
    showers = sum(stop - first for first, stop, _ in places)
    listed = ", ".join(f"{first} to {stop - 1}" for first, stop, _ in places[:_PLACES])
    more = f" and {len(places) - _PLACES} more places" if len(places) > _PLACES else ""
    of = f" of {image}" if image else ""
    text = f"{_count(showers, 'shower')}{of} cannot be read: {listed}{more} ({places[0][2]})"
    return [Fault("unreadable", text, showers, places[0][0])]


def _fingerprints(showers: SparseShowers, unit_gev: float) -> NDArray[np.uint64]:
    """Return a number for each shower, shape (N,), that equal showers share.

    Equal are those with the same incident energy and the same energies (GeV, single precision) in
    the same cells. Two that differ share one of the 2^64 numbers with a chance of 2^-64.
    """
    deposit_h = (showers.deposit_h * np.float64(unit_gev)).astype(np.float32)
    energy_n = (showers.energy_n * np.float64(unit_gev)).astype(np.float32)
    cell_h = showers.cell_h.astype(np.uint64)
    mixed_h = _mix((cell_h << np.uint64(32)) | deposit_h.view(np.uint32))
    # Differences of running sums: modulo 2^64 they are exact.
    sum_h1 = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed_h, dtype=np.uint64)])
    sum_n = sum_h1[showers.offset_n1[1:]] - sum_h1[showers.offset_n1[:-1]]
    return _mix(sum_n ^ _mix(energy_n.view(np.uint32).astype(np.uint64)))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread what numbers differ in over all of their bits.

    The finaliser of splitmix64: Steele, Lea and Flood, OOPSLA 2014, doi 10.1145/2660193.2660195.
    """
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _compare_shapes(checks: list[FileCheck]) -> None:
    """Note files whose images have another shape than those of most (of as many: of the first)."""
    names = dict.fromkeys(name for each in checks for name in each.further)
    _compare_shapes_of("", checks, [each.image_shape for each in checks])
    for name in names:
        _compare_shapes_of(f"{name} of ", checks, [each.further.get(name) for each in checks])


def _compare_shapes_of(which: str, checks: list[FileCheck], shapes: Sequence[Shape | None]) -> None:
    """Compare the `shapes` of one image in all files; None: it is not in that one."""
    counts = Counter(shape for shape in shapes if shape is not None)
    if len(counts) < 2:
        return
    usual = counts.most_common(1)[0][0]
    for each, shape in zip(checks, shapes, strict=True):
        if shape is not None and shape != usual:
            text = f"{which}{_cells(shape)} cells, other files have {_cells(usual)}"
            each.faults.insert(0, Fault("geometry", text))


def _compare_fractions(checks: list[FileCheck], criteria: Criteria) -> None:
    """Note files whose median sampling fraction is far from that of the files' median."""
    fractions = sorted(each.sampling_fraction for each in checks if each.sampling_fraction)
    if not fractions:
        return
    usual = fractions[(len(fractions) - 1) // 2]
    for each in checks:
        mine, factor = each.sampling_fraction, criteria.fraction_factor
        if mine and not usual / factor <= mine <= usual * factor:
            text = (
                f"median sampling fraction {100 * mine:.3g} %, more than {factor:g} times off the "
                f"{100 * usual:.3g} % of other files"
            )
            each.faults.append(Fault("fraction", text))


def _find_duplicates(checks: list[FileCheck], fingerprints: list[NDArray[np.uint64]]) -> None:
    """Note, file by file, the showers that an earlier file has, and those it has twice itself.

    A shower may be both.
    """
    offset_f1 = np.cumsum([0, *(len(each) for each in fingerprints)])
    all_n = np.concatenate([*fingerprints, _NONE])
    known_k = np.flatnonzero(all_n)
    # Stable: equal showers stay in the order of the files.
    known_k = known_k[np.argsort(all_n[known_k], kind="stable")]
    file_k = np.searchsorted(offset_f1, known_k, side="right") - 1
    again_k = _as_the_one_before(all_n[known_k])
    original_k = _first_of_run(known_k, again_k)
    original_here_k = _first_of_run(known_k, again_k & _as_the_one_before(file_k))
    for number, each in enumerate(checks):
        mine_k = np.flatnonzero(file_k == number)
        mine_k = mine_k[np.argsort(known_k[mine_k])]
        begin = offset_f1[number]
        elsewhere_k = mine_k[original_k[mine_k] < begin]
        if len(elsewhere_k):
            row_c, original_c = known_k[elsewhere_k] - begin, original_k[elsewhere_k]
            other_c = np.searchsorted(offset_f1, original_c, side="right") - 1
            text = _copies_elsewhere(
                each.showers,
                row_c,
                original_c - offset_f1[other_c],
                [checks[other].path for other in dict.fromkeys(other_c.tolist())],
            )
            each.faults.append(Fault("duplicate", text, len(row_c), int(row_c[0])))
        twice_k = mine_k[original_here_k[mine_k] < known_k[mine_k]]
        if len(twice_k):
            row_c, original_c = known_k[twice_k] - begin, original_here_k[twice_k] - begin
            first = f"shower {row_c[0]} is a copy of shower {original_c[0]}"
            several = f"{len(row_c)} showers are copies of earlier ones in this file: {first}"
            text = first if len(row_c) == 1 else several
            each.faults.append(Fault("duplicate", text, len(row_c), int(row_c[0])))


def _as_the_one_before(values_k: NDArray[Any]) -> NDArray[np.bool_]:
    again_k = np.zeros(len(values_k), bool)
    again_k[1:] = values_k[1:] == values_k[:-1]
    return again_k


def _first_of_run(values_k: NDArray[np.int64], goes_on_k: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each value the first of the run that it goes on."""
    first_k = np.maximum.accumulate(np.where(goes_on_k, 0, np.arange(len(values_k))))
    return values_k.take(first_k)


def _copies_elsewhere(
    showers: int, row_c: NDArray[np.int64], original_c: NDArray[np.int64], paths: Sequence[Path]
) -> str:
    """Say which of a file's `showers` are copies: `row_c` of `original_c` in files `paths`."""
    where = f"{paths[0]}"
    if len(paths) > 1:
        where += f" and {_count(len(paths) - 1, 'other file')}"
    if len(row_c) == showers > 1:
        return f"all {showers} showers are also in {where}"
    first = f"shower {row_c[0]} is a copy of shower {original_c[0]} of {paths[0]}"
    if len(row_c) == 1:
        return first
    return f"{len(row_c)} showers are also in {where}: {first}"


def _without_path(error: DataError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _in(finding: _Finding) -> str:
    return _count(finding.showers, "shower")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _cells(shape: Shape) -> str:
    return "×".join(map(str, shape))


_PLACES = 3
"""Damaged places that are listed."""

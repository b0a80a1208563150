"""Simulated showers in files named as the published ones, any of which can be made alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gan3d import __version__
from gan3d.config import Simulation
from gan3d.data import geometry_attributes, open_shower_file, write_showers
from gan3d.data.aside import format_bytes, made_folder
from gan3d.data.planned import SUFFIXES, PlannedFile, missing_files, other_files, plan_files
from gan3d.data.shower_file import ShowerFile
from gan3d.data.sparse import SparseShowers
from gan3d.errors import DataError
from gan3d.simulation.incident import PDG_CODES
from gan3d.simulation.showers import ShowerSimulator

_NAMES = {"e-": "Ele", "e+": "Pos", "gamma": "Gamma"}
_BYTES_PER_CELL = 3
"""Compressed, a lit cell takes more than this in any layout: 4.1 in shards, 7.3 in LCD files."""
_PILOT_SHOWERS = 20


@dataclass(frozen=True)
class Dataset:
    """Showers 0 to `count` of a simulation and a seed, in files of `showers_per_file`."""

    simulation: Simulation
    seed: int
    count: int
    folder: Path
    layout: str = "lcd"
    showers_per_file: int = 10_000

    @property
    def files(self) -> list[PlannedFile]:
        """The files, numbered from 1; the last may hold fewer showers."""
        angle = "Escan" if self.simulation.beam.theta_deg is None else "Measured3ThetaEscan"
        stem = f"{_NAMES[self.simulation.beam.particle]}{angle}_1"
        return plan_files(
            lambda number: self.folder / f"{stem}_{number}{SUFFIXES[self.layout]}",
            self.count,
            self.showers_per_file,
        )

    def missing(self, *, replace: bool = False) -> list[PlannedFile]:
        """Return the files that are still to be written; nothing is written yet.

        A file that is there already is left out if it holds the right number of showers and its
        first and last shower are those that it would get; what a killed process left half-written
        is removed. With `replace`, so are files of this name beyond those planned. Raises
        UsageError if one holds other showers, or there are more files of this name, unless they may
        be replaced, or if one of the latter was not simulated; DataError if one is damaged or a
        folder, the folder cannot be made or written to, or there is clearly too little space on the
        disk.
        """
        missing = missing_files(self.files, self._holds, replace=replace)
        others = other_files(
            self.files,
            ("simulation", "first_shower"),
            "simulate",
            replace=replace,
            suffixes=(SUFFIXES[self.layout],),
        )
        needed, free = self.least_bytes(missing), shutil.disk_usage(_existing(self.folder)).free
        if needed > free:
            raise DataError(
                f"{self.folder}: {sum(map(len, missing))} showers take "
                f"more than {format_bytes(needed)}, there are {format_bytes(free)} on this disk"
            )
        for path in others:
            path.unlink()
        return missing

    def write(self, file: PlannedFile, *, advance: Callable[[int], None] = lambda _: None) -> None:
        """Simulate the showers of `file` and write them; it appears only when it is whole.

        `advance` is told how many more are done. Raises DataError as `write_showers` does.
        """

        def blocks() -> Iterator[SparseShowers]:
            for block in ShowerSimulator(self.simulation, self.seed).blocks(file.first, file.stop):
                yield block
                advance(len(block))

        geometry = self.simulation.geometry
        attributes: dict[str, str | int | float] = {
            "generator": f"gan3d {__version__}",
            "model": "parametric showers after hep-ex/0001020; no Monte Carlo",
            "seed": self.seed,
            "units": "GeV",
            "first_shower": file.first,
            "simulation": self.simulation.model_dump_json(),
            **geometry_attributes(geometry),
        }
        with made_folder(self.folder):
            write_showers(
                file.path,
                blocks(),
                layout=self.layout,
                pdg_id=PDG_CODES[self.simulation.beam.particle],
                # Files state lengths; a cylinder's cells have none along the angle.
                cell_size_mm=None if geometry.is_cylinder else geometry.pitch,
                attributes=attributes,
                geometries=self.simulation.geometries if self.simulation.behind else None,
            )

    def least_bytes(self, files: list[PlannedFile]) -> float:
        """Return the least space that the showers of `files` can take."""
        pilot = min(self.count, _PILOT_SHOWERS)
        hits = len(ShowerSimulator(self.simulation, self.seed).simulate(0, pilot).cell_h) / pilot
        return _BYTES_PER_CELL * hits * sum(map(len, files))

    def _holds(self, planned: PlannedFile, file: ShowerFile) -> bool:
        """Whether the first and the last shower of a file are the planned ones."""
        simulator = ShowerSimulator(self.simulation, self.seed)
        further = self.simulation.images.further
        if not set(further) <= set(file.further_images):
            return False
        with open_shower_file(planned.path, further=dict.fromkeys(further)) as whole:
            for row in (0, len(planned) - 1):
                number = planned.first + row
                wanted = simulator.simulate(number, number + 1)
                if not _equal(whole.read_sparse(row, row + 1), wanted):
                    return False
        return True


def _equal(one: SparseShowers, other: SparseShowers) -> bool:
    return (
        one.image_shape == other.image_shape
        and np.array_equal(one.cell_h, other.cell_h)
        and np.array_equal(one.deposit_h, other.deposit_h)
        and np.array_equal(one.energy_n, other.energy_n)
    )


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())

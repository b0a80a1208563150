"""Generated showers in any number: in files, by any number of processes, in one go or in several.

A shower depends on the seed and its number alone, and a file on its showers. So it does not matter
who writes a file, or when: ranks take turns, and what is there is not made again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Geometry
from gan3d.data import Showers, write_showers
from gan3d.data.aside import made_folder
from gan3d.data.planned import SUFFIXES, PlannedFile, missing_files, other_files, plan_files
from gan3d.data.shower_file import ShowerFile
from gan3d.data.threads import ReaderThreads
from gan3d.generation.run import DEFAULT_BATCH, Columns

SHOWERS_PER_FILE = 10_000
"""As many as the published files have."""
_AHEAD = 2
"""Batches that are generated before those before them are written."""


class Generator(Protocol):
    """What showers come from: a run, or an exported model."""

    @property
    def pdg_id(self) -> int:
        """The particle that all its training showers were of; 0: not known, or several."""

    def attributes(self, seed: int) -> dict[str, str | int]:
        """What a file of its showers says of their origin."""

    def stream(
        self,
        energy_n: NDArray[np.floating[Any]],
        *,
        seed: int = 0,
        batch_size: int = DEFAULT_BATCH,
        first: int = 0,
        columns: Columns | None = None,
    ) -> Iterator[Showers]:
        """A shower for each incident energy (GeV), batch by batch: those from `first` on.

        `columns` are the labels that it is conditioned on, too.
        """


@dataclass(frozen=True)
class Dataset:
    """A shower for each of `energy_n` (GeV), in files of `showers_per_file`."""

    generator: Generator
    energy_n: NDArray[np.float32]
    seed: int
    folder: Path
    layout: str = "lcd"
    showers_per_file: int = SHOWERS_PER_FILE
    cell_size_mm: tuple[float, float, float] | None = None
    columns: Columns = field(default_factory=dict)
    """Labels that the generator is conditioned on, (N,) each."""
    geometries: Mapping[str, Geometry] | None = None
    """Where it makes several images of a shower, the grids of all, by their names."""

    @cached_property
    def files(self) -> list[PlannedFile]:
        """The files, in the order of the showers."""
        suffix = SUFFIXES[self.layout]
        return plan_files(
            lambda number: self.folder / f"showers_{number:05d}{suffix}",
            len(self.energy_n),
            self.showers_per_file,
        )

    def share(self, rank: int, size: int) -> list[PlannedFile]:
        """Files that one of `size` ranks is to write: every so many, so that all go on alike."""
        return self.files[rank::size]

    def missing(self, files: list[PlannedFile], *, replace: bool = False) -> list[PlannedFile]:
        """Those of `files` that are still to be written, as `gan3d.data.planned` says.

        A file is right if it is of this generator, seed and first shower, with these energies and
        labels. Numbered files beyond those of the whole dataset, of any layout, are refused as
        others are, or removed with `replace`.
        """
        missing = missing_files(files, self._holds, replace=replace)
        for path in other_files(
            self.files,
            ("weights_sha256", "first_shower"),
            "generate",
            replace=replace,
            suffixes=SUFFIXES.values(),
        ):
            path.unlink(missing_ok=True)  # another rank may have been quicker
        return missing

    def write(
        self,
        file: PlannedFile,
        *,
        batch_size: int = DEFAULT_BATCH,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Generate the showers of `file` and write them; it appears only when it is whole.

        `advance` is told how many more are done. Raises DataError as `write_showers` does.
        """
        energy_n = self.energy_n[file.first : file.stop]
        blocks = self.generator.stream(
            energy_n,
            seed=self.seed,
            batch_size=batch_size,
            first=file.first,
            columns=self._columns(file),
        )
        with made_folder(self.folder):
            write_while_generating(
                file.path,
                blocks,
                advance,
                layout=self.layout,
                attributes=self._attributes(file),
                pdg_id=self.generator.pdg_id,
                cell_size_mm=self.cell_size_mm,
                geometries=self.geometries,
            )

    def _columns(self, file: PlannedFile) -> dict[str, NDArray[Any]]:
        return {name: values_n[file.first : file.stop] for name, values_n in self.columns.items()}

    def _attributes(self, file: PlannedFile) -> dict[str, str | int]:
        return {**self.generator.attributes(self.seed), "first_shower": file.first}

    def _holds(self, planned: PlannedFile, file: ShowerFile) -> bool:
        wanted = self._attributes(planned)
        same = all(
            file.attributes.get(name) == wanted[name]
            for name in ("weights_sha256", "model", "seed", "first_shower")
        )
        if not same or not np.array_equal(
            file.energy_n, self.energy_n[planned.first : planned.stop]
        ):
            return False
        there = file.read_columns(0, file.count) if self.columns else {}
        return all(
            name in there and np.array_equal(there[name], values_n)
            for name, values_n in self._columns(planned).items()
        )


def write_while_generating(
    path: Path, blocks: Iterator[Showers], advance: Callable[[int], None], **options: Any
) -> None:
    """Write showers while the next ones are generated, by a thread of their own.

    `options` are those of `gan3d.data.write_showers`; `advance` is told how many more are done.
    """

    def written() -> Iterator[Showers]:
        for block in ahead(blocks):
            yield block
            advance(len(block))

    write_showers(path, written(), **options)


def ahead(blocks: Iterator[Showers]) -> Iterator[Showers]:
    """The same blocks, of which a few are made before they are asked for."""
    threads = ReaderThreads(1, stall_seconds=float("inf"))
    waiting = deque(threads.submit(lambda: next(blocks, None), "generating") for _ in range(_AHEAD))
    try:
        while (block := threads.wait(waiting.popleft())) is not None:
            waiting.append(threads.submit(lambda: next(blocks, None), "generating"))
            yield block
    finally:
        threads.close()

"""How fast showers come from files: the reader, beside a plain read of the same file.

The plain read is what a script would write: h5py, or pyarrow for Parquet, block by block in file
order into float32 images; nothing is checked, shuffled or made into batches. The reader does all of
that. Both are measured in turn, several times, because machines are noisy: what counts is the ratio
within a round.
"""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gan3d.config import Data, Geometry
from gan3d.data import (
    Part,
    ShowerLoader,
    expand_patterns,
    open_shower_file,
    order_epoch,
    read_showers,
    shuffle_quality,
    survey_files,
    temporary_folder,
    whole,
    write_showers,
)
from gan3d.errors import DataError

FORMATS = ("lcd-gzip", "lcd-plain", "challenge-gzip", "parquet")
"""Formats that can be measured: LCD files as written by gan3d, and without compression as
contiguous arrays; Challenge files; Parquet shards."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    formats: tuple[str, ...] = FORMATS
    """Formats that the showers are written in."""
    workers: tuple[int, ...] = (0, 1, 2)
    """Numbers of threads that read ahead (`data.workers`)."""
    showers: int = 10_000
    """Showers of each file; fewer given ones are repeated."""
    rounds: int = 5
    """Measurements of each kind, in turn; medians are given."""
    batch_size: int = 32
    """Showers of a batch."""
    shuffle_window: int = 2048
    """`data.shuffle_window`."""


def measure_formats(
    patterns: Sequence[str], settings: Settings, say: Progress = lambda _: None
) -> dict[str, Any]:
    """Write the showers of `patterns` in every format, read them, and return the figures.

    Raises DataError where the files cannot be read or there is no room for copies of them.
    """
    with _folder(patterns, settings) as folder:
        files = {}
        for name in settings.formats:
            say(f"writing {name}")
            files[name] = _write(name, folder, patterns, settings)
        figures = {name: _Measured(path, settings) for name, path in files.items()}
        for number in range(settings.rounds):
            say(f"round {number + 1} of {settings.rounds}")
            for each in figures.values():
                each.measure()
        return {name: each.figures() for name, each in figures.items()}


def measure_files(
    patterns: Sequence[str],
    settings: Settings,
    *,
    shape: tuple[int, int, int] | None = None,
    rank: int = 0,
    size: int = 1,
) -> dict[str, Any]:
    """Read this rank's share of an epoch of the files as they are, once for each of the workers.

    Nothing is copied and no file is read otherwise, so that the peak memory is the reader's. Raises
    DataError as `ShowerLoader` does.
    """
    data, part = _prepare(patterns, settings, shape)
    passes = {}
    for workers in settings.workers:
        seconds, waited, showers = _read_epoch(part, data, workers, settings, rank, size)
        passes[str(workers)] = {
            "showers_per_second": round(showers / seconds, 1),
            "seconds": round(seconds, 3),
            "waited_seconds": round(waited, 3),
        }
    return {
        "files": len(part.files),
        "showers": len(part),
        "showers_of_this_rank": showers,
        "workers": passes,
        "shuffle": _quality(part, settings, rank, size),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }


def peak_memory_mb() -> float:
    """The largest resident memory (MB) that this process has had."""
    # In KiB on Linux.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


class _Measured:
    """The measurements of one file."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._data, self._part = _prepare([str(path)], settings, None)
        kinds = ["plain", *map(str, settings.workers)]
        self._rates: dict[str, dict[str, list[float]]] = {
            cache: {kind: [] for kind in kinds} for cache in ("cold", "warm")
        }

    def measure(self) -> None:
        """One round: every kind, each with a cold and with a warm cache."""
        for cache, rates in self._rates.items():
            for kind, measured in rates.items():
                if cache == "cold":
                    forget(self._path)
                else:
                    self._path.read_bytes()
                measured.append(self._rate(kind))

    def figures(self) -> dict[str, Any]:
        """Medians of the rates, and of the ratios to the plain read in the same round."""
        return {
            "showers": len(self._part),
            "size_mb": round(self._path.stat().st_size / 1e6, 2),
            **{
                cache: {
                    "plain_showers_per_second": round(statistics.median(rates["plain"]), 1),
                    "workers": {
                        kind: {
                            "showers_per_second": round(statistics.median(measured), 1),
                            "times_plain": round(_median_ratio(measured, rates["plain"]), 2),
                        }
                        for kind, measured in rates.items()
                        if kind != "plain"
                    },
                }
                for cache, rates in self._rates.items()
            },
        }

    def _rate(self, kind: str) -> float:
        if kind == "plain":
            began = time.perf_counter()
            showers = plain_read(self._path)
            return showers / (time.perf_counter() - began)
        seconds, _, showers = _read_epoch(
            self._part, self._data, int(kind), self._settings, rank=0, size=1
        )
        return showers / seconds


def plain_read(path: Path) -> int:
    """Read all showers of a file as a script would, and return how many they are."""
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            cells = file["ECAL"] if "ECAL" in file else file["showers"]
            rows = cells.chunks[0] if cells.chunks else 100
            for start in range(0, len(cells), rows):
                cells[start : start + rows]
            return len(cells)
    table = pq.ParquetFile(path)
    cells = _parquet_cells(table)
    for group in range(table.num_row_groups):
        columns = table.read_row_group(group, use_threads=False)
        offset_n1 = columns["cell"].combine_chunks().offsets.to_numpy()
        cell_h = columns["cell"].combine_chunks().flatten().to_numpy()
        deposit_h = columns["deposit"].combine_chunks().flatten().to_numpy()
        images: NDArray[np.float32] = np.zeros((columns.num_rows, cells), np.float32)
        shower_h = np.repeat(np.arange(columns.num_rows), np.diff(offset_n1))
        images[shower_h, cell_h] = deposit_h
    return int(table.metadata.num_rows)


def forget(path: Path) -> None:
    """Have the operating system drop its copy of a file in memory.

    What the disk itself, or a virtual machine's host, keeps is out of reach.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _prepare(
    patterns: Sequence[str], settings: Settings, shape: tuple[int, int, int] | None
) -> tuple[Data, Part]:
    if shape is None:
        with open_shower_file(expand_patterns(patterns)[0], check=False) as file:
            shape = file.image_shape
    data = Data(
        files=list(patterns),
        geometry=Geometry(shape=shape),
        shuffle_window=settings.shuffle_window,
    )
    return data, whole(survey_files(data).files)


def _read_epoch(
    part: Part, data: Data, workers: int, settings: Settings, rank: int, size: int
) -> tuple[float, float, int]:
    """(seconds, seconds of waiting, showers) of an epoch's batches, from opening the files on."""
    began = time.perf_counter()
    loader = ShowerLoader(
        part,
        data.model_copy(update={"workers": workers}),
        batch_size=settings.batch_size,
        rank=rank,
        size=size,
        last_epoch=0,
    )
    showers = sum(len(batch) for batch in loader.epoch(0))
    seconds = time.perf_counter() - began
    loader.close()
    return seconds, loader.waited, showers


def _quality(part: Part, settings: Settings, rank: int, size: int) -> dict[str, float]:
    order = order_epoch(
        part,
        epoch=0,
        rank=rank,
        size=size,
        batch_size=settings.batch_size,
        window=settings.shuffle_window,
    )
    quality = shuffle_quality(part, order, batch_size=settings.batch_size)
    return {
        "batch_variance": round(quality.batch_variance, 4),
        "neighbour_correlation": round(quality.neighbour_correlation, 4),
    }


def _median_ratio(measured: Sequence[float], plain: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(measured, plain, strict=True))


@contextmanager
def _folder(patterns: Sequence[str], settings: Settings) -> Iterator[Path]:
    """A folder for the copies, removed in the end, on a disk with room for them."""
    with open_shower_file(expand_patterns(patterns)[0], check=False) as file:
        image_bytes = 4 * int(np.prod(file.image_shape))
    with temporary_folder("gan3d-bench-data-") as folder:
        # The uncompressed copy is by far the largest.
        needed = int(1.5 * image_bytes * settings.showers)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise DataError(
                f"{folder}: {free / 1e9:.1f} GB are free, {needed / 1e9:.1f} GB are needed for "
                "copies of the showers; measure fewer, or set TMPDIR to another folder"
            )
        yield folder


def _write(name: str, folder: Path, patterns: Sequence[str], settings: Settings) -> Path:
    layout, _, storage = name.partition("-")
    path = folder / f"{name}.{'parquet' if layout == 'parquet' else 'h5'}"
    showers = read_showers(patterns, limit=settings.showers)
    rows = np.arange(settings.showers) % len(showers)
    blocks = (showers.take(rows[start : start + 100]) for start in range(0, len(rows), 100))
    if storage == "plain":
        with h5py.File(path, "w") as file:
            cells = file.create_dataset("ECAL", (len(rows), *showers.image_shape), np.float32)
            target = np.zeros((len(rows), 5), np.float32)
            target[:, 0], target[:, 1], target[:, 4] = 11, *[showers.energy_n[rows]] * 2
            file["target"] = target
            for number, block in enumerate(blocks):
                cells[100 * number : 100 * number + len(block)] = block.images_nxyz
    else:
        write_showers(path, blocks, layout=layout, attributes={})
    return path


def _parquet_cells(file: pq.ParquetFile) -> int:
    return math.prod(json.loads(file.schema_arrow.metadata[b"gan3d.image_shape"]))

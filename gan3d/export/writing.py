"""A run's generator into the file of a format, tried before it gets its name."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.data import check_folder, network_labels, written_aside
from gan3d.data.aside import remove_leftovers
from gan3d.errors import DataError, RunError, UsageError
from gan3d.export.metadata import Latent, describe
from gan3d.export.runtimes import ExportedModel, open_model
from gan3d.export.targets import SUFFIXES, Format, check_target
from gan3d.generation import TrainedRun
from gan3d.generation.run import Columns
from gan3d.models.sampling import sample_images

TRIED = 16
"""Showers that a new model is tried with."""
TOLERATED = 1e-3
"""Relative difference of a shower's energy from the run's own that no rounding explains."""
TOLERATED_CELL = 1e-2
"""The same of a cell, relative to the largest one of its shower: rare cells of `compact` networks
are interpolated in tables, which amplifies rounding."""


@dataclass(frozen=True)
class Agreement:
    """How far an exported model's showers are from the run's own, of the same latents."""

    runtime: str
    """What ran the model."""
    showers: int
    """How many were compared."""
    energy: float
    """Largest difference of a shower's total energy, relative to the mean of all."""
    cells: float
    """Largest difference of a cell, relative to the largest cell of its shower."""


def check_path(path: Path, kind: Format) -> None:
    """Raise an error if a model of this format cannot be written to `path`; writes nothing."""
    if not path.name.endswith(SUFFIXES[kind]):
        raise UsageError(f"{path}: name an {kind} model *{SUFFIXES[kind]}")
    if path.exists():
        raise UsageError(f"{path}: is already there; remove it or name another with -o")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: its folder does not exist; make it first")
    check_folder(path.parent)


def export_run(run: TrainedRun, path: Path, kind: Format, latent: Latent = "input") -> Agreement:
    """Write the generator of `run` to `path`, and say how its showers agree with the run's own.

    The file, or for a SavedModel the folder, appears under its name when it is whole and the
    format's runtime has given the run's showers with it. Raises NodeError where that runtime, or
    what writes the format, is not installed, RunError where the network cannot be expressed or its
    showers differ, UsageError or DataError where `path` cannot be written.
    """
    check_target(kind)
    check_path(path, kind)
    from gan3d.export.function import build_function
    from gan3d.models.layers import convolved_plainly

    metadata = describe(run, latent)
    remove_leftovers([path])
    function = build_function(run, latent)
    # What makes convolutions fast in TensorFlow on a processor is more operations elsewhere, and
    # gradients of its own, which no model to generate with needs and not every format can hold.
    with convolved_plainly(run.generator), _new(path, kind) as aside:
        if kind == "savedmodel":
            from gan3d.export.savedmodel import write_savedmodel

            write_savedmodel(run, function, metadata, aside)
        elif kind == "onnx":
            from gan3d.export.onnx_model import write_onnx

            write_onnx(function, metadata, aside)
        else:
            from gan3d.export.tflite import write_tflite

            write_tflite(function, metadata, aside)
        return _agreement(open_model(aside, kind, path), run)


def _agreement(model: ExportedModel, run: TrainedRun) -> Agreement:
    """Try a new model. Raises RunError where its showers are not those that `run` generates."""
    low, high = model.energy_range_gev
    energy_n = np.linspace(low, high, TRIED, dtype=np.float32)
    noise = model.draw_noise(0, 0, TRIED)
    columns = model.draw_labels(TRIED, {}, 0)
    theirs_nxyz = model.run(noise, energy_n, columns).astype(np.float64)
    ours_nxyz = _own(run, noise, energy_n, columns).astype(np.float64)
    axes = (1, 2, 3)
    # An untrained network may give empty showers, which empty ones agree with.
    largest_n = np.maximum(ours_nxyz.max(axis=axes), 1e-30)
    mean = max(ours_nxyz.sum() / TRIED, 1e-30)
    difference_nxyz = np.abs(theirs_nxyz - ours_nxyz)
    difference_n = np.abs(theirs_nxyz.sum(axis=axes) - ours_nxyz.sum(axis=axes))
    found = Agreement(
        runtime=model.runtime,
        showers=TRIED,
        energy=float(np.max(difference_n / mean)),
        cells=float(np.max(difference_nxyz.max(axis=axes) / largest_n)),
    )
    if not (found.energy <= TOLERATED and found.cells <= TOLERATED_CELL):  # nor is NaN
        raise RunError(
            f"{model.path}: not written: with {model.runtime} the energies of showers differ from "
            f"the run's own by {found.energy:.2g}, their cells by {found.cells:.2g} of the largest"
        )
    return found


def _own(
    run: TrainedRun, noise: NDArray[Any], energy_n: NDArray[np.float32], columns: Columns
) -> NDArray[np.float32]:
    """Showers of the run, as `gan3d generate` makes them, from what an exported model is given."""
    from gan3d.export.randomness import draw_latents

    latent_dim = int(run.generator.inputs[0].shape[1])
    # Latents, or, for a model that draws them inside, seeds.
    seeds = noise.dtype == np.int32
    latent_nz = np.asarray(draw_latents(noise, latent_dim)) if seeds else noise
    (images_nxyz,) = sample_images(
        run.generator,
        energy_n,
        run.experiment.data,
        latent_dim=latent_dim,
        seed=0,
        batch_size=len(energy_n),
        labels_nc=network_labels(columns, run.labels) if run.labels else None,
        draw=lambda start, rows: latent_nz[start : start + rows],
    )
    return images_nxyz


@contextmanager
def _new(path: Path, kind: Format) -> Iterator[Path]:
    if kind == "savedmodel":
        with _folder_aside(path) as folder:
            yield folder
    else:
        with written_aside(path) as file:
            yield file


@contextmanager
def _folder_aside(path: Path) -> Iterator[Path]:
    """Give a new folder beside `path`, which gets its name on leaving, synced, or is removed.

    It is locked and named as files of `written_aside` are, for `remove_leftovers`.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        aside.mkdir()
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
    handle = os.open(aside, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield aside
        for file in filter(Path.is_file, aside.rglob("*")):
            with file.open("rb") as content:
                os.fsync(content.fileno())
        aside.rename(path)
    finally:
        if aside.exists():
            shutil.rmtree(aside)
        os.close(handle)

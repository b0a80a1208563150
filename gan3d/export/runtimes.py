"""Exported models, run by the runtime of their format, all in the same way.

Importing this module imports no runtime; opening a model imports that of its format.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Condition, Geometry
from gan3d.data import Showers, geometry_attributes
from gan3d.errors import RunError, UsageError
from gan3d.export.metadata import Metadata
from gan3d.export.targets import FORMATS, Format, check_runtime
from gan3d.generation.run import (
    DEFAULT_BATCH,
    Columns,
    Draws,
    check_columns,
    check_energies,
)
from gan3d.models.sampling import drawn_ahead, latent_block

Inputs = dict[str, NDArray[Any]]
Call = Callable[[Inputs], NDArray[np.float32]]

LITE_SHOWERS = 8
"""TensorFlow Lite gets batches in parts of this size: its CONV_3D unrolls them in memory, for
`ecal25` 0.2 GB per shower, and ends the process at 128."""

_LARGEST_SEED = 2**31 - 1
"""The input `seed` holds int32."""


@dataclass(frozen=True)
class ExportedModel(Draws):
    """A model that `gan3d export` has written, ready to generate."""

    path: Path
    """Its file or folder."""
    format: Format
    metadata: Metadata
    """What the file says of itself."""
    runtime: str
    """What runs it, with its version."""
    call: Call
    """Inputs by name to cell energies, as the file has them."""

    def __call__(
        self,
        noise: NDArray[Any],
        energy_n: NDArray[np.floating[Any]],
        columns: Columns | None = None,
    ) -> NDArray[np.float32]:
        """Showers (N, x, y, layer) in GeV of incident energies (N,) in GeV, as one batch.

        Of several images (`geometries`) all cells of each shower, (N, cells, 1, 1), image by image.

        `noise` is what `draw_noise` gives: latents (N, latent_dim), or, where the model draws them
        inside, seeds (N, 2). `columns` are the `labels` that it is conditioned on, too. Warns of
        energies outside the range that the model was trained with.
        """
        low, high = self.energy_range_gev
        if energy_n.min() < low or energy_n.max() > high:
            warnings.warn(
                f"{self.path.name} was trained with {low:.4g} to {high:.4g} GeV; it is asked for "
                f"{energy_n.min():.4g} to {energy_n.max():.4g} GeV",
                stacklevel=2,
            )
        return self.run(noise, energy_n, columns)

    def run(
        self,
        noise: NDArray[Any],
        energy_n: NDArray[np.floating[Any]],
        columns: Columns | None = None,
    ) -> NDArray[np.float32]:
        """Do as a call does, without a look at the range."""
        return self.call(self.inputs(noise, energy_n, columns))

    def inputs(
        self,
        noise: NDArray[Any],
        energy_n: NDArray[np.floating[Any]],
        columns: Columns | None = None,
    ) -> Inputs:
        """Name the inputs as the model does, in its order.

        Raises UsageError where `columns` lack a label, or hold what it cannot be.
        """
        own = check_columns(columns or {}, self.labels, len(energy_n))
        name = "latent" if self.metadata.latent == "input" else "seed"
        inputs = {name: noise, "energy": np.asarray(energy_n, np.float32)[:, None]}
        for label in self.labels:
            values_n = own[label.column]
            dtype = np.int32 if label.kind == "categories" else np.float32
            inputs[label.name] = values_n.astype(dtype)[:, None]
        return inputs

    @property
    def geometries(self) -> dict[str, Geometry] | None:
        """The grids of the images of a shower, by their names; None: there is one image."""
        return self.metadata.geometries if self.metadata.further_images else None

    @property
    def labels(self) -> list[Condition]:
        """What the network is conditioned on beside the incident energy."""
        return [label.condition for label in self.metadata.labels]

    @property
    def label_ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of each label that it was trained with, by its column."""
        return {label.column: label.range for label in self.metadata.labels}

    @property
    def seen_categories(self) -> dict[str, tuple[int, ...]]:
        """Values of each label with categories that it was trained with, where it says them."""
        return {
            label.column: tuple(label.seen)
            for label in self.metadata.labels
            if label.seen is not None
        }

    @property
    def pdg_id(self) -> int:
        """The particle that all showers were of that it was trained with; 0: not known."""
        return self.metadata.pdg_id

    @property
    def energy_range_gev(self) -> tuple[float, float]:
        """Incident energies (GeV) of the training showers."""
        return self.metadata.energy_range_gev

    @property
    def identity(self) -> str:
        """What generated a shower: the run's model, the format, and what makes others of it."""
        words: list[str] = [self.format]
        if self.metadata.latent == "inside":  # draws other latents than the run
            words.append("latents inside")
        if self.metadata.int8:  # layers and calibration may be others for the same weights
            digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
            words.append(f"int8 {digest[:8]}")
        return f"{self.metadata.model} ({', '.join(words)})"

    def attributes(self, seed: int) -> dict[str, str | int]:
        """What a file of this model's showers, made with `seed`, says of its origin."""
        return {
            "generator": f"gan3d {self.metadata.gan3d_version}, {self.runtime}",
            "model": self.identity,
            "weights_sha256": self.metadata.weights_sha256,
            "seed": seed,
            "units": self.metadata.energy_unit,
            **geometry_attributes(self.metadata.geometry),
        }

    def draw_noise(self, seed: int, first: int, count: int) -> NDArray[Any]:
        """What the showers `first` to `first + count` of `seed` are made from.

        Latents are those of the run's own showers. Raises UsageError for a seed that is no int32
        where the model draws inside.
        """
        if self.metadata.latent == "input":
            return latent_block(seed, first, count, self.metadata.latent_dim)
        if max(seed, first + count) > _LARGEST_SEED:
            raise UsageError(
                f"{self.path}: seed {seed}: this model draws its latents itself, from seeds and "
                f"numbers of showers up to {_LARGEST_SEED}"
            )
        number_n = np.arange(first, first + count, dtype=np.int32)
        return np.stack([np.full(count, seed, np.int32), number_n], axis=1)

    def stream(
        self,
        energy_n: NDArray[np.floating[Any]],
        *,
        seed: int = 0,
        batch_size: int = DEFAULT_BATCH,
        first: int = 0,
        columns: Columns | None = None,
    ) -> Iterator[Showers]:
        """Generate a shower for each incident energy (GeV), as `TrainedRun.stream`."""
        energies = check_energies(energy_n, batch_size)
        own = check_columns(columns or {}, self.labels, len(energies))

        def draw(start: int, rows: int) -> NDArray[Any]:
            return self.draw_noise(seed, first + start, rows)

        start = 0
        for noise in drawn_ahead(draw, len(energies), batch_size):
            energy_b = energies[start : start + batch_size]
            labels = {name: value[start : start + batch_size] for name, value in own.items()}
            start += batch_size
            yield Showers(self.run(noise, energy_b, labels), energy_b, labels)


def is_exported(path: Path) -> bool:
    """Whether `path` is named as an exported model is, or is the folder of a SavedModel."""
    return path.suffix in (".onnx", ".tflite") or (path / "saved_model.pb").is_file()


def load_exported(path: str | Path, *, threads: int | None = None) -> ExportedModel:
    """Open a model that `gan3d export` has written, with `threads` threads (None: the runtime's).

    The format follows from the name: `*.onnx`, `*.tflite`, or the folder of a SavedModel, whose
    threads are TensorFlow's own. Raises NodeError where its runtime is not installed, RunError
    where there is no model of gan3d's.
    """
    path = Path(path)
    if not path.exists():
        raise RunError(f"{path}: there is no such model; `gan3d export` writes one")
    if not is_exported(path):
        raise RunError(f"{path}: neither *.onnx, nor *.tflite, nor a SavedModel's folder")
    kind: Format = next((kind for kind in FORMATS if path.suffix == f".{kind}"), "savedmodel")
    return open_model(path, kind, path, threads)


def open_model(path: Path, kind: Format, named: Path, threads: int | None = None) -> ExportedModel:
    """Open the model in `path`, whatever its name, which is to be called `named`."""
    check_runtime(kind)
    opened: dict[Literal["savedmodel", "onnx", "tflite"], Any] = {
        "savedmodel": _open_savedmodel,
        "onnx": _open_onnx,
        "tflite": _open_tflite,
    }
    runtime, call, content = opened[kind](path, named, threads)
    if content is None:
        raise RunError(f"{named}: has no metadata of gan3d's; export it with `gan3d export`")
    return ExportedModel(named, kind, Metadata.parse(content, named), runtime, call)


def _open_onnx(path: Path, named: Path, threads: int | None) -> tuple[str, Call, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = threads or 0
    # Threads that spin while they wait take the cores from whoever else works on the node.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except _onnx_errors() as error:
        raise _unreadable(named, error) from error
    values = session.get_modelmeta().custom_metadata_map

    def call(inputs: Inputs) -> NDArray[np.float32]:
        (cells_nxyz,) = session.run(["cells"], inputs)
        found: NDArray[np.float32] = cells_nxyz
        return found

    content = Metadata.join(values) if values else None
    return f"onnxruntime {onnxruntime.__version__}", call, content


def _onnx_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    return errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.NotImplemented


def _open_tflite(path: Path, named: Path, threads: int | None) -> tuple[str, Call, Any]:
    import struct

    import tensorflow as tf

    from gan3d.export.tflite import read_metadata

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it will move to a new package
            interpreter = tf.lite.Interpreter(str(path), num_threads=threads)
            interpreter.allocate_tensors()  # says which kernels it has: once, and now
        content = read_metadata(path)
        runner = interpreter.get_signature_runner()
    except (ValueError, struct.error) as error:
        raise _unreadable(named, error) from error
    places = {name: each["index"] for name, each in runner.get_input_details().items()}
    cells = runner.get_output_details()["cells"]["index"]
    shapes: dict[str, tuple[int, ...]] = {}

    def invoke(inputs: Inputs) -> NDArray[np.float32]:
        wanted = {name: value.shape for name, value in inputs.items()}
        if wanted != shapes:
            for name, shape in wanted.items():
                interpreter.resize_tensor_input(places[name], shape)
            interpreter.allocate_tensors()
            shapes.update(wanted)
        for name, value in inputs.items():
            interpreter.set_tensor(places[name], value)
        interpreter.invoke()
        found: NDArray[np.float32] = interpreter.get_tensor(cells)
        return found

    def call(inputs: Inputs) -> NDArray[np.float32]:
        parts = range(0, len(inputs["energy"]), LITE_SHOWERS)
        return np.concatenate(
            [
                invoke({name: value[at : at + LITE_SHOWERS] for name, value in inputs.items()})
                for at in parts
            ]
        )

    return f"TensorFlow Lite {tf.__version__}", call, content


def _open_savedmodel(path: Path, named: Path, threads: int | None) -> tuple[str, Call, Any]:
    import tensorflow as tf

    from gan3d.export.savedmodel import EXTRA

    del threads
    try:
        loaded = tf.saved_model.load(str(path))
        function = loaded.signatures["serving_default"]
    except (OSError, KeyError, ValueError) as error:
        raise _unreadable(named, error) from error
    extra = path / EXTRA
    content = extra.read_text(encoding="utf-8") if extra.is_file() else None

    def call(inputs: Inputs, keep: Any = loaded) -> NDArray[np.float32]:
        del keep  # the weights live as long as what was loaded
        given = {name: tf.constant(value) for name, value in inputs.items()}
        found: NDArray[np.float32] = function(**given)["cells"].numpy()
        return found

    return f"TensorFlow {tf.__version__}", call, content


def _unreadable(named: Path, error: Exception) -> RunError:
    first = (str(error).splitlines() or [""])[0]
    return RunError(f"{named}: cannot be loaded, it is damaged or no model ({first})")

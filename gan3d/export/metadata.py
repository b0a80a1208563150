"""What an exported model says of itself, inside its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from gan3d.config import FIRST_IMAGE, Condition, Geometry
from gan3d.data.showers import UNKNOWN_PARTICLE
from gan3d.errors import RunError
from gan3d.generation import TrainedRun
from gan3d.models.weights import read_json

Latent = Literal["input", "inside"]


class DataFile(BaseModel):
    """A file of training showers."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Without its folder."""
    showers: int
    size_bytes: int
    energy_sum_gev: float
    """Sum of the incident energies, GeV."""


class Label(BaseModel):
    """A further condition of the networks, and an input of the model of that name."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    name: str
    column: str
    """Column of shower files that holds it."""
    kind: Literal["number", "categories"]
    unit: str = ""
    """Of a number, as the model takes it."""
    plane_rad: float = 0.0
    """Of a polar angle: how near (rad) to the layers' plane it may not be."""
    values: list[int] = []
    """Categories that may occur."""
    range: tuple[float, float]
    """Smallest and largest value that the model was trained with."""
    seen: list[int] | None = None
    """Categories that it was trained with; null: not known."""

    @property
    def condition(self) -> Condition:
        """As the experiment had it, but for what the model does inside."""
        return Condition(**self.model_dump(exclude={"range", "seen"}))


class FurtherImage(BaseModel):
    """The grid of another image of the same shower; its cells follow in the output `cells`."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    shape: tuple[int, int, int]
    """Cells along (x, y, layer)."""
    cell_size_mm: tuple[float, float, float]
    """Cell pitch along (x, y, layer), mm."""


class Metadata(BaseModel):
    """Geometry, units, training data and version of an exported model, the same in all formats.

    Keys of later versions are ignored.
    """

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    gan3d_version: str
    """The gan3d that exported it."""
    model: str
    """Architecture, checkpoint and start of the digest of its weights."""
    weights_sha256: str
    """Digest of the weight file that it was made from."""
    latent: Latent
    """`input`: an input `latent`; `inside`: drawn by the model from an input `seed`."""
    latent_dim: int
    """Standard normal draws per shower."""
    image_shape: tuple[int, int, int]
    """Cells along (x, y, layer): the axes of the output `cells`. With `further_images` those of the
    first image, with whose cells the list begins that `cells` is then, (N, cells, 1, 1)."""
    cell_size_mm: tuple[float | None, float, float]
    """Cell pitch along (x, y, layer), mm; of a cylinder [null, radius, layer], whose cells divide
    the turn from -pi to pi."""
    further_images: dict[str, FurtherImage] = {}
    """Further images of the same shower, by name, in the order in which their cells follow."""
    energy_unit: Literal["GeV"] = "GeV"
    """Of the input `energy` and the output `cells`."""
    energy_range_gev: tuple[float, float]
    """Incident energies that the model was trained with, GeV."""
    pdg_id: int = UNKNOWN_PARTICLE
    """PDG code of all showers that the model was trained with; 0: not known, or several."""
    labels: list[Label] = []
    """Inputs after `energy`, in this order: what the networks are conditioned on beside it."""
    threshold_gev: float
    """Cells below this are 0, GeV."""
    training_data: list[DataFile]
    """Where the training showers came from."""
    training_data_sha256: str
    """Digest of `training_data`: one for one set of files."""
    int8: dict[str, Any] | None = None
    """What was rounded to 8 bits, with which energies it was calibrated, and what that cost;
    None: the model computes in float32."""

    @property
    def geometry(self) -> Geometry:
        """The grid of the cells."""
        return Geometry(
            coordinates="cylindrical" if self.cell_size_mm[0] is None else "cartesian",
            shape=self.image_shape,
            cell_size_mm=self.cell_size_mm,
        )

    @property
    def geometries(self) -> dict[str, Geometry]:
        """The grids of all images of a shower, by their names."""
        further = {
            name: Geometry(shape=each.shape, cell_size_mm=each.cell_size_mm)
            for name, each in self.further_images.items()
        }
        return {FIRST_IMAGE: self.geometry, **further}

    @classmethod
    def parse(cls, content: str, path: Path) -> Self:
        """Read the JSON that the model file `path` holds.

        Raises RunError where it is not what gan3d has written.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise RunError(
                f"{path}: not a model that gan3d has exported (metadata {where}: {first['msg']})"
            ) from error

    def split(self) -> dict[str, str]:
        """The values, each as JSON under its own key."""
        return {key: json.dumps(value) for key, value in self.model_dump(mode="json").items()}

    @classmethod
    def join(cls, values: Mapping[str, str]) -> str:
        """The JSON of what `split` gave, among other keys and values."""
        own = (f'"{key}": {value}' for key, value in values.items() if key in cls.model_fields)
        return f"{{{', '.join(own)}}}"


_KEPT = {"name", "column", "kind", "unit", "plane_rad", "values"}


def describe(run: TrainedRun, latent: Latent) -> Metadata:
    """What a model exported from `run` says of itself.

    Raises RunError where the run does not say what it was trained on.
    """
    data = run.experiment.data
    files = _training_data(run.path)
    listed = json.dumps([file.model_dump() for file in files], sort_keys=True)
    return Metadata(
        gan3d_version=version("gan3d"),
        model=run.identity,
        weights_sha256=run.weights_sha256,
        latent=latent,
        latent_dim=int(run.generator.inputs[0].shape[1]),
        image_shape=data.model_geometry.shape,
        further_images={
            name: FurtherImage(shape=each.shape, cell_size_mm=each.pitch)
            for name, each in data.further_images.items()
        },
        cell_size_mm=data.model_geometry.cell_size_mm,
        energy_range_gev=run.energy_range_gev,
        pdg_id=run.pdg_id,
        labels=[
            Label(
                **label.model_dump(include=_KEPT),
                range=run.label_ranges[label.column],
                seen=run.seen_categories.get(label.column),
            )
            for label in run.labels
        ],
        threshold_gev=data.threshold_gev,
        training_data=files,
        training_data_sha256=hashlib.sha256(listed.encode()).hexdigest(),
    )


def _training_data(folder: Path) -> list[DataFile]:
    path = folder / "data.json"
    listed = read_json(path)
    try:
        return [
            DataFile(
                name=Path(each["path"]).name,
                showers=each["showers"],
                size_bytes=each["size_bytes"],
                energy_sum_gev=each["energy_sum_gev"],
            )
            for each in listed["files"]
        ]
    except (KeyError, TypeError, ValidationError) as error:
        raise RunError(f"{path}: does not say what the run was trained on ({error!r})") from error

"""Section `data`: which showers are trained on, and how they are read."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gan3d.config.cells import CellScale
from gan3d.config.images import FIRST_IMAGE, Images
from gan3d.config.schema.geometry import Geometry, ImageName, check_image_names
from gan3d.config.schema.section import (
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
)


class Split(Section):
    """How the showers of `data.files` are divided into training and held-out ones."""

    by: Literal["row", "file"] = "row"
    """`row` shuffles all showers together; `file` keeps every file whole on one side."""
    train: Fraction = 0.9
    """Fraction used for training. 3DGAN: 180 000 of 200 000 showers."""
    validation: Fraction = 0.1
    """Fraction held out. 3DGAN: 20 000 of 200 000 showers."""
    seed: int = Field(default=0, ge=0)
    """Seed of the division; the same on every rank, whatever the training seed."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Cross-validation: one of so many equal parts is held out and all others are trained on;
    `train` and `validation` are then unused. null: no folds."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Which of the `folds`, from 0, is held out."""

    @model_validator(mode="after")
    def _fold_there(self) -> Self:
        if self.fold >= (self.folds or 1):
            raise ValueError(f"fold is {self.fold}, but there are {self.folds or 'no'} folds")
        return self

    @model_validator(mode="after")
    def _fractions_fit(self) -> Self:
        if self.train + self.validation > 1.0 + 1e-9:
            raise ValueError(
                f"train + validation = {self.train + self.validation:g}, must not exceed 1"
            )
        if self.train == 0.0:
            raise ValueError("train is 0: nothing would be left to train on")
        return self


class Data(Section):
    """Shower files and how their content becomes network input."""

    files: list[str] = Field(min_length=1)
    """Shower files or glob patterns, relative to the YAML file that names them."""
    validation_files: list[str] | None = None
    """Held-out shower files. When given, all of `files` is for training and `split` is unused."""
    geometry: Geometry = Geometry()
    """The grid that every file must have. Files of the Fast Calorimeter Challenge have their
    angular, radial and longitudinal bins along (x, y, layer): a cylinder."""
    grid: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    """Cells along (x, y, layer) that the networks see; null: geometry.shape. Images are cropped or
    padded with zeros to it: around the centre in x and y, at the back in the layers; those of a
    cylinder in the layers alone."""
    further_images: dict[ImageName, Geometry] = {}
    """Further images of the same showers, by the names of their datasets, each with a grid of its
    own: `{HCAL: {shape: [11, 11, 60], cell_size_mm: [30, 30, 30]}}` beside the ECAL of `geometry`.
    All of `files` must have them. For `convolutional`."""
    split: Split = Split()
    """Division of `files` into training and held-out showers."""
    threshold_gev: NonNegativeFloat = 1e-6
    """Cells below this energy (GeV) are set to 0, in data and in generated showers. 3DGAN: 1e-6."""
    energy_scale_gev: PositiveFloat = 100.0
    """The networks see the incident energy divided by this (GeV). 3DGAN: 100."""
    cell_power: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """The networks see cell energies (GeV) raised to this power, which narrows their seven decades;
    generated showers are raised back, and sums of cells are in GeV. 3DGAN: 1 for the fixed angle,
    0.85 for variable angles."""
    cell_log_gev: PositiveFloat | None = None
    """The networks see ln(1 + cell energy / this), in GeV, in place of a power; generated showers
    are turned back. Linear below it, a decade is 2.3 above: 1e-4 is the energy that a
    minimum-ionising particle leaves. null: `cell_power` (3DGAN)."""
    shuffle: bool = True
    """New, seeded, global order of the showers every epoch; off keeps the order of the files."""
    shuffle_window: PositiveInt = 2048
    """Showers that a rank holds to draw the next ones from; the lit cells, 6 bytes each: 2048
    electrons of 25 x 25 x 25 cells are 12 MB. Blocks of 100 showers arrive from all over the files:
    where those are sorted, batches of 8 then vary by 1.18 times the variance of a perfect shuffle
    (`gan3d bench data FILES --as-is` tells it)."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Threads of each rank that read and decompress ahead while it trains; 0: it reads itself, and
    waits. One reads hundreds of times faster than `ecal25` trains."""
    reader_niceness: Annotated[int, Field(ge=0, le=19)] = 5
    """By how much these threads are nicer than the model's (Linux; see nice(1)), so that they leave
    it its cores: on a core that both want, one at 5 gets a third of a model thread's time. Not 19,
    a 68th: one that holds Python's global lock would keep the others waiting that long. 0: they are
    as the model's."""
    stall_seconds: PositiveFloat = 300.0
    """The run ends with an error when the threads that read ahead have read nothing for this long
    (s) although they were asked to: a file system that hangs must not hang the training. Lustre
    recovers within minutes."""
    on_bad_file: Literal["error", "skip"] = "error"
    """A file that cannot be read or holds impossible values ends the run, or is left out, counted
    and reported after every epoch."""
    particles: list[int] | None = None
    """PDG codes of the incident particles that files may hold; null: those that `model.conditions`
    declares, or else one, whichever it is. Files that do not say what they hold, inside or by a
    name of 3DGAN's (`gan3d.data.lcd`), are taken."""
    statistics_showers: PositiveInt = 2000
    """Training showers, from all over the files, that the response and the statistics built into
    networks are measured on before training: 2000 give the mean response to 0.1 %."""

    @model_validator(mode="after")
    def _one_cell_scale(self) -> Self:
        if self.cell_log_gev is not None and self.cell_power != 1.0:
            raise ValueError(
                f"cell_log_gev: excludes cell_power ({self.cell_power:g}): the networks see a "
                "logarithm or a power; set cell_power to 1, or cell_log_gev to null"
            )
        return self

    @property
    def cell_scale(self) -> CellScale:
        """What the networks see of cell energies."""
        return CellScale(self.cell_power, self.cell_log_gev)

    @model_validator(mode="after")
    def _turn_whole(self) -> Self:
        if self.grid and self.geometry.is_cylinder and self.grid[:2] != self.geometry.shape[:2]:
            raise ValueError(
                f"grid: a cylinder is cropped or padded in its layers alone, its angle and radius "
                f"have {self.geometry.shape[0]} and {self.geometry.shape[1]} cells, not "
                f"{self.grid[0]} and {self.grid[1]}"
            )
        return self

    @model_validator(mode="after")
    def _images_fit(self) -> Self:
        if not self.further_images:
            return self
        try:
            check_image_names(self.further_images)
        except ValueError as error:
            raise ValueError(f"further_images.{error}") from error
        if self.grid is not None:
            raise ValueError(
                "grid: crops or pads a single image, and further_images names others beside it; "
                "set grid to null"
            )
        if any(each.is_cylinder for each in (self.geometry, *self.further_images.values())):
            raise ValueError(
                "further_images: a cylinder is a shower's only image; expected cartesian cells in "
                "geometry and in further_images"
            )
        return self

    @property
    def geometries(self) -> dict[str, Geometry]:
        """The grids that the networks see, by the names of the images, the first one first."""
        return {FIRST_IMAGE: self.model_geometry, **self.further_images}

    @property
    def images(self) -> Images:
        """The images of a shower that the networks see."""
        return Images({name: each.shape for name, each in self.geometries.items()})

    @property
    def model_geometry(self) -> Geometry:
        """The grid of the first image, or the only one, that the networks see."""
        return self.geometry.model_copy(update={"shape": self.grid or self.geometry.shape})

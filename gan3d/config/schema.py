"""The typed schema of an experiment.

Every number that a user may want to change is a field here, with its unit, its default and the
reason for that default. Where a default is a published value, "3DGAN" names the 2018/2019
Stampede2 recipe of CERN openlab, SURFsara and Intel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from gan3d.config.cells import CellScale
from gan3d.config.images import FIRST_IMAGE, Images

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors and values do not change after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


Coordinates = Literal["cartesian", "cylindrical"]
CellSize = tuple[PositiveFloat | None, PositiveFloat, PositiveFloat]


def check_cell_size(coordinates: Coordinates, cell_size_mm: CellSize) -> None:
    """Raise ValueError where the size of cells is not what these coordinates have."""
    if coordinates == "cylindrical" and cell_size_mm[0] is not None:
        raise ValueError(
            "cell_size_mm: the cells of a cylinder divide the full turn: expected [null, radius, "
            f"layer], such as [null, 4.65, 3.4], not {list(cell_size_mm)}"
        )
    if coordinates == "cartesian" and cell_size_mm[0] is None:
        raise ValueError(
            "cell_size_mm: null is for the angle of a cylinder (coordinates: cylindrical), whose "
            "cells divide the full turn"
        )


class Geometry(Section):
    """The regular grid of calorimeter cells that a shower image covers."""

    coordinates: Coordinates = "cartesian"
    """cartesian: cells along (x, y, layer). cylindrical: along (angle, radius, layer), around the
    particle's direction, from -pi to pi and from the axis outwards, as in the Fast Calorimeter
    Challenge; the last cell of the turn is the first one's neighbour."""
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (25, 25, 25)
    """Cells along (x, y, layer), or (angle, radius, layer)."""
    cell_size_mm: CellSize = (5.1, 5.1, 5.1)
    """Cell pitch along (x, y, layer) in mm. CLIC-like: 5.1 x 5.1 mm cells, one layer per 5.1 mm.
    Of a cylinder [null, radius, layer]: the cells of a turn divide it."""

    @model_validator(mode="after")
    def _cells_fit(self) -> Self:
        check_cell_size(self.coordinates, self.cell_size_mm)
        return self

    @property
    def is_cylinder(self) -> bool:
        """Whether the first axis is an angle, and goes round."""
        return self.coordinates == "cylindrical"

    @property
    def periodic(self) -> tuple[bool, bool, bool]:
        """Along which axes the last cell is the first one's neighbour."""
        return self.is_cylinder, False, False

    @property
    def pitch(self) -> tuple[float, float, float]:
        """Cell pitch along the axes: mm, but rad along an angle."""
        x, y, z = self.cell_size_mm
        return (2.0 * math.pi / self.shape[0] if x is None else x), y, z

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """What a cell measures along the axes (mm); along an angle halfway out."""
        x, y, z = self.pitch
        return (x * 0.5 * self.shape[1] * y if self.is_cylinder else x), y, z


ImageName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]

# Other datasets of shower files, and other losses, lower case.
_TAKEN_IMAGES = frozenset(
    (
        *("ecal", "target", "energy", "theta", "mtheta", "eta", "pdg", "px", "py", "pz", "ywindow"),
        *("showers", "incident_energies", "cell", "deposit", "generation", "auxiliary", "angle"),
        *("bins", "response", "layers", "features", "gradient_penalty", "loss", "ecal_gev"),
        *("images", "labels", "joint", "joint_activation", "all_features"),
    )
)


def check_image_names(names: Iterable[str]) -> None:
    """Raise ValueError where further images cannot be called so."""
    given = list(names)
    lowered = [name.lower() for name in given]
    for name in given:
        if name.lower() in _TAKEN_IMAGES or lowered.count(name.lower()) > 1:
            raise ValueError(
                f"{name}: is the name of something else, or of two images (upper and lower case "
                "count alike)"
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
    generated showers are raised back. 3DGAN: 1 for the fixed angle, 0.85 for variable angles."""
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
    declares, or else one, whichever it is. Files that do not say what they hold are taken."""
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


# Other inputs of networks and of exported models.
_TAKEN_NAMES = ("latent", "seed", "images", "labels", "cells")


class Condition(Section):
    """A number or a category of each shower that the networks are told.

    In YAML a known name (`energy`, `theta`, `particle`) stands for all that is known of it; given
    as a section it is the start, and other keys win: `{name: particle, values: [11, 22]}`.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """What it is called: in `gan3d generate --condition NAME=VALUE`, and as an input of exported
    models."""
    column: Annotated[str, Field(min_length=1)]
    """Column of the shower files (`gan3d data info`); by default it has the condition's name."""
    kind: Literal["number", "categories"] = "number"
    """number: the networks see (value - offset) / scale. categories: one of `values`, which
    networks look up in a table (an embedding)."""
    unit: str = ""
    """number: its unit in the files; `rad` is checked not to be degrees. Nothing is converted."""
    offset: float = 0.0
    """number: what is subtracted, in its unit. 0: 3DGAN sees the angle as it is."""
    scale: PositiveFloat = 1.0
    """number: what it is then divided by, in its unit; networks learn best from numbers of the
    order of 1. 1: 3DGAN sees the angle in rad."""
    values: list[int] = []
    """categories: all that may occur, such as PDG codes. The order is that of the embedding, so a
    run keeps it."""
    embedding: PositiveInt = 4
    """categories: numbers that stand for a category in the networks. A handful of particles differ
    in few ways; more than there are categories adds nothing."""

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if self.kind == "categories":
            if len(self.values) < 2:
                raise ValueError(
                    f"values: {self.name} needs at least 2 categories, such as the PDG codes "
                    f"[11, 22], not {self.values}"
                )
            if len(set(self.values)) < len(self.values):
                raise ValueError(f"values: {self.name} has a category twice: {self.values}")
            for key in ("unit", "offset", "scale"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key}: is for numbers, {self.name} has categories")
        elif self.values:
            raise ValueError(f"values: {self.name} is a number; categories need kind: categories")
        return self


ENERGY = Condition(name="energy", column="energy", unit="GeV")
"""The incident energy, the first condition of all networks; `data.energy_scale_gev` scales it."""

KNOWN_CONDITIONS = MappingProxyType(
    {
        "energy": ENERGY,
        # Polar angle; pi/2 is perpendicular to the layers. In rad as it is: 3DGAN.
        "theta": Condition(name="theta", column="theta", unit="rad"),
        # Electrons, photons and neutral pions: the particles of the LCD samples that shower
        # electromagnetically.
        "particle": Condition(
            name="particle", column="pdg", kind="categories", values=[11, 22, 111]
        ),
    }
)
"""What a bare name in `model.conditions` stands for."""


def _expand(value: Any, handler: ValidatorFunctionWrapHandler) -> Condition:
    """Make a condition of a known name, or of a section that begins with one."""
    if isinstance(value, str):
        if value not in KNOWN_CONDITIONS:
            raise ValueError(
                f"'{value}' is no known condition ({', '.join(KNOWN_CONDITIONS)}); give one of "
                f"your own as {{name: {value}, column: ..., kind: number}}"
            )
        return KNOWN_CONDITIONS[value]
    if isinstance(value, dict) and isinstance(name := value.get("name"), str):
        known = KNOWN_CONDITIONS.get(name)
        start = known.model_dump(exclude_defaults=True) if known else {"column": name}
        value = {**start, **value}
    condition: Condition = handler(value)
    return condition


def _shorten(condition: Condition) -> str | dict[str, Any]:
    """Write a known condition as its name."""
    if condition == KNOWN_CONDITIONS.get(condition.name):
        return condition.name
    return condition.model_dump(exclude_defaults=True)


class Model(Section):
    """Which networks are built."""

    architecture: str = "ecal25"
    """A name in the registry of `gan3d.models`."""
    conditions: Annotated[
        list[Annotated[Condition, WrapValidator(_expand), PlainSerializer(_shorten)]],
        Field(min_length=1),
    ] = [ENERGY]
    """What the networks are told of a shower: `energy`, first and always, then labels that the
    files have: known names or sections (`Condition`). 3DGAN: energy; for variable angles energy and
    theta."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Dropout rate of the discriminator. 3DGAN: 0.2."""
    batch_norm: bool = True
    """Batch normalisation where the architecture has it. Off, or synchronized, a step does not
    depend on how a batch is divided over ranks."""
    synchronized_batch_norm: bool = False
    """Normalise with the statistics of all ranks' batches together; two small exchanges per layer
    and pass. 3DGAN: off, each rank normalises with its own batch."""
    leaky_slope: NonNegativeFloat = 0.3
    """Slope of LeakyReLU below 0. 0.3 is the Keras default, which 3DGAN used."""
    spectral_norm: PositiveFloat | None = None
    """Kernels of the discriminator are scaled to this largest singular value (Miyato et al. 2018:
    1), by a step of power iteration a pass: it cannot become steep. The heads that estimate numbers
    are left alone. Cells in GeV are small: without batch normalisation, values above 1 let it see
    them at all. null: kernels are free (3DGAN)."""
    minibatch_deviation: bool = False
    """Tell the discriminator's head how much the features of the batch differ from shower to
    shower, as one number (Karras et al. 2018): generated showers that are all alike then give
    themselves away. Of each rank's own batch. Off: 3DGAN; `compact` has its own always."""
    kernel_mm: PositiveFloat = 25.5
    """`convolutional`: what kernels span along each axis (mm), as far as 3, 5 or 7 cells do. Those
    of 3DGAN's discriminator: 5 cells of 5.1 mm."""
    generator_filters: tuple[PositiveInt, PositiveInt, PositiveInt] = (64, 6, 6)
    """`convolutional`: channels of the generator's three wide convolutions. 3DGAN: 64, 6, 6. Fewer
    train faster; of several images (`data.further_images`) each has so many."""
    discriminator_filters: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (32, 8, 8, 8)
    """`convolutional`: channels of the discriminator's four convolutions. 3DGAN: 32, 8, 8, 8."""
    joint_features: PositiveInt = 32
    """`convolutional`, with `data.further_images`: numbers that the discriminator makes of all
    images' features together, before its heads: what one image has must lack in the other, and a
    head alone, which adds them up, would not see that."""

    @property
    def labels(self) -> list[Condition]:
        """The conditions beside the incident energy."""
        return self.conditions[1:]

    @model_validator(mode="after")
    def _conditions_differ(self) -> Self:
        if self.conditions[0] != ENERGY:
            raise ValueError(
                "conditions: the first must be energy, by its name alone; data.energy_scale_gev "
                "scales it"
            )
        for key in ("name", "column"):
            given = [getattr(each, key) for each in self.conditions]
            twice = sorted({each for each in given if given.count(each) > 1})
            if twice:
                raise ValueError(f"conditions: two have the {key} {twice[0]}")
        for each in self.labels:
            if each.name in _TAKEN_NAMES:
                raise ValueError(
                    f"conditions: {each.name} is the name of another input; name it otherwise "
                    f"and give its column"
                )
        return self


class Optimizer(Section):
    """One optimiser setting, used for the generator and the discriminator alike."""

    name: Literal["rmsprop", "adam", "sgd", "nadam", "adamw"] = "rmsprop"
    """3DGAN: RMSprop."""
    learning_rate: PositiveFloat = 1e-3
    """Base learning rate of one worker. 3DGAN: 0.001."""
    discriminator_learning_rate: PositiveFloat | None = None
    """That of the discriminator, where it has one of its own (two time scales: Heusel et al. 2017);
    warm-up and decay are as the generator's. null: learning_rate (3DGAN)."""
    rho: Fraction = 0.9
    """RMSprop: decay of the mean square (Keras default)."""
    momentum: Fraction = 0.0
    """RMSprop and SGD: momentum (Keras default)."""
    beta_1: Fraction = 0.9
    """Adam family: decay of the first moment (Keras default)."""
    beta_2: Fraction = 0.999
    """Adam family: decay of the second moment (Keras default)."""
    epsilon: PositiveFloat = 1e-7
    """All but SGD: the term that keeps the division finite (Keras default)."""
    loss_scale: PositiveFloat = 32768.0
    """mixed_float16: the loss is multiplied by this at first, so that small gradients do not
    vanish; halved, and the update left out, when one overflows (Micikevicius et al. 2018; Keras
    default)."""
    loss_scale_growth_steps: PositiveInt = 2000
    """mixed_float16: the scale is doubled after so many updates without overflow (Keras
    default)."""


class LossWeights(Section):
    """Weights of the discriminator's outputs, of those that an architecture has, and further terms.

    The defaults are 3DGAN's for the fixed angle. Other published sets: 6 / 0.2 / 0.1, and for
    variable angles 3 / 0.1 / 0.1 with 25 for the angle and 0.1 for the bins.
    """

    generation: NonNegativeFloat = 8.0
    """Binary cross-entropy of real against generated."""
    auxiliary: NonNegativeFloat = 0.2
    """Mean absolute percentage error of the estimated incident energy."""
    ecal: NonNegativeFloat = 0.1
    """Mean absolute percentage error of the ECAL sum."""
    further_sums: dict[ImageName, NonNegativeFloat] = {}
    """Of each of `data.further_images`, by its name: mean absolute error of its sum, in per cent of
    the training showers' mean sum (a shower may leave nothing in an HCAL, and an error in per cent
    of nothing says nothing). Those that are not named: as `ecal`."""
    angle: NonNegativeFloat = 25.0
    """Mean absolute error (rad) of the angle that the image shows. 3DGAN: 25."""
    bins: NonNegativeFloat = 0.1
    """Mean absolute percentage error of the numbers of cells in bins of energy. 3DGAN: 0.1."""
    response: NonNegativeFloat = 0.0
    """Generator: mean over showers of |ECAL/Ep over the mean response at that Ep - 1|, in GeV
    whatever the networks see. 0: not computed (3DGAN), as with the three below. The terms are of
    the order of 0.1 where `generation` is of the order of 1, so 1 to 10."""
    layers: NonNegativeFloat = 0.0
    """Generator: sum over layers of |mean share of a shower's energy in the layer - that of Monte
    Carlo at the same energies|; means over the batch of a rank."""
    features: NonNegativeFloat = 0.0
    """Generator: feature matching (Salimans et al. 2016, eq. 4): mean squared difference of the
    batch means, of Monte Carlo and generated, of what the discriminator's last layer sees. One more
    pass of the discriminator a step: 1.1 times the time of one of `ecal25`."""
    gradient_penalty: NonNegativeFloat = 0.0
    """Discriminator: half the mean squared gradient of its logit by the cells of Monte Carlo (R1:
    Mescheder et al. 2018, gamma = 10), in units of their root mean square. Its update with Monte
    Carlo is differentiated twice, through Keras's convolutions: 1.7 times the time of a step of
    `ecal25` on a processor."""


class WeightAverage(Section):
    """Exponential moving average of the generator's weights, used for generation."""

    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999
    """Per-step decay: 0.999 averages over about the last 1000 steps."""
    start_epoch: Annotated[int, Field(ge=0)] = 0
    """The average starts from the weights at the beginning of this epoch (counted from 0)."""


class Decay(Section):
    """What becomes of the learning rate after the warm-up."""

    kind: Literal["constant", "step", "cosine", "plateau"] = "constant"
    """`constant`: nothing (3DGAN). `step`: times `factor` at each of `epochs`. `cosine`: half a
    cosine from the end of the warm-up to `final_share` at the last epoch (Loshchilov & Hutter
    2017). `plateau`: times `factor` when `monitor` has not improved for `patience` epochs."""
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """`step`, `plateau`: by what the rate is multiplied. Goyal et al. 2017: 0.1."""
    epochs: list[NonNegativeFloat] = []
    """`step`: epochs, from the beginning of training, at which the rate falls."""
    final_share: Fraction = 0.0
    """`cosine`: the rate at the end, as a share of that after the warm-up."""
    monitor: str = "validation.optimisation_metric"
    """`plateau`: the number in `history.jsonl` that should fall."""
    patience: PositiveInt = 5
    """`plateau`: epochs without improvement before the rate falls; epochs in which `monitor` was
    not measured (`validation.every_epochs`) do not count."""
    improvement: Fraction = 0.01
    """`plateau`: a smaller relative fall of `monitor` is no improvement."""
    least_share: Fraction = 0.01
    """`plateau`: the rate never falls below this share of that after the warm-up."""

    @model_validator(mode="after")
    def _epochs_ordered(self) -> Self:
        if self.kind == "step" and not self.epochs:
            raise ValueError("kind is step, but epochs names none at which the rate would fall")
        if sorted(set(self.epochs)) != self.epochs:
            raise ValueError("epochs must be ascending and different")
        return self


class EarlyStopping(Section):
    """When training ends before its last epoch, because nothing gets better any more."""

    monitor: str = "validation.optimisation_metric"
    """The number in `history.jsonl` that should fall."""
    patience: PositiveInt = 10
    """Training ends after so many epochs in a row without improvement; epochs in which `monitor`
    was not measured (`validation.every_epochs`) do not count. Twice that of `training.decay`, so
    that a lower rate can still help."""
    minimum_improvement: Fraction = 0.01
    """A smaller relative fall of `monitor` below its best so far is no improvement: as
    `training.decay`."""


class Training(Section):
    """The training recipe."""

    init_from: str | None = None
    """Another run whose weights this one begins with, as `gan3d validate` names it: RUN, RUN@best
    or RUN@STEP, relative to the YAML file that names it. Layers of the same name and shapes are
    taken, of the generator as it generates with; all others begin anew, and all are listed.
    For another geometry, detector or particle a trained network is nearer than noise. Optimisers,
    schedule and epochs begin at 0, and what is measured on the training showers is measured on
    these. null: all weights are drawn with run.seed (3DGAN)."""
    epochs: PositiveInt = 25
    """Passes over the training showers. 3DGAN: 25 (fixed angle)."""
    batch_size: PositiveInt = 8
    """Showers per step on each rank. 3DGAN: 8."""
    optimizer: Optimizer = Optimizer()
    """Optimiser of both networks."""
    learning_rate_scaling: Literal["linear", "sqrt", "none"] = "linear"
    """What the learning rate is multiplied with after the warm-up, N being ranks x
    horovod.backward_passes_per_step: N (3DGAN; Goyal et al. 2017), the square root of N (Krizhevsky
    2014, for adaptive optimisers You et al. 2020), or 1."""
    warmup_epochs: NonNegativeFloat = 5.0
    """Epochs over which the rate rises, per step and linearly, from that of one worker to the
    scaled one. 3DGAN: 5 (Goyal et al. 2017)."""
    decay: Decay = Decay()
    """The learning rate after the warm-up."""
    early_stopping: EarlyStopping | None = None
    """Ends training when a number in the history has stopped falling; `{}` takes all defaults;
    null: all `epochs` are trained (3DGAN)."""
    loss_weights: LossWeights = LossWeights()
    """Weights of the losses."""
    label_flip: Fraction = 0.05
    """Fraction of the discriminator's real/fake labels that are flipped at random. 3DGAN: 0.05."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """The discriminator's label of Monte Carlo is 1 less this, that of generated showers stays 0
    (one-sided: Salimans et al. 2016, 0.1). 3DGAN: 0."""
    generator_updates: PositiveInt = 2
    """Generator updates per step. 3DGAN: 2."""
    incident_energy_gev: tuple[PositiveFloat, PositiveFloat] | None = None
    """Generated showers of a step get incident energies uniform in this range (GeV); null: the
    range of the training showers. 3DGAN: 10 to 500, which is the range of its data."""
    response_degree: Annotated[int, Field(ge=0, le=8)] = 4
    """Degree of the polynomial ECAL/Ep in Ep that is fitted to the training showers and gives the
    target ECAL sum of generated ones. 3DGAN: 4 for electrons, 2 for pi0."""
    weight_average: WeightAverage | None = None
    """Moving average of the generator's weights; null: generate with the last weights (3DGAN)."""

    @model_validator(mode="after")
    def _energies_ordered(self) -> Self:
        if self.incident_energy_gev is not None:
            low, high = self.incident_energy_gev
            if low >= high:
                raise ValueError(f"incident_energy_gev: lower bound {low:g} is not below {high:g}")
        return self

    @property
    def monitored(self) -> dict[str, str]:
        """Names in `history.jsonl` that the training goes by, for each key that holds one."""
        names = {}
        if self.decay.kind == "plateau":
            names["training.decay.monitor"] = self.decay.monitor
        if self.early_stopping is not None:
            names["training.early_stopping.monitor"] = self.early_stopping.monitor
        return names


class Node(Section):
    """The machine. Applied before TensorFlow starts.

    null is derived from what this node has: `gan3d doctor` shows it.
    """

    name: str = "generic"
    """Name of the node type, for the records."""
    workers_per_node: PositiveInt | None = None
    """Ranks that a batch job starts on a node (`gan3d jobs render`); null: what `gan3d doctor`
    recommends where it runs, so a batch job wants a number."""
    workers_per_numa_domain: PositiveInt | None = None
    """Ranks that share a NUMA domain where `affinity` is cores; null: ranks are spread evenly.
    Stampede2: 2, of 24 cores."""
    oversubscribe: bool = False
    """Whether more ranks than cores may run on the node, and take turns: for tests of many ranks on
    a small machine, as a step then takes several times as long. Only with `affinity` none."""
    affinity: Literal["none", "cores"] = "none"
    """cores: each local rank is kept on cores of its own, of one NUMA domain where they fit, inside
    what the launcher itself is kept on (taskset, numactl); a launcher's binding of single ranks
    stays. none: as the launcher has it."""
    memory_policy: Literal["none", "preferred", "bind"] = "none"
    """Where a rank's memory comes from (set_mempolicy). preferred: the NUMA domain of its cores
    first; cores in several domains, or of a machine with one, have no preference. bind: the domains
    of its cores alone, and the rank is killed when they are full. none: the domain of the core that
    touches it first."""
    memory_domain: Annotated[int, Field(ge=0)] | None = None
    """NUMA domain that `memory_policy` is about; null: that of the rank's cores. KNL in flat mode
    has its MCDRAM as domain 1, without cores."""
    intra_op_threads: PositiveInt | None = None
    """Threads inside one TensorFlow operation on each rank; null: the usable cores divided by the
    ranks on the node."""
    inter_op_threads: PositiveInt | None = None
    """Operations that one rank runs side by side; null: 1 where cores are few, 2 otherwise."""
    omp_num_threads: PositiveInt | None = None
    """OMP_NUM_THREADS, which acts on OpenMP builds of TensorFlow only; null: as many as keep
    inter_op_threads times it within the cores of a rank (3DGAN)."""
    kmp_blocktime: Annotated[int, Field(ge=0)] | None = None
    """KMP_BLOCKTIME (ms), OpenMP builds only. Stampede2: 1. null: left as it is."""
    kmp_affinity: str | None = None
    """KMP_AFFINITY, OpenMP builds only. Stampede2: granularity=fine,compact,1,0."""
    kmp_settings: bool = False
    """KMP_SETTINGS: OpenMP builds print their settings when they start."""
    onednn: bool = True
    """oneDNN (MKL-DNN) kernels; off uses Eigen."""
    gpu: Literal["auto", "required", "none"] = "auto"
    """auto: a GPU of this rank's own where there are some; required: a node without one is refused;
    none: GPUs are left alone."""
    gpu_memory_growth: bool = True
    """Take the GPU's memory as it is needed; off takes all of it at once, which leaves no gaps."""
    tf32: bool = True
    """Matrix products and convolutions of float32 in TensorFloat-32 on GPUs that have it (Ampere
    and later): 10 bits of mantissa, up to 8 times as fast."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """What the layers compute in (Keras's dtype policies). mixed: 16 bits, with weights, sums over
    cells, losses and the cells' energies in float32; mixed_float16 scales the loss
    (`training.optimizer.loss_scale`) and wants a GPU. auto: mixed_bfloat16 on GPUs with tensor
    cores for it (Ampere and later), mixed_float16 on those with tensor cores for float16 alone
    (Volta, Turing), float32 elsewhere."""
    xla: bool | Literal["elementwise"] = False
    """elementwise: let XLA join operations on single cells into loops, and leave convolutions to
    oneDNN. Worth it for `compact` networks from some thousand showers on, as compiling takes
    seconds at every start; nothing for `ecal25` (`gan3d bench step --xla elementwise`). true: let
    it compile the passes through the networks as a whole, forward and back; on processors its 3D
    convolutions are not oneDNN's, and a step takes many times as long. Dropout then draws other
    numbers. Not with model.synchronized_batch_norm, whose exchanges lie inside the passes."""
    deterministic: bool = False
    """Same bits from the same start on every run; slower on GPUs."""


class Horovod(Section):
    """What Horovod does between ranks; without a launcher all but the first three are idle.

    The names are those of `horovodrun`. null leaves a setting to Horovod, or to what the launcher
    has put into the environment.
    """

    op: Literal["average", "adasum"] = "average"
    """How gradients are reduced. Adasum (Maleki et al. 2021) needs Horovod with MPI and a power of
    two of ranks; the learning rate is then best not scaled."""
    needs: list[Literal["gloo", "mpi", "nccl"]] = []
    """What Horovod must have been built with on this machine, beyond what other settings want:
    `gan3d doctor --node` says what is missing."""
    compression: Literal["none", "fp16"] = "none"
    """Gradients travel in half precision with fp16."""
    backward_passes_per_step: PositiveInt = 1
    """Batches of `training.batch_size` that a rank accumulates gradients over before they are
    reduced and applied: fewer exchanges, and the effect of a larger batch in the memory of a small
    one."""
    fusion_threshold_mb: Annotated[int, Field(ge=0)] | None = None
    """HOROVOD_FUSION_THRESHOLD (MiB): tensors are joined in buffers of this size. Horovod: 128;
    Stampede2: 128."""
    cycle_time_ms: PositiveFloat | None = None
    """HOROVOD_CYCLE_TIME (ms): how often ranks tell each other what is ready. Horovod: 1."""
    cache_capacity: Annotated[int, Field(ge=0)] | None = None
    """HOROVOD_CACHE_CAPACITY: tensors whose negotiation is remembered. Horovod: 1024."""
    hierarchical_allreduce: bool | None = None
    """HOROVOD_HIERARCHICAL_ALLREDUCE: inside nodes first, then between them."""
    hierarchical_allgather: bool | None = None
    """HOROVOD_HIERARCHICAL_ALLGATHER."""
    autotune: bool | None = None
    """HOROVOD_AUTOTUNE: Horovod looks for the best of the above while it trains."""
    autotune_log_file: Path | None = None
    """HOROVOD_AUTOTUNE_LOG: what it tried (CSV), relative to the current folder."""
    timeline_filename: Path | None = None
    """HOROVOD_TIMELINE: a trace of all exchanges for chrome://tracing, relative to the current
    folder."""
    timeline_mark_cycles: bool | None = None
    """HOROVOD_TIMELINE_MARK_CYCLES: with a mark for each cycle."""
    stall_check_warning_time_seconds: PositiveInt | None = None
    """HOROVOD_STALL_CHECK_TIME_SECONDS: ranks that wait for others this long (s) say for whom.
    Horovod: 60."""
    stall_check_shutdown_time_seconds: Annotated[int, Field(ge=0)] | None = None
    """HOROVOD_STALL_SHUTDOWN_TIME_SECONDS: and end after this long. Horovod: never (0)."""
    gloo_timeout_seconds: PositiveInt | None = None
    """HOROVOD_GLOO_TIMEOUT_SECONDS: how long ranks wait for one another when they join. Horovod:
    30."""
    log_level: Literal["trace", "debug", "info", "warning", "error", "fatal"] | None = None
    """HOROVOD_LOG_LEVEL. Horovod: warning."""


class Tolerances(Section):
    """What is called close, by the kind of metric."""

    relative_error: PositiveFloat = 0.05
    """Of means: 5 % is a first calibration's."""
    separation: PositiveFloat = 0.02
    """Separation power of two histograms: Gaussians 0.28 standard deviations apart."""
    ks: PositiveFloat = 0.08
    """Largest distance of cumulative distributions: Gaussians 0.2 standard deviations apart."""
    wasserstein: PositiveFloat = 0.2
    """How far values must be moved on average, in standard deviations."""
    chi2: PositiveFloat = 0.02
    """Excess of chi2 per degree of freedom over 1, times 1/N + 1/M: means that are off by 0.14 of
    the spread between showers."""
    correlation: PositiveFloat = 0.05
    """Difference of correlation coefficients, rms."""
    auc: PositiveFloat = 0.05
    """Area under a ROC curve, from 0.5: Gaussians 0.18 standard deviations apart."""
    share: PositiveFloat = 0.05
    """Precision, recall, coverage and shares of neighbours, from those of a perfect generator."""
    density: PositiveFloat = 0.1
    """Density, from that of a perfect generator."""


class Validation(Section):
    """How generated showers are judged against Monte Carlo."""

    epoch_showers: Annotated[int, Field(ge=0)] = 200
    """Held-out showers that the generator is compared with after an epoch, for the history and the
    choice of the best epoch; fewer are there, all are taken. 0: no comparison."""
    every_epochs: PositiveInt = 1
    """The comparison is made after every so many epochs, and after the last one. 200 showers take a
    second or two; 1 unless epochs are short beside that."""
    showers: PositiveInt | None = None
    """Showers to generate for the report; null: as many as the reference has."""
    figures: bool = True
    """false: the report has tables and no figures. Drawing takes half a minute or more, most of the
    time where samples are small."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the showers generated for the report and of everything random in it."""
    energy_bins_gev: list[tuple[PositiveFloat, PositiveFloat]] = Field(
        default=[(10.0, 100.0), (10.0, 40.0), (40.0, 70.0), (70.0, 100.0)], min_length=1
    )
    """Bins of incident energy (GeV) in which everything is compared."""
    angle_bins_deg: list[tuple[NonNegativeFloat, PositiveFloat]] = []
    """Bins of the incident particle's polar angle (degrees, 90 is perpendicular to the layers), as
    energy_bins_gev; for showers whose files say the angle (`theta`). Published variable-angle
    data has 60 to 120."""
    minimum_showers: Annotated[int, Field(ge=4)] = 20
    """A bin with fewer showers than this, generated or reference, is left out and named in the
    report; with fewer in all, nothing is judged. 20 showers give means to about a fifth of
    their spread."""
    hit_threshold_gev: PositiveFloat = 1e-5
    """A cell counts as hit above this energy (GeV); a minimum-ionising particle leaves 1.5e-4."""
    occupancy_thresholds_gev: list[PositiveFloat] = Field(default=[1e-5, 1e-4, 1e-3], min_length=1)
    """Thresholds (GeV) of the occupancy of layers: a hit, about a minimum-ionising particle, and
    the core of the shower."""
    start_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """A shower starts where it has left this share of its energy: beyond the noise of single cells,
    before the maximum."""
    containment_shares: list[Annotated[float, Field(gt=0.0, lt=1.0)]] = Field(
        default=[0.5, 0.9], min_length=1
    )
    """Shares of the energy that the containment radii R50 and R90 hold."""
    histogram_bins: Annotated[int, Field(ge=5, le=10_000)] = 50
    """Bins of the histograms that the separation power is computed from; fewer where they would
    hold less than 20 showers of the reference on average."""
    chi2_bins: Annotated[int, Field(ge=3, le=1000)] = 20
    """Bins of the histograms that chi2 is computed from; each holds as many showers of the
    reference as any other. 20 of a thousand showers hold 50, enough for a normal approximation."""
    cell_energy_range_gev: tuple[PositiveFloat, PositiveFloat] = (1e-7, 1.0)
    """Range of the cell-energy spectrum (GeV): the seven decades that cell energies span. Cells
    outside are counted in an underflow and an overflow bin."""
    cell_energy_bins_per_decade: PositiveInt = 10
    """Logarithmic bins of the cell-energy spectrum in a factor of ten."""
    profile_minimum_share: Fraction = 1e-4
    """Profile bins that hold less than this share of the reference's energy are left out of the
    optimisation metric, which weighs all bins alike: there a relative error is noise."""
    noise_replicas: Annotated[int, Field(ge=10)] = 50
    """Pairs of samples, as large as those compared, that are drawn from the reference: what a
    perfect generator has. Their spread is known to 1 / sqrt(2 x 50), a tenth of itself."""
    bootstrap_replicas: Annotated[int, Field(ge=2)] = 50
    """Bootstrap replicas of both samples that the uncertainty of a metric comes from, which is then
    known to a tenth of itself."""
    exchanges: Annotated[int, Field(ge=20)] = 100
    """Times that showers are exchanged between the samples at random, which probabilities of
    verdicts come from; for fewer than 10 000 showers in all more, up to ten times. Probabilities
    below what can be counted are reckoned by the law of extremes."""
    sample_showers: Annotated[int, Field(ge=0)] = 5000
    """Showers of each sample that the metrics of whole samples look at (correlations, classifiers,
    Frechet and kernel distance, precision, recall, density, coverage): memory and time grow with
    it, the latter to minutes. Chosen at random; fewer are there, all are taken. 0: none of these
    metrics."""
    pairwise_showers: Annotated[int, Field(ge=100)] = 2000
    """Of these, at most so many of each sample are compared pair by pair (kernel distance,
    precision, recall, density, coverage, nearest neighbours) or looked at closely (texture): memory
    goes with its square, 130 MB at 2000."""
    correlation_cells: Annotated[int, Field(ge=2, le=1000)] = 100
    """Cells whose correlation matrix is compared: those with most energy in the reference."""
    classifier_cells: PositiveInt = 1000
    """Cells that the low-level classifier looks at: those with most energy in both samples. A
    thousand of 25 x 25 x 25 hold 92 % of it."""
    classifier_folds: Annotated[int, Field(ge=2)] = 5
    """A classifier is trained on all but one of so many parts and tested on that one, in turn."""
    neighbours: PositiveInt = 5
    """Neighbours that span the balls of precision, recall, density and coverage; 5 in the paper
    that defines the latter (arXiv:2002.09797)."""
    false_alarms: Annotated[float, Field(gt=0.0, le=0.5)] = 0.01
    """Share of perfect generators that a report says to differ in anything at all: the verdict on a
    metric is "differs" or "close" where it is less likely than this that any of the metrics would
    be as far off by chance."""
    tolerances: Tolerances = Tolerances()
    """Beyond chance, a metric is "close" up to these values, and "differs" above."""
    unclear_beyond: PositiveFloat = 3.0
    """Within chance, a metric "agrees" where a fault of so many tolerances would have been seen and
    its value is within one, and is "unclear" otherwise: more showers are needed to say."""
    unclear_below: Fraction = 0.001
    """Within chance, a metric is "unclear", too, where a perfect generator would have this one as
    far off less often than this: of a thousand metrics about one is."""
    error_groups: Annotated[int, Field(ge=2)] = 20
    """`gan3d validate RUN --select`: groups of showers that are left out in turn for the standard
    error of a metric (jackknife). 20 give the error to about a sixth of itself."""
    alike_within_errors: PositiveFloat = 2.0
    """`gan3d validate RUN --select`: a checkpoint whose metric is above the best by no more than
    this many standard errors of the difference is as good as the best."""

    @model_validator(mode="after")
    def _ranges_ordered(self) -> Self:
        for low, high in self.energy_bins_gev:
            if low >= high:
                raise ValueError(f"energy_bins_gev: lower bound {low:g} is not below {high:g}")
        if len(set(self.energy_bins_gev)) < len(self.energy_bins_gev):
            raise ValueError("energy_bins_gev: a bin is given twice")
        for low, high in self.angle_bins_deg:
            if low >= high:
                raise ValueError(f"angle_bins_deg: lower bound {low:g} is not below {high:g}")
        if len(set(self.angle_bins_deg)) < len(self.angle_bins_deg):
            raise ValueError("angle_bins_deg: a bin is given twice")
        low, high = self.cell_energy_range_gev
        if low >= high:
            raise ValueError(f"cell_energy_range_gev: lower bound {low:g} is not below {high:g}")
        return self


class Run(Section):
    """Where the run is kept and how it is repeated."""

    folder: Path | None = None
    """The run's folder, relative to the current folder; null: runs/NAME, NAME being the YAML
    file's."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of initial weights, noise, label flips, dropout and order of the showers."""
    keep_checkpoints: PositiveInt | None = 3
    """How many checkpoints stay on disk, and the best one; the oldest is removed first. null: all,
    so that `gan3d validate RUN --select` can judge every epoch; one of `ecal25` takes 7.4 MB."""
    checkpoint_steps: PositiveInt | None = None
    """A checkpoint on disk after so many steps within an epoch; null: after every epoch, and when
    a signal or a fault ends training. For epochs that take hours."""
    commit_steps: PositiveInt = 20
    """A copy of the state in memory after so many steps of an epoch: what an elastic run goes on
    from when a rank is lost, and what is saved when another rank is lost without one, when a step
    takes longer than a launcher waits after a signal, and by the watchdog. So at most this many
    steps are lost, and commit_steps x batch_size x backward_passes_per_step x ranks showers of the
    epoch are seen again. A copy takes milliseconds."""
    watchdog_seconds: PositiveFloat | None = 1800.0
    """When no step has ended for this long (s), the last copy of the state becomes a checkpoint and
    the run ends with exit code 75: Horovod can wait for ever for ranks that are gone. Longer than a
    step, the examination after an epoch and the first compilation together; null: no watchdog."""
    straggler_factor: Annotated[float, Field(gt=1.0)] = 1.2
    """A rank whose reading and computing take this many times those of the median rank is named
    after the epoch."""
    max_minutes: PositiveFloat | None = None
    """Training ends, with a checkpoint, at the first epoch that ends after this many minutes."""


class Experiment(Section):
    """A whole experiment, as `gan3d train` runs it."""

    data: Data
    """Shower files and preprocessing."""
    model: Model = Model()
    """Networks."""
    training: Training = Training()
    """Recipe."""
    node: Node = Node()
    """Machine."""
    horovod: Horovod = Horovod()
    """Exchange between ranks."""
    validation: Validation = Validation()
    """Judgement."""
    run: Run = Run()
    """Folder and seed."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.data.validation_files is None and self.data.split.validation == 0.0:
            raise ValueError(
                "data.split.validation is 0 and there are no data.validation_files: "
                "nothing would be held out"
            )
        unknown = set(self.training.loss_weights.further_sums) - set(self.data.further_images)
        if unknown:
            raise ValueError(
                f"training.loss_weights.further_sums: {min(unknown)} is none of "
                f"data.further_images ({', '.join(self.data.further_images) or 'there are none'})"
            )
        if self.node.xla is True and self.model.synchronized_batch_norm:
            raise ValueError(
                "node.xla and model.synchronized_batch_norm exclude each other: XLA cannot compile "
                "the exchanges between ranks that lie inside the passes"
            )
        for key, name in self.training.monitored.items():
            if name.startswith("validation.") and not self.validation.epoch_showers:
                raise ValueError(
                    f"{key}: {name}, but validation.epoch_showers is 0, so no epoch would have it"
                )
        return self

"""Section `model`: which networks are built, and what they are told of a shower."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PlainSerializer,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from gan3d.config.schema.section import NonNegativeFloat, PositiveFloat, PositiveInt, Section

# Other inputs of networks and of exported models.
_TAKEN_NAMES = ("latent", "seed", "images", "labels", "cells")


POLAR_ANGLES = ("theta", "mtheta")
"""Columns that hold a polar angle, in rad: the true one, and the one measured from the cells."""


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
    networks look up in a table of learnt numbers (an embedding), but `compact` sees as one-hot: its
    statistics are measured for each category."""
    unit: str = ""
    """number: its unit in the files; `rad` is checked not to be degrees. Nothing is converted. The
    columns `theta` and `mtheta` are polar angles in rad, whatever this says."""
    offset: float = 0.0
    """number: what is subtracted, in its unit. 0: 3DGAN sees the angle as it is."""
    scale: PositiveFloat = 1.0
    """number: what it is then divided by, in its unit; networks learn best from numbers of the
    order of 1. 1: 3DGAN sees the angle in rad."""
    plane_rad: Annotated[float, Field(ge=0.0, lt=math.pi / 2)] = 0.0
    """theta, mtheta: showers nearer than this (rad) to the layers' plane (0 and pi) are refused.
    0: what the architecture needs: of `compact`, which moves layers by cot(theta), the angle at
    which an axis crosses the whole image from one layer to the next."""
    values: list[int] = []
    """categories: all that may occur, such as PDG codes. The order is that of the networks' rows,
    so a run keeps it."""
    embedding: PositiveInt = 4
    """categories: numbers that stand for a category in the networks, but for `compact`, which has
    no embedding. A handful of particles differ in few ways; more than there are categories adds
    nothing."""

    @property
    def is_polar(self) -> bool:
        """Whether it is a shower's polar angle."""
        return self.kind == "number" and self.column in POLAR_ANGLES

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if self.plane_rad and not self.is_polar:
            raise ValueError(
                f"plane_rad: is for polar angles (columns {', '.join(POLAR_ANGLES)}), the column "
                f"of {self.name} is {self.column}"
            )
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

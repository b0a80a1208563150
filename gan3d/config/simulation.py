"""The typed schema of a simulated calorimeter and its beam, as `gan3d simulate` takes it.

The defaults resemble the CLIC-like silicon-tungsten calorimeter of the bundled Geant4 sample: 25
layers of 2.8 mm tungsten, 0.5 mm silicon, 1.0 mm board and 0.8 mm air. Its material fixes the
defaults; none is fitted to showers, but for the resolution and the sampling fraction, which are
properties of a detector that one measures. The effective quantities of a layer of several
materials (fractions w of its mass) are those of Grindhammer & Peters, hep-ex/0001020, section 2:
1/X0 = Σ w/X0ᵢ, Ec = X0 Σ w Ecᵢ/X0ᵢ, RM = 21.2 MeV · X0/Ec, Z = Σ w Zᵢ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gan3d.config.images import FIRST_IMAGE, Images
from gan3d.config.load import load_sections
from gan3d.config.schema import (
    CellSize,
    Coordinates,
    Geometry,
    ImageName,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
    check_cell_size,
    check_image_names,
)

FIXED_ANGLE_SHAPE = (25, 25, 25)
VARIABLE_ANGLE_SHAPE = (51, 51, 25)
LOWEST_Y = 20.0
"""Energy over critical energy from which on the parametrisation's fluctuations make sense."""
THICKEST_LAYER_X0 = 4.0
"""Sampling calorimeters have layers of 0.5 to 2 radiation lengths; the corrections for sampling are
linear in this thickness."""

AtomicNumber = Annotated[float, Field(ge=1.0, le=100.0)]
Energy = Annotated[float, Field(ge=0.5, le=1000.0)]
Degrees = Annotated[float, Field(ge=30.0, le=150.0)]


class Calorimeter(Section):
    """A sampling calorimeter: equal layers of absorber and sensor, divided into square cells."""

    coordinates: Coordinates = "cartesian"
    """As `data.geometry.coordinates` of an experiment: cylindrical cells lie around the axis that
    the particles fly along."""
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    """Cells along (x, y, layer), or (angle, radius, layer); null: those of the published data sets,
    25 x 25 x 25 for a fixed and 51 x 51 x 25 for a variable angle."""
    cell_size_mm: CellSize = (5.1, 5.1, 5.1)
    """Cell pitch along (x, y, layer) in mm: a layer is one absorber and what follows it. Of a
    cylinder [null, radius, layer]."""
    radiation_length_mm: PositiveFloat = 6.28
    """Effective radiation length of the layers (mm): 25 x 5.1 mm are 20.3 radiation lengths."""
    moliere_radius_mm: PositiveFloat = 15.6
    """Effective Molière radius of the layers (mm), gaps included."""
    critical_energy_mev: Annotated[float, Field(ge=1.0, le=200.0)] = 8.55
    """Effective critical energy of the layers (MeV); tungsten alone has 8.0."""
    effective_z: AtomicNumber = 70.4
    """Atomic number averaged over a layer by mass."""
    absorber_z: AtomicNumber = 74.0
    """Atomic number of the absorber: tungsten."""
    sensor_z: AtomicNumber = 14.0
    """Atomic number of the sensitive material: silicon."""
    sampling_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 0.0215
    """Energy in the sensors over the incident energy, for a shower that is wholly contained. 2.1 %
    are seen where 2 to 3 % leak out."""
    sampling_resolution: Annotated[float, Field(gt=0.0, le=1.0)] = 0.16
    """c in the sampling fluctuations σ(E)/E = c / sqrt(E/GeV). 0.16: 16 % at 1 GeV. It sets the
    number of energy spots too: the worse the resolution, the fewer."""
    spot_density: PositiveFloat = 1.5
    """Energy spots per shower, in units of the published number. More spots light more cells: 1.5
    as many as in the bundled Geant4 showers, 1 a fifth fewer. The only number that was chosen by
    looking at them."""
    threshold_gev: NonNegativeFloat = 1e-6
    """Cells below this energy (GeV) are left empty. 3DGAN: 1e-6."""

    @model_validator(mode="after")
    def _cells_fit(self) -> Self:
        check_cell_size(self.coordinates, self.cell_size_mm)
        if self.coordinates == "cylindrical" and self.shape is None:
            raise ValueError("shape: a cylinder needs its cells along (angle, radius, layer)")
        return self

    @model_validator(mode="after")
    def _layers_thin(self) -> Self:
        thickness = self.cell_size_mm[2] / self.radiation_length_mm
        if thickness > THICKEST_LAYER_X0:
            raise ValueError(
                f"radiation_length_mm: a layer is {thickness:.3g} radiation lengths thick; the "
                f"parametrisation is good up to {THICKEST_LAYER_X0:g}"
            )
        return self


class Beam(Section):
    """The incident particles.

    They enter uniformly over the central cell of the first layer, those of a cylinder on its axis.
    """

    particle: Literal["e-", "e+", "gamma"] = "e-"
    """Electrons and positrons shower from the front on, photons after their conversion."""
    energy_gev: tuple[Energy, Energy] = (10.0, 100.0)
    """Incident energies are uniform in this range (GeV); equal bounds are one energy. The
    parametrisation was made for about 1 to 100 GeV."""
    theta_deg: tuple[Degrees, Degrees] | None = None
    """Polar angles are uniform in this range (degrees), 90 being perpendicular to the layers; the
    momentum is (0, p cos θ, p sin θ). null: perpendicular, with the files of a fixed angle."""

    @model_validator(mode="after")
    def _ranges_ordered(self) -> Self:
        for name in ("energy_gev", "theta_deg"):
            low, high = getattr(self, name) or (0.0, 0.0)
            if low > high:
                raise ValueError(f"{name}: lower bound {low:g} is above {high:g}")
        return self


class Simulation(Section):
    """A parametric simulation, as `gan3d simulate` runs it."""

    calorimeter: Calorimeter = Calorimeter()
    """Where the showers develop."""
    behind: dict[ImageName, Calorimeter] = Field(default={})
    """Calorimeters right behind it, in this order, by the names that their images get in files:
    what leaks out of one goes on in the next. Each needs its `shape`."""
    beam: Beam = Beam()
    """What makes them."""

    @model_validator(mode="after")
    def _energies_high(self) -> Self:
        lowest_gev = 1e-3 * LOWEST_Y * self.calorimeter.critical_energy_mev
        if self.beam.energy_gev[0] < lowest_gev:
            raise ValueError(
                f"beam.energy_gev: {self.beam.energy_gev[0]:g} GeV is too little for a shower: the "
                f"parametrisation needs {LOWEST_Y:g} critical energies, {lowest_gev:.3g} GeV"
            )
        return self

    @model_validator(mode="after")
    def _along_the_axis(self) -> Self:
        if self.beam.theta_deg is not None and self.calorimeter.coordinates == "cylindrical":
            raise ValueError("beam.theta_deg: the cells of a cylinder lie around the particle")
        return self

    @model_validator(mode="after")
    def _one_behind_the_other(self) -> Self:
        if not self.behind:
            return self
        try:
            check_image_names(self.behind)
        except ValueError as error:
            raise ValueError(f"behind.{error}") from error
        if self.beam.theta_deg is not None:
            raise ValueError(
                "beam.theta_deg: particles fly straight through calorimeters behind each other "
                "(behind); set it to null"
            )
        for name, each in {"": self.calorimeter, **self.behind}.items():
            key = f"behind.{name}" if name else "calorimeter"
            if each.coordinates == "cylindrical":
                raise ValueError(f"{key}.coordinates: only cartesian cells lie behind each other")
            if each.shape is None and name:
                raise ValueError(f"{key}.shape: needs its cells along (x, y, layer)")
        return self

    @property
    def geometries(self) -> dict[str, Geometry]:
        """The grids of all images, by their names, the first calorimeter's first."""
        behind = {
            name: Geometry(shape=each.shape or FIXED_ANGLE_SHAPE, cell_size_mm=each.cell_size_mm)
            for name, each in self.behind.items()
        }
        return {FIRST_IMAGE: self.geometry, **behind}

    @property
    def images(self) -> Images:
        """The images of a shower."""
        return Images({name: each.shape for name, each in self.geometries.items()})

    @property
    def geometry(self) -> Geometry:
        """The grid of the first calorimeter's cells."""
        calorimeter = self.calorimeter
        return Geometry(
            coordinates=calorimeter.coordinates,
            shape=self.image_shape,
            cell_size_mm=calorimeter.cell_size_mm,
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Cells of the first calorimeter along (x, y, layer)."""
        if self.calorimeter.shape is not None:
            return self.calorimeter.shape
        return FIXED_ANGLE_SHAPE if self.beam.theta_deg is None else VARIABLE_ANGLE_SHAPE


def load_simulation(
    path: Path | None = None,
    overrides: Sequence[str] = (),
    options: Mapping[str, str] = MappingProxyType({}),
) -> Simulation:
    """The simulation that the YAML file `path` describes; None: the defaults.

    `extends` and `overrides` work as in experiments; `options` are overrides by other options of
    the command, by their names. Raises ConfigError as `load_experiment` does.
    """
    return load_sections(
        Simulation, path, overrides, example="beam.particle=gamma", options=options
    )

"""Architectures by name. A new one is one module in `gan3d/models/architectures/`.

Such a module loads Keras only where networks are built, so that what an experiment asks of them is
checked before anything is loaded (`check_networks`).
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from gan3d.config import GEV, CellScale, Condition, Experiment, Geometry, Images, Model
from gan3d.errors import ConfigError
from gan3d.models import architectures
from gan3d.models.presets import check_shape, one_image_only

if TYPE_CHECKING:
    import keras

Builder = Callable[[Model], "keras.Model"]
Adapter = Callable[..., None]

LossKind = Literal["binary_crossentropy", "mean_absolute_percentage_error", "mean_absolute_error"]
"""Losses by their names in Keras."""


@dataclass(frozen=True)
class Output:
    """What a discriminator says of a shower, and how it is held against what it should say."""

    name: str
    """Its name, and that of its weight in `training.loss_weights`."""
    loss: LossKind
    """How far it is off."""
    measure: Callable[[Any], Any] | None = None
    """What it should say of Monte Carlo: from images (B, x, y, layer, 1), as the networks see them,
    to (B, K). None: the label real or generated (`generation`), or the scaled incident energy
    (`auxiliary`)."""
    image: str | None = None
    """The further image (`data.further_images`) whose sum it is: its error counts in per cent of
    the mean sum, and its weight is `further_sums`'."""


def _sum_cells(images_bxyzc: Any, scale: CellScale = GEV) -> Any:
    from keras import ops

    return ops.sum(scale.gev(images_bxyzc[..., 0], ops), axis=(1, 2, 3))[:, None]


def ecal_of(scale: CellScale) -> Output:
    """The sum of all cells in GeV, of images in `scale`."""
    return Output("ecal", "mean_absolute_percentage_error", partial(_sum_cells, scale=scale))


def sums_of(images: Images, scale: CellScale) -> tuple[Output, ...]:
    """What discriminators say of several images in `scale`: the sums (GeV), the first as `ecal`.

    Those of further images have their names. A shower may leave nothing in one, so no error is in
    per cent of its own sum.
    """

    def measure(cells: slice) -> Callable[[Any], Any]:
        return lambda images_bxyzc: _sum_cells(images_bxyzc[:, cells], scale)

    first, *further = images.cells.items()
    return (
        Output("ecal", "mean_absolute_percentage_error", measure(first[1])),
        *(
            Output(name, "mean_absolute_error", measure(cells), image=name)
            for name, cells in further
        ),
    )


GENERATION = Output("generation", "binary_crossentropy")
"""The probability of being Monte Carlo."""
AUXILIARY = Output("auxiliary", "mean_absolute_percentage_error")
"""The estimated incident energy, over `data.energy_scale_gev`."""
ECAL = ecal_of(GEV)
"""The sum of all cells, of images in GeV."""


@dataclass(frozen=True)
class Wanted:
    """What networks are wanted for; the defaults are the published fixed-angle ones'."""

    model: Model = field(default_factory=Model)
    """The section `model`."""
    geometry: Geometry = field(default_factory=Geometry)
    """The grid of the images that the networks see."""
    cell_scale: CellScale = GEV
    """The images hold this of the cell energies (`data.cell_power`, `data.cell_log_gev`)."""
    further: Mapping[str, Geometry] = field(default_factory=dict)
    """The grids of further images of the same showers, by their names (`data.further_images`)."""


@dataclass(frozen=True)
class Architecture:
    """A generator and a discriminator that belong together.

    The generator maps `latent` (B, latent_dim), standard normal, and `energy` (B, 1), the incident
    energy over `data.energy_scale_gev`, to images (B, x, y, layer, 1) in GeV, or in another scale
    (`data.cell_scale`). Where `model.conditions` names more than the energy, it has a third input
    `labels` (B, C), those conditions in their order: numbers as (value - offset) / scale,
    categories as their place in the list of values.

    The discriminator maps an image (and the energy and the labels, where it sees them) to a
    dictionary of its `outputs`: `generation` (B, 1), the probability of being Monte Carlo,
    `auxiliary` (B, 1), the estimated scaled incident energy, `ecal` (B, 1), the sum of all cells
    in GeV, and more where the architecture has more. Images and outputs are best computed in
    float32 whatever Keras's dtype policy (`node.precision`).
    """

    name: str
    """Name in the experiment file."""
    latent_dim: int
    """Normal draws per shower."""
    image_shape: tuple[int, int, int]
    """Cells along (x, y, layer); of several images, `images`, (cells of all, 1, 1)."""
    build_generator: Builder
    """Makes the generator from the `model` section."""
    build_discriminator: Builder
    """Makes the discriminator from the `model` section."""
    discriminator_sees_energy: bool = False
    """Whether the discriminator is called with [images, energy] instead of images."""
    discriminator_sees_labels: bool = False
    """Whether labels, where there are some, are the discriminator's last input."""
    adapt: Adapter | None = None
    """Puts statistics of training showers, images (N, x, y, layer) in GeV and scaled energies
    (N, 1), and where there are labels those (N, C), into non-trainable weights of (generator,
    discriminator) before training."""
    outputs: tuple[Output, ...] = (GENERATION, AUXILIARY, ECAL)
    """What the discriminator says, in the order in which losses are told."""
    cells_in_gev: bool = False
    """Whether images have to hold GeV: no `data.cell_power` and no `data.cell_log_gev`."""
    labels: tuple[Literal["number", "categories"], ...] | None = ()
    """Kinds of the conditions that it takes beside the energy, in this order; None: any."""
    sees_batch_spread: bool = False
    """Whether its discriminator is told the spread over the batch: no
    `model.minibatch_deviation`."""
    condition_weights: tuple[str, ...] = ()
    """Weights, LAYER/NUMBER as files have them, whose last rows are of
    `gan3d.models.shower_conditions.condition_terms`: `training.init_from` knows what they mean."""
    plane_rad: float = 0.0
    """Polar angles nearer than this to the layers' plane (0 and pi) mean nothing to it."""
    cylinders: bool = False
    """Whether its networks go round along the angle of a cylinder."""
    images: Images | None = None
    """The several images of a shower that its networks make and see; None: one."""

    def judged(self, images_bxyzc: Any, energy_b1: Any, labels_bc: Any = None) -> Any:
        """The discriminator's inputs."""
        inputs = [images_bxyzc]
        if self.discriminator_sees_energy:
            inputs.append(energy_b1)
        if self.discriminator_sees_labels and labels_bc is not None:
            inputs.append(labels_bc)
        return inputs if len(inputs) > 1 else images_bxyzc


def architecture_names() -> list[str]:
    """Names of all architectures, sorted; imports none of them."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(architectures.__path__))


def check_architecture(name: str) -> None:
    """Raise ConfigError, naming the nearest known architecture, if there is none called `name`."""
    names = architecture_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ConfigError(
            f"model.architecture: no architecture '{name}'{hint} (known: {', '.join(names)})"
        )


def get_architecture(name: str, wanted: Wanted | None = None) -> Architecture:
    """The architecture called `name`, made for what is `wanted` (None: the defaults of `Wanted`).

    Its module has a function `design` from `Wanted` to `Architecture`, or, where it is the same
    whatever is wanted, a constant `ARCHITECTURE`. A preset answers with its own grid, another one
    than is wanted or not: `check_networks` compares them. Raises ConfigError if there is no such
    architecture, and where it cannot be made for what is wanted.
    """
    check_architecture(name)
    module = importlib.import_module(f"{architectures.__name__}.{name.replace('-', '_')}")
    design = getattr(module, "design", None)
    architecture: Architecture = (
        module.ARCHITECTURE if design is None else design(wanted or Wanted())
    )
    return architecture


def architecture_of(experiment: Experiment) -> Architecture:
    """The architecture of an experiment, made for its grid. Raises ConfigError."""
    model, data = experiment.model, experiment.data
    wanted = Wanted(model, data.model_geometry, data.cell_scale, data.further_images)
    architecture = get_architecture(model.architecture, wanted)
    if data.further_images and architecture.images is None:
        raise one_image_only(experiment)
    _check_labels(architecture, model)
    if architecture.cells_in_gev and not data.cell_scale.plain:
        key = "cell_power" if data.cell_log_gev is None else "cell_log_gev"
        raise ConfigError(
            f"data.{key}: {architecture.name} has the physics of cells in GeV built in, and looks "
            f"at their logarithm itself; leave {key} out"
        )
    if architecture.sees_batch_spread and model.minibatch_deviation:
        raise ConfigError(
            f"model.minibatch_deviation: the discriminator of {architecture.name} sees the spread "
            "of its features over the batch always; leave it out"
        )
    if data.geometry.is_cylinder and not architecture.cylinders:
        raise ConfigError(
            f"model.architecture: {architecture.name} does not go round, and data.geometry is a "
            "cylinder; expected one that does, such as convolutional or compact"
        )
    return with_options(architecture, model)


def told_labels(architecture: Architecture, model: Model) -> list[Condition]:
    """The conditions beside the energy, with what the architecture needs of polar angles."""
    least = architecture.plane_rad
    return [
        label.model_copy(update={"plane_rad": max(label.plane_rad, least)})
        if label.is_polar
        else label
        for label in model.labels
    ]


def check_networks(experiment: Experiment) -> None:
    """Raise ConfigError where there are no networks for what an experiment asks of them.

    For its grid, conditions, scale of the cells and options. Builds nothing and loads no Keras.
    """
    made = architecture_of(experiment)
    check_shape(made.name, made.image_shape, experiment.data.images.shape)


def with_options(architecture: Architecture, model: Model) -> Architecture:
    """The same with those options of `model` that change discriminators of all architectures."""
    if model.spectral_norm is None and not model.minibatch_deviation:
        return architecture
    return replace(architecture, build_discriminator=partial(_build_with_options, architecture))


def _build_with_options(architecture: Architecture, model: Model) -> keras.Model:
    from gan3d.models.discriminator_options import normalise_spectrum, show_deviation

    discriminator = architecture.build_discriminator(model)
    if model.minibatch_deviation:
        discriminator = show_deviation(discriminator)
    if model.spectral_norm is not None:
        heads = [output.name for output in architecture.outputs if output is not GENERATION]
        discriminator = normalise_spectrum(discriminator, model.spectral_norm, heads)
    return discriminator


def _check_labels(architecture: Architecture, model: Model) -> None:
    """Raise ConfigError where networks are to be conditioned on what they do not take."""
    takes, given = architecture.labels, [label.kind for label in model.labels]
    if takes is None or list(takes) == given:
        return
    names = ", ".join(condition.name for condition in model.conditions)
    raise ConfigError(
        f"model.conditions: {architecture.name} takes {_in_words(takes)}, not [{names}]"
    )


def _in_words(kinds: Sequence[str]) -> str:
    words = {"number": "a number", "categories": "categories"}
    further = [words[kind] for kind in kinds]
    return " and ".join(["energy", *further]) if further else "energy alone"

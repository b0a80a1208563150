"""Architectures by name. A new one is one module in `gan3d/models/architectures/`."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Model
from gan3d.errors import ConfigError
from gan3d.models import architectures

if TYPE_CHECKING:
    import keras

Builder = Callable[[Model], "keras.Model"]
Adapter = Callable[["keras.Model", "keras.Model", NDArray[np.float32], NDArray[np.float32]], None]


@dataclass(frozen=True)
class Architecture:
    """A generator and a discriminator that belong together.

    The generator maps `latent` (B, latent_dim), standard normal, and `energy` (B, 1), the incident
    energy over `data.energy_scale_gev`, to images (B, x, y, layer, 1) in GeV. The discriminator
    maps an image (and the energy, where `discriminator_sees_energy`) to a dictionary of
    `generation` (B, 1), the probability of being Monte Carlo, `auxiliary` (B, 1), the estimated
    scaled incident energy, and `ecal` (B, 1), the sum of all cells in GeV. Images and outputs are
    best computed in float32 whatever Keras's dtype policy (`node.precision`).
    """

    name: str
    """Name in the experiment file."""
    latent_dim: int
    """Normal draws per shower."""
    image_shape: tuple[int, int, int]
    """Cells along (x, y, layer)."""
    build_generator: Builder
    """Makes the generator from the `model` section."""
    build_discriminator: Builder
    """Makes the discriminator from the `model` section."""
    discriminator_sees_energy: bool = False
    """Whether the discriminator is called with [images, energy] instead of images."""
    adapt: Adapter | None = None
    """Puts statistics of training showers, images (N, x, y, layer) in GeV and scaled energies
    (N, 1), into non-trainable weights of (generator, discriminator) before training."""


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


def get_architecture(name: str) -> Architecture:
    """The architecture called `name`. Raises ConfigError if there is none."""
    check_architecture(name)
    module = importlib.import_module(f"{architectures.__name__}.{name.replace('-', '_')}")
    architecture: Architecture = module.ARCHITECTURE
    return architecture

"""Generators, discriminators and physics layers, written with Keras 3 layers and ops alone.

Importing this package does not import Keras: names can be checked before anything is loaded.
"""

from gan3d.models.registry import (
    AUXILIARY,
    ECAL,
    GENERATION,
    Architecture,
    Output,
    Wanted,
    architecture_names,
    architecture_of,
    check_architecture,
    check_networks,
    get_architecture,
    told_labels,
)

__all__ = [
    "AUXILIARY",
    "ECAL",
    "GENERATION",
    "Architecture",
    "Output",
    "Wanted",
    "architecture_names",
    "architecture_of",
    "check_architecture",
    "check_networks",
    "get_architecture",
    "told_labels",
]

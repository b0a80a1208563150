"""Generators, discriminators and physics layers, written with Keras 3 layers and ops alone.

Importing this package does not import Keras: names can be checked before anything is loaded.
"""

from gan3d.models.registry import (
    Architecture,
    architecture_names,
    check_architecture,
    get_architecture,
)

__all__ = ["Architecture", "architecture_names", "check_architecture", "get_architecture"]

"""The generator of a run for other runtimes: SavedModel, ONNX and TensorFlow Lite.

An exported model maps `latent` (N, latent_dim), or `seed` (N, 2) where it draws its latents itself,
`energy` (N, 1) in GeV, and any further conditions of the networks, such as `theta` (N, 1) in rad,
to `cells` (N, x, y, layer) in GeV: the showers that `gan3d generate` writes. Importing this package
loads neither TensorFlow nor another runtime.
"""

from gan3d.export.metadata import Latent, Metadata
from gan3d.export.runtimes import ExportedModel, is_exported, load_exported
from gan3d.export.targets import FORMATS, SUFFIXES, Format, check_target
from gan3d.export.writing import Agreement, check_path, export_run

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "Agreement",
    "ExportedModel",
    "Format",
    "Latent",
    "Metadata",
    "check_path",
    "check_target",
    "export_run",
    "is_exported",
    "load_exported",
]

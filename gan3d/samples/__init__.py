"""A small Geant4 sample that ships with the package; README.md beside it says what it is."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from gan3d.errors import DataError

__all__ = ["SampleFiles", "quickstart_experiment", "sample_files"]


class SampleFiles(NamedTuple):
    """The bundled shower files. They hold different showers of the same simulation."""

    train: Path
    """1600 electrons, 10 to 100 GeV."""
    heldout: Path
    """700 electrons, 10 to 100 GeV, none of which is in `train`."""
    photons: Path
    """300 photons, 10 to 100 GeV."""


def sample_files() -> SampleFiles:
    """Return where the bundled shower files lie, wherever the package is installed.

    Raises DataError if the package was installed without its samples, or is not unpacked on a disk.
    """
    folder = Path(str(files("gan3d.samples")))
    sample = SampleFiles(
        folder / "EleEscan_train.h5", folder / "EleEscan_heldout.h5", folder / "GammaEscan.h5"
    )
    for path in sample:
        if not path.is_file():
            raise DataError(f"{path}: the bundled sample is missing; install gan3d again")
    return sample


def quickstart_experiment() -> Path:
    """Return the experiment file that `gan3d quickstart` runs; it trains on the bundled sample."""
    return Path(str(files("gan3d.samples"))) / "quickstart.yaml"

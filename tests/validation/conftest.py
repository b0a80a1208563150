import numpy as np
import pytest

from gan3d.config import Geometry, Validation
from gan3d.data import Showers, read_showers
from gan3d.samples import sample_files


@pytest.fixture
def geometry():
    return Geometry()


@pytest.fixture
def settings():
    return Validation(noise_splits=4)


@pytest.fixture(scope="session")
def geant4():
    """400 held-out and training showers of the bundled sample, threshold applied."""
    return read_showers([sample_files().train], threshold_gev=1e-6, limit=400)


@pytest.fixture(scope="session")
def other_geant4():
    return read_showers([sample_files().heldout], threshold_gev=1e-6, limit=300)


@pytest.fixture
def one_cell():
    """Build a shower with all its energy (GeV) in one cell."""

    def build(cell, *, energy=1.0, incident=50.0, shape=(25, 25, 25), count=1):
        images = np.zeros((count, *shape), np.float32)
        images[(slice(None), *cell)] = energy
        return Showers(images, np.full(count, incident, np.float32))

    return build

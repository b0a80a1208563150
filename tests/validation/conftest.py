import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from gan3d.config import Geometry, Validation
from gan3d.data import Showers, read_showers
from gan3d.samples import sample_files
from gan3d.validation import judge, write_report


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """For linear algebra: the threads of several test processes wait for each other by spinning."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def geometry():
    return Geometry()


@pytest.fixture
def settings():
    return Validation(noise_replicas=10, exchanges=20)


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


HISTORY = [
    {
        "epoch": epoch,
        "step": 10 * epoch,
        "generator.loss": 9.0 - epoch,
        "discriminator.loss": 4.0,
        "rate": 5.0,
        "validation.optimisation_metric": 0.3 / epoch,
    }
    for epoch in (1, 2)
]


@pytest.fixture(scope="session")
def judgement(geant4, other_geant4):
    settings = Validation(
        noise_replicas=10, exchanges=20, bootstrap_replicas=3, classifier_cells=50
    )
    return judge(other_geant4, geant4, Geometry(), settings)


@pytest.fixture(scope="session")
def report_folder(judgement, tmp_path_factory):
    """A report with everything in it. Half a minute: for tests of the group 'report'."""
    folder = tmp_path_factory.mktemp("run") / "new" / "report"
    write_report(
        judgement,
        folder,
        title="A <b>run</b>",
        facts={"Model": "ecal25 & friends"},
        histories={"Generated": HISTORY},
        outputs={
            label: {"Probability of being Monte Carlo": np.linspace(0, 1, 50)}
            for label in ("Geant4", "Generated")
        },
    )
    return folder

"""Photons against electrons, as Geant4 has them: told apart by what physics says, and no other."""

import numpy as np
import pytest

from gan3d.config import Geometry, Validation
from gan3d.data import read_showers
from gan3d.samples import sample_files
from gan3d.validation import judge


@pytest.fixture(scope="module")
def judgement():
    files = sample_files()
    photons, electrons = (
        read_showers([path], threshold_gev=1e-6, limit=300)
        for path in (files.photons, files.heldout)
    )
    settings = Validation(
        bootstrap_replicas=2, noise_replicas=10, exchanges=20, classifier_cells=300
    )
    return judge(photons, electrons, Geometry(), settings, labels=("Photons", "Electrons"))


def test_electrons_start_earlier(judgement):
    """A photon crosses 9/7 radiation lengths on average before it converts, about one layer."""
    photons, electrons = (side.observables for side in (judgement.generated, judgement.reference))
    later_mm = photons.start_mm_n.mean() - electrons.start_mm_n.mean()
    assert 3.0 < later_mm < 9.0  # layers have a pitch of 5.1 mm and 0.8 radiation lengths
    spread = photons.start_mm_n.std() / electrons.start_mm_n.std()
    assert spread > 1.1  # the point of conversion fluctuates
    deeper = np.nanmean(photons.maximum_layer_n) - np.nanmean(electrons.maximum_layer_n)
    assert 0.5 < deeper < 2.0


@pytest.mark.parametrize(
    "name",
    [
        "start.ks",
        "start.wasserstein",
        "first_third.ks",
        "barycentre_layer.ks",
        "profile.longitudinal.rel_error",
        "occupancy.rel_error",
        "classifier.high_level.auc",
        "classifier.low_level.auc",
        "frechet_physics_distance",
    ],
)
def test_what_sees_the_start_tells_them_apart(name, judgement):
    verdicts = {v.name: v for v in (*judgement.verdicts, *judgement.feature_verdicts)}
    assert verdicts[name].faulty, verdicts[name]


@pytest.mark.parametrize(
    "name",
    ["barycentre_x.ks", "barycentre_y.ks", "angle_x.ks", "angle_y.ks", "skewness_x.ks"],
)
def test_what_does_not_depend_on_the_particle_agrees(name, judgement):
    verdicts = {v.name: v for v in judgement.feature_verdicts}
    assert not verdicts[name].faulty, verdicts[name]

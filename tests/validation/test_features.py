import numpy as np
import pytest

from gan3d.config import Validation
from gan3d.data import Showers
from gan3d.validation import observe
from gan3d.validation.features import Scale, features


def test_names_are_those_of_the_thresholds_and_shares():
    settings = Validation(occupancy_thresholds_gev=[1e-5, 2e-4], containment_shares=[0.68])
    names = set(features(settings))
    assert {"hits", "hits_200kev", "radius_68"} <= names
    assert not {"hits_10kev", "radius_90"} & names


def test_what_changes_with_energy_is_compared_at_the_same_energy(geant4, geometry, settings):
    """Low energies alone lie where all of the reference does: the curve is taken away."""
    theirs = observe(geant4, geometry, settings)
    low = theirs.select(theirs.energy_n < 40)
    for name in ("barycentre_layer", "hits", "start", "maximum_layer", "hits_1000kev"):
        feature = features(settings)[name]
        scale = Scale.fitted(feature, theirs)
        spread = scale.compared(theirs).std()
        raw = abs(feature.values(low).mean() - feature.values(theirs).mean())
        left = abs(scale.compared(low).mean() - scale.compared(theirs).mean())
        assert left < 0.15 * spread + 4 * spread / np.sqrt(len(low)), name
        assert left < 0.3 * raw, name


def test_hits_are_a_share_of_the_mean_at_their_energy(geant4, geometry, settings):
    theirs = observe(geant4, geometry, settings)
    scale = Scale.fitted(features(settings)["hits"], theirs)
    for low, high in ((10, 30), (30, 60), (60, 100)):
        inside = (theirs.energy_n >= low) & (theirs.energy_n < high)
        assert scale.compared(theirs)[inside].mean() == pytest.approx(1.0, abs=0.03)


def test_a_curve_is_constant_beyond_the_showers_it_was_fitted_to(geant4, geometry, settings):
    theirs = observe(geant4, geometry, settings)
    scale = Scale.fitted(features(settings)["hits"], theirs)
    at_edge, beyond = (
        observe(Showers(geant4.images_nxyz[:1], np.array([energy], np.float32)), geometry, settings)
        for energy in (theirs.energy_n.max(), 10 * theirs.energy_n.max())
    )
    assert scale.compared(beyond) == pytest.approx(scale.compared(at_edge))


def test_standardised_moments_are_those_of_scipy(geant4, geometry, settings):
    from scipy import stats

    shower = geant4.take(slice(0, 1))
    seen = observe(shower, geometry, settings)
    # Weights in whole steps, as copies of a position.
    profile = seen.longitudinal_nz[0]
    copies = np.repeat(np.arange(25), np.round(2e5 * profile / profile.sum()).astype(int))
    found = features(settings)
    assert found["skewness_layer"].values(seen)[0] == pytest.approx(stats.skew(copies), rel=1e-3)
    assert found["kurtosis_layer"].values(seen)[0] == pytest.approx(
        stats.kurtosis(copies, fisher=False), rel=1e-3
    )


def test_a_feature_that_no_shower_has_has_no_scale(one_cell, geometry, settings):
    seen = observe(one_cell((12, 12, 8), count=5), geometry, settings)
    assert Scale.fitted(features(settings)["skewness_x"], seen) is None

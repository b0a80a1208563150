"""Simulated showers, loosely, against the bundled Geant4 ones.

The formulas were made with other programs for other calorimeters: they are not fitted to these
showers, and no agreement beyond these tolerances is claimed.
"""

import numpy as np
import pytest

from gan3d.config.simulation import load_simulation
from gan3d.data import read_showers
from gan3d.data.sparse import from_images, join
from gan3d.samples import sample_files
from gan3d.simulation import ShowerSimulator

BINS = [(10, 30), (30, 60), (60, 100)]


@pytest.fixture(scope="module")
def geant4():
    showers = read_showers(sample_files(), threshold_gev=1e-6)
    return from_images(showers.images_nxyz, showers.energy_n)


@pytest.fixture(scope="module")
def simulated():
    return join(list(ShowerSimulator(load_simulation(), seed=1).blocks(0, 1200)))


@pytest.fixture(scope="module", params=BINS, ids=lambda bounds: "{}-{} GeV".format(*bounds))
def both(request, geant4, simulated):
    """Simulated and Geant4 showers of a range of energies."""
    low, high = request.param
    return [
        showers.take(np.flatnonzero((showers.energy_n >= low) & (showers.energy_n < high)))
        for showers in (simulated, geant4)
    ]


def response(showers):
    return (showers.ecal_n / showers.energy_n).mean()


def half_width(showers):
    low, high = np.quantile(showers.ecal_n / showers.energy_n, [0.16, 0.84])
    return (high - low) / 2


def layer_of_the_maximum(showers):
    """From a parabola through the logarithm of the mean profile around its maximum."""
    profile = np.bincount(showers.cell_h % 25, showers.deposit_h, minlength=25)
    near = np.arange(-2, 3) + np.argmax(profile)
    curve = np.polyfit(near, np.log(profile[near]), 2)
    return -curve[1] / curve[0] / 2


def radius_of_nine_tenths(showers):
    """In cells, from the centre of the central cell, linear between the cells' distances."""
    x_h, y_h = showers.cell_h // 625, showers.cell_h // 25 % 25
    r_h = np.hypot(x_h - 12.0, y_h - 12.0)
    radius, where = np.unique(r_h, return_inverse=True)
    within = np.cumsum(np.bincount(where, showers.deposit_h))
    return np.interp(0.9, within / within[-1], radius)


def spread_of_depths(showers):
    """RMS from shower to shower of the layer of the centre of gravity."""
    moment_n = np.bincount(showers.shower_h, showers.deposit_h * (showers.cell_h % 25))
    return (moment_n / showers.ecal_n).std()


def test_the_sampling_fraction_agrees_within_three_per_cent(both):
    simulated, geant4 = map(response, both)
    assert simulated == pytest.approx(geant4, rel=0.03)


def test_the_resolution_agrees_within_a_third(both):
    simulated, geant4 = map(half_width, both)
    assert simulated == pytest.approx(geant4, rel=0.33)


def test_the_maximum_is_in_the_same_layer_but_one(both):
    simulated, geant4 = map(layer_of_the_maximum, both)
    assert simulated == pytest.approx(geant4, abs=1.0)


def test_the_depth_fluctuates_alike_within_a_third(both):
    simulated, geant4 = map(spread_of_depths, both)
    assert simulated == pytest.approx(geant4, rel=0.33)


def test_the_radius_of_nine_tenths_agrees_within_a_third(both):
    simulated, geant4 = map(radius_of_nine_tenths, both)
    assert simulated == pytest.approx(geant4, rel=0.33)


def test_as_many_cells_are_lit_within_a_fifth(both):
    simulated, geant4 = (showers.hits_n.mean() for showers in both)
    assert simulated == pytest.approx(geant4, rel=0.2)


def test_the_published_number_of_spots_lights_fewer_cells_but_within_a_third(geant4):
    published = load_simulation(None, ["calorimeter.spot_density=1"])
    simulated = join(list(ShowerSimulator(published, seed=1).blocks(0, 600)))
    assert 0.67 < simulated.hits_n.mean() / geant4.hits_n.mean() < 0.95

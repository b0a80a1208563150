import numpy as np
import pytest

from gan3d.config import Validation
from gan3d.data import Showers
from gan3d.validation import observe
from gan3d.validation.bins import bins_of, split_name


@pytest.fixture
def sample(one_cell, geometry):
    showers = one_cell((12, 12, 8), count=5)
    theta = np.radians([60.0, 75.0, 90.0, 120.0, np.nan])
    energy = np.array([10.0, 40.0, 70.0, 100.0, 101.0], np.float32)
    return observe(Showers(showers.images_nxyz, energy, {"theta": theta}), geometry, Validation())


def test_bounds_belong_to_the_upper_bin_but_for_the_uppermost(sample):
    settings = Validation(energy_bins_gev=[(10, 40), (40, 70), (70, 100)])
    inside = [list(np.flatnonzero(each.rows(sample))) for each in bins_of(settings)]
    assert inside == [[0], [1], [2, 3]]


def test_angles_are_in_degrees_and_unknown_ones_in_no_bin(sample):
    settings = Validation(energy_bins_gev=[(10, 200)], angle_bins_deg=[(60, 80), (80, 120.1)])
    energy, *angles = bins_of(settings)
    assert energy.rows(sample).all()
    assert [list(np.flatnonzero(each.rows(sample))) for each in angles] == [[0, 1], [2, 3]]
    assert [each.name for each in angles] == ["60-80deg", "80-120.1deg"]


@pytest.mark.parametrize("metric", ["hits.ks", "moments.rel_error"])
@pytest.mark.parametrize("bounds", [(0.5, 12.25), (10, 40), (1e-3, 1e7)])
def test_names_in_bins_can_be_taken_apart(bounds, metric):
    settings = Validation(energy_bins_gev=[bounds], angle_bins_deg=[bounds])
    for each in bins_of(settings):
        assert split_name(f"bin.{each.name}.{metric}") == (each.name, metric)
    assert split_name(metric) == (None, metric)

"""The barycentre method on images whose angle is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.data.sparse import from_images
from gan3d.simulation.angle import measured_theta

CUBES = (5.0, 5.0, 5.0)


def image_of(barycentre_z, energy_z, ny=401):
    """An image whose layer z has its energy around row `barycentre_z[z]`, shared by two rows."""
    image = np.zeros((1, 3, ny, len(barycentre_z)), np.float32)
    for layer, (y, energy) in enumerate(zip(barycentre_z, energy_z, strict=True)):
        low = math.floor(y)
        image[0, 1, low, layer] = energy * (1 - (y - low))
        image[0, 1, low + 1, layer] = energy * (y - low)
    return from_images(image, np.ones(1, np.float32))


@given(st.floats(30.0, 150.0))
def test_a_straight_line_gives_its_angle(theta_deg):
    cotangent = 1.0 / math.tan(math.radians(theta_deg))
    # Uneven layers: the barycentre is then between two, and none has the distance 0.
    energy_z = np.linspace(1.0, 2.0, 25)
    showers = image_of(200.0 + np.arange(25) * cotangent, energy_z)
    assert np.degrees(measured_theta(showers, CUBES)[0]) == pytest.approx(theta_deg, abs=0.01)


def test_the_pitch_counts():
    showers = image_of(20.0 + np.arange(25), np.linspace(1.0, 2.0, 25), ny=60)
    assert np.degrees(measured_theta(showers, CUBES)[0]) == pytest.approx(45.0, abs=0.01)
    flat = measured_theta(showers, (5.0, 5.0, 10.0))[0]
    assert math.tan(math.pi / 2 - flat) == pytest.approx(0.5, abs=1e-3)


def test_empty_layers_do_not_count():
    energy_z = np.where(np.arange(25) % 2, 1.0, 0.0) * np.linspace(1.0, 2.0, 25)
    showers = image_of(20.0 + 0.5 * np.arange(25), energy_z, ny=60)
    assert measured_theta(showers, CUBES)[0] == pytest.approx(math.atan(2.0), abs=1e-3)


def test_layers_count_by_their_depth_and_distances_are_in_space():
    image = np.zeros((1, 5, 5, 4), np.float32)
    for layer, (x, y) in enumerate([(0, 0), (0, 0), (2, 0), (2, 4)]):
        image[0, x, y, layer] = 1.0
    # The barycentre is at (1.5, 1.5, 2.0) cells from the corner, x is one cell from it everywhere.
    slopes = [-1 / -math.hypot(1, 1.5), -1 / -math.hypot(1, 0.5)]
    slopes += [-1 / math.hypot(1, 0.5), 3 / math.hypot(1, 1.5)]
    angles = [math.pi / 2 - math.atan(slope) for slope in slopes]
    expected = np.average(angles, weights=[0.5, 1.5, 2.5, 3.5])
    showers = from_images(image, np.ones(1, np.float32))
    assert measured_theta(showers, CUBES)[0] == pytest.approx(expected, abs=1e-9)


def test_a_layer_at_the_barycentre_is_no_trouble():
    showers = image_of([5.0, 5.0, 5.0], [1.0, 1.0, 1.0], ny=12)
    assert measured_theta(showers, CUBES)[0] == pytest.approx(math.pi / 2)


def test_a_shower_without_cells_has_no_angle():
    showers = from_images(np.zeros((1, 3, 3, 4), np.float32), np.ones(1, np.float32))
    assert np.isnan(measured_theta(showers, CUBES)[0])

"""Pictures of showers: what is bright, and on which scale."""

import numpy as np
import pytest

from gan3d.training.images import mean_picture, single_pictures


def shower(**cells):
    image = np.zeros((1, 4, 3, 5), np.float32)
    for place, energy in cells.items():
        image[(0, *map(int, place[1:]))] = energy
    return image


def cell(picture, x, layer, panel=0, number=0):
    """The grey level of a cell: eight pixels a side, two pixels between panels."""
    return picture[number, 8 * x + 3, panel * (5 * 8 + 2) + 8 * layer + 3, 0]


def test_grey_levels_are_logarithms_over_four_decades():
    picture = mean_picture(shower(c000=1.0, c101=0.01, c202=1e-4, c303=1e-6))
    assert picture.shape == (1, 4 * 8, 5 * 8 + 2, 1)
    assert picture.dtype == np.uint8
    assert [cell(picture, n, n) for n in range(4)] == pytest.approx([255, 127.5, 0, 0], abs=0.6)
    assert cell(picture, 0, 3) == 0


def test_cells_along_y_add_up():
    picture = mean_picture(shower(c000=0.5, c010=0.5, c104=0.5, c114=0.4, c124=0.1))
    assert cell(picture, 0, 0) == cell(picture, 1, 4) == 255


def test_samples_stand_side_by_side_on_one_scale():
    picture = mean_picture(shower(c000=1.0), shower(c000=0.01))
    levels = [cell(picture, 0, 0, panel) for panel in (0, 1)]
    assert levels == pytest.approx([255, 127.5], abs=0.6)


def test_single_showers_are_pictures_of_their_own():
    both = np.concatenate([shower(c000=1.0), shower(c303=1.0)])
    pictures = single_pictures(5, both, both[::-1])
    assert pictures.shape == (2, 4 * 8, 2 * (5 * 8 + 2), 1)
    assert [cell(pictures, 0, 0, panel) for panel in (0, 1)] == [255, 0]
    assert [cell(pictures, 0, 0, panel, 1) for panel in (0, 1)] == [0, 255]


def test_a_sample_without_energy_is_black():
    assert mean_picture(shower())[..., :40, :].max() == 0

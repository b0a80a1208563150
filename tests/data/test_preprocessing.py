import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config import CellScale
from gan3d.data import Showers
from gan3d.data.preprocessing import regrid, to_grid, to_scale
from gan3d.data.sparse import from_images

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)


def images(shape, count=3, seed=0):
    rng = np.random.default_rng(seed)
    cells = rng.random((count, *shape), np.float32)
    cells[rng.random(cells.shape) < 0.6] = 0
    return cells


def sparse(cells):
    return from_images(cells, np.arange(1, len(cells) + 1, dtype=np.float32))


def by_hand(cells, target):
    """Cropping and padding one axis at a time, with slices."""
    for axis, wanted in enumerate(target, start=1):
        there = cells.shape[axis]
        if there >= wanted:
            start = 0 if axis == 3 else (there - wanted) // 2
            cells = np.take(cells, range(start, start + wanted), axis)
        else:
            before = 0 if axis == 3 else (wanted - there) // 2
            widths = [(0, 0)] * 4
            widths[axis] = (before, wanted - there - before)
            cells = np.pad(cells, widths)
    return cells


@given(shape=SHAPES, target=SHAPES, seed=st.integers(0, 100))
def test_cropping_and_padding_is_that_of_the_images(shape, target, seed):
    cells = images(shape, seed=seed)
    result = to_grid(sparse(cells), target).dense()
    np.testing.assert_array_equal(result.images_nxyz, by_hand(cells, target))
    np.testing.assert_array_equal(result.energy_n, [1, 2, 3])


@given(shape=SHAPES, more=SHAPES)
def test_cropping_undoes_padding(shape, more):
    cells = images(shape)
    larger = tuple(a + b for a, b in zip(shape, more, strict=True))
    back = to_grid(to_grid(sparse(cells), larger), shape).dense()
    np.testing.assert_array_equal(back.images_nxyz, cells)


def test_the_middle_cell_stays_in_the_middle():
    cells = np.zeros((1, 51, 51, 25), np.float32)
    cells[0, 25, 25, 8] = 1
    cropped = to_grid(sparse(cells), (25, 25, 25)).dense().images_nxyz
    assert np.argwhere(cropped).tolist() == [[0, 12, 12, 8]]


def test_dense_images_are_regridded_alike():
    cells = images((5, 5, 4))
    whole = Showers(cells, np.float32([1, 2, 3]))
    assert regrid(whole, (5, 5, 4)) is whole
    np.testing.assert_array_equal(regrid(whole, (3, 7, 4)).images_nxyz, by_hand(cells, (3, 7, 4)))


@pytest.mark.parametrize("power", [0.5, 0.85, 1.0])
def test_powers_are_taken_of_every_cell(power):
    cells = images((3, 4, 5))
    result = to_scale(sparse(cells), CellScale(power)).dense().images_nxyz
    np.testing.assert_allclose(result, cells**power, rtol=1e-6)
    assert result.dtype == np.float32

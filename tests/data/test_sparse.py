import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gan3d.data.sparse import cell_dtype, from_images, join
from gan3d.errors import DataError

IMAGES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4)),
    elements=st.sampled_from([0.0, 0.0, 0.0, 1e-9, 0.5, 2.0]),
)


def sparse(images):
    energy_n = np.arange(1, len(images) + 1, dtype=np.float32)
    return from_images(images, energy_n, {"pdg": np.arange(len(images))})


@given(images=IMAGES)
def test_images_become_cells_and_images_again(images):
    showers = sparse(images)
    dense = showers.dense()
    np.testing.assert_array_equal(dense.images_nxyz, images)
    assert list(dense.columns["pdg"]) == list(range(len(images)))
    np.testing.assert_array_equal(showers.hits_n, np.count_nonzero(images, axis=(1, 2, 3)))
    np.testing.assert_allclose(showers.ecal_n, images.sum(axis=(1, 2, 3), dtype=np.float64))
    assert (showers.deposit_h != 0).all()


@given(images=IMAGES, data=st.data())
def test_taking_rows_is_taking_images(images, data):
    rows = data.draw(st.lists(st.integers(0, len(images) - 1)) if len(images) else st.just([]))
    taken = sparse(images).take(np.array(rows, np.int64)).dense()
    np.testing.assert_array_equal(taken.images_nxyz, images[rows])
    np.testing.assert_array_equal(taken.energy_n, np.array(rows, np.float32) + 1)
    assert list(taken.columns["pdg"]) == rows


@given(images=IMAGES, limit=st.sampled_from([0.0, 0.1, 1.0, 9.0]))
def test_leaving_out_cells_sets_them_to_zero(images, limit):
    showers = sparse(images)
    kept = showers.where(showers.deposit_h > limit).dense().images_nxyz
    np.testing.assert_array_equal(kept, np.where(images > limit, images, 0))


@given(images=IMAGES, cut=st.integers(0, 5))
def test_joining_undoes_cutting(images, cut):
    whole = sparse(images)
    joined = join([whole.take(slice(0, cut)), whole.take(slice(cut, None))]).dense()
    np.testing.assert_array_equal(joined.images_nxyz, images)
    assert list(joined.columns["pdg"]) == list(range(len(images)))


def test_what_does_not_fit_is_not_joined():
    one, other = (sparse(np.ones((1, 2, 2, n), np.float32)) for n in (2, 3))
    with pytest.raises(DataError, match="different shapes"):
        join([one, other])


def test_cells_are_numbered_in_as_few_bytes_as_they_need():
    assert cell_dtype((25, 25, 25)) == np.uint16
    assert cell_dtype((51, 51, 25)) == np.uint16
    assert cell_dtype((64, 64, 17)) == np.uint32


def test_a_nan_is_a_lit_cell():
    images = np.zeros((1, 1, 1, 3), np.float32)
    images[0, 0, 0, 1] = np.nan
    assert sparse(images).cell_h.tolist() == [1]

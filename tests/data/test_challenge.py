import math

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan3d.data import Showers, open_shower_file, read_showers, write_showers
from gan3d.data.challenge import SHAPES
from gan3d.errors import DataError

SHAPE = (4, 3, 5)  # angles, radii, layers


def flatten(images_narl):
    """As the Challenge describes it: radii run fastest, then angles, then layers."""
    count, angles, radii, layers = images_narl.shape
    showers = np.zeros((count, angles * radii * layers), images_narl.dtype)
    for layer in range(layers):
        for angle in range(angles):
            for radius in range(radii):
                place = (layer * angles + angle) * radii + radius
                showers[:, place] = images_narl[:, angle, radius, layer]
    return showers


def write(path, showers, energies=None, dtype="f4", **storage):
    energies = np.arange(1, len(showers) + 1) * 1000.0 if energies is None else energies
    with h5py.File(path, "w") as file:
        file.create_dataset("incident_energies", data=energies.reshape(-1, 1), dtype=dtype)
        file.create_dataset("showers", data=showers, dtype=dtype, **storage)
    return path


@pytest.mark.parametrize(("cells", "shape"), SHAPES.items())
def test_data_sets_2_and_3_are_known_by_their_number_of_cells(tmp_path, cells, shape):
    assert math.prod(shape) == cells
    angles, radii, layers = shape
    assert (layers, (angles, radii)) in [(45, (16, 9)), (45, (50, 18))]
    showers = np.zeros((2, cells), np.float32)
    # The first cells are the radial bins of the first angle in the first layer.
    showers[0, 1], showers[0, radii], showers[0, angles * radii], showers[1, -1] = 10, 20, 30, 40
    path = write(tmp_path / "dataset.hdf5", showers, compression="gzip")
    with open_shower_file(path) as file:
        assert (file.layout, file.image_shape, file.unit_gev) == ("challenge", shape, 1e-3)
        images = file.read().images_nxyz
    assert (images > 0).sum() == 4
    lit = [images[0, 0, 1, 0], images[0, 1, 0, 0], images[0, 0, 0, 1], images[1, -1, -1, -1]]
    np.testing.assert_allclose(lit, [0.01, 0.02, 0.03, 0.04], rtol=1e-6)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80
)
@given(
    chunk=st.tuples(st.integers(1, 9), st.integers(1, 60)) | st.just(True) | st.none(),
    pipeline=st.sampled_from(
        [{}, {"shuffle": True}, {"compression": "gzip"}, {"fletcher32": True}]
    ),
    dtype=st.sampled_from(["f4", "f8"]),
    rows=st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted),
    seed=st.integers(0, 99),
)
def test_however_cells_are_stored_they_are_put_in_their_place(
    tmp_path, random_cells, chunk, pipeline, dtype, rows, seed
):
    images = random_cells((9, *SHAPE), seed)
    storage = {} if chunk is None else {"chunks": chunk, **pipeline}
    path = write(tmp_path / "c.hdf5", flatten(images), dtype=dtype, **storage)
    with open_shower_file(path, shape=SHAPE) as file:
        showers = file.read_native(*rows)
    np.testing.assert_array_equal(showers.dense().images_nxyz, images[slice(*rows)])
    np.testing.assert_array_equal(showers.energy_n, (np.arange(9) + 1)[slice(*rows)] * 1000)
    assert showers.misplaced() is None


def test_energies_are_given_in_gev_and_natively_in_mev(tmp_path, random_cells):
    images = np.minimum(random_cells((3, *SHAPE)), 1)
    path = write(tmp_path / "c.hdf5", flatten(images), np.array([256.0, 1e3, 4194304.0]))
    with open_shower_file(path, shape=SHAPE) as file:
        np.testing.assert_allclose(file.energy_n, [0.256, 1, 4194.304], rtol=1e-7)
        showers, native = file.read_sparse(0, 3), file.read_native(0, 3)
    np.testing.assert_array_equal(native.energy_n, np.float32([256.0, 1e3, 4194304.0]))
    expected = (images.astype(np.float64) / 1000).astype(np.float32)
    np.testing.assert_array_equal(showers.dense().images_nxyz, expected)


def test_an_error_speaks_of_mev(tmp_path):
    images = np.zeros((3, *SHAPE), np.float32)
    images[1, 3, 1, 4] = -2.5
    path = write(tmp_path / "c.hdf5", flatten(images))
    with pytest.raises(
        DataError, match=r"shower 1: .* \(x=3, y=1, layer=4\) is negative: -2.5 MeV"
    ):
        read_showers([path], shape=SHAPE)


def test_further_numbers_of_each_shower_are_columns(tmp_path, random_cells):
    path = write(tmp_path / "c.hdf5", flatten(random_cells((3, *SHAPE))))
    with h5py.File(path, "r+") as file:
        file["eta"] = np.float64([0.1, 0.2, 0.3])
        file["layers"] = np.zeros((3, 5))
    with open_shower_file(path, shape=SHAPE) as file:
        assert (file.left_out, file.particles) == (("layers",), ())
        assert list(file.read_sparse(1, 3).columns["eta"]) == [0.2, 0.3]


def test_an_unknown_number_of_cells_needs_the_shape(tmp_path, random_cells):
    path = write(tmp_path / "c.hdf5", flatten(random_cells((3, *SHAPE))))
    with pytest.raises(DataError, match=r"60 cells.*16×9×45 = 6480.*set data\.geometry\.shape"):
        open_shower_file(path)
    with pytest.raises(DataError, match=r"60 cells, expected 4×3×6 = 72: data\.geometry\.shape"):
        open_shower_file(path, shape=(4, 3, 6))


def test_a_known_data_set_is_not_taken_for_another_order_of_its_axes(tmp_path):
    path = write(tmp_path / "c.hdf5", np.zeros((2, 6480), np.float32))
    with pytest.raises(DataError, match="images have 16×9×45 cells, expected 9×16×45"):
        open_shower_file(path, shape=(9, 16, 45))


def test_a_file_of_ours_says_its_shape_itself(tmp_path, random_cells, assert_same):
    images = random_cells((7, *SHAPE))
    path = tmp_path / "c.hdf5"
    showers = Showers(images, np.arange(1, 8, dtype=np.float32))
    write_showers(path, [showers], layout="challenge", attributes={}, unit_gev=1e-3)
    with h5py.File(path) as file:
        assert file["incident_energies"].shape == (7, 1)
        np.testing.assert_array_equal(file["showers"][:], flatten(images))
    with open_shower_file(path) as file:
        np.testing.assert_array_equal(file.read_native(0, 7).dense().images_nxyz, images)


def test_chunks_of_very_many_showers_are_read_in_bounded_pieces(
    tmp_path, monkeypatch, random_cells
):
    images = random_cells((20, *SHAPE))
    path = write(tmp_path / "c.hdf5", flatten(images), chunks=(20, 7), compression="gzip")
    monkeypatch.setattr("gan3d.data.shower_file._LARGEST_BLOCK_BYTES", 3 * 240)
    with open_shower_file(path, shape=SHAPE) as file:
        blocks = list(file.blocks(native=True))
    assert [len(block) for block in blocks] == [3, 3, 3, 3, 3, 3, 2]
    np.testing.assert_array_equal(np.concatenate([b.dense().images_nxyz for b in blocks]), images)


def test_a_damaged_chunk_is_named_by_its_showers(tmp_path, random_cells):
    path = write(
        tmp_path / "c.hdf5", flatten(random_cells((9, *SHAPE))), chunks=(4, 30), compression="gzip"
    )
    with h5py.File(path) as file:
        places = [file["showers"].id.get_chunk_info(i) for i in range(6)]
    place = next(place for place in places if place.chunk_offset == (4, 30))
    with path.open("r+b") as raw:
        raw.seek(place.byte_offset + place.size - 3)
        raw.write(b"\xff\xff\xff")
    with open_shower_file(path, shape=SHAPE) as file:
        file.read_cells(0, 4)
        with pytest.raises(DataError, match=r"c\.hdf5: showers 4 to 7 cannot be read"):
            file.read_cells(5, 6)


def test_a_file_has_the_bins_that_it_notes_whatever_others_have_as_many_cells(tmp_path):
    # 18 x 18 x 20 cells are as many as those of the Challenge's data set 2.
    images = np.random.default_rng(1).random((3, 18, 18, 20), np.float32)
    showers = Showers(images, np.ones(3, np.float32))
    path = tmp_path / "a.hdf5"
    write_showers(path, [showers], layout="challenge", attributes={})
    with open_shower_file(path) as file:
        assert file.image_shape == (18, 18, 20)
        np.testing.assert_allclose(file.read(slice(0, 3)).images_nxyz, images, rtol=1e-6)
    with pytest.raises(DataError, match="18×18×20 cells, expected 20×18×18"):
        open_shower_file(path, shape=(20, 18, 18))


@pytest.mark.parametrize(
    "noted", [[18, 18, 21], [18, 360], [18.0, 18.0, 20.0], [-18, -18, 20], "a"]
)
def test_bins_that_a_file_cannot_have_are_refused(tmp_path, noted):
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file["incident_energies"] = np.ones((2, 1), np.float32)
        file["showers"] = np.ones((2, 6480), np.float32)
        file["showers"].attrs["image_shape"] = noted
    with pytest.raises(DataError, match="6480 cells, but its attribute 'image_shape' says"):
        open_shower_file(path)

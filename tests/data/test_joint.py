"""Several images of one shower: joined cell by cell, taken apart, read, written and loaded."""

from itertools import pairwise

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d.config import Data, Geometry, Images
from gan3d.data import (
    ShowerLoader,
    open_for,
    open_shower_file,
    read_part,
    sample_layers,
    sample_sums,
    stated_cell_size,
    stream_images,
    survey_files,
    whole,
    write_showers,
)
from gan3d.data.sparse import from_images, join_images, split_images
from gan3d.errors import DataError, UsageError

IMAGES = Images({"ECAL": (3, 4, 5), "HCAL": (2, 3, 7), "TAIL": (1, 1, 2)})
GEOMETRIES = {
    "ECAL": Geometry(shape=(3, 4, 5), cell_size_mm=(1.0, 2.0, 3.0)),
    "HCAL": Geometry(shape=(2, 3, 7), cell_size_mm=(30.0, 30.0, 26.5)),
}


def random_images(count, seed, shape, share=0.3):
    rng = np.random.default_rng(seed)
    lit = rng.random((count, *shape)) < share
    return (lit * rng.uniform(1e-6, 1e-3, (count, *shape))).astype(np.float32)


@settings(max_examples=30)
@given(count=st.integers(1, 6), seed=st.integers(0, 999), share=st.sampled_from([0.0, 0.2, 1.0]))
def test_images_that_are_joined_come_apart_again(count, seed, share):
    energy_n = np.arange(1, count + 1, dtype=np.float32)
    images = {name: random_images(count, seed, shape) for name, shape in IMAGES.shapes.items()}
    images["HCAL"] = random_images(count, seed, IMAGES.shapes["HCAL"], share)
    joined = join_images([from_images(each, energy_n) for each in images.values()])
    assert joined.misplaced() is None
    flat = [each.reshape(count, -1) for each in images.values()]
    packed = joined.dense().images_nxyz
    np.testing.assert_array_equal(packed.reshape(count, -1), np.concatenate(flat, axis=1))
    for name, each in split_images(joined, IMAGES).items():
        np.testing.assert_array_equal(each.dense().images_nxyz, images[name])
        np.testing.assert_array_equal(IMAGES.split(packed)[name], images[name])
        np.testing.assert_array_equal(each.energy_n, energy_n)


@pytest.fixture
def pair(tmp_path):
    """Write a file of showers with two images: pair("a.h5", count=30)."""

    def write(name="pair.h5", count=30, *, layout="lcd", seed=0):
        energy_n = np.linspace(10, 100, count).astype(np.float32)
        parts = [
            from_images(random_images(count, seed + number, each.shape), energy_n)
            for number, each in enumerate(GEOMETRIES.values())
        ]
        path = tmp_path / name
        write_showers(
            path,
            [join_images(parts)],
            layout=layout,
            attributes={},
            chunk_showers=7,
            geometries=GEOMETRIES,
        )
        return path

    return write


def section(*paths, **changes):
    return Data(
        files=[str(path) for path in paths],
        geometry=GEOMETRIES["ECAL"],
        further_images={"HCAL": GEOMETRIES["HCAL"]},
        **changes,
    )


@pytest.mark.parametrize("layout", ["lcd", "parquet"])
def test_files_of_two_images_are_written_and_read_alone_and_together(pair, layout):
    path = pair(f"pair.{layout}", layout=layout)
    shapes = [each.shape for each in GEOMETRIES.values()]
    expected = [random_images(30, seed, shape) for seed, shape in enumerate(shapes)]
    with open_for(path, section(path)) as file:
        assert (file.image_shape, file.count) == ((102, 1, 1), 30)
        assert (file.further_images, file.left_out) == ((), ())
        assert file.images.shapes == {"ECAL": (3, 4, 5), "HCAL": (2, 3, 7)}
        whole_nxyz = file.read(slice(2, 25)).images_nxyz
    for name, images_nxyz in zip(GEOMETRIES, expected, strict=True):
        with open_shower_file(path, image=name) as file:
            np.testing.assert_array_equal(file.read().images_nxyz, images_nxyz)
            assert file.further_images == tuple({"ECAL", "HCAL"} - {name})
            assert file.left_out == ()
        np.testing.assert_array_equal(
            Images({key: each.shape for key, each in GEOMETRIES.items()}).split(whole_nxyz)[name],
            images_nxyz[2:25],
        )
        assert stated_cell_size([path], image=name) == GEOMETRIES[name].cell_size_mm
    (block,) = stream_images([path], ["HCAL", "ECAL"])
    np.testing.assert_array_equal(block["HCAL"].images_nxyz, expected[1])


def test_lcd_files_have_a_dataset_of_each_image(pair):
    with h5py.File(pair()) as file:
        assert (file["ECAL"].shape, file["HCAL"].shape) == ((30, 3, 4, 5), (30, 2, 3, 7))


@pytest.mark.parametrize("layout", ["lcd", "parquet"])
def test_a_loader_gives_batches_of_both_and_resumes(pair, layout):
    data = section(pair(f"a.{layout}", layout=layout), cell_power=0.5)
    part = whole(survey_files(data).files)

    def batches(passed=0):
        loader = ShowerLoader(part, data, batch_size=8, seed=3)
        try:
            return list(loader.epoch(1, passed))
        finally:
            loader.close()

    epoch = batches()
    stored = read_part(part, data)
    assert stored.images_nxyz.shape == (30, 102, 1, 1)
    rows = {float(energy): row for row, energy in enumerate(stored.energy_n)}
    for batch in epoch:
        own = [rows[float(energy)] for energy in batch.energy_n]
        expected = np.sqrt(stored.images_nxyz[own])
        np.testing.assert_allclose(batch.images_nxyz, expected, rtol=1e-6)
    for ours, theirs in zip(epoch[1:], batches(passed=8), strict=True):
        np.testing.assert_array_equal(ours.images_nxyz, theirs.images_nxyz)


def test_sums_and_layers_are_those_of_each_image(pair):
    data = section(pair())
    part = whole(survey_files(data).files)
    images = data.images.split(read_part(part, data).images_nxyz)
    sums, _ = sample_sums(part, data, 100)
    layers_nz, _ = sample_layers(part, data, 100)
    for name, images_nxyz in images.items():
        np.testing.assert_allclose(sums[name], images_nxyz.sum(axis=(1, 2, 3)), rtol=1e-5)
    expected = [images_nxyz.sum(axis=(1, 2)) for images_nxyz in images.values()]
    np.testing.assert_allclose(layers_nz, np.concatenate(expected, axis=1), rtol=1e-5)


def without(file, name):
    del file[name]


def shorter(file, name):
    cells = file[name][:-1]
    del file[name]
    file[name] = cells


def negative(file, name):
    file[name][3, 1, 2, 6] = -1.0


def empty(file, name):
    file[name][...] = 0.0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without, "has no dataset 'HCAL', a further image of its showers; it has ECAL, target"),
        (shorter, "'HCAL' holds 29 showers but 'target' 30"),
        (negative, r"shower 3: the energy of cell \(x=1, y=2, layer=6\) of HCAL is negative"),
        (empty, "all of 30 showers are empty in 'HCAL': no cell reaches data.threshold_gev"),
    ],
)
def test_a_file_that_does_not_hold_both_is_named_with_what_is_wrong(pair, spoil, said):
    path = pair()
    with h5py.File(path, "r+") as file:
        spoil(file, "HCAL")
    data = section(path)
    with pytest.raises(DataError, match=rf"pair\.h5: {said}"):
        sample_sums(whole(survey_files(data).files), data, 100)


def test_other_cells_than_expected_are_refused(pair):
    path = pair()
    other = Data(
        files=[str(path)],
        geometry=GEOMETRIES["ECAL"],
        further_images={"HCAL": Geometry(shape=(2, 3, 8))},
    )
    said = r"images 'HCAL' have 2×3×7 cells, expected 2×3×8 cells \(data.further_images.HCAL.shape"
    with pytest.raises(DataError, match=said):
        survey_files(other)


def test_a_shard_of_one_image_has_no_second(pair, tmp_path):
    path = tmp_path / "one.parquet"
    showers = from_images(random_images(5, 0, (3, 4, 5)), np.ones(5, np.float32))
    write_showers(path, [showers], layout="parquet", attributes={})
    with pytest.raises(DataError, match=r"one\.parquet: has no image 'HCAL' of its showers, but"):
        survey_files(section(path))


def test_challenge_files_hold_one_image(tmp_path):
    showers = from_images(random_images(5, 0, (102, 1, 1)), np.ones(5, np.float32))
    with pytest.raises(UsageError, match="challenge: holds one image"):
        write_showers(
            tmp_path / "c.h5", [showers], layout="challenge", attributes={}, geometries=GEOMETRIES
        )


def test_cells_are_numbered_through():
    cells = list(IMAGES.cells.values())
    assert [(each.start, each.stop) for each in cells] == [(0, 60), (60, 102), (102, 104)]
    assert all(one.stop == other.start for one, other in pairwise(cells))
    assert IMAGES.shape == (104, 1, 1)

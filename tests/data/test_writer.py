import stat

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan3d.data import Showers, open_shower_file, read_showers, write_showers, written_aside
from gan3d.errors import DataError, UsageError


@pytest.fixture
def block(images):
    def make(count, first=0, shape=(3, 4, 5)):
        energy = np.arange(count, dtype=np.float32) + first + 1
        return Showers(images(count, shape, first), energy)

    return make


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5), chunk=st.integers(1, 12))
def test_what_is_written_is_read_back(tmp_path, block, images, sizes, chunk):
    total = sum(sizes)
    starts = np.cumsum([0, *sizes[:-1]])
    blocks = (block(size, int(start)) for size, start in zip(sizes, starts, strict=True))
    path = tmp_path / "out.h5"
    path.unlink(missing_ok=True)
    if total == 0:
        with pytest.raises(DataError, match="no showers to write"):
            write_showers(path, blocks, attributes={})
        assert list(tmp_path.iterdir()) == []
        return
    assert write_showers(path, blocks, attributes={}, chunk_showers=chunk) == total
    showers = read_showers([path])
    np.testing.assert_array_equal(showers.images_nxyz, images(total))
    np.testing.assert_array_equal(showers.energy_n, np.arange(total) + 1)


def test_a_file_follows_the_lcd_schema(tmp_path, block):
    path = tmp_path / "out.h5"
    write_showers(path, [block(5)], attributes={"seed": 3, "model": "abc", "scale": 0.5})
    with h5py.File(path) as file:
        assert sorted(file) == ["ECAL", "target"]
        assert file["ECAL"].dtype == file["target"].dtype == np.float32
        assert file["ECAL"].shape == (5, 3, 4, 5)
        assert file["target"].shape == (5, 5)
        assert (file["ECAL"].compression, file["ECAL"].shuffle) == ("gzip", True)
        assert dict(file.attrs) == {"seed": 3, "model": "abc", "scale": 0.5}
    with open_shower_file(path) as reader:
        assert reader.storage == "gzip 4, shuffle, chunks of 100"


@pytest.mark.parametrize(
    ("pdg_id", "energy", "momentum"),
    [
        (11, 91.96536, 91.96587),  # kinetic energy T: p = sqrt(T² + 2 T m)
        (-11, 93.94305, 93.94356),
        (22, 75.87788, 75.87788),
        (111, 74.16321, 74.163086),  # total energy E: p = sqrt(E² - m²)
    ],
)
def test_the_momentum_is_that_of_the_simulated_files(tmp_path, images, pdg_id, energy, momentum):
    path = tmp_path / "out.h5"
    showers = Showers(images(1), np.array([energy], np.float32))
    write_showers(path, [showers], attributes={}, pdg_id=pdg_id)
    with h5py.File(path) as file:
        np.testing.assert_allclose(file["target"][0], [pdg_id, energy, 0, 0, momentum], rtol=1.5e-7)


def test_an_unknown_particle_is_refused(tmp_path, block):
    with pytest.raises(UsageError, match=r"particle 2212: .* 11, -11, 22, 111"):
        write_showers(tmp_path / "out.h5", [block(1)], attributes={}, pdg_id=2212)


def spoilt(block, what):
    showers = block(3, 3)
    if what == "shape":
        return block(3, shape=(2, 2, 2))
    if what == "NaN energy":
        showers.energy_n[1] = np.nan
    else:
        showers.images_nxyz[1, 0, 0, 0] = {"negative": -1, "NaN": np.nan, "infinite": np.inf}[what]
    return showers


@pytest.mark.parametrize("what", ["negative", "NaN", "infinite", "NaN energy", "shape"])
@pytest.mark.parametrize("there_before", [False, True])
def test_nothing_is_left_half_written(tmp_path, block, what, there_before):
    path = tmp_path / "out.h5"
    if there_before:
        path.write_text("precious")
    where = "shower 3: the image has shape" if what == "shape" else "shower 4 is not fit to write"
    with pytest.raises(DataError, match=where):
        write_showers(path, [block(3), spoilt(block, what)], attributes={})
    assert [entry.name for entry in tmp_path.iterdir()] == (["out.h5"] if there_before else [])
    if there_before:
        assert path.read_text() == "precious"


def test_a_failing_generator_leaves_nothing(tmp_path, block):
    def blocks():
        yield block(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_showers(tmp_path / "out.h5", blocks(), attributes={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/out.h5", "cannot be written: No such file or directory"),
        ("file/out.h5", "cannot be written: Not a directory"),
        ("folder", "is a folder, expected the name of a file"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_before_any_work(tmp_path, name, message):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()

    def blocks():
        pytest.fail("work was done before the place was checked")
        yield

    with pytest.raises(DataError, match=message) as caught:
        write_showers(tmp_path / name, blocks(), attributes={})
    assert str(tmp_path / name) in str(caught.value)


def test_a_file_written_aside_replaces_the_old_one_and_others_may_read_it(tmp_path):
    path = tmp_path / "figures.json"
    path.write_text("old")
    with written_aside(path) as aside:
        assert aside.parent == path.parent
        aside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)

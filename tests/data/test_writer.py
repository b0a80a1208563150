import itertools
import stat
import subprocess
import sys
import tracemalloc

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan3d.data import (
    Showers,
    open_shower_file,
    read_showers,
    write_showers,
    written_aside,
)
from gan3d.data.sparse import from_images
from gan3d.errors import DataError, UsageError

LAYOUTS = ("lcd", "challenge", "parquet")
SHAPE = (3, 4, 5)


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
        assert reader.storage == "gzip 4, shuffle, chunks of 5"


def test_chunks_are_as_asked_for_where_there_are_so_many_showers(tmp_path, block):
    path = tmp_path / "out.h5"
    write_showers(path, [block(5), block(6)], attributes={}, chunk_showers=4, compression_level=9)
    with h5py.File(path) as file:
        assert (file["ECAL"].shape, file["ECAL"].chunks) == ((11, 3, 4, 5), (4, 3, 4, 5))
    with open_shower_file(path) as reader:
        assert reader.storage == "gzip 9, shuffle, chunks of 4"


@pytest.mark.parametrize(
    ("pdg_id", "energy", "momentum"),
    [
        (11, 91.96536, 91.96587),  # kinetic energy T: p = sqrt(T² + 2 T m)
        (-11, 93.94305, 93.94356),
        (22, 75.87788, 75.87788),
        (111, 74.16321, 74.163086),  # total energy E: p = sqrt(E² - m²)
        (321, 10.0, 9.987807),
        (-2212, 2.0, 1.766252),
        (2112, 0.5, 0.0),  # less than its mass: at rest
        (1000020040, 50.0, np.nan),  # a nucleus, whose mass is not known here
        (0, 50.0, np.nan),
    ],
)
def test_the_momentum_is_that_of_the_simulated_files(tmp_path, images, pdg_id, energy, momentum):
    path = tmp_path / "out.h5"
    showers = Showers(images(1), np.array([energy], np.float32))
    write_showers(path, [showers], attributes={}, pdg_id=pdg_id)
    with h5py.File(path) as file:
        np.testing.assert_allclose(file["target"][0], [pdg_id, energy, 0, 0, momentum], rtol=1.5e-7)


@pytest.mark.parametrize("angle", [False, True])
def test_a_particle_is_named_only_where_it_is_known(tmp_path, images, angle):
    columns = {"theta": np.ones(2, np.float32)} if angle else {}
    showers = Showers(images(2), np.float32([10, 20]), columns)
    for pdg_id in (0, 22):
        write_showers(tmp_path / "out.h5", [showers], attributes={}, pdg_id=pdg_id)
        with open_shower_file(tmp_path / "out.h5") as file:
            assert file.particles == ((22,) if pdg_id else ())
            assert ("pdg" in file.read_columns(0, 2)) == (pdg_id != 0 or not angle)


# There and back.


def draw_showers(cells, columns):
    rng = np.random.default_rng(len(cells))
    energy = rng.uniform(1, 1000, len(cells)).astype(np.float32)
    made = {
        name: rng.integers(0, 100, len(cells)).astype(dtype)
        if np.dtype(dtype).kind in "iub"
        else rng.normal(size=len(cells)).astype(dtype)
        for name, dtype in columns.items()
    }
    return from_images(cells, energy, made)


@st.composite
def column_types(draw):
    """Columns of an LCD file: the particle, the angles, and others of any type."""
    names = []
    if draw(st.booleans()):
        names += [("pdg", "i4"), *((name, draw(st.sampled_from("fd"))) for name in ("px", "py"))]
        # All three have the type of `target`.
        names += [("pz", names[1][1])]
        names[2] = ("py", names[1][1])
    if draw(st.booleans()):
        names += [("theta", "f4"), ("mtheta", "f4")]
    names += [
        (name, draw(st.sampled_from(["i1", "u2", "i4", "i8", "u8", "f2", "f4", "f8", "?"])))
        for name in draw(st.sets(st.sampled_from(["ywindow", "event", "weight"])))
    ]
    return dict(names)


def write_and_read(path, showers, everything, **arguments):
    sizes = [0, len(showers) // 3, len(showers)]
    blocks = [showers.take(slice(a, b)) for a, b in itertools.pairwise(sizes)]
    assert write_showers(path, blocks, attributes={"seed": 3}, **arguments) == len(showers)
    with open_shower_file(path) as file:
        assert file.attributes == {"seed": 3}
        return everything(file)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(columns=column_types(), count=st.integers(1, 12), chunk=st.integers(1, 12))
def test_lcd_to_parquet_and_back_loses_nothing(
    tmp_path, random_cells, everything, assert_same, columns, count, chunk
):
    showers = draw_showers(random_cells((count, *SHAPE), count), columns)
    first = write_and_read(tmp_path / "a.h5", showers, everything, chunk_showers=chunk)
    if "pdg" in columns or "theta" in columns:
        assert_same(first, showers)
    second = write_and_read(tmp_path / "b.parquet", first, everything, layout="parquet")
    third = write_and_read(tmp_path / "c.h5", second, everything)
    assert_same(second, first)
    assert_same(third, first)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(count=st.integers(1, 12), chunk=st.integers(1, 12), seed=st.integers(0, 99))
def test_challenge_to_parquet_and_back_loses_nothing(
    tmp_path, random_cells, everything, assert_same, count, chunk, seed
):
    showers = draw_showers(random_cells((count, *SHAPE), seed), {"eta": "f8", "event": "i8"})
    for name, layout in (("a.h5", "challenge"), ("b.parquet", "parquet"), ("c.h5", "challenge")):
        back = write_and_read(
            tmp_path / name,
            showers,
            everything,
            layout=layout,
            unit_gev=1e-3,
            chunk_showers=chunk,
        )
        assert_same(back, showers)
        with open_shower_file(tmp_path / name) as file:
            assert file.unit_gev == 1e-3


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("unit_gev", [1.0, 1e-3])
def test_showers_are_the_same_in_gev_whatever_the_units(tmp_path, block, layout, unit_gev):
    path = tmp_path / "out"
    showers = block(5)
    native = Showers(showers.images_nxyz * 1000, showers.energy_n * 1000)
    given_ = showers if unit_gev == 1.0 else native
    write_showers(path, [given_], layout=layout, attributes={}, unit_gev=unit_gev)
    back = read_showers([path])
    np.testing.assert_allclose(back.images_nxyz, showers.images_nxyz, rtol=2e-7)
    np.testing.assert_allclose(back.energy_n, showers.energy_n, rtol=2e-7)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cell_sizes_are_kept(tmp_path, block, layout):
    path = tmp_path / "out"
    for size in (None, (5.1, 5.1, 4.0)):
        write_showers(path, [block(2)], layout=layout, attributes={}, cell_size_mm=size)
        with open_shower_file(path) as file:
            assert file.cell_size_mm == size


def test_showers_with_an_angle_make_a_variable_angle_file(tmp_path, block):
    angles = {name: np.linspace(1, 2, 4, dtype=np.float32) for name in ("theta", "mtheta", "eta")}
    showers = Showers(block(4).images_nxyz, block(4).energy_n, {**angles, "ywindow": np.arange(4)})
    path = tmp_path / "out.h5"
    write_showers(path, [showers], attributes={})
    with h5py.File(path) as file:
        assert sorted(file) == ["ECAL", "energy", "eta", "mtheta", "theta", "ywindow"]
        assert all(file[name].shape == (4, 1) for name in file if name != "ECAL")
        assert all(file[name].dtype == "f4" for name in ("energy", *angles))
        assert file["ywindow"].dtype == np.int64


def test_the_columns_that_target_holds_are_written_there(tmp_path, block):
    path = tmp_path / "out.h5"
    columns = {"pdg": np.int32([22, 11]), "py": np.float32([1, 2]), "event": np.arange(2)}
    showers = Showers(block(2).images_nxyz, np.float32([50, 60]), columns)
    write_showers(path, [showers], attributes={})
    with h5py.File(path) as file:
        assert sorted(file) == ["ECAL", "event", "target"]
        expected = [[22, 50, 0, 1, 50], [11, 60, 0, 2, 60.0005]]
        np.testing.assert_allclose(file["target"][:], expected, rtol=1e-6)


def test_a_code_that_target_cannot_hold_is_refused(tmp_path, block):
    codes = {
        "pdg": np.int32([11, 1_000_822_081]),
        **{n: np.zeros(2, "f4") for n in ("px", "py", "pz")},
    }
    showers = Showers(block(2).images_nxyz, block(2).energy_n, codes)
    with pytest.raises(DataError, match=r"out\.h5: 'target' cannot hold PDG code 1000822081"):
        write_showers(tmp_path / "out.h5", [showers], attributes={})
    assert list(tmp_path.iterdir()) == []


def test_memory_is_that_of_a_chunk_not_of_the_file(tmp_path, block):
    def peak(blocks, layout):
        made = (block(50, shape=(20, 20, 10)) for _ in range(blocks))
        tracemalloc.start()
        write_showers(tmp_path / "out", made, layout=layout, attributes={})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    for layout in LAYOUTS:
        peak(2, layout)
        assert peak(20, layout) < 1.2 * peak(4, layout)


# What cannot be written.


def spoilt(block, what):
    showers = block(3, 3)
    if what == "shape":
        return block(3, shape=(2, 2, 2))
    if what == "NaN energy":
        showers.energy_n[1] = np.nan
    else:
        showers.images_nxyz[1, 0, 0, 0] = {"negative": -1, "NaN": np.nan, "infinite": np.inf}[what]
    return showers


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("what", ["negative", "NaN", "infinite", "NaN energy", "shape"])
@pytest.mark.parametrize("there_before", [False, True])
def test_nothing_is_left_half_written(tmp_path, block, what, there_before, layout):
    path = tmp_path / "out.h5"
    if there_before:
        path.write_text("precious")
    where = "shower 3: the image has shape" if what == "shape" else "shower 4 is not fit to write"
    with pytest.raises(DataError, match=where):
        write_showers(
            path,
            [block(3), spoilt(block, what)],
            layout=layout,
            attributes={},
            chunk_showers=1,
        )
    assert [entry.name for entry in tmp_path.iterdir()] == (["out.h5"] if there_before else [])
    if there_before:
        assert path.read_text() == "precious"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_failing_generator_leaves_nothing(tmp_path, block, layout):
    def blocks():
        yield block(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_showers(tmp_path / "out.h5", blocks(), layout=layout, attributes={}, chunk_showers=1)
    assert list(tmp_path.iterdir()) == []


BAD_COLUMNS = {
    "other columns": ([{"a": np.ones(2)}, {"b": np.ones(2)}], r"shower 2: it has the columns b"),
    "another type": ([{"a": np.ones(2)}, {"a": np.ones(2, int)}], r"a \(int64\), .* a \(float64\)"),
    "taken name": ([{"energy": np.ones(2)}], "shower 0: a column cannot be named 'energy'"),
    "a path": ([{"a/b": np.ones(2)}], "a column cannot be named 'a/b'"),
    "text": ([{"a": np.array(["x", "y"])}], "'a' holds <U1, expected numbers"),
    "wrong length": ([{"a": np.ones(3)}], "one number for each shower"),
    "two numbers": ([{"a": np.ones((2, 2))}], "one number for each shower"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("columns", "message"), BAD_COLUMNS.values(), ids=BAD_COLUMNS)
def test_columns_that_do_not_fit_are_refused(tmp_path, block, columns, message, layout):
    showers = block(2)
    blocks = (Showers(showers.images_nxyz, showers.energy_n, each) for each in columns)
    with pytest.raises(DataError, match=message):
        write_showers(tmp_path / "out", blocks, layout=layout, attributes={}, chunk_showers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "root"}, "layout 'root': expected lcd, challenge, parquet"),
        ({"compression_level": 10}, "compression level 10: expected 0 to 9"),
        ({"chunk_showers": 0}, "chunks of 0 showers: expected 1 or more"),
        ({"unit_gev": 2.0}, "a unit of 2.0 GeV: expected GeV or MeV"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(tmp_path, block, arguments, message):
    with pytest.raises(UsageError, match=message):
        write_showers(tmp_path / "out.h5", [block(1)], attributes={}, **arguments)


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from gan3d.data import Showers, write_showers
from gan3d.errors import DataError

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
rng = np.random.default_rng(0)
taken = 0

def blocks():
    global taken
    for taken in range(40):
        yield Showers(rng.random((10, 10, 10, 10), np.float32), np.ones(10, np.float32))

try:
    write_showers(Path(sys.argv[1]), blocks(), layout=sys.argv[2], attributes={}, chunk_showers=10)
except DataError as error:
    assert taken < 20, "work went on although the disk was full"
    print(error)
"""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, layout):
    path = tmp_path / "out"
    path.write_text("precious")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), layout],
        capture_output=True,
        text=True,
        check=False,
    )
    # HDF5 ends Python by a signal when it meets the error while it closes the file.
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: cannot be written: File too large\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert path.read_text() == "precious"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_disk_that_fails_at_the_very_end_is_an_error_too(tmp_path, block, layout, monkeypatch):
    def fsync(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gan3d.data.new_file.os.fsync", fsync)
    with pytest.raises(DataError, match="out: cannot be written: No space left on device"):
        write_showers(tmp_path / "out", [block(3)], layout=layout, attributes={})
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

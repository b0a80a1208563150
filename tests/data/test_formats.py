import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan3d.data import Showers, expand_patterns, open_shower_file, read_showers
from gan3d.errors import DataError
from gan3d.samples import sample_files

STORAGE = {
    "contiguous": {},
    "chunked": {"chunks": (4, 3, 4, 5)},
    "gzip": {"chunks": (4, 3, 4, 5), "compression": "gzip"},
    "gzip and shuffle": {"chunks": (3, 3, 4, 5), "compression": "gzip", "shuffle": True},
    "lzf": {"chunks": (1, 3, 4, 5), "compression": "lzf"},
    "chunks inside a shower": {"chunks": (2, 3, 2, 5), "compression": "gzip"},
}


@pytest.mark.parametrize("nested", [False, True], ids=["(N, 5)", "(N, 1, 5)"])
@pytest.mark.parametrize("storage", STORAGE.values(), ids=STORAGE)
def test_every_layout_gives_the_same_showers(lcd_file, images, storage, nested):
    with open_shower_file(lcd_file(count=11, nested=nested, **storage)) as file:
        assert (file.count, file.image_shape, file.particles) == (11, (3, 4, 5), (11,))
        showers = file.read(slice(0, 11))
    np.testing.assert_array_equal(showers.images_nxyz, images(11))
    np.testing.assert_array_equal(showers.energy_n, np.arange(1, 12))
    assert showers.images_nxyz.dtype == showers.energy_n.dtype == np.float32


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.sets(st.integers(0, 24)), block_bytes=st.integers(1, 4000))
def test_any_ascending_rows_can_be_read(lcd_file, images, monkeypatch, rows, block_bytes):
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", block_bytes)
    wanted = np.array(sorted(rows), np.int64)
    with open_shower_file(lcd_file(count=25, chunks=(4, 3, 4, 5))) as file:
        showers = file.read(wanted)
        blocks = list(file.blocks())
    np.testing.assert_array_equal(showers.images_nxyz, images(25)[wanted])
    np.testing.assert_array_equal(showers.energy_n, wanted + 1)
    np.testing.assert_array_equal(
        np.concatenate([b.dense().images_nxyz for b in blocks]), images(25)
    )


@pytest.mark.parametrize("chunk", [1, 3, 4, 11])
@pytest.mark.parametrize("block_bytes", [1, 1000, 2400, 10**6])
def test_blocks_are_whole_chunks(lcd_file, monkeypatch, chunk, block_bytes):
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", block_bytes)
    with open_shower_file(lcd_file(count=11, chunks=(chunk, 3, 4, 5))) as file:
        assert file.block_rows % chunk == 0
        assert file.block_rows == chunk or file.block_rows * 3 * 4 * 5 * 4 <= block_bytes


def test_a_double_precision_file_is_read_in_single_precision(tmp_path):
    path = tmp_path / "double.h5"
    with h5py.File(path, "w") as file:
        file["ECAL"] = np.full((2, 3, 4, 5), 0.1)
        file["target"] = np.full((2, 5), 11.0)
    showers = read_showers([path])
    assert showers.images_nxyz.dtype == showers.energy_n.dtype == np.float32
    assert (showers.images_nxyz == np.float32(0.1)).all()


def test_showers_come_in_the_order_of_the_sorted_files(lcd_file, tmp_path):
    lcd_file("b.h5", 2, first=10)
    lcd_file("a.h5", 3, first=0)
    pattern = str(tmp_path / "*.h5")
    assert list(read_showers([pattern]).energy_n) == [1, 2, 3, 11, 12]
    assert list(read_showers([pattern], limit=4).energy_n) == [1, 2, 3, 11]
    assert list(read_showers([pattern], limit=3).energy_n) == [1, 2, 3]


def test_cells_below_the_threshold_become_zero_and_others_stay(lcd_file):
    path = lcd_file(count=4)  # cells of 1, 2, 3 and 4 keV
    cells = read_showers([path], threshold_gev=float(np.float32(3e-6))).images_nxyz[:, 1, 1, 1]
    np.testing.assert_array_equal(cells, np.float32([0, 0, 3e-6, 4e-6]))


def test_a_file_is_named_once_however_often_patterns_match_it(lcd_file, tmp_path):
    one, two = lcd_file("one.h5"), lcd_file("two.h5")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.h5").symlink_to(two)
    (tmp_path / "folder.h5").mkdir()
    found = expand_patterns(
        [str(two), str(tmp_path / "*.h5"), str(tmp_path / "sub" / ".." / "one.h5")]
    )
    assert len(found) == 2
    assert {path.resolve() for path in found} == {one, two}
    assert found == sorted(found)
    assert expand_patterns([str(tmp_path / "**" / "o*.h5")]) == [one]


def test_a_name_with_brackets_is_a_name_if_it_exists(lcd_file):
    path = lcd_file("run[1].h5")
    assert expand_patterns([str(path)]) == [path]


def test_the_bundled_sample_is_read():
    showers = read_showers([str(sample_files().heldout)], shape=(25, 25, 25), limit=60)
    assert showers.images_nxyz.shape == (60, 25, 25, 25)
    fraction = showers.images_nxyz.sum(axis=(1, 2, 3)) / showers.energy_n
    assert np.median(fraction) == pytest.approx(0.0208, abs=0.0005)


# Bad input. Each entry spoils a sound file (six showers, 3 x 4 x 5 cells) and says what the one
# line of the error must contain besides the file's name.


def edit(change):
    def spoil(path):
        with h5py.File(path, "r+") as file:
            change(file)

    return spoil


def replace(name, **arguments):
    def change(file):
        del file[name]
        file.create_dataset(name, **arguments)

    return edit(change)


def put(name, index, value):
    return edit(lambda file: file[name].__setitem__(index, value))


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def folder(path):
    path.unlink()
    path.mkdir()


BAD_FILES = {
    "missing": (lambda path: path.unlink(), "no such file"),
    "a folder": (folder, "is a folder"),
    "zero bytes": (lambda path: path.write_bytes(b""), r"is empty \(0 bytes\)"),
    "not HDF5": (lambda path: path.write_text("E,px,py,pz\n"), "is not an HDF5 file"),
    "truncated": (truncate, "truncated or damaged"),
    "only a signature": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "truncated"),
    "no ECAL": (edit(lambda file: file.move("ECAL", "HCAL")), "no dataset 'ECAL', .*HCAL, target"),
    "no target": (edit(lambda file: file.pop("target")), "no dataset 'target', .*found ECAL"),
    "ECAL is a group": (
        edit(lambda file: (file.pop("ECAL"), file.create_group("ECAL"))),
        "no dataset 'ECAL'",
    ),
    "wrong image shape": (
        replace("ECAL", shape=(6, 51, 51, 25), dtype="f4"),
        "images have 51×51×25 cells, expected 3×4×5 cells",
    ),
    "two-dimensional images": (
        replace("ECAL", shape=(6, 60), dtype="f4"),
        r"'ECAL' has shape \(6, 60\), expected \(N, x, y, layer\)",
    ),
    "scalar ECAL": (replace("ECAL", data=np.float32(1)), r"'ECAL' has shape \(\)"),
    "lengths differ": (
        replace("target", data=np.full((5, 5), 11.0)),
        "'ECAL' holds 6 showers but 'target' 5",
    ),
    "wrong target shape": (
        replace("target", data=np.full((6, 2), 11.0)),
        r"'target' has shape \(6, 2\), expected \(N, 5\)",
    ),
    "no showers": (
        edit(
            lambda file: (
                file.pop("ECAL"),
                file.pop("target"),
                file.create_dataset("ECAL", shape=(0, 3, 4, 5), dtype="f4"),
                file.create_dataset("target", shape=(0, 5), dtype="f4"),
            )
        ),
        "holds no showers",
    ),
    "integer cells": (replace("ECAL", shape=(6, 3, 4, 5), dtype="i4"), "'ECAL' holds int32"),
    "text target": (
        replace("target", shape=(6, 5), dtype=h5py.string_dtype()),
        "'target' holds object",
    ),
    "negative cell": (
        put("ECAL", (4, 2, 0, 3), -0.5),
        r"shower 4: the energy of cell \(x=2, y=0, layer=3\) is negative: -0.5 GeV",
    ),
    "NaN cell": (put("ECAL", (5, 0, 0, 0), np.nan), "shower 5: .* is not finite: nan GeV"),
    "infinite cell": (put("ECAL", (0, 0, 0, 0), np.inf), "shower 0: .* is not finite: inf GeV"),
    "NaN energy": (put("target", (3, 1), np.nan), "shower 3: the incident energy .* must be > 0"),
    "infinite energy": (put("target", (3, 1), np.inf), "shower 3: the incident energy"),
    "zero energy": (put("target", (0, 1), 0.0), "shower 0: the incident energy .*; 'target' is"),
    "negative energy": (put("target", (5, 1), -1.0), "shower 5: the incident energy"),
    "fractional particle": (put("target", (2, 0), 10.5), "shower 2: the PDG code"),
    "NaN particle": (put("target", (2, 0), np.nan), "shower 2: the PDG code"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_input_is_one_line_that_names_file_and_fault(lcd_file, tmp_path, spoil, message):
    path = lcd_file("bad.h5")
    spoil(path)
    with pytest.raises(DataError, match=message) as caught:
        read_showers([str(lcd_file("a.h5")), str(path)], shape=(3, 4, 5))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@contextmanager
def as_ordinary_user():
    """Let file permissions bind, even where root runs the tests."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_file_that_may_not_be_read_is_named(lcd_file, closed):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are for one user alone
        folder = Path(name)
        folder.chmod(0o755)
        path = folder / "closed.h5"
        path.write_bytes(lcd_file().read_bytes())
        (path if closed == "file" else folder).chmod(0)
        with as_ordinary_user(), pytest.raises(DataError, match="Permission denied") as caught:
            read_showers([str(path)])
        folder.chmod(0o755)
    assert str(path) in str(caught.value)


def test_a_damaged_chunk_names_the_showers_in_it(lcd_file):
    path = lcd_file(count=8, chunks=(4, 3, 4, 5), compression="gzip")
    with h5py.File(path) as file:
        chunk = file["ECAL"].id.get_chunk_info(1)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\xff" * chunk.size)
    with pytest.raises(DataError, match=r"showers \d+ to 7 cannot be read, the file is damaged"):
        read_showers([path])


def test_files_of_different_shape_do_not_mix(lcd_file, tmp_path):
    lcd_file("a.h5")
    lcd_file("b.h5", shape=(4, 4, 4))
    with pytest.raises(DataError, match=r"b\.h5: images have 4×4×4 cells, expected 3×4×5"):
        read_showers([str(tmp_path / "*.h5")])


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"\*\.h5: the pattern matches no file"):
        expand_patterns([str(tmp_path / "*.h5")])


def test_a_variable_angle_file_is_refused_by_what_it_lacks(tmp_path):
    path = tmp_path / "EleMeasured3ThetaEscan_1_1.h5"
    with h5py.File(path, "w") as file:
        file["ECAL"] = np.zeros((2, 51, 51, 25), np.float32)
        file["energy"] = file["theta"] = np.ones((2, 1), np.float32)
    with pytest.raises(DataError, match=r"no dataset 'target'.*found ECAL, energy, theta"):
        open_shower_file(path)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_leaves_nothing_is_an_error(lcd_file, limit):
    with pytest.raises(DataError, match="no showers to read"):
        read_showers([lcd_file()], limit=limit)


def test_no_patterns_are_an_error():
    with pytest.raises(DataError, match="no files are named"):
        read_showers([])


def test_images_and_energies_must_fit_together():
    with pytest.raises(DataError, match=r"not \(3, 2, 2, 2\) and \(2,\)"):
        Showers(np.zeros((3, 2, 2, 2), np.float32), np.ones(2, np.float32))

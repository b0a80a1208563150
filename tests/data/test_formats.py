import errno
import os
import resource
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan3d.config import Data, Geometry
from gan3d.data import (
    Showers,
    expand_patterns,
    open_shower_file,
    read_showers,
    survey_files,
    write_showers,
)
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
def test_however_it_is_stored_a_file_gives_the_same_showers(lcd_file, images, storage, nested):
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


@pytest.mark.parametrize("layout", ["lcd", "challenge", "parquet"])
def test_the_format_is_known_by_content_whatever_the_name(tmp_path, lcd_file, images, layout):
    path = tmp_path / "showers.dat"
    with open_shower_file(lcd_file()) as file:
        write_showers(path, file.blocks(), layout=layout, attributes={})
    with open_shower_file(path, shape=(3, 4, 5)) as file:
        assert (file.layout, file.count, file.image_shape) == (layout, 6, (3, 4, 5))
        np.testing.assert_allclose(file.read().images_nxyz, images(6), rtol=2e-7)
        np.testing.assert_allclose(file.energy_n, np.arange(1, 7), rtol=2e-7)


def test_files_of_all_formats_are_read_together(tmp_path, lcd_file, images):
    for number, layout in enumerate(["lcd", "challenge", "parquet"]):
        with open_shower_file(lcd_file(first=6 * number)) as file:
            write_showers(tmp_path / f"{number}.out", file.blocks(), layout=layout, attributes={})
    showers = read_showers([tmp_path / "*.out"])
    np.testing.assert_allclose(showers.energy_n, np.arange(1, 19), rtol=2e-7)
    np.testing.assert_allclose(showers.images_nxyz, images(18), rtol=2e-7)


def test_hdf5_after_a_block_of_the_users_is_hdf5(tmp_path, lcd_file):
    path = tmp_path / "block.h5"
    with h5py.File(lcd_file()) as source, h5py.File(path, "w", userblock_size=1024) as file:
        for name in source:
            source.copy(name, file)
    path.write_bytes(b"a comment".ljust(1024) + path.read_bytes()[1024:])
    with open_shower_file(path) as file:
        assert file.count == 6


def test_incident_energies_are_checked_at_opening_unless_that_is_left_for_later(lcd_file):
    path = lcd_file()
    put("target", (3, 1), -2.0)(path)
    message = r"shower 3: the incident energy must be a positive number, it is -2 GeV"
    with pytest.raises(DataError, match=message):
        open_shower_file(path)
    with open_shower_file(path, check=False) as file:
        assert len(file.read_sparse(0, 3)) == 3
        with pytest.raises(DataError, match=message):
            file.read_sparse(2, 5)
        with pytest.raises(DataError, match=message):
            _ = file.energy_n


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


def rename(**names):
    return edit(lambda file: [file.move(old, new) for old, new in names.items()])


def add(**datasets):
    return edit(lambda file: [file.create_dataset(n, data=data) for n, data in datasets.items()])


KNOWN = r"LCD \(ECAL and target, or ECAL, energy and theta or mtheta\), .*Challenge .*Parquet"

BAD_FILES = {
    "missing": (lambda path: path.unlink(), "no such file"),
    "a folder": (folder, "is a folder"),
    "zero bytes": (lambda path: path.write_bytes(b""), rf"is empty \(0 bytes\); .* {KNOWN}"),
    "text": (
        lambda path: path.write_text("E,px,py,pz\n"),
        f"is neither an HDF5 nor a Parquet file; .* {KNOWN}",
    ),
    "truncated": (truncate, "truncated or damaged"),
    "only a signature": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "truncated"),
    "only Parquet's signature": (lambda path: path.write_bytes(b"PAR1"), "truncated"),
    "no ECAL": (rename(ECAL="HCAL"), f"of no known layout: found HCAL, target; .* {KNOWN}"),
    "no target": (edit(lambda file: file.pop("target")), "of no known layout: found ECAL;"),
    "energy without angle": (
        rename(target="energy"),
        "of no known layout: found ECAL, energy; ",
    ),
    "nothing at all": (
        edit(lambda file: [file.pop(name) for name in list(file)]),
        "of no known layout: found none; ",
    ),
    "two layouts": (
        add(showers=np.zeros((6, 60)), incident_energies=np.ones((6, 1))),
        "of two layouts at once: found ECAL, incident_energies, showers, target",
    ),
    "half a Challenge file": (
        edit(lambda file: [file.pop("ECAL"), file.move("target", "showers")]),
        "of no known layout: found showers",
    ),
    "ECAL is a group": (
        edit(lambda file: (file.pop("ECAL"), file.create_group("ECAL"))),
        "'ECAL' is not a dataset",
    ),
    "wrong image shape": (
        replace("ECAL", shape=(6, 51, 51, 25), dtype="f4"),
        "images have 51×51×25 cells, expected 3×4×5 cells",
    ),
    "two-dimensional images": (
        replace("ECAL", shape=(6, 60), dtype="f4"),
        r"'ECAL' has shape \(6, 60\), expected \(N, x, y, layer\)",
    ),
    "five-dimensional images": (
        replace("ECAL", shape=(6, 3, 4, 5, 1), dtype="f4"),
        r"'ECAL' has shape \(6, 3, 4, 5, 1\), expected \(N, x, y, layer\)",
    ),
    "scalar ECAL": (replace("ECAL", data=np.float32(1)), r"'ECAL' has shape \(\)"),
    "ECAL of nothing": (replace("ECAL", data=h5py.Empty("f4")), "'ECAL' has shape None"),
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
        r"holds no showers \('ECAL' has shape \(0, 3, 4, 5\)\)",
    ),
    "integer cells": (replace("ECAL", shape=(6, 3, 4, 5), dtype="i4"), "'ECAL' holds int32"),
    "complex cells": (replace("ECAL", shape=(6, 3, 4, 5), dtype="c8"), "'ECAL' holds complex64"),
    "text target": (
        replace("target", shape=(6, 5), dtype=h5py.string_dtype()),
        "'target' holds object",
    ),
    "angles of another length": (
        add(energy=np.ones(6), theta=np.ones(5)),
        "'ECAL' holds 6 showers but 'theta' 5",
    ),
    "two angles a shower": (
        add(energy=np.ones(6), theta=np.ones((6, 2))),
        r"'theta' has shape \(6, 2\), expected \(N,\) or \(N, 1\)",
    ),
    "whole numbers for angles": (
        add(energy=np.ones(6), theta=np.ones(6, int)),
        "'theta' holds int64, expected floating-point",
    ),
    "whole numbers for energies": (
        add(energy=np.ones(6, int), theta=np.ones(6)),
        "'energy' holds int64, expected floating-point",
    ),
    "negative cell": (
        put("ECAL", (4, 2, 0, 3), -0.5),
        r"shower 4: the energy of cell \(x=2, y=0, layer=3\) is negative: -0.5 GeV",
    ),
    "NaN cell": (put("ECAL", (5, 0, 0, 0), np.nan), "shower 5: .* is not finite: nan GeV"),
    "infinite cell": (put("ECAL", (0, 0, 0, 0), np.inf), "shower 0: .* is not finite: inf GeV"),
    "NaN energy": (put("target", (3, 1), np.nan), "shower 3: the incident energy must be"),
    "infinite energy": (put("target", (3, 1), np.inf), "shower 3: the incident energy"),
    "zero energy": (put("target", (0, 1), 0.0), "shower 0: the incident energy .* it is 0 GeV"),
    "negative energy": (put("target", (5, 1), -1.0), "shower 5: the incident energy"),
    "fractional particle": (put("target", (2, 0), 10.5), "shower 2: the PDG code .* it is 10.5"),
    "NaN particle": (put("target", (2, 0), np.nan), "shower 2: the PDG code .* it is nan"),
    "huge particle": (put("target", (2, 0), 1e20), "shower 2: the PDG code .* it is 1e"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_input_is_one_line_that_names_file_and_fault(lcd_file, tmp_path, spoil, message):
    path = lcd_file("bad.h5")
    spoil(path)
    with pytest.raises(DataError, match=message) as caught:
        read_showers([str(lcd_file("a.h5")), str(path)], shape=(3, 4, 5))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("closed", ["file", "folder"])
@pytest.mark.parametrize("layout", ["lcd", "parquet"])
def test_a_file_that_may_not_be_read_is_named(lcd_file, as_ordinary_user, closed, layout):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are for one user alone
        folder = Path(name)
        folder.chmod(0o755)
        path = folder / "closed.h5"
        with open_shower_file(lcd_file()) as file:
            write_showers(path, file.blocks(), layout=layout, attributes={})
        (path if closed == "file" else folder).chmod(0)
        with as_ordinary_user(), pytest.raises(DataError, match="Permission denied") as caught:
            read_showers([str(path)])
        folder.chmod(0o755)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("layout", ["lcd", "parquet"])
def test_no_file_is_to_blame_that_too_many_are_open(tmp_path, images, layout):
    path = tmp_path / "a"
    write_showers(path, [Showers(images(3), np.ones(3))], attributes={}, layout=layout)
    data = Data(files=[str(path)], geometry=Geometry(shape=(3, 4, 5)), on_bad_file="skip")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    handle = os.open(path, os.O_RDONLY)
    os.close(handle)  # the lowest number that is free
    resource.setrlimit(resource.RLIMIT_NOFILE, (handle, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            survey_files(data)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not survey_files(data).skipped


SHORTAGES = {
    "opening HDF5": ("lcd", "h5py.File", OSError(errno.EMFILE, "Too many open files")),
    "a chunk": ("lcd", "deflate.zlib_decompress", MemoryError("no room")),
    "HDF5 for rows": (
        "lcd", "h5py.Dataset.__getitem__", OSError("memory allocation failed for raw data chunk"),
    ),
    "HDF5 for cells": ("lzf", "h5py.Dataset.read_direct", OSError(errno.ENOMEM, "no memory")),
    "opening Parquet": (
        "parquet", "pyarrow.parquet.ParquetFile", OSError(errno.ENFILE, "Too many open files"),
    ),
    "a row group": (
        "parquet", "pyarrow.parquet.ParquetFile.read_row_group", pa.ArrowMemoryError("malloc"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("layout", "where", "error"), SHORTAGES.values(), ids=SHORTAGES)
def test_no_file_is_to_blame_for_what_the_node_lacks(
    tmp_path, lcd_file, images, monkeypatch, layout, where, error
):
    path = tmp_path / "a.h5"
    if layout == "lzf":
        lcd_file(path.name, 3, chunks=(1, 3, 4, 5), compression="lzf")
    else:
        write_showers(path, [Showers(images(3), np.ones(3))], attributes={}, layout=layout)

    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr(where, fail)
    with pytest.raises(type(error)) as raised:
        read_showers([path])
    assert raised.value is error


def test_a_chunk_that_is_longer_than_its_file_is_damage_and_no_lack_of_memory(
    lcd_file, monkeypatch
):
    path = lcd_file(chunks=(6, 3, 4, 5), compression="gzip")

    def fail(*_arguments):
        os.truncate(path, 10)
        raise MemoryError

    monkeypatch.setattr("deflate.zlib_decompress", fail)
    with pytest.raises(DataError, match="showers 0 to 5 cannot be read, the file is damaged"):
        read_showers([path])


def test_a_file_that_is_gone_when_it_is_read_is_named(lcd_file, tmp_path):
    # HDF5 keeps the file that it has opened; of a shard, another thread's reader opens it again.
    path = tmp_path / "a.parquet"
    with open_shower_file(lcd_file()) as file:
        write_showers(path, file.blocks(), layout="parquet", attributes={})
    with open_shower_file(path) as file:
        file._spare.clear()
        path.unlink()
        with pytest.raises(DataError, match=r"a\.parquet: cannot be opened.*No such file"):
            file.read_cells(0, 1)


@pytest.mark.parametrize("layout", ["lcd", "parquet"])
def test_a_file_cut_anywhere_is_never_read_as_if_it_were_whole(lcd_file, tmp_path, layout):
    whole = tmp_path / "whole"
    with open_shower_file(lcd_file()) as file:
        write_showers(whole, file.blocks(), layout=layout, attributes={})
    size = whole.stat().st_size
    for length in range(0, size, max(1, size // 60)):
        path = tmp_path / "cut"
        shutil.copy(whole, path)
        os.truncate(path, length)
        with pytest.raises(DataError) as caught:
            read_showers([path])
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_files_of_different_shape_do_not_mix(lcd_file, tmp_path):
    lcd_file("a.h5")
    lcd_file("b.h5", shape=(4, 4, 4))
    with pytest.raises(DataError, match=r"b\.h5: images have 4×4×4 cells, expected 3×4×5"):
        read_showers([str(tmp_path / "*.h5")])


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"\*\.h5: the pattern matches no file"):
        expand_patterns([str(tmp_path / "*.h5")])


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


def test_a_link_that_leads_nowhere_is_a_missing_file(lcd_file, tmp_path):
    lcd_file("a.h5")
    (tmp_path / "b.h5").symlink_to("nowhere.h5")
    with pytest.raises(DataError, match=r"b\.h5: cannot be read: No such file"):
        read_showers([str(tmp_path / "*.h5")])


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(DataError, match=r"pipe\.h5: is no regular file"):
        read_showers([tmp_path / "pipe.h5"])

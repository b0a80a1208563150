import threading
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan3d.data import open_shower_file, stream_images, summarise
from gan3d.errors import DataError
from gan3d.samples import sample_files

SHAPE = (3, 4, 5)
COUNT = 11

PIPELINES = {
    "nothing": {},
    "shuffle": {"shuffle": True},
    "gzip": {"compression": "gzip", "compression_opts": 1},
    "gzip and shuffle": {"compression": "gzip", "shuffle": True},
    "lzf": {"compression": "lzf"},
    "lzf and shuffle": {"compression": "lzf", "shuffle": True},
    "fletcher32": {"fletcher32": True},
    "gzip, shuffle and fletcher32": {"compression": "gzip", "shuffle": True, "fletcher32": True},
}


def write(path, cells, dtype="f4", **storage):
    with h5py.File(path, "w") as file:
        file.create_dataset("ECAL", data=cells, dtype=dtype, **storage)
        file["target"] = np.full((len(cells), 5), 11, np.float32)
    return path


def as_h5py_reads(path, first, stop):
    with h5py.File(path) as file, np.errstate(over="ignore"):
        return file["ECAL"][first:stop].astype(np.float32)


def chunks():
    return st.tuples(st.integers(1, COUNT), *(st.integers(1, n) for n in SHAPE))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150
)
@given(
    pipeline=st.sampled_from(sorted(PIPELINES)),
    chunk=chunks() | st.tuples(st.integers(1, COUNT), *map(st.just, SHAPE)) | st.none(),
    dtype=st.sampled_from(["<f4", ">f4", "<f8", ">f8", "<f2"]),
    rows=st.tuples(st.integers(0, COUNT), st.integers(0, COUNT)).map(sorted),
    seed=st.integers(0, 99),
)
def test_however_cells_are_stored_they_are_what_h5py_reads(
    tmp_path, random_cells, pipeline, chunk, dtype, rows, seed
):
    cells = random_cells((COUNT, *SHAPE), seed)
    if dtype == "<f2":
        cells = np.minimum(cells, 1)
    cells[seed % COUNT, 1, 2] = [-0.0, -1.0, np.nan, np.inf, 0.5]
    storage = {} if chunk is None else {"chunks": chunk, **PIPELINES[pipeline]}
    path = write(tmp_path / "cells.h5", cells, dtype, **storage)
    first, stop = rows
    with open_shower_file(path, check=False) as file:
        showers = file.read_cells(first, stop)
    images = as_h5py_reads(path, first, stop)
    np.testing.assert_array_equal(showers.dense().images_nxyz, images)
    np.testing.assert_array_equal(showers.hits_n, (images != 0).sum(axis=(1, 2, 3)))
    assert showers.misplaced() is None
    assert showers.deposit_h.dtype == np.float32


def test_filters_in_another_order_than_usual_are_undone_in_theirs(tmp_path, random_cells):
    cells = random_cells((COUNT, *SHAPE))
    path = write(tmp_path / "cells.h5", cells)
    with h5py.File(path, "r+") as file:
        del file["ECAL"]
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((4, *SHAPE))
        creation.set_deflate(4)
        creation.set_shuffle()
        space = h5py.h5s.create_simple(cells.shape)
        dataset = h5py.h5d.create(file.id, b"ECAL", h5py.h5t.IEEE_F32LE, space, creation)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, cells)
    with open_shower_file(path) as file:
        np.testing.assert_array_equal(file.read_cells(0, COUNT).dense().images_nxyz, cells)


@pytest.mark.parametrize(
    ("count", "shape", "chunk"),
    [
        pytest.param(2, (3, 300, 100), (1, 2, 300, 30), id="more cells"),
        pytest.param(2**16 + 1, (1, 1, 2), (2**14, 1, 1, 1), id="more showers"),
    ],
)
def test_of_more_than_16_bits_can_count_none_is_out_of_order(tmp_path, count, shape, chunk):
    cells = np.zeros((count, *shape), np.float32)
    cells.reshape(-1)[::-7] = np.arange(1, -(-cells.size // 7) + 1)
    path = write(tmp_path / "cells.h5", cells, chunks=chunk, compression="gzip")
    with open_shower_file(path, check=False) as file:
        showers = file.read_cells(0, count)
    assert showers.misplaced() is None
    np.testing.assert_array_equal(showers.dense().images_nxyz, cells)


def test_a_double_that_is_nothing_in_single_precision_is_no_cell(tmp_path):
    cells = np.zeros((2, *SHAPE))
    cells[0, 0, 0, 0], cells[1, 0, 0, 1], cells[1, 1, 1, 1] = 1e-46, 1e-320, 1e-45
    path = write(tmp_path / "cells.h5", cells, "f8", chunks=(2, *SHAPE), shuffle=True)
    with open_shower_file(path) as file:
        assert list(file.read_cells(0, 2).hits_n) == [0, 1]


def test_chunks_that_were_never_written_hold_the_fill_value(tmp_path):
    for fill, hits in ((0.0, 1), (0.25, 60)):
        path = tmp_path / f"{fill}.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset(
                "ECAL", (9, *SHAPE), "f4", chunks=(2, *SHAPE), shuffle=True, fillvalue=fill
            )[4, 0, 0, 0] = 1.0
            file["target"] = np.full((9, 5), 11, np.float32)
        with open_shower_file(path) as file:
            showers = file.read_cells(1, 9)
        np.testing.assert_array_equal(showers.dense().images_nxyz, as_h5py_reads(path, 1, 9))
        assert showers.hits_n.max() == hits


def test_what_a_chunk_has_beyond_the_images_is_no_cell(tmp_path):
    path = write(tmp_path / "cells.h5", np.zeros((5, *SHAPE), np.float32), chunks=(4, 2, 4, 3))
    full = np.full((4, 2, 4, 3), 0.5, np.float32)
    with h5py.File(path, "r+") as file:
        for origin in ((4, 0, 0, 3), (4, 2, 0, 0)):  # over the edge in shower, x and layer
            file["ECAL"].id.write_direct_chunk(origin, full.tobytes())
    with open_shower_file(path) as file:
        showers = file.read_cells(0, 5)
    np.testing.assert_array_equal(showers.dense().images_nxyz, as_h5py_reads(path, 0, 5))
    assert list(showers.hits_n) == [0, 0, 0, 0, 2 * 4 * 2 + 1 * 4 * 3]


def test_numbers_of_an_unusual_coding_are_left_to_hdf5(tmp_path, random_cells):
    path = tmp_path / "cells.h5"
    cells = np.minimum(random_cells((6, *SHAPE)), 1)
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(100)
    with h5py.File(path, "w") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((2, *SHAPE))
        space = h5py.h5s.create_simple(cells.shape)
        dataset = h5py.h5d.create(file.id, b"ECAL", kind, space, creation)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, cells)
        file["target"] = np.full((6, 5), 11, np.float32)
    with open_shower_file(path) as file:
        images = file.read_cells(0, 6).dense().images_nxyz
    assert images.max() == 1.0
    np.testing.assert_array_equal(images, as_h5py_reads(path, 0, 6))


@pytest.mark.parametrize("skipped", [0b01, 0b10, 0b11])
def test_a_filter_that_was_skipped_for_one_chunk_is_not_undone(tmp_path, random_cells, skipped):
    cells = random_cells((6, *SHAPE))
    path = write(tmp_path / "cells.h5", cells, chunks=(2, *SHAPE), compression="gzip", shuffle=True)
    with h5py.File(path, "r+") as file:
        content = np.roll(cells[2:4], 1)
        planes = np.ascontiguousarray(content.view(np.uint8).reshape(-1, 4).T)
        data = {0b01: content, 0b10: planes, 0b11: content}[skipped].tobytes()
        if not skipped & 0b10:
            data = zlib.compress(data)
        file["ECAL"].id.write_direct_chunk((2, 0, 0, 0), data, filter_mask=skipped)
    with open_shower_file(path) as file:
        images = file.read_cells(1, 5).dense().images_nxyz
    np.testing.assert_array_equal(images, as_h5py_reads(path, 1, 5))
    np.testing.assert_array_equal(images[1:3], content)


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        ({}, "uncompressed, contiguous"),
        ({"chunks": (4, *SHAPE)}, "uncompressed, chunks of 4"),
        (
            {"chunks": (4, *SHAPE), "compression": "gzip", "shuffle": True},
            "gzip 4, shuffle, chunks of 4",
        ),
        (
            {"chunks": (2, 3, 2, 5), "compression": "gzip", "compression_opts": 9},
            "gzip 9, chunks 2×3×2×5",
        ),
        (
            {"chunks": (1, *SHAPE), "compression": "lzf"},
            "lzf, chunks of 1, read by HDF5 alone",
        ),
        (
            {"chunks": (1, *SHAPE), "fletcher32": True, "compression": "gzip"},
            "fletcher32, gzip 4, chunks of 1, read by HDF5 alone",
        ),
    ],
)
def test_the_storage_is_told_to_people(lcd_file, storage, text):
    with open_shower_file(lcd_file(**storage)) as file:
        assert file.storage == text


def test_several_threads_read_one_file_at_once(tmp_path, random_cells):
    cells = random_cells((64, *SHAPE))
    path = write(tmp_path / "cells.h5", cells, chunks=(4, *SHAPE), compression="gzip", shuffle=True)
    wrong = []
    with open_shower_file(path) as file:

        def read(seed):
            for first in np.random.default_rng(seed).integers(0, 60, 40):
                images = file.read_cells(first, first + 4).dense().images_nxyz
                if not np.array_equal(images, cells[first : first + 4]):
                    wrong.append(first)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_bundled_geant4_showers_are_what_h5py_reads():
    path = sample_files().heldout
    with open_shower_file(path) as file, h5py.File(path) as raw:
        showers = file.read_cells(0, file.count)
        np.testing.assert_array_equal(showers.dense().images_nxyz, raw["ECAL"][:])
        target = raw["target"][:].reshape(-1, 5)
        np.testing.assert_array_equal(file.energy_n, target[:, 1])
        for column, name in ((0, "pdg"), (2, "px"), (3, "py"), (4, "pz")):
            np.testing.assert_array_equal(showers.columns[name], target[:, column])


# Variable angle.


@pytest.fixture
def angle_file(tmp_path, images):
    """A function that writes a variable-angle file of six showers, as published."""

    def write(column=True, without=(), **further):
        rng = np.random.default_rng(1)
        values = {
            "energy": np.arange(1, 7, dtype=np.float32),
            "theta": rng.uniform(1.1, 2.0, 6).astype(np.float32),
            "mtheta": rng.uniform(1.1, 2.0, 6).astype(np.float32),
            "eta": rng.normal(size=6).astype(np.float32),
            "ywindow": np.arange(-3, 3, dtype=np.int32),
        }
        path = tmp_path / "angle.h5"
        with h5py.File(path, "w") as file:
            file["ECAL"] = images(6)
            for name, value in values.items():
                if name not in without:
                    file[name] = value[:, None] if column else value
            for name, value in further.items():
                file[name] = value
        return path, values

    return write


@pytest.mark.parametrize("column", [True, False], ids=["(N, 1)", "(N,)"])
def test_a_variable_angle_file_gives_angles_and_further_columns(angle_file, images, column):
    path, values = angle_file(column)
    with open_shower_file(path) as file:
        assert (file.layout, file.particles, file.left_out) == ("lcd", (), ())
        showers = file.read_sparse(2, 5)
    np.testing.assert_array_equal(showers.dense().images_nxyz, images(6)[2:5])
    np.testing.assert_array_equal(showers.energy_n, [3, 4, 5])
    assert sorted(showers.columns) == ["eta", "mtheta", "theta", "ywindow"]
    for name, column_n in showers.columns.items():
        assert column_n.dtype == values[name].dtype
        np.testing.assert_array_equal(column_n, values[name][2:5])


def test_the_measured_angle_and_the_pseudorapidity_may_be_missing(angle_file):
    path, _ = angle_file(without=("mtheta", "eta"))
    with open_shower_file(path) as file:
        assert sorted(file.read_sparse(0, 1).columns) == ["theta", "ywindow"]


def test_the_true_angle_may_be_missing_where_the_measured_one_is_there(angle_file):
    path, values = angle_file(without=("theta", "eta"))
    with open_shower_file(path) as file:
        np.testing.assert_array_equal(file.energy_n, values["energy"])
        assert sorted(file.read_columns(0, 6)) == ["mtheta", "ywindow"]


def test_a_variable_angle_file_may_say_the_particle_too(angle_file):
    target = np.tile(np.float32([22, 0, 1, 2, 3]), (6, 1))  # its energy is that of `energy`
    path, _ = angle_file(target=target, pdg=np.zeros(6))
    with open_shower_file(path) as file:
        assert file.particles == (22,)
        assert file.left_out == ("pdg",)
        showers = file.read_sparse(0, 6)
    np.testing.assert_array_equal(showers.energy_n, np.arange(1, 7))
    assert {"pdg", "px", "py", "pz", "theta", "eta"} <= set(showers.columns)
    np.testing.assert_array_equal(showers.columns["py"], 2.0)


@pytest.mark.parametrize(
    ("name", "inside", "codes"),
    [
        ("EleMeasured3ThetaEscan_1.h5", {}, (11,)),
        ("GammaEscan_1_1.h5", {}, (22,)),
        ("Pi0Measured3ThetaEscan_2.h5", {}, (111,)),
        ("ChPiMeasured3ThetaEscan.h5", {}, (211,)),
        ("myEleMeasured3ThetaEscan_1.h5", {}, ()),
        ("EleMeasured4ThetaEscan_1.h5", {}, ()),
        ("Electrons.h5", {}, ()),
        ("EleMeasured3ThetaEscan_1.h5", {"pdg": np.full(6, 22)}, (22,)),
        ("EleMeasured3ThetaEscan_1.h5", {"pdg": np.zeros(6)}, ()),
        ("EleMeasured3ThetaEscan_1.h5", {"target": np.zeros((6, 5), "f4")}, ()),
    ],
)
def test_the_particle_is_the_names_where_nothing_in_the_file_says_it(
    angle_file, name, inside, codes
):
    path = angle_file(**inside)[0].rename(angle_file(**inside)[0].with_name(name))
    with open_shower_file(path) as file:
        assert file.particles == codes
        showers = file.read_sparse(4, 6)
        assert ("pdg" in showers.columns) == bool(codes or inside)
        if codes:
            assert showers.columns["pdg"].tolist() == [*codes, *codes]
            assert showers.columns["pdg"].dtype.kind == "i"
    assert summarise(path, hit_threshold_gev=1e-6).particles == codes


def test_what_gan3d_makes_is_of_no_particle_by_its_name(angle_file):
    path = angle_file()[0].rename(angle_file()[0].with_name("EleMeasured3ThetaEscan_1.h5"))
    with h5py.File(path, "r+") as raw:
        raw.attrs["generator"] = "gan3d 1"
    with open_shower_file(path) as file:
        assert "pdg" not in file.read_columns(0, 6)


def test_columns_of_any_number_type_are_kept_in_this_machines_order(angle_file):
    path, _ = angle_file(event=np.arange(6, dtype=">i8"), good=np.arange(6) > 2, pdg=np.full(6, 11))
    with open_shower_file(path) as file:
        columns = file.read_sparse(0, 6).columns
        assert file.particles == (11,)
    assert columns["event"].dtype == np.dtype("=i8")
    assert list(columns["event"]) == [0, 1, 2, 3, 4, 5]
    assert list(columns["good"]) == [False] * 3 + [True] * 3


def test_what_is_not_one_number_a_shower_is_left_out_and_named(angle_file):
    path, _ = angle_file(
        HCAL=np.zeros((6, 2, 2)),
        comment=np.array([b"x"] * 6),
        short=np.zeros(5),
        deposit=np.ones(6),
    )
    with open_shower_file(path) as file:
        assert file.left_out == ("HCAL", "comment", "deposit", "short")


def test_attributes_are_those_of_the_file(lcd_file):
    path = lcd_file()
    with h5py.File(path, "r+") as raw:
        raw.attrs.update({"seed": 3, "scale": 0.5, "model": "abc", "array": np.arange(3)})
    with open_shower_file(path) as file:
        assert dict(file.attributes) == {"seed": 3, "scale": 0.5, "model": "abc"}


# Damage. The file has 12 showers in chunks of 4.


@pytest.fixture
def chunked(lcd_file):
    return lcd_file(count=12, chunks=(4, *SHAPE), compression="gzip", shuffle=True)


def overwrite(path, change):
    with h5py.File(path) as file:
        chunk = file["ECAL"].id.get_chunk_info(1)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        content = bytearray(raw.read(chunk.size))
        change(content)
        raw.seek(chunk.byte_offset)
        raw.write(content)


def flip_middle(content):
    content[len(content) // 2] ^= 0xFF


def flip_checksum(content):
    content[-1] ^= 0x01


def nothing_but_ones(content):
    content[:] = b"\xff" * len(content)


@pytest.mark.parametrize("change", [flip_middle, flip_checksum, nothing_but_ones])
def test_a_corrupted_chunk_is_named_by_its_showers_and_others_are_read(chunked, images, change):
    overwrite(chunked, change)
    with open_shower_file(chunked) as file:
        np.testing.assert_array_equal(file.read(slice(0, 4)).images_nxyz, images(12)[:4])
        np.testing.assert_array_equal(file.read(slice(8, 12)).images_nxyz, images(12)[8:])
        with pytest.raises(DataError, match=r"showers 4 to 7 cannot be read.*damaged") as caught:
            file.read(slice(6, 12))
    assert str(chunked) in str(caught.value)


def test_a_damaged_last_chunk_is_named_by_the_showers_that_there_are(lcd_file):
    path = lcd_file(count=6, chunks=(4, *SHAPE), compression="gzip", shuffle=True)
    overwrite(path, flip_checksum)
    with (
        open_shower_file(path) as file,
        pytest.raises(DataError, match="showers 4 to 5 cannot be read"),
    ):
        file.read_cells(5, 6)


def test_a_chunk_of_wrong_size_is_damage(chunked):
    for content in (zlib.compress(bytes(100)), zlib.compress(bytes(10**5))):
        with h5py.File(chunked, "r+") as raw:
            raw["ECAL"].id.write_direct_chunk((4, 0, 0, 0), content)
        with (
            open_shower_file(chunked) as file,
            pytest.raises(DataError, match="showers 4 to 7 cannot be read"),
        ):
            file.read_cells(4, 5)


def test_a_damaged_chunk_that_hdf5_reads_is_named_too(lcd_file):
    path = lcd_file(count=12, chunks=(4, *SHAPE), compression="gzip", fletcher32=True)
    overwrite(path, flip_checksum)
    with (
        open_shower_file(path) as file,
        pytest.raises(DataError, match="showers 4 to 7 cannot be read, the file is damaged"),
    ):
        file.read_cells(4, 8)


def test_a_file_that_is_cut_while_it_is_open_is_damaged(chunked):
    with open_shower_file(chunked) as file:
        with chunked.open("r+b") as raw:
            raw.truncate(3000)
        with pytest.raises(DataError, match=r"showers.* cannot be read, the file is damaged"):
            list(file.blocks())


def test_a_filter_that_is_not_installed_is_named(tmp_path):
    path = tmp_path / "blosc.h5"
    with h5py.File(path, "w") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((4, *SHAPE))
        # Optional, or HDF5 would not create it.
        creation.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (2, 2, 4, 100))
        space = h5py.h5s.create_simple((12, *SHAPE))
        h5py.h5d.create(file.id, b"ECAL", h5py.h5t.IEEE_F32LE, space, creation)
        file["target"] = np.full((12, 5), 11, np.float32)
    with pytest.raises(DataError, match=r"'ECAL' .* filter .*32001.* not installed.*h5repack"):
        open_shower_file(path)


# Files of the whole calorimeter.


@pytest.fixture
def both(lcd_file):
    """A file with 130 showers that have twice as much in HCAL."""
    path = lcd_file(count=130)
    with h5py.File(path, "r+") as file:
        hcal = np.zeros((130, 2, 3, 7), np.float32)
        hcal[:, 1, 2, 6] = 2 * file["ECAL"][:].sum(axis=(1, 2, 3))
        file["HCAL"] = hcal
    return path


def test_both_images_of_the_same_showers_are_read(both):
    blocks = list(stream_images([both], ["ECAL", "HCAL"]))
    assert sum(len(block["ECAL"]) for block in blocks) == 130
    for block in blocks:
        ecal, hcal = block["ECAL"], block["HCAL"]
        assert (ecal.images_nxyz.shape[1:], hcal.images_nxyz.shape[1:]) == ((3, 4, 5), (2, 3, 7))
        assert (ecal.energy_n == hcal.energy_n).all()
        sums = [each.images_nxyz.sum(axis=(1, 2, 3)) for each in (ecal, hcal)]
        np.testing.assert_allclose(sums[1], 2 * sums[0])
    with open_shower_file(both, image="HCAL") as file:
        assert file.image_shape == (2, 3, 7)
        assert (file.further_images, file.left_out) == (("ECAL",), ())


def test_a_file_without_the_second_image_is_refused(lcd_file, tmp_path):
    with pytest.raises(DataError, match=r"showers\.h5: has no dataset 'HCAL'"):
        next(stream_images([lcd_file()], ["ECAL", "HCAL"]))
    path = tmp_path / "challenge.h5"
    with h5py.File(path, "w") as file:
        file["showers"], file["incident_energies"] = np.ones((2, 6480)), np.ones((2, 1))
    with pytest.raises(DataError, match=r"challenge\.h5: has one image a shower, no 'HCAL'"):
        open_shower_file(path, image="HCAL")

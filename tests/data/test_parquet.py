import json
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gan3d.data import Showers, SparseShowers, open_shower_file, read_showers, write_showers
from gan3d.data.sparse import from_images
from gan3d.errors import DataError

SHAPE = (3, 4, 5)
METADATA = {
    "gan3d.format": "1",
    "gan3d.image_shape": "[3, 4, 5]",
    "gan3d.axes": "x, y, layer",
    "gan3d.energy_unit": "GeV",
}
CELLS = [[0, 5, 59], [], [7]]
DEPOSITS = [[1.0, 2.0, 3.0], [], [0.5]]


def columns(**changes):
    table = {
        "energy": pa.array([10, 20, 30], pa.float32()),
        "cell": pa.array(CELLS, pa.list_(pa.uint16())),
        "deposit": pa.array(DEPOSITS, pa.list_(pa.float32())),
    }
    return {name: array for name, array in (table | changes).items() if array is not None}


def write_plain(path, metadata=METADATA, rows=2, **changes):
    """Write three showers with pyarrow alone, as the layout is documented."""
    table = pa.table(columns(**changes)).replace_schema_metadata(metadata)
    pq.write_table(table, path, row_group_size=rows)
    return path


@pytest.fixture
def shard(tmp_path, random_cells):
    """A shard of 20 showers in row groups of 6, and the showers."""
    path = tmp_path / "shard.parquet"
    extra = {"ywindow": np.arange(20, dtype=np.int32), "theta": np.linspace(1, 2, 20)}
    showers = from_images(random_cells((20, *SHAPE)), np.arange(1, 21, dtype=np.float32), extra)
    write_showers(
        path,
        [showers],
        layout="parquet",
        attributes={"seed": 3, "scale": 0.1, "model": "abc"},
        chunk_showers=6,
        cell_size_mm=(5.1, 5.1, 5.0),
    )
    return path, showers


def test_a_shard_that_others_wrote_as_documented_is_read(tmp_path):
    path = write_plain(tmp_path / "plain.parquet", pdg=pa.array([11, 22, 11], pa.int64()))
    with open_shower_file(path) as file:
        assert (file.layout, file.count, file.image_shape) == ("parquet", 3, SHAPE)
        assert (file.chunk_rows, file.particles, file.unit_gev) == (2, (11, 22), 1.0)
        assert file.storage == "snappy, row groups of 2"
        images = file.read().images_nxyz
        np.testing.assert_array_equal(file.energy_n, [10, 20, 30])
    expected = np.zeros((3, 60), np.float32)
    expected[0, [0, 5, 59]], expected[2, 7] = [1, 2, 3], 0.5
    np.testing.assert_array_equal(images.reshape(3, -1), expected)


def test_the_schema_is_that_of_the_documentation(shard):
    path, _ = shard
    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    assert schema.names == ["energy", "ywindow", "theta", "cell", "deposit"]
    kinds = [field.type for field in schema]
    assert kinds[:3] == [pa.float32(), pa.int32(), pa.float64()]
    assert [kind.value_type for kind in kinds[3:]] == [pa.uint16(), pa.float32()]
    assert not any(field.nullable for field in schema)
    said = {name.decode(): value.decode() for name, value in schema.metadata.items()}
    assert said.items() >= METADATA.items()
    assert json.loads(said["gan3d.attributes"]) == {"seed": 3, "scale": 0.1, "model": "abc"}
    assert json.loads(said["gan3d.cell_size_mm"]) == [5.1, 5.1, 5.0]
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    assert sizes == [6, 6, 6, 2]


def test_what_the_metadata_say_is_given(shard):
    with open_shower_file(shard[0]) as file:
        assert file.attributes == {"seed": 3, "scale": 0.1, "model": "abc"}
        assert file.cell_size_mm == (5.1, 5.1, 5.0)
        assert file.storage == "zstd, row groups of 6"


@pytest.mark.parametrize("rows", [(0, 20), (0, 6), (6, 12), (5, 7), (2, 4), (17, 20), (3, 3)])
def test_any_rows_are_read_whatever_the_row_groups(shard, assert_same, rows):
    path, showers = shard
    with open_shower_file(path) as file:
        assert_same(file.read_native(*rows), showers.take(slice(*rows)))
        np.testing.assert_array_equal(file.read_energies(*rows), showers.energy_n[slice(*rows)])


def test_a_row_group_may_be_empty_and_its_size_may_change(tmp_path, assert_same):
    path = tmp_path / "uneven.parquet"
    table = pa.table(columns()).replace_schema_metadata(METADATA)
    with pq.ParquetWriter(path, table.schema) as writer:
        for rows in (table[:0], table[:1], table[1:1], table[1:]):
            writer.write_table(rows)
    with open_shower_file(path) as file:
        assert (file.count, file.chunk_rows) == (3, 2)
        showers = file.read_native(0, 3)
        assert_same(file.read_native(1, 3), showers.take(slice(1, 3)))
    assert list(showers.hits_n) == [3, 0, 1]


def test_energies_in_mev_are_given_in_gev(tmp_path):
    path = write_plain(tmp_path / "mev.parquet", METADATA | {"gan3d.energy_unit": "MeV"})
    with open_shower_file(path) as file:
        np.testing.assert_allclose(file.energy_n, [0.01, 0.02, 0.03])
        np.testing.assert_allclose(file.read_sparse(0, 1).deposit_h, [1e-3, 2e-3, 3e-3])
        np.testing.assert_array_equal(file.read_native(0, 1).deposit_h, np.float32([1, 2, 3]))


def test_images_of_many_cells_have_wider_numbers(tmp_path, assert_same):
    path = tmp_path / "wide.parquet"
    images = np.zeros((2, 51, 51, 26), np.float32)
    images[0, 50, 50, 25] = images[1, 0, 0, 0] = 1.0
    showers = from_images(images, np.ones(2, np.float32))
    assert showers.cell_h.dtype == np.uint32
    write_showers(path, [showers], layout="parquet", attributes={})
    with open_shower_file(path) as file:
        assert_same(file.read_native(0, 2), showers)


def test_several_threads_read_one_shard_at_once(shard):
    path, showers = shard
    wrong = []
    with open_shower_file(path) as file:

        def read(seed):
            for first in np.random.default_rng(seed).integers(0, 15, 30):
                part = file.read_cells(first, first + 5)
                if (
                    part.deposit_h.tobytes()
                    != showers.take(slice(first, first + 5)).deposit_h.tobytes()
                ):
                    wrong.append(first)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_a_reader_is_lent_to_one_at_a_time_and_taken_again(shard):
    with open_shower_file(shard[0]) as file:
        with file._reader() as one, file._reader() as other:
            assert one is not other
        with file._reader() as again:
            assert again is one or again is other


def test_a_closed_shard_is_not_opened_again(shard):
    file = open_shower_file(shard[0])
    file.read_cells(0, 1)
    file.close()
    with pytest.raises(DataError, match="is closed"):
        file.read_cells(0, 1)


def test_what_is_no_number_is_left_out_and_named(tmp_path):
    path = write_plain(tmp_path / "a.parquet", comment=pa.array(["a", "b", "c"]))
    with open_shower_file(path) as file:
        assert file.left_out == ("comment",)
        assert dict(file.read_cells(0, 3).columns) == {}


def test_every_size_of_row_group_gives_the_same_showers(tmp_path, shard, assert_same):
    _, showers = shard
    for rows in (1, 7, 20, 50):
        path = tmp_path / f"{rows}.parquet"
        blocks = [showers.take(slice(0, 9)), showers.take(slice(9, 9)), showers.take(slice(9, 20))]
        write_showers(path, blocks, layout="parquet", attributes={}, chunk_showers=rows)
        with open_shower_file(path) as file:
            assert file.chunk_rows == min(rows, 20)
            assert_same(file.read_native(0, 20), showers)


# Bad input: changes of the sound table above, and what the one line must say.


def lists(kind, *values):
    return pa.array(values, pa.list_(kind))


BAD_TABLES = {
    "not a shard": ({"metadata": None}, "not a shard of showers: gan3d.image_shape .*required"),
    "another version": (
        {"metadata": METADATA | {"gan3d.format": "2"}},
        r"gan3d\.format in the schema's metadata: Input should be '1'",
    ),
    "another order of the axes": (
        {"metadata": METADATA | {"gan3d.axes": "layer, x, y"}},
        r"gan3d\.axes .*should be 'x, y, layer'",
    ),
    "unknown unit": ({"metadata": METADATA | {"gan3d.energy_unit": "eV"}}, r"'GeV' or 'MeV'"),
    "shape that is none": (
        {"metadata": METADATA | {"gan3d.image_shape": "[3, 4]"}},
        r"gan3d\.image_shape",
    ),
    "shape that is not JSON": (
        {"metadata": METADATA | {"gan3d.image_shape": "3x4x5"}},
        r"gan3d\.image_shape .*JSON",
    ),
    "no deposits": ({"deposit": None}, "'deposit' must hold lists of float32, it holds nothing"),
    "energy in double precision": (
        {"energy": pa.array([1.0, 2, 3])},
        "'energy' must hold float32, it holds double",
    ),
    "integer deposits": (
        {"deposit": lists(pa.int32(), [1, 2, 3], [], [4])},
        "'deposit' must hold lists of float32, it holds list<.*int32",
    ),
    "a number for a list": ({"cell": pa.array([1, 2, 3], pa.uint16())}, "'cell' must hold lists"),
    "text": ({"energy": pa.array(["a", "b", "c"])}, "'energy' must hold float32, it holds string"),
    "more cells than deposits": (
        {"cell": lists(pa.uint16(), [0, 5, 59], [6], [7])},
        "showers 0 to 1 .*not as many cells as deposits",
    ),
    "as many cells as deposits, but of other showers": (
        {"cell": lists(pa.uint16(), [0, 5], [59], [7])},
        "showers 0 to 1 .*not as many cells as deposits",
    ),
    "cell outside": (
        {"cell": lists(pa.uint16(), [0, 5, 60], [], [7])},
        "shower 0: .* not ascending and below 60",
    ),
    "cells out of order": (
        {"cell": lists(pa.uint16(), [5, 0, 59], [], [7])},
        "shower 0: .* not ascending",
    ),
    "cell twice": (
        {
            "cell": lists(pa.uint16(), [], [0], [7, 7]),
            "deposit": lists(pa.float32(), [], [1], [1, 1]),
        },
        "shower 2: .* not ascending",
    ),
    "missing energy": (
        {"energy": pa.array([1.0, None, 3.0], pa.float32())},
        "showers 0 to 1 .*values of 'energy' are missing",
    ),
    "missing list": (
        {
            "cell": lists(pa.uint16(), [0, 5, 59], None, [7]),
            "deposit": lists(pa.float32(), [1, 2, 3], None, [1]),
        },
        "showers 0 to 1 .*values of 'cell' are missing",
    ),
    "missing cell": (
        {"cell": lists(pa.uint16(), [0, 5, None], [], [7])},
        "showers 0 to 1 .*values of 'cell' are missing",
    ),
    "missing column": (
        {"eta": pa.array([1.0, 2.0, None])},
        "showers 2 to 2 .*values of 'eta' are missing",
    ),
    "negative cell": (
        {"deposit": lists(pa.float32(), [1, 2, 3], [], [-4])},
        r"shower 2: .*\(x=0, y=1, layer=2\) is negative: -4 GeV",
    ),
    "NaN cell": (
        {"deposit": lists(pa.float32(), [1, 2, float("nan")], [], [4])},
        "shower 0: .*not finite",
    ),
    "zero energy": ({"energy": pa.array([1, 0, 3], pa.float32())}, "shower 1: the incident energy"),
}


@pytest.mark.parametrize(("change", "message"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_bad_shard_is_refused_in_one_line(tmp_path, change, message):
    path = write_plain(tmp_path / "bad.parquet", **change)
    with pytest.raises(DataError, match=message) as caught:
        read_showers([path])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_shard_without_showers_is_refused(tmp_path):
    path = tmp_path / "empty.parquet"
    pq.write_table(pa.table(columns()).replace_schema_metadata(METADATA)[:0], path)
    with pytest.raises(DataError, match="holds no showers"):
        open_shower_file(path)


@pytest.mark.parametrize("length", [4, 100, 0.5, -1])
def test_a_truncated_shard_is_named(shard, length):
    path, _ = shard
    content = path.read_bytes()
    path.write_bytes(content[: int(length * len(content)) if length == 0.5 else length])
    with pytest.raises(DataError, match="cannot be opened as Parquet, probably truncated"):
        open_shower_file(path)


@pytest.mark.parametrize("name", ["energy", "theta", "cell", "deposit"])
def test_a_damaged_row_group_is_named_by_its_showers_and_others_are_read(shard, assert_same, name):
    path, showers = shard
    metadata = pq.ParquetFile(path).metadata.row_group(1)
    chunks = [metadata.column(i) for i in range(metadata.num_columns)]
    chunk = next(chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] == name)
    with path.open("r+b") as raw:
        raw.seek(chunk.data_page_offset + chunk.total_compressed_size - 2)
        last = raw.read(1)
        raw.seek(-1, 1)
        raw.write(bytes([last[0] ^ 0xFF]))
    with open_shower_file(path, check=False) as file:
        assert_same(file.read_native(0, 6), showers.take(slice(0, 6)))
        assert_same(file.read_native(12, 20), showers.take(slice(12, 20)))
        with pytest.raises(DataError, match=r"showers 6 to 11 cannot be read.*damaged") as caught:
            file.read_native(4, 8)
    assert str(path) in str(caught.value)


def test_cells_of_sparse_showers_must_be_in_order(tmp_path):
    showers = SparseShowers(
        SHAPE,
        np.array([0, 1, 3]),
        np.uint16([3, 4, 2]),
        np.ones(3, np.float32),
        np.ones(2, np.float32),
    )
    with pytest.raises(DataError, match="shower 1 is not fit to write: its cells"):
        write_showers(tmp_path / "a.parquet", [showers], layout="parquet", attributes={})


def test_images_are_written_as_lists(tmp_path, random_cells, everything):
    images = random_cells((5, *SHAPE))
    path = tmp_path / "a.parquet"
    showers = Showers(images, np.ones(5, np.float32))
    write_showers(path, [showers], layout="parquet", attributes={}, compression_level=0)
    with open_shower_file(path) as file:
        np.testing.assert_array_equal(everything(file).dense().images_nxyz, images)
        assert file.storage == "uncompressed, row groups of 5"

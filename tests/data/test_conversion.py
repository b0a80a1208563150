import resource
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d.data import conversion, open_shower_file, whole, write_showers
from gan3d.data.conversion import ShardFormat, open_sources, plan_shards, write_shards
from gan3d.data.sparse import from_images, join
from gan3d.errors import DataError, UsageError
from gan3d.samples import sample_files

SHAPE = (3, 4, 5)
LAYOUTS = ("lcd", "challenge", "parquet")
EXACT_WAYS = [
    ("lcd", "lcd", 1.0),
    ("lcd", "parquet", 1.0),
    ("parquet", "lcd", 1.0),
    ("parquet", "challenge", 1e-3),
    ("challenge", "parquet", 1e-3),
    ("challenge", "challenge", 1e-3),
]
"""From a layout through another and back, with a unit (GeV) that both can have."""


def make_showers(count, seed=0, *, angle=False, first=0):
    """Showers of a few lit cells, whose incident energies number them from `first` + 1."""
    rng = np.random.default_rng(seed)
    images = rng.gamma(0.1, 1e-3, (count, *SHAPE)).astype(np.float32)
    images[rng.uniform(size=images.shape) < 0.7] = 0
    columns = {
        "pdg": rng.choice([11, 22], count).astype(np.int32),
        **{name: rng.normal(size=count).astype(np.float32) for name in ("px", "py", "pz")},
    }
    if angle:
        columns = {
            "theta": rng.uniform(1, 2, count).astype(np.float32),
            "ywindow": rng.integers(-5, 5, count).astype(np.int32),
        }
    energy_n = np.arange(first + 1, first + count + 1, dtype=np.float32)
    return from_images(images, energy_n, columns)


def save(path, showers, layout="lcd", **options):
    write_showers(path, [showers], layout=layout, attributes={}, **options)
    return path


def convert(paths, folder, layout="parquet", *, name="showers", force=False, **form):
    """Convert, and return the shards."""
    form = ShardFormat(layout, **form)
    sources = open_sources(paths)
    shards = plan_shards(name, whole(sources.entries), sources, folder, form)
    write_shards(shards, sources, form, names=[name], workers=2, force=force)
    return [shard.path for shard in shards]


def read(paths):
    """All showers of `paths`, in their own unit, bit for bit."""
    parts = []
    for path in paths:
        with open_shower_file(path, shape=SHAPE) as file:
            parts += file.blocks(native=True)
    return join(parts)


def assert_same(found, expected):
    assert found.image_shape == expected.image_shape
    assert sorted(found.columns) == sorted(expected.columns)
    for name in ("offset_n1", "cell_h", "deposit_h", "energy_n"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
    for name, values in expected.columns.items():
        assert found.columns[name].dtype == values.dtype
        assert found.columns[name].tobytes() == values.tobytes()


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    angle=st.booleans(),
    way=st.sampled_from(EXACT_WAYS),
    showers_per_file=st.integers(1, 15),
    chunk_showers=st.integers(1, 7),
    compression_level=st.integers(0, 9),
)
@settings(max_examples=20, deadline=None)
def test_there_and_back_nothing_has_changed(
    counts, angle, way, showers_per_file, chunk_showers, compression_level
):
    first, through, unit_gev = way
    form = {"chunk_showers": chunk_showers, "compression_level": compression_level}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected, paths = [], []
        for number, count in enumerate(counts):
            showers = make_showers(count, number, angle=angle, first=100 * number)
            path = folder / f"{number}.{first}"
            paths.append(save(path, showers, first, unit_gev=unit_gev, **form))
            expected.append(showers)
        form["showers_per_file"] = showers_per_file
        there = convert(paths, folder / "there", through, **form)
        back = convert(there, folder / "back", first, **form)
        assert len(there) == -(-sum(counts) // showers_per_file)
        assert_same(read(there), join(expected))
        assert_same(read(back), join(expected))


def test_the_geant4_sample_survives_bit_for_bit(tmp_path):
    path = sample_files().heldout
    shards = convert(convert([path], tmp_path / "there"), tmp_path / "back", "lcd")
    with h5py.File(path) as before, h5py.File(shards[0]) as after:
        for name in ("ECAL", "target"):
            assert after[name].dtype == before[name].dtype
            assert np.array_equal(after[name][:], before[name][:])


def test_between_gev_and_mev_energies_are_rounded_once(tmp_path):
    showers = make_showers(5)
    source = save(tmp_path / "a.h5", showers)
    (path,) = convert([source], tmp_path / "mev", "challenge")
    found = read([path])
    exact = showers.deposit_h.astype(np.float64) * 1000
    assert np.array_equal(found.deposit_h, exact.astype(np.float32))
    assert np.array_equal(found.energy_n, showers.energy_n * 1000)
    assert not open_sources([source]).keeps_unit("challenge")
    assert open_sources([path]).keeps_unit("parquet")
    assert open_sources([path]).keeps_unit("challenge")
    assert not open_sources([path]).keeps_unit("lcd")


def test_files_in_gev_and_in_mev_become_one_set_in_gev(tmp_path):
    showers = make_showers(5)
    one = save(tmp_path / "a.h5", showers)
    two = save(tmp_path / "b.hdf5", showers, "challenge")
    found = read(convert([one, two], tmp_path / "out"))
    assert np.allclose(found.energy_n, np.tile(showers.energy_n, 2), rtol=1e-6)
    assert np.allclose(found.deposit_h, np.tile(showers.deposit_h, 2), rtol=1e-6)


def test_shards_hold_the_showers_in_the_order_of_the_files(tmp_path):
    paths = [
        save(tmp_path / name, make_showers(count, first=first), chunk_showers=4)
        for name, count, first in (("b.h5", 9, 20), ("a.h5", 20, 0), ("c.h5", 6, 29))
    ]
    shards = convert(paths, tmp_path / "out", showers_per_file=10)
    assert names(tmp_path / "out") == [f"showers-0000{n}-of-00004.parquet" for n in range(4)]
    energies = [read([path]).energy_n for path in shards]
    assert [len(each) for each in energies] == [10, 10, 10, 5]
    assert list(np.concatenate(energies)) == list(range(1, 36))


def test_attributes_that_all_files_share_are_kept(tmp_path):
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for number, path in enumerate(paths):
        write_showers(
            path, [make_showers(3)], attributes={"seed": number, "model": "m", "steps": 7}
        )
    (path,) = convert(paths, tmp_path / "out")
    with open_shower_file(path) as file:
        assert dict(file.attributes).items() >= {"model": "m", "steps": 7}.items()
        assert "seed" not in file.attributes


def test_cell_sizes_that_differ_are_not_kept(tmp_path):
    paths = [
        save(tmp_path / f"{size}.h5", make_showers(3), cell_size_mm=(size, size, size))
        for size in (5.0, 6.0)
    ]
    for sources, expected in ((paths[:1], (5.0, 5.0, 5.0)), (paths, None)):
        (path,) = convert(sources, tmp_path / f"out{len(sources)}")
        with open_shower_file(path) as file:
            assert file.cell_size_mm == expected


class Interrupted:
    """A progress that interrupts once `count` showers are written."""

    def __init__(self, count, error=KeyboardInterrupt):
        self.count, self.error = count, error

    def __call__(self, done, total):
        if done > self.count:
            raise self.error


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """40 showers in blocks of 2, planned as four shards in the folder `out`."""
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", 1)
    source = save(tmp_path / "a.h5", make_showers(40), chunk_showers=2)
    form = ShardFormat("parquet", showers_per_file=10, chunk_showers=2)
    sources = open_sources([source])
    shards = plan_shards("showers", whole(sources.entries), sources, tmp_path / "out", form)

    def run(**options):
        return write_shards(shards, sources, form, names=["showers"], **options)

    run.shards, run.sources, run.source, run.out = shards, sources, source, tmp_path / "out"
    return run


def test_after_an_interruption_only_whole_shards_are_there_and_work_goes_on(plan):
    with pytest.raises(KeyboardInterrupt):
        plan(progress=Interrupted(25))
    assert names(plan.out) == [shard.path.name for shard in plan.shards[:2]]
    before = [shard.path.stat().st_mtime_ns for shard in plan.shards[:2]]
    told = []
    written = plan(progress=lambda *counts: told.append(counts))
    assert (written.kept, written.written) == (2, 2)
    assert told[-1] == (20, 20)
    assert [shard.path.stat().st_mtime_ns for shard in plan.shards[:2]] == before
    assert_same(read([shard.path for shard in plan.shards]), make_showers(40))
    assert plan().written == 0


def test_what_killed_work_left_is_removed(plan):
    plan.out.mkdir()
    (plan.out / f".{plan.shards[1].path.name}.abcd1234").write_bytes(b"half")
    plan()
    assert names(plan.out) == [shard.path.name for shard in plan.shards]


def test_an_interruption_of_the_waiting_thread_stops_shards_under_way(plan, monkeypatch):
    ending = threading.Event()

    class Pool(conversion.ThreadPoolExecutor):
        def shutdown(self, *arguments, **options):
            ending.set()
            super().shutdown(*arguments, **options)

    def interrupted(tasks, return_when):
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(conversion, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plan(workers=2, progress=lambda done, total: ending.wait(60))
    assert names(plan.out) == []


def test_a_damaged_shard_is_not_taken_for_a_whole_one(plan):
    plan()
    path = plan.shards[1].path
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"00001-of-00004\.parquet: made of other showers"):
        plan()
    assert plan(force=True).written == 1
    assert_same(read([shard.path for shard in plan.shards]), make_showers(40))


@pytest.mark.parametrize(
    "change", [{"showers_per_file": 7}, {"chunk_showers": 3}, {"compression_level": 1}], ids=str
)
def test_shards_made_in_another_way_are_refused_and_replaced_by_force(tmp_path, change):
    source = save(tmp_path / "a.h5", make_showers(20))
    out = tmp_path / "out"
    earlier = convert([source], out, **{"showers_per_file": 10, **change})
    with pytest.raises(DataError, match=r"made of other showers or in another way.*--force"):
        convert([source], out, showers_per_file=10)
    assert names(out) == [path.name for path in earlier]
    shards = convert([source], out, showers_per_file=10, force=True)
    assert names(out) == [path.name for path in shards]
    assert_same(read(shards), make_showers(20))


def test_shards_of_other_showers_are_refused(tmp_path):
    source = save(tmp_path / "a.h5", make_showers(20))
    convert([source], tmp_path / "out")
    save(source, make_showers(20, first=1))
    with pytest.raises(DataError, match="made of other showers"):
        convert([source], tmp_path / "out")


def test_other_files_of_the_folder_are_left_alone(tmp_path):
    source = save(tmp_path / "a.h5", make_showers(20))
    out = tmp_path / "out"
    convert([source], out, name="others", showers_per_file=3)
    convert([source], out, "lcd", showers_per_file=3)
    (out / "showers-1.parquet").touch()
    there = names(out)
    convert([source], out)
    convert([source], out, showers_per_file=5, force=True)
    assert set(there) < set(names(out))


def test_a_dot_in_a_name_stands_for_itself(tmp_path):
    source = save(tmp_path / "a.h5", make_showers(20))
    others = convert([source], tmp_path / "out", name="v1x0")
    convert([source], tmp_path / "out", name="v1.0", showers_per_file=5, force=True)
    assert all(path.exists() for path in others)


def test_sources_are_never_overwritten(tmp_path):
    source = save(tmp_path / "a.h5", make_showers(20))
    shards = convert([source], tmp_path / "out", showers_per_file=10)
    before = [path.read_bytes() for path in shards]
    for showers_per_file in (5, 10):
        with pytest.raises(DataError, match="is one of the files to read"):
            convert(shards, tmp_path / "out", showers_per_file=showers_per_file, force=True)
    assert [path.read_bytes() for path in shards] == before


@pytest.fixture
def small_disk():
    """No file may be longer than 100 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_disk_that_is_full_leaves_nothing_half_written(tmp_path, request, layout):
    source = save(tmp_path / "a.h5", make_showers(3000))
    request.getfixturevalue("small_disk")
    with pytest.raises(DataError, match=r"showers-00000-of-00001\.\w+: cannot be written: File"):
        convert([source], tmp_path / "out", layout)
    assert names(tmp_path / "out") == []


def test_too_little_space_is_said_before_anything_is_written(tmp_path, monkeypatch):
    source = save(tmp_path / "a.h5", make_showers(3000))

    class Usage:
        free = 100_000

    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(DataError, match=r"about \S+ MB are needed, 0.1 MB are free"):
        convert([source], tmp_path / "out")
    assert names(tmp_path / "out") == []
    # All shards count.
    with pytest.raises(DataError, match=r"about \S+ MB are needed, 0.1 MB are free"):
        convert([source], tmp_path / "out", showers_per_file=100)
    Usage.free = 2 * source.stat().st_size
    (shard,) = convert([source], tmp_path / "out")
    Usage.free = 0
    with pytest.raises(DataError, match="are needed"):
        convert([source], tmp_path / "out", compression_level=0, force=True)
    assert shard.exists()
    # What is replaced makes room.
    Usage.free = shard.stat().st_size
    convert([source], tmp_path / "out", compression_level=9, force=True)


def test_folders_that_were_made_for_nothing_are_removed(tmp_path, monkeypatch):
    source = save(tmp_path / "a.h5", make_showers(3000))
    (tmp_path / "mine").mkdir()

    class Usage:
        free = 0

    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(DataError, match="are needed"):
        convert([source], tmp_path / "mine" / "new" / "out")
    with pytest.raises(DataError, match="are needed"):
        convert([source], tmp_path / "mine")
    assert list(tmp_path.rglob("*/")) == [tmp_path / "mine"]


def test_no_room_for_the_trial_names_the_folder_that_was_asked_for(tmp_path, small_disk):
    source = sample_files()[0]
    with pytest.raises(DataError) as raised:
        convert([source], tmp_path / "out", "lcd", compression_level=0)
    message = str(raised.value)
    assert message.startswith(
        f"{tmp_path / 'out'}: a few showers, written to {tempfile.gettempdir()} "
    )
    assert "gan3d-trial" not in message
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    source = save(tmp_path / "a.h5", make_showers(3))
    with pytest.raises(DataError, match="is not a folder"):
        convert([source], source / "out")


def test_a_bad_shower_is_named_and_whole_shards_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", 1)
    source = save(tmp_path / "a.h5", make_showers(40), chunk_showers=2)
    with h5py.File(source, "r+") as file:
        file["ECAL"][33, 0, 0, 0] = -1
    with pytest.raises(DataError, match=r"a\.h5: shower 33: .*negative"):
        convert([source], tmp_path / "out", showers_per_file=10)
    assert not [name for name in names(tmp_path / "out") if "00003" in name or name[0] == "."]


def test_a_source_that_changes_is_noticed(plan):
    save(plan.source, make_showers(41), chunk_showers=2)
    with pytest.raises(DataError, match=r"a\.h5: has changed: it had 40 showers in \d+ bytes"):
        plan()
    save(plan.source, make_showers(40, seed=1), chunk_showers=2)
    with pytest.raises(DataError, match=r"a\.h5: has changed: it had 40 showers .* now 40 in"):
        plan()
    assert names(plan.out) == []


def test_files_of_different_geometry_are_refused(tmp_path):
    one = save(tmp_path / "a.h5", make_showers(3))
    two = tmp_path / "b.h5"
    write_showers(two, [from_images(np.ones((2, 5, 4, 3), "f4"), np.ones(2, "f4"))], attributes={})
    with pytest.raises(DataError) as raised:
        open_sources([one, two])
    assert str(raised.value) == (
        f"{two}: images have 5×4×3 cells, {one} has 3×4×5; convert them separately"
    )
    with pytest.raises(DataError) as raised:
        open_sources([one], (5, 4, 3))
    assert str(raised.value) == f"{one}: images have 3×4×5 cells, expected 5×4×3"


def test_files_of_different_columns_are_refused(tmp_path):
    one = save(tmp_path / "a.h5", make_showers(3))
    two = save(tmp_path / "b.h5", make_showers(3, angle=True))
    with pytest.raises(DataError, match=r"b\.h5: has the columns theta .*a\.h5 has pdg"):
        open_sources([one, two])


def test_what_is_not_read_is_told(tmp_path):
    path = save(tmp_path / "a.h5", make_showers(3))
    with h5py.File(path, "r+") as file:
        file["HCAL"] = np.zeros((3, 2, 2, 2))
        file["extra"] = np.zeros((3, 2))
    sources = open_sources([path])
    assert sources.further_images == {"HCAL": str(path)}
    assert sources.left_out == {"extra": str(path)}


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".a", "/a"])
def test_a_name_is_the_beginning_of_a_file_name(tmp_path, name):
    source = save(tmp_path / "a.h5", make_showers(3))
    with pytest.raises(UsageError, match="is no beginning of a file's name"):
        convert([source], tmp_path / "out", name=name)


def test_a_part_without_showers_is_an_error(tmp_path):
    sources = open_sources([save(tmp_path / "a.h5", make_showers(3))])
    part = whole(sources.entries)
    empty = replace(part, count_b=part.count_b * 0)
    with pytest.raises(DataError, match="test: there are no showers"):
        plan_shards("test", empty, sources, tmp_path, ShardFormat())


def test_leftovers_of_another_number_of_shards_are_removed_and_others_stay(plan):
    plan.out.mkdir()
    other = ".shower-00004-of-00009.parquet.abcd1234"
    for name in (".showers-00004-of-00009.parquet.abcd1234", other):
        (plan.out / name).touch()
    plan()
    assert names(plan.out) == [other, *(shard.path.name for shard in plan.shards)]


def test_a_folder_with_the_name_of_a_shard_is_refused_before_anything_is_removed(tmp_path):
    source = save(tmp_path / "a.h5", make_showers(40))
    shards = convert([source], tmp_path / "out", showers_per_file=10)
    shards[2].unlink()
    shards[2].mkdir()
    before = names(tmp_path / "out")
    with pytest.raises(DataError, match=r"00002-of-00004\.parquet: is a folder with the name of a"):
        convert([source], tmp_path / "out", showers_per_file=10, compression_level=1, force=True)
    assert names(tmp_path / "out") == before


def test_bins_that_challenge_files_note_come_back_and_do_not_mix(tmp_path):
    # 18 x 18 x 20 cells are as many as those of the Challenge's data set 2.
    made = {}
    for shape in ((18, 18, 20), (20, 18, 18)):
        images = np.random.default_rng(1).random((3, *shape), np.float32)
        source = tmp_path / f"{shape[0]}.h5"
        write_showers(source, [from_images(images, np.ones(3, "f4"))], attributes={})
        (made[shape],) = convert([source], tmp_path / "there", "challenge", name=str(shape[0]))
        (back,) = convert([made[shape]], tmp_path / "back", "lcd", name=str(shape[0]))
        with open_shower_file(back) as file:
            assert file.image_shape == shape
            np.testing.assert_allclose(file.read(slice(0, 3)).images_nxyz, images, rtol=1e-6)
    with pytest.raises(DataError, match=r"have 20×18×18 cells, .* has 18×18×20; convert them sep"):
        open_sources(list(made.values()))


@pytest.mark.parametrize("kind", ["<f8", ">f8"])
@pytest.mark.parametrize("name", ["ECAL", "target"])
def test_double_precision_is_told_before_it_is_lost(tmp_path, sample_showers, name, kind):
    ecal, target = sample_showers
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for own, values in (("ECAL", ecal[:2]), ("target", target[:2])):
            file[own] = values.astype(kind if own == name else np.float32)
    assert open_sources([path]).double
    with h5py.File(path, "r+") as file:
        values = file[name][:].astype(np.float32)
        del file[name]
        file[name] = values
    assert not open_sources([path]).double

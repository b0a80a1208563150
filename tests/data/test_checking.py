import re
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config import Geometry, Images
from gan3d.data import Showers, write_showers
from gan3d.data.checking import Criteria, check_files

SHAPE = (3, 4, 5)
COUNT = 20


def sound(count=COUNT, seed=0, shape=SHAPE):
    """Cells and target of showers that deposit 2 % of their energy in all cells."""
    rng = np.random.default_rng(seed)
    energy = rng.uniform(10, 100, count)
    share = rng.dirichlet(np.full(int(np.prod(shape)), 2.0), count).reshape(count, *shape)
    target = np.zeros((count, 5), np.float32)
    target[:, 0], target[:, 1], target[:, 4] = 11, energy, energy
    return (0.02 * energy[:, None, None, None] * share).astype(np.float32), target


def save(path, cells, target, **storage):
    with h5py.File(path, "w") as file:
        file.create_dataset("ECAL", data=cells, **storage)
        file["target"] = target
    return path


@pytest.fixture
def write(tmp_path):
    """Write a sound file, after `change(cells, target)` if given: write("a.h5", change)."""

    def write(name="a.h5", change=lambda cells, target: None, *, seed=0, shape=SHAPE, **storage):
        cells, target = sound(seed=seed, shape=shape)
        change(cells, target)
        return save(tmp_path / name, cells, target, **storage)

    return write


def faults(path, **criteria):
    (check,) = check_files([path], Criteria(**criteria))
    return check.faults


def test_a_sound_file_has_no_faults(write):
    (check,) = check_files([write()], Criteria())
    assert check.figures() == {
        "sound": True,
        "layout": "lcd",
        "showers": COUNT,
        "image_shape": [3, 4, 5],
        "further_images": {},
        "median_sampling_fraction": pytest.approx(0.02),
        "faults": [],
        "notes": [],
    }


def negative_cells(cells, target):
    cells[4, 0, 0, :2] = -1e-3
    cells[7, 0, 0, 0] = -1e-3


def infinite_cell(cells, target):
    cells[5, 1, 1, 1] = np.inf


def not_a_number(cells, target):
    cells[[5, 6], 1, 1, 1] = np.nan


def no_energy(cells, target):
    target[[0, 3], 1] = 0.0
    target[9, 1] = np.nan


def empty(cells, target):
    cells[8] = 0.0
    cells[11] = 1e-9


def too_much(cells, target):
    cells[[12, 13]] *= 3.5


def too_little(cells, target):
    cells[2] /= 3.5


def copied(cells, target):
    cells[15], target[15] = cells[3], target[3]


@pytest.mark.parametrize(
    ("change", "kind", "showers", "first", "text"),
    [
        (negative_cells, "negative", 2, 4, r"3 cells with negative energy in 2 showers: .*first"),
        (infinite_cell, "not_finite", 1, 5, r"1 cell with .* not finite in 1 shower: shower 5"),
        (not_a_number, "not_finite", 2, 5, r"2 cells with .* not finite in 2 showers"),
        (no_energy, "energy", 3, 0, r"3 showers without positive incident energy"),
        (empty, "empty", 2, 8, r"2 showers without a cell of at least 1e-06 GeV: the first is 8"),
        (too_much, "fraction", 2, 12, r"2 showers .* 3 times off .* of 2 % \(7 % in the first\)"),
        (too_little, "fraction", 1, 2, r"1 shower .* \(0\.571 % in the first\): shower 2"),
        (copied, "duplicate", 1, 15, r"^shower 15 is a copy of shower 3$"),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 10**6])
def test_a_wrong_shower_is_found(
    write, monkeypatch, change, kind, showers, first, text, block_bytes
):
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", block_bytes)
    (fault,) = faults(write(change=change))
    assert (fault.kind, fault.showers, fault.first) == (kind, showers, first)
    assert re.search(text, fault.text), fault.text


@pytest.mark.parametrize("column", ["theta", "mtheta"])
@pytest.mark.parametrize("bad", [75.0, np.nan])
def test_an_angle_that_is_not_in_rad_is_found(write, column, bad):
    path = write()
    angle = np.linspace(1.0, 3.1, COUNT, dtype=np.float32)
    for values, count in ((angle, 0), (np.where(np.arange(COUNT) < 4, angle, bad), COUNT - 4)):
        with h5py.File(path, "r+") as file:
            if column in file:
                del file[column]
            file[column] = values
        found = faults(path)
        assert [(each.kind, each.showers, each.first) for each in found] == [
            ("angle", count, 4)
        ] * bool(count)
        assert not found or f"'{column}' beyond pi" in found[0].text


def test_criteria_can_be_changed(write):
    assert faults(write(change=too_much), fraction_factor=4.0) == []
    found = faults(write(change=empty), threshold_gev=1e-10)
    assert [(fault.kind, fault.first) for fault in found] == [("empty", 8), ("fraction", 11)]
    assert faults(write(), fraction_factor=1.0 + 1e-9, largest_fraction=0.01)[0].kind == "fraction"


def test_energies_in_two_units_are_noticed(write):
    def mev(cells, target):
        cells *= 1000

    (fault,) = faults(write(change=mev))
    assert (
        fault.text == "the sum of cells is 20 times the incident energy (median): not the same unit"
    )


@pytest.mark.parametrize(("scale", "percent"), [(10, "20"), (0.1, "0.2")])
def test_a_file_in_another_unit_than_the_others_is_noticed(write, scale, percent):
    def other_unit(cells, target):
        cells *= scale

    paths = [write("a.h5", seed=1), write("b.h5", other_unit, seed=2), write("c.h5", seed=3)]
    checks = check_files(paths, Criteria())
    assert [[fault.kind for fault in check.faults] for check in checks] == [[], ["fraction"], []]
    text = f"{percent} %, more than 3 times off the 2 % of other files"
    assert text in checks[1].faults[0].text


def test_a_cell_at_the_threshold_is_kept_as_in_training(write):
    def half_a_gev(cells, target):
        cells[4, 0, 0, 0] = 0.5

    for threshold_gev, empty_showers in ((0.5, COUNT - 1), (0.51, COUNT)):
        found = faults(write(change=half_a_gev), threshold_gev=threshold_gev)
        assert [f.showers for f in found if f.kind == "empty"] == [empty_showers]


def test_showers_with_a_fault_are_not_taken_for_copies(write):
    def alike(cells, target):
        cells[4:8], target[4:8] = cells[3], target[3]
        cells[[4, 5]] = 0
        cells[[6, 7], 0, 0, 0] = -1

    kinds = [(fault.kind, fault.showers) for fault in faults(write(change=alike))]
    assert kinds == [("negative", 2), ("empty", 2)]


def test_a_shower_has_one_fault(write):
    def only_negative(cells, target):
        cells[4] = 0
        cells[4, 0, 0, 0] = -1

    assert [fault.kind for fault in faults(write(change=only_negative))] == ["negative"]


def test_a_damaged_chunk_costs_its_showers_alone(write):
    path = write(change=negative_cells, chunks=(4, *SHAPE), compression="gzip")
    damage(path, 8)
    unreadable, negative = faults(path)
    assert (unreadable.kind, unreadable.showers, unreadable.first) == ("unreadable", 4, 8)
    assert unreadable.text.startswith("4 showers cannot be read: 8 to 11 (")
    assert negative.showers == 2


def test_many_damaged_chunks_are_counted(write):
    path = write(chunks=(2, *SHAPE), compression="gzip")
    for row in (2, 4, 8, 12, 16):
        damage(path, row)
    (fault,) = faults(path)
    assert (fault.showers, fault.first) == (10, 2)
    assert fault.text.startswith("10 showers cannot be read: 2 to 5, 8 to 9, 12 to 13 and 1 more")


def damage(path, row):
    """Overwrite what is stored of the chunk with shower `row`."""
    with h5py.File(path) as file:
        chunk = file["ECAL"].id.get_chunk_info_by_coord((row, 0, 0, 0))
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * chunk.size)


def test_files_that_cannot_be_opened_do_not_end_the_search(write, tmp_path):
    empty_file, truncated = tmp_path / "a.h5", tmp_path / "b.h5"
    empty_file.touch()
    truncated.write_bytes(write("c.h5").read_bytes()[:1000])
    paths = [empty_file, truncated, tmp_path / "missing.h5", write("c.h5", negative_cells)]
    checks = check_files(paths, Criteria())
    kinds = [[fault.kind for fault in check.faults] for check in checks]
    assert kinds == [["unopenable"], ["unopenable"], ["unopenable"], ["negative"]]
    assert checks[0].faults[0].text.startswith("is empty (0 bytes)")


def test_a_file_of_another_geometry_than_most_is_noticed(write):
    paths = [
        write("a.h5", shape=(5, 4, 3), seed=1),
        write("b.h5", seed=2),
        write("c.h5", seed=3),
    ]
    checks = check_files(paths, Criteria())
    assert [len(check.faults) for check in checks] == [1, 0, 0]
    assert checks[0].faults[0].text == "5×4×3 cells, other files have 3×4×5"


def test_a_geometry_that_is_asked_for_is_required(write):
    assert faults(write(), shape=SHAPE) == []
    (fault,) = faults(write(), shape=(5, 4, 3))
    assert "3×4×5" in fault.text


def test_a_copy_in_another_file_is_laid_to_the_later_file(write, tmp_path):
    first, (cells, target) = write("a.h5"), sound(seed=1)
    cells[[2, 6]], target[[2, 6]] = sound()[0][[9, 4]], sound()[1][[9, 4]]
    checks = check_files([first, save(tmp_path / "b.h5", cells, target)], Criteria())
    assert checks[0].faults == []
    (fault,) = checks[1].faults
    assert fault.text == (
        f"2 showers are also in {first}: shower 2 is a copy of shower 9 of {first}"
    )


def test_copies_are_of_the_first_of_all(write):
    def three_copies(cells, target):
        for row in (5, 8, 13):
            cells[row], target[row] = cells[2], target[2]

    (fault,) = faults(write("b.h5", three_copies))
    assert fault.text == (
        "3 showers are copies of earlier ones in this file: shower 5 is a copy of shower 2"
    )


def test_a_copy_of_a_copy_is_laid_to_the_first(write, tmp_path):
    cells, target = sound()
    paths = [save(tmp_path / f"{name}.h5", cells, target) for name in "abc"]
    checks = check_files(paths, Criteria())
    assert checks[2].faults[0].text == f"all 20 showers are also in {paths[0]}"


def test_copies_of_several_files_are_counted_together(write, tmp_path):
    paths = [write(f"{name}.h5", seed=seed) for seed, name in enumerate("abc")]
    parts = [sound(seed=seed) for seed in range(3)]
    cells, target = (np.concatenate([part[which] for part in parts]) for which in (0, 1))
    merged = save(tmp_path / "d.h5", cells, target)
    checks = check_files([*paths, merged], Criteria())
    (fault,) = checks[3].faults
    assert fault.text == f"all 60 showers are also in {paths[0]} and 2 other files"


def test_a_copy_inside_a_copied_file_is_told_too(write):
    paths = [write("a.h5", copied), write("b.h5", copied)]
    first, second = check_files(paths, Criteria())
    assert [fault.text for fault in first.faults] == ["shower 15 is a copy of shower 3"]
    assert [fault.text for fault in second.faults] == [
        f"all 20 showers are also in {paths[0]}",
        "shower 15 is a copy of shower 3",
    ]


@pytest.mark.parametrize("layout", ["lcd", "challenge", "parquet"])
def test_every_format_is_checked(tmp_path, layout):
    cells, target = sound()
    cells[4] = 5e-7  # GeV: below the threshold, but not as MeV
    path = tmp_path / "a"
    showers = Showers(cells, target[:, 1])
    write_showers(path, [showers], layout=layout, attributes={})
    (check,) = check_files([path], Criteria(shape=SHAPE))
    assert (check.layout, check.showers, check.image_shape) == (layout, COUNT, SHAPE)
    assert [(fault.kind, fault.first) for fault in check.faults] == [("empty", 4)]


@pytest.mark.parametrize(
    ("one", "other", "unit_gev"), [("lcd", "parquet", 1.0), ("challenge", "parquet", 1e-3)]
)
def test_copies_are_found_across_formats(tmp_path, one, other, unit_gev):
    cells, target = sound()
    showers = Showers(cells, target[:, 1])
    for layout in (one, other):
        write_showers(tmp_path / layout, [showers], layout=layout, attributes={}, unit_gev=unit_gev)
    checks = check_files([tmp_path / one, tmp_path / other], Criteria(shape=SHAPE))
    assert checks[0].faults == []
    assert [(fault.kind, fault.showers) for fault in checks[1].faults] == [("duplicate", COUNT)]


def test_a_damaged_shard_costs_its_row_group_alone(tmp_path):
    cells, target = sound()
    path = tmp_path / "a.parquet"
    showers = Showers(cells, target[:, 1])
    write_showers(path, [showers], layout="parquet", attributes={}, chunk_showers=5)
    column = pq.ParquetFile(path).metadata.row_group(2).column(0)
    with path.open("r+b") as file:
        file.seek(column.data_page_offset)
        file.write(b"\xff" * column.total_compressed_size)
    (fault,) = faults(path)
    assert (fault.kind, fault.showers, fault.first) == ("unreadable", 5, 10)


@pytest.mark.parametrize("change", ["cell", "energy", "swap"])
def test_a_shower_that_differs_in_one_number_is_no_copy(write, tmp_path, change):
    cells, target = sound()
    cells[1], target[1] = cells[0], target[0]
    if change == "cell":
        cells[1, 0, 0, 0] = np.nextafter(cells[1, 0, 0, 0], np.float32(1))
    elif change == "energy":
        target[1, 1] = np.nextafter(target[1, 1], np.float32(1000))
    else:
        cells[1, 0, 0, :2] = cells[1, 0, 0, 1::-1]
    assert faults(save(tmp_path / "a.h5", cells, target)) == []


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=4))
def test_every_copy_and_nothing_else_is_found(files):
    cells, target = sound(6)
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            save(Path(folder) / f"{number}.h5", cells[rows], target[rows])
            for number, rows in enumerate(files)
        ]
        checks = check_files(paths, Criteria())
    seen = set()
    for rows, check in zip(files, checks, strict=True):
        elsewhere = [at for at, row in enumerate(rows) if row in seen]
        twice = [at for at, row in enumerate(rows) if row in rows[:at]]
        seen.update(rows)
        found = [(fault.showers, fault.first) for fault in check.faults]
        assert found == [(len(copies), copies[0]) for copies in (elsewhere, twice) if copies]


def with_hcal(path, change=lambda hcal: hcal, name="HCAL"):
    """Put a second image beside the ECAL of a file, sparse as a hadronic calorimeter's."""
    hcal = np.zeros((COUNT, 2, 3, 4), np.float32)
    hcal[::2, 0, 0, 0] = 0.1
    with h5py.File(path, "r+") as file:
        file[name] = change(hcal)
    return path


def nan_in_shower_3(hcal):
    hcal[3, 1, 1, 1] = np.nan
    return hcal


def negative_in_shower_6(hcal):
    hcal[6, 0, 0, 1] = -1.0
    return hcal


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (
            nan_in_shower_3,
            "not_finite",
            "1 cell of HCAL with an energy that is not finite in 1 shower: shower 3",
        ),
        (
            negative_in_shower_6,
            "negative",
            "1 cell of HCAL with negative energy in 1 shower: shower 6",
        ),
        (
            lambda hcal: hcal[:-4],
            "image",
            "its image HCAL cannot be read: 'HCAL' holds 16 showers but 'target' 20",
        ),
    ],
)
def test_a_further_image_is_held_to_the_same_rules(write, change, kind, text):
    (fault,) = faults(with_hcal(write(), change))
    assert (fault.kind, fault.text) == (kind, text)


def test_the_same_fault_of_the_first_image_names_it_where_there_are_two(write):
    (fault,) = faults(with_hcal(write(change=negative_cells)))
    assert fault.text.startswith("3 cells of ECAL with negative energy in 2 showers")


def test_what_was_read_of_a_file_with_two_images_is_said(write):
    path = with_hcal(write())
    with h5py.File(path, "r+") as file:
        file["extra"] = np.ones((COUNT, 7))
    told = []
    (check,) = check_files([path], Criteria(), lambda *args: told.append(args))
    assert check.faults == []
    assert check.further == {"HCAL": (2, 3, 4)}
    assert check.notes == [
        "several images of a shower were read: ECAL, HCAL of 2×3×4 cells",
        "not read: 'extra', neither cells nor a number a shower",
    ]
    assert told[-1] == (2 * COUNT, 2 * COUNT)


def test_a_further_image_of_another_geometry_than_in_most_files_is_noticed(write):
    paths = [with_hcal(write(f"{name}.h5", seed=seed)) for seed, name in enumerate("abc")]
    with h5py.File(paths[1], "r+") as file:
        del file["HCAL"]
        file["HCAL"] = np.zeros((COUNT, 2, 3, 5), np.float32)
    found = [[fault.text for fault in check.faults] for check in check_files(paths, Criteria())]
    assert found == [[], ["HCAL of 2×3×5 cells, other files have 2×3×4"], []]


def test_every_image_of_a_shard_is_checked(tmp_path, monkeypatch):
    monkeypatch.setattr("gan3d.data.writer._check_values", lambda *args: None)  # others write them
    images = Images({"ECAL": SHAPE, "HCAL": (2, 2, 2)})
    cells, target = sound()
    whole = np.zeros((COUNT, *images.shape), np.float32)
    whole[:, : np.prod(SHAPE), 0, 0] = cells.reshape(COUNT, -1)
    whole[5, -1] = np.inf
    size_mm = (1.0, 1.0, 1.0)
    write_showers(
        tmp_path / "a.parquet",
        [Showers(whole, target[:, 1])],
        layout="parquet",
        attributes={},
        geometries={
            name: Geometry(shape=shape, cell_size_mm=size_mm)
            for name, shape in images.shapes.items()
        },
    )
    (fault,) = faults(tmp_path / "a.parquet")
    assert (fault.kind, fault.first) == ("not_finite", 5)
    assert fault.text.startswith("1 cell of HCAL")


def test_a_mixture_of_particles_is_worth_a_note_and_no_fault(write):
    def mixed(cells, target):
        target[::2, 0] = 22

    (check,) = check_files([write(change=mixed)], Criteria())
    assert check.faults == []
    (note,) = check.notes
    assert note.startswith("holds several particles, PDG codes 11, 22: ")


def test_progress_counts_the_showers_of_all_files(write):
    told = []
    check_files([write("a.h5"), write("b.h5", seed=1)], Criteria(), lambda *args: told.append(args))
    assert told[-1] == (2 * COUNT, 2 * COUNT)


def test_progress_counts_what_cannot_be_read_too(write):
    path, told = write(chunks=(4, *SHAPE), compression="gzip"), []
    damage(path, 8)
    check_files([path], Criteria(), lambda *args: told.append(args))
    assert told[-1] == (COUNT, COUNT)

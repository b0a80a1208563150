from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config import Data, Geometry, Split
from gan3d.data import FileRows, count_showers, divide, shard
from gan3d.errors import DataError

SHAPE = (3, 4, 5)


def data_section(files, **split):
    return Data(
        files=[str(path) for path in files], geometry=Geometry(shape=SHAPE), split=Split(**split)
    )


def names(part):
    """Every shower of `part` as (file, row), in order."""
    return [(piece.path, int(row)) for piece in part for row in piece.rows]


@st.composite
def parts(draw):
    sizes = draw(st.lists(st.integers(1, 30), min_size=1, max_size=6))
    pieces = []
    for number, size in enumerate(sizes):
        rows = draw(st.sets(st.integers(0, 40), min_size=size, max_size=size))
        pieces.append(FileRows(Path(f"{number}.h5"), np.array(sorted(rows), np.int64)))
    return tuple(pieces)


@given(part=parts(), size=st.integers(1, 12))
def test_shards_are_contiguous_disjoint_complete_and_of_nearly_one_size(part, size):
    if count_showers(part) < size:
        with pytest.raises(DataError, match=f"{size} ranks but only {count_showers(part)} showers"):
            shard(part, 0, size)
        return
    shards = [shard(part, rank, size) for rank in range(size)]
    assert [name for each in shards for name in names(each)] == names(part)
    counts = [count_showers(each) for each in shards]
    assert max(counts) - min(counts) <= 1
    assert all(len(piece) for each in shards for piece in each)


@pytest.fixture
def three_files(lcd_file):
    return [lcd_file(f"{n}.h5", count, first=100 * n) for n, count in enumerate((10, 25, 5))]


@pytest.mark.parametrize(
    ("fractions", "expected"),
    [
        ((0.9, 0.1), (36, 4)),
        ((0.5, 0.25), (20, 10)),
        ((1.0, 0.0), (40, 0)),
        ((0.0001, 0.9), (1, 36)),
    ],
)
def test_rows_are_divided_by_fraction(three_files, fractions, expected):
    train, validation = fractions
    division = divide(three_files, data_section(three_files, train=train, validation=validation))
    assert (count_showers(division.train), count_showers(division.validation)) == expected
    assert not set(names(division.train)) & set(names(division.validation))


@given(seed=st.integers(0, 2**32), train=st.floats(0.01, 1.0), share=st.floats(0.0, 1.0))
@pytest.mark.parametrize("by", ["row", "file"])
def test_a_division_is_disjoint_repeatable_and_in_file_order(
    by, tmp_path_factory, sized_files, seed, train, share
):
    files, counts = sized_files
    section = data_section(files, by=by, seed=seed, train=train, validation=(1 - train) * share)
    try:
        division = divide(files, section)
    except DataError as error:
        assert "leaves nothing to train on" in str(error)  # noqa: PT017 (both outcomes are right)
        return
    again = divide(files, section)
    train_names, held_out = names(division.train), names(division.validation)
    assert train_names == names(again.train)
    assert held_out == names(again.validation)
    for part in (train_names, held_out):
        assert part == sorted(part)
        assert len(set(part)) == len(part)
    assert not set(train_names) & set(held_out)
    assert train_names
    if section.split.validation > 0:
        assert held_out
    if by == "file":
        assert not {path for path, _ in train_names} & {path for path, _ in held_out}
        for path in {path for path, _ in train_names + held_out}:
            assert sum(name[0] == path for name in train_names + held_out) == counts[path]


@pytest.fixture(scope="module")
def sized_files(tmp_path_factory):
    import h5py

    folder = tmp_path_factory.mktemp("sized")
    counts = {}
    for number, count in enumerate((4, 1, 7)):
        path = folder / f"{number}.h5"
        with h5py.File(path, "w") as file:
            file["ECAL"] = np.zeros((count, *SHAPE), np.float32)
            file["target"] = np.full((count, 5), 11, np.float32)
        counts[path] = count
    return list(counts), counts


@pytest.mark.parametrize("by", ["row", "file"])
def test_fractions_that_add_up_to_one_leave_nothing_out(three_files, by):
    section = data_section(three_files, by=by, train=0.6, validation=0.4)
    division = divide(three_files, section)
    counts = dict(zip(three_files, (10, 25, 5), strict=True))
    every = [(path, row) for path, count in counts.items() for row in range(count)]
    assert sorted(names(division.train) + names(division.validation)) == every


def test_another_seed_gives_another_division(three_files):
    one, other = (divide(three_files, data_section(three_files, seed=seed)) for seed in (0, 1))
    assert names(one.validation) != names(other.validation)


def test_one_file_cannot_be_divided_by_file(three_files):
    with pytest.raises(
        DataError, match=r"by file\) leaves nothing to train on: 1 file, 1 held out"
    ):
        divide(three_files[:1], data_section(three_files[:1], by="file"))


def test_held_out_files_are_used_whole_and_leave_all_else_for_training(three_files):
    section = data_section(three_files[:2]).model_copy(
        update={"validation_files": [str(three_files[2])]}
    )
    division = divide(three_files[:2], section)
    assert (count_showers(division.train), count_showers(division.validation)) == (35, 5)
    assert {piece.path for piece in division.validation} == {three_files[2]}


def test_a_file_cannot_be_trained_on_and_held_out(three_files):
    section = data_section(three_files).model_copy(
        update={"validation_files": [str(three_files[1])]}
    )
    with pytest.raises(DataError, match=r"1\.h5: named both in data.files and in data.validation"):
        divide(three_files, section)


def test_all_files_are_checked_before_anything_is_divided(three_files, lcd_file):
    bad = lcd_file("z.h5", shape=(2, 2, 2))
    with pytest.raises(DataError, match=r"z\.h5: images have 2×2×2 cells, expected 3×4×5"):
        divide([*three_files, bad], data_section([*three_files, bad]))

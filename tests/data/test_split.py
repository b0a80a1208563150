from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d.config import Split
from gan3d.data import Survey, divide, whole
from gan3d.data.survey import FileEntry
from gan3d.errors import DataError

FRACTIONS = st.floats(0.01, 1.0)


def entries(counts, block_rows=4):
    return tuple(
        FileEntry(Path(f"{number}.h5"), count, block_rows, 1, 1.0)
        for number, count in enumerate(counts)
    )


def names(part):
    """Every shower of `part` as (file, row), in order."""
    return [
        (int(part.file_b[block]), int(row))
        for block in range(len(part.count_b))
        for row in part.rows(block)
    ]


def numbers(part):
    """Every shower of `part`, counted over all files."""
    return [int(part.offset_f[file]) + row for file, row in names(part)]


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 3000), min_size=1, max_size=4),
    block_rows=st.integers(50, 700),
    train=FRACTIONS,
    share=st.floats(0.0, 1.0),
    by=st.sampled_from(["row", "file"]),
    seed=st.integers(0, 2**32),
)
def test_a_division_is_disjoint_repeatable_in_file_order_and_of_the_sizes_asked_for(
    counts, block_rows, train, share, by, seed
):
    split = Split(by=by, seed=seed, train=train, validation=(1 - train) * share)
    files = Survey(entries(counts, block_rows))
    total = sum(counts) if by == "row" else len(counts)
    held_out = max(1, round(split.validation * total)) if split.validation else 0
    trained = min(max(1, round(split.train * total)), total - held_out)
    if trained < 1:
        with pytest.raises(DataError, match="leaves nothing to train on"):
            divide(files, split)
        return
    division, again = divide(files, split), divide(files, split)
    train_names, heldout_names = names(division.train), names(division.validation)
    assert (train_names, heldout_names) == (names(again.train), names(again.validation))
    for part, part_names in ((division.train, train_names), (division.validation, heldout_names)):
        assert part_names == sorted(set(part_names))
        assert all(row < counts[file] for file, row in part_names)
        assert len(part) == len(part_names)
        assert list(part.count_b) == [len(part.rows(b)) for b in range(len(part.count_b))]
        assert (part.count_b > 0).all()
    assert not set(train_names) & set(heldout_names)
    if by == "row":
        assert (len(train_names), len(heldout_names)) == (trained, held_out)
    else:
        sides = [{file for file, _ in each} for each in (train_names, heldout_names)]
        assert not sides[0] & sides[1]
        assert [len(side) for side in sides] == [trained, held_out]
        for file in sides[0] | sides[1]:
            whole_file = [(file, row) for row in range(counts[file])]
            assert [n for n in train_names + heldout_names if n[0] == file] == whole_file


@settings(deadline=None, max_examples=20)
@given(
    cut=st.integers(1, 2499),
    block_rows=st.integers(1, 300),
    seed=st.integers(0, 5),
    train=FRACTIONS,
)
def test_the_same_showers_are_held_out_however_files_are_cut(cut, block_rows, seed, train):
    split = Split(seed=seed, train=train, validation=min(0.3, 1 - train))
    if split.validation == 0:
        return
    one = divide(Survey(entries([2500], 100)), split)
    other = divide(Survey(entries([cut, 2500 - cut], block_rows)), split)
    assert numbers(one.train) == numbers(other.train)
    assert numbers(one.validation) == numbers(other.validation)


def test_every_thousand_of_rows_gives_its_share():
    division = divide(Survey(entries([10_000])), Split(train=0.8, validation=0.1))
    for part, expected in ((division.train, 800), (division.validation, 100)):
        per_thousand = np.bincount(np.array(numbers(part)) // 1000)
        assert list(per_thousand) == [expected] * 10


def test_which_rows_are_held_out_is_drawn_at_random():
    rows = np.array(numbers(divide(Survey(entries([10_000])), Split()).validation)) % 1000
    # Uniform: mean 499.5, standard error 288.7 / sqrt(1000) = 9.
    assert abs(rows.mean() - 499.5) < 45
    # Others in every thousand: 651 of ten times 100 are different by chance.
    assert 550 < len(set(rows)) < 750
    other = np.array(numbers(divide(Survey(entries([10_000])), Split(seed=1)).validation)) % 1000
    assert len(set(rows[:100]) & set(other[:100])) < 50


def test_which_files_are_held_out_follows_from_the_seed():
    def held_out(seed):
        split = Split(by="file", seed=seed, train=0.9, validation=0.1)
        return {file for file, _ in names(divide(Survey(entries([1] * 20)), split).validation)}

    assert held_out(1) == held_out(1)
    # Two of twenty: all ten the same by chance once in 190^9.
    assert len({frozenset(held_out(seed)) for seed in range(10)}) > 1


def test_fractions_that_add_up_to_one_leave_nothing_out():
    for by in ("row", "file"):
        files = Survey(entries((10, 25, 5)))
        division = divide(files, Split(by=by, train=0.6, validation=0.4))
        every = sorted(names(division.train) + names(division.validation))
        assert every == names(whole(files.files))


def test_one_file_cannot_be_divided_by_file():
    with pytest.raises(
        DataError, match=r"by file\) leaves nothing to train on: 1 file, 1 held out"
    ):
        divide(Survey(entries([9])), Split(by="file"))


def test_held_out_files_are_used_whole_and_leave_all_else_for_training():
    files = Survey(entries([10, 25]), validation_files=entries([5]))
    division = divide(files, Split(train=0.1))
    assert (len(division.train), len(division.validation)) == (35, 5)
    assert division.validation.files == files.validation_files


def test_a_part_without_some_files_has_all_of_the_others():
    part = whole(entries([10, 3, 7]))
    assert names(part.without([1])) == [n for n in names(part) if n[0] != 1]
    assert names(part.without([])) == names(part)


@given(
    counts=st.lists(st.integers(1, 1500), min_size=2, max_size=4),
    folds=st.integers(2, 5),
    by=st.sampled_from(["row", "file"]),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=25)
def test_every_shower_is_held_out_in_one_fold(counts, folds, by, seed):
    files = Survey(entries(counts, 300))
    splits = [Split(by=by, seed=seed, folds=folds, fold=fold) for fold in range(folds)]
    if folds > (sum(counts) if by == "row" else len(counts)):
        with pytest.raises(DataError, match=r"data\.split\.folds is"):
            divide(files, splits[0])
        return
    divisions = [divide(files, split) for split in splits]
    held_out = [names(division.validation) for division in divisions]
    everything = sorted(names(whole(files.files)))
    assert sorted(each for mine in held_out for each in mine) == everything
    for division, mine in zip(divisions, held_out, strict=True):
        assert sorted(names(division.train) + mine) == everything
        assert len(division.validation) == len(mine)
        assert len(division.train) == len(everything) - len(mine)
    if by == "row":
        # Within one of each thousand showers.
        sizes = [len(mine) for mine in held_out]
        assert max(sizes) - min(sizes) <= len(everything) // 1000 + 1

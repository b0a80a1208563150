import ctypes
import dataclasses
import itertools
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan3d.config import Data, Geometry
from gan3d.data import ShowerLoader, open_for, read_part, sample_sums, survey_files, whole
from gan3d.data.blocks import BlockReader
from gan3d.errors import DataError

SHAPE = (3, 4, 5)


@pytest.fixture
def part(lcd_file, tmp_path, monkeypatch):
    """A function that makes files of these sizes; incident energies number their showers."""
    # Blocks of at most three showers, so that small files have several.
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", 3 * 4 * int(np.prod(SHAPE)))

    def make(sizes, chunk=3):
        first = 0
        for path in tmp_path.glob("*.h5"):
            path.unlink()
        for number, count in enumerate(sizes):
            chunks = (min(count, chunk), *SHAPE)
            lcd_file(f"{number}.h5", count, first=first, chunks=chunks, compression="gzip")
            first += count
        return whole(survey_files(section([str(tmp_path / "*.h5")])).files)

    return make


def section(files=("unused",), **changes):
    settings = {"geometry": Geometry(shape=SHAPE), "threshold_gev": 0.0, "shuffle_window": 7}
    return Data(files=list(files), **(settings | changes))


@pytest.fixture
def loaders():
    """A function that makes loaders, which are closed in the end."""
    made = []

    def make(part, batch_size=2, rank=0, size=1, seed=0, skipped=(), last_epoch=None, **data):
        made.append(
            ShowerLoader(
                part,
                section(**data),
                batch_size=batch_size,
                rank=rank,
                size=size,
                seed=seed,
                skipped=skipped,
                last_epoch=last_epoch,
            )
        )
        return made[-1]

    yield make
    for loader in made:
        loader.close()


def energies(batches):
    return [list(batch.energy_n) for batch in batches]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    size=st.integers(1, 4),
    batch_size=st.integers(1, 4),
    window=st.integers(1, 30),
    workers=st.integers(0, 2),
    shuffle=st.booleans(),
    epoch=st.integers(0, 10**6),
)
def test_an_epoch_reads_every_shower_once_but_for_the_remainder(
    part, loaders, sizes, size, batch_size, window, workers, shuffle, epoch
):
    total = sum(sizes)
    showers = part(sizes)
    steps = total // (size * batch_size)
    if steps == 0:
        with pytest.raises(DataError, match=f"training.batch_size is {batch_size}"):
            loaders(showers, batch_size, size=size)
        return
    seen = []
    for rank in range(size):
        loader = loaders(
            showers, batch_size, rank, size,
            shuffle_window=window, workers=workers, shuffle=shuffle,
        )  # fmt: skip
        assert loader.steps_per_epoch == steps
        batches = list(loader.epoch(epoch))
        assert len(batches) == steps
        for batch in batches:
            assert len(batch) == batch_size
            assert batch.images_nxyz.dtype == batch.energy_n.dtype == np.float32
            # Image and energy of one shower stay together.
            np.testing.assert_allclose(batch.images_nxyz[:, 1, 1, 1], batch.energy_n * 1e-6)
            assert np.count_nonzero(batch.images_nxyz) == batch_size
            seen += list(batch.energy_n)
        assert loader.passed == steps * batch_size
        loader.close()
    assert len(seen) == len(set(seen)) == size * batch_size * steps
    assert set(seen) <= set(range(1, total + 1))
    if not shuffle:
        assert seen == list(range(1, len(seen) + 1))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
@given(
    epoch=st.integers(0, 100),
    first=st.integers(0, 5),
    second=st.integers(1, 6),
    window=st.integers(1, 30),
    workers=st.integers(0, 2),
    rank=st.integers(0, 1),
)
def test_an_epoch_that_is_resumed_twice_gives_the_batches_that_were_left(
    part, loaders, epoch, first, second, window, workers, rank
):
    showers = part([13, 20, 11])
    place = {"rank": rank, "size": 2, "shuffle_window": window, "workers": workers}
    whole_epoch = energies(loaders(showers, **place).epoch(epoch))
    seen, passed = [], 0
    for taken in (first, second, None):
        loader = loaders(showers, **place)
        seen += energies(itertools.islice(loader.epoch(epoch, passed), taken))
        passed = loader.passed
        loader.close()
    assert seen == whole_epoch


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    taken=st.lists(st.integers(0, 4), min_size=3, max_size=3),
    epoch=st.integers(0, 50),
    window=st.integers(1, 30),
    shuffle=st.booleans(),
)
def test_ranks_that_change_in_number_share_what_is_left_of_the_epoch(
    part, loaders, sizes, taken, epoch, window, shuffle
):
    showers = part([13, 20, 11])
    place = {"shuffle_window": window, "shuffle": shuffle, "workers": 0}
    seen, divisions = [], []
    for size, steps in zip(sizes, [*taken[: len(sizes) - 1], None], strict=True):
        ranks = [loaders(showers, rank=0, size=1, **place) for _ in range(size)]
        passed = []
        for rank, loader in enumerate(ranks):
            loader.join(rank, size, epoch=epoch, divisions=divisions)
            batches = loader.epoch(epoch)
            given_out = list(itertools.islice(batches, steps))
            if steps is None:
                assert len(given_out) == loader.steps(epoch)
            seen += energies(given_out)
            passed.append(loader.passed)
        assert len(set(passed)) == 1, "a rank has had more batches than another"
        divisions.append(passed)
    flat = [energy for batch in seen for energy in batch]
    assert len(set(flat)) == len(flat), "a shower came twice"
    assert 44 - len(flat) < sizes[-1] * 2, "showers were left out"
    # The next epoch is whole again.
    following = [energies(loader.epoch(epoch + 1)) for loader in ranks]
    expected = [
        energies(loaders(showers, rank=r, size=len(ranks), **place).epoch(epoch + 1))
        for r in range(len(ranks))
    ]
    assert following == expected


def test_going_on_among_the_ranks_that_are_left_reads_ahead_into_the_next_epoch(part, loaders):
    showers = part([20, 20])
    loader = loaders(showers, workers=1, shuffle_window=100)
    batches = loader.epoch(0)
    before = energies(next(batches) for _ in range(3))
    loader.join(0, 1, epoch=0, divisions=[[loader.passed]])
    after = energies(loader.epoch(0))
    assert sorted(itertools.chain(*before, *after)) == sorted(
        itertools.chain(*energies(loaders(showers).epoch(0)))
    )
    assert energies(loader.epoch(1)) == energies(loaders(showers, shuffle_window=100).epoch(1))


def test_epochs_follow_one_another_whatever_was_read_ahead(part, loaders):
    showers = part([20, 20])
    one = loaders(showers)
    in_a_row = [energies(one.epoch(epoch)) for epoch in range(3)]
    assert in_a_row == [energies(loaders(showers).epoch(epoch)) for epoch in range(3)]
    assert in_a_row[0] != in_a_row[1]
    assert energies(one.epoch(0)) == in_a_row[0]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_number_of_workers_does_not_change_the_showers(part, loaders, workers):
    showers = part([20, 17])
    expected = energies(loaders(showers, workers=0).epoch(5))
    assert energies(loaders(showers, workers=workers).epoch(5)) == expected


def test_no_more_than_the_next_epoch_is_read_ahead(part, loaders, monkeypatch):
    asked = []
    submit = ShowerLoader._submit
    monkeypatch.setattr(
        ShowerLoader, "_submit", lambda self, it: (asked.append(it.piece), submit(self, it))[1]
    )
    loader = loaders(part([20]), shuffle_window=1000)
    for epoch in range(3):
        for _ in loader.epoch(epoch):
            assert sum(map(len, asked)) == 20 * (epoch + 2)


@pytest.mark.parametrize("window", [1, 6, 20, 1000])
def test_no_more_is_held_than_the_window_and_what_is_read_ahead(part, loaders, monkeypatch, window):
    asked = []
    submit = ShowerLoader._submit

    def count(self, planned):
        asked.append(len(planned.piece))
        return submit(self, planned)

    monkeypatch.setattr(ShowerLoader, "_submit", count)
    loader = loaders(part([60]), batch_size=1, shuffle_window=window)
    for epoch in range(2):
        for given_out, _ in enumerate(loader.epoch(epoch), start=1):
            # Blocks have three showers; room for a quarter of a window or two of them.
            assert sum(asked) - (60 * epoch + given_out) <= window + max(window // 4, 6)


@pytest.mark.parametrize("window", [1, 6, 20])
@pytest.mark.parametrize("bad", [False, True])
def test_as_much_is_read_ahead_as_there_is_room_for(part, loaders, monkeypatch, window, bad):
    asked = []
    submit = ShowerLoader._submit

    def count(self, planned):
        asked.append(len(planned.piece))
        return submit(self, planned)

    monkeypatch.setattr(ShowerLoader, "_submit", count)
    showers = part([30, 30, 30])
    if bad:
        showers.files[1].path.unlink()
    loader = loaders(showers, batch_size=1, shuffle_window=window, on_bad_file="skip")
    room = window + max(window // 4, 6)
    for _ in loader.epoch(0):
        # Up to the end of the next epoch; in what is left no other block of three has room.
        assert sum(asked) == 180 or sum(asked) - loader.passed > room - 3


def test_nothing_is_read_beyond_the_last_epoch(part, loaders, monkeypatch):
    asked = []
    submit = ShowerLoader._submit
    monkeypatch.setattr(
        ShowerLoader, "_submit", lambda self, it: (asked.append(it.piece), submit(self, it))[1]
    )
    loader = loaders(part([20]), last_epoch=1)
    for epoch in range(2):
        list(loader.epoch(epoch))
    assert sum(map(len, asked)) == 40


def test_cells_are_as_the_config_says(part, loaders):
    showers = part([4])
    loader = loaders(
        showers, 1, shuffle=False, threshold_gev=2.5e-6, cell_power=0.5, grid=(5, 2, 7)
    )
    batches = list(loader.epoch(0))
    expected = np.zeros((4, 5, 2, 7), np.float32)
    # Cell (1, 1, 1) of 3 x 4 x 5: one cell of padding in x, one of cropping in y.
    expected[2:, 2, 0, 1] = np.sqrt(np.float32([3e-6, 4e-6]))
    np.testing.assert_allclose(
        np.concatenate([batch.images_nxyz for batch in batches]), expected, rtol=1e-6
    )
    np.testing.assert_allclose(loader.sample(10).images_nxyz, expected, rtol=1e-6)


def test_changing_a_batch_changes_no_other(part, loaders):
    loader = loaders(part([8]))
    for batch in loader.epoch(0):
        np.testing.assert_allclose(batch.images_nxyz[:, 1, 1, 1], batch.energy_n * 1e-6)
        batch.images_nxyz[:] = 7.0


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, [1, 2, 3, 4, 5, 6, 7]),
        (100, [1, 2, 3, 4, 5, 6, 7]),
        (7, [1, 2, 3, 4, 5, 6, 7]),
        (5, [1, 2, 3, 5, 6]),
        (2, [1, 4]),
        (3, [1, 3, 5]),
    ],
)
def test_a_part_is_read_in_file_order_and_a_limit_spreads_over_it(part, limit, expected):
    showers = read_part(part([4, 3]), section(threshold_gev=2.5e-6, grid=(3, 4, 2)), limit=limit)
    expected = np.array(expected)
    np.testing.assert_array_equal(showers.energy_n, expected)
    assert showers.image_shape == (3, 4, 2)
    np.testing.assert_allclose(
        showers.images_nxyz[:, 1, 1, 1], np.where(expected > 2, expected * 1e-6, 0), rtol=1e-6
    )


def test_the_sums_of_a_sample_are_those_of_its_images(part, loaders):
    showers = part([10, 10, 3])
    sample = loaders(showers).sample(12)
    # In GeV whatever the networks see.
    sums, energy_n = sample_sums(showers, section(cell_power=0.5), 12)
    ecal_n = sums["ECAL"]
    np.testing.assert_array_equal(energy_n, sample.energy_n)
    np.testing.assert_allclose(ecal_n, sample.images_nxyz.sum(axis=(1, 2, 3)), rtol=1e-6)


def test_showers_that_are_all_empty_are_refused(part):
    with pytest.raises(DataError, match=r"all of 7 showers are empty.*threshold_gev = 1 GeV"):
        read_part(part([4, 3]), section(threshold_gev=1.0))
    with pytest.raises(DataError, match=r"all of 7 showers are empty.*threshold_gev = 1 GeV"):
        sample_sums(part([4, 3]), section(threshold_gev=1.0), 100)


def test_a_sample_of_nothing_is_an_error(part):
    with pytest.raises(DataError, match="no showers to read: 4 are there, the limit is 0"):
        read_part(part([4]), section(), limit=0)


def test_cell_energies_in_mev_are_recognised(tmp_path):
    path = tmp_path / "mev.h5"
    with h5py.File(path, "w") as file:
        file["ECAL"] = np.full((3, *SHAPE), 50.0, np.float32)
        file["target"] = np.tile(np.float32([11, 20, 0, 0, 20]), (3, 1))
    files = survey_files(section([str(path)])).files
    with pytest.raises(DataError, match=r"mev\.h5: showers deposit more .*150 times.*MeV\?"):
        read_part(whole(files), section())


def damage_cell(path):
    with h5py.File(path, "r+") as file:
        file["ECAL"][2, 0, 0, 0] = -1.0


def damage_chunk(path):
    with h5py.File(path) as file:
        info = file["ECAL"].id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(info.byte_offset)
        file.write(b"\xff" * info.size)


def make_longer(path):
    with path.open("ab") as file:
        file.write(b"\0" * 8)


def make_shorter(path):
    os.truncate(path, path.stat().st_size - 100)


DAMAGES = {
    "damaged chunk": (damage_chunk, r"showers 0 to 2 .*damaged"),
    "longer": (make_longer, r"showers \d+ to \d+ .* has changed since the run began"),
    "shorter": (make_shorter, r"showers \d+ to \d+ .* has changed since the run began"),
    "disappeared": (os.unlink, r"showers \d+ to \d+ .* has disappeared since the run began"),
}


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_what_becomes_bad_during_a_run_is_named(part, loaders, damage, message, workers):
    showers = part([9, 9, 9])
    loader = loaders(showers, workers=workers)
    damage(showers.files[1].path)
    with pytest.raises(DataError, match=r"1\.h5: " + message):
        list(loader.epoch(0))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_impossible_value_is_named_with_its_shower(part, loaders, workers):
    path = part([9, 9, 9]).files[1].path
    damage_cell(path)
    files = survey_files(section([str(path.parent / "*.h5")])).files
    with pytest.raises(DataError, match=r"1\.h5: shower 2: the energy of cell .* is negative"):
        list(loaders(whole(files), workers=workers).epoch(0))


def test_calibrated_energies_that_scatter_around_one_are_taken(tmp_path):
    path = tmp_path / "calibrated.h5"
    cells = np.zeros((60, *SHAPE), np.float32)
    cells[:, 1, 1, 1] = np.random.default_rng(0).normal(20.4, 0.6, 60)
    with h5py.File(path, "w") as file:
        file.create_dataset("ECAL", data=cells, chunks=(1, *SHAPE))
        file["target"] = np.tile(np.float32([11, 20, 0, 0, 20]), (60, 1))
    showers = whole(survey_files(section([str(path)])).files)
    for limit in (1, 2, 60):
        read_part(showers, section(), limit=limit)


@given(
    ratios=st.lists(
        st.lists(st.sampled_from([0.02, 0.9, 1.4, 1.6, 20.0]), min_size=1, max_size=7),
        min_size=1,
        max_size=3,
    )
)
@settings(deadline=None, max_examples=30)
def test_a_file_is_in_two_units_by_the_median_of_its_showers(ratios):
    with tempfile.TemporaryDirectory() as folder:
        for number, shares in enumerate(ratios):
            cells = np.zeros((len(shares), *SHAPE), np.float32)
            cells[:, 1, 1, 1] = 10 * np.float32(shares)
            with h5py.File(f"{folder}/{number}.h5", "w") as file:
                file.create_dataset("ECAL", data=cells, chunks=(1, *SHAPE))
                file["target"] = np.tile(np.float32([11, 10, 0, 0, 10]), (len(shares), 1))
        files = survey_files(section([f"{folder}/*.h5"])).files
        showers = whole([dataclasses.replace(file, block_rows=2) for file in files])
        wrong = [
            file.path for file, shares in zip(files, ratios, strict=True) if np.median(shares) > 1.5
        ]
        bad = {}
        assert len(read_part(showers, section(), bad=bad)) == sum(map(len, ratios))
        assert list(bad) == wrong
        if wrong:
            with pytest.raises(DataError, match=f"{wrong[0]}: showers deposit more than"):
                read_part(showers, section())
        else:
            read_part(showers, section())


def test_a_sample_leaves_bad_files_out_where_that_is_asked_for(part, loaders):
    showers = part([4, 4, 4])
    make_shorter(showers.files[1].path)
    sample = loaders(showers, on_bad_file="skip").sample(100)
    assert list(sample.energy_n) == [1, 2, 3, 4, 9, 10, 11, 12]
    with pytest.raises(DataError, match=r"1\.h5: .*has changed since the run began"):
        loaders(showers).sample(100)


def test_sums_of_bad_files_alone_are_none_at_all(part):
    showers = part([4, 4])
    for file in showers.files:
        make_shorter(file.path)
    bad = {}
    sums, energy_n = sample_sums(showers, section(), 100, bad)
    ecal_n = sums["ECAL"]
    assert len(ecal_n) == len(energy_n) == 0
    assert list(bad) == [file.path for file in showers.files]


def test_a_file_with_another_number_of_showers_is_no_longer_the_same(part, loaders):
    showers = part([9])
    other = [dataclasses.replace(showers.files[0], showers=8)]
    with pytest.raises(DataError, match=r"0\.h5: holds 9 showers, it held 8 when the run began"):
        list(loaders(whole(other)).epoch(0))


def open_files(folder):
    links = [each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return sorted(link.name for link in links if link.parent == folder)


def test_a_reader_keeps_the_two_files_open_that_were_read_last(part, tmp_path):
    files = part([2, 2, 2, 2]).files
    reader = BlockReader(section())
    for number, left in ((0, [0]), (1, [0, 1]), (0, [0, 1]), (2, [0, 2]), (3, [2, 3])):
        reader.read(files[number], np.arange(2))
        assert open_files(tmp_path) == [f"{each}.h5" for each in left]


def test_bad_files_are_noted_where_they_may_be(part):
    showers = part([4, 4, 4])
    make_shorter(showers.files[1].path)
    bad = {}
    energy_n = read_part(showers, section(), bad=bad).energy_n
    assert list(energy_n) == [1, 2, 3, 4, 9, 10, 11, 12]
    assert list(bad) == [showers.files[1].path]
    assert "has changed since the run began" in bad[showers.files[1].path]


@pytest.mark.parametrize("damage", ["longer", "shorter", "disappeared"])
def test_a_file_that_is_open_is_still_looked_after(part, loaders, damage):
    showers = part([9, 9, 9])
    loader = loaders(showers)
    list(loader.epoch(0))
    DAMAGES[damage][0](showers.files[1].path)
    # HDF5 finds it itself where the file is cut just between the look at its size and its opening.
    with pytest.raises(DataError, match=rf"1\.h5: (?:{DAMAGES[damage][1]}|.*truncated file)"):
        # What was read ahead before the first epoch's end is still good.
        list(loader.epoch(1)), list(loader.epoch(2))


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_bad_file_is_skipped_and_counted_where_that_is_asked_for(part, loaders, damage, message):
    showers = part([9, 9, 9])
    damage(showers.files[1].path)
    loader = loaders(showers, 1, on_bad_file="skip", shuffle_window=100)
    seen = [energy for batch in energies(loader.epoch(0)) for energy in batch]
    bad = set(range(10, 19))
    assert {1, 2, 3, 4, 5, 6, 7, 8, 9, 19, 20, 21, 22, 23, 24, 25, 26, 27} <= set(seen)
    assert len(seen) == len(set(seen)) == 27 - loader.lost[1]
    assert loader.lost.keys() == loader.reasons.keys() == {1}
    assert re.search(message, loader.reasons[1])
    assert loader.passed == 27
    loader.exclude(loader.lost)
    assert loader.skipped == [1]
    assert loader.steps_per_epoch == 18
    again = [energy for batch in energies(loader.epoch(1)) for energy in batch]
    assert not set(again) & bad
    assert len(again) == 18
    assert not loader.lost
    # Files that are left out later come to those that already are.
    loader.exclude([2])
    assert loader.skipped == [1, 2]
    assert sorted(energy for batch in energies(loader.epoch(2)) for energy in batch) == [
        1, 2, 3, 4, 5, 6, 7, 8, 9,
    ]  # fmt: skip


def test_what_is_told_of_a_bad_file_is_what_came_first(part, loaders):
    showers = part([9, 9])
    make_longer(showers.files[1].path)
    loader = loaders(showers, on_bad_file="skip", shuffle=False)
    list(loader.epoch(0))
    assert re.search(r"1\.h5: showers 0 to 2 .* has changed", loader.reasons[1])


@given(stop=st.integers(0, 8), window=st.integers(1, 30))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)
def test_an_epoch_that_skipped_showers_is_resumed_where_it_stood(part, loaders, stop, window):
    showers = part([9, 9, 9])
    make_shorter(showers.files[1].path)
    options = {"on_bad_file": "skip", "shuffle_window": window}
    expected = energies(loaders(showers, **options).epoch(0))
    stopped = loaders(showers, **options)
    batches = stopped.epoch(0)
    before = [list(next(batches).energy_n) for _ in range(stop)]
    assert before + energies(loaders(showers, **options).epoch(0, stopped.passed)) == expected


@given(stop=st.integers(0, 27), window=st.integers(1, 30))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)
def test_what_is_left_of_a_resumed_epoch_is_read_or_lost_and_never_both(
    part, loaders, stop, window
):
    # A file is a block, so that some of its showers may be behind and others not.
    showers = part([9, 9, 9], chunk=9)
    options = {"batch_size": 1, "shuffle_window": window}
    before = [int(energy) for (energy,) in energies(loaders(showers, **options).epoch(0))[:stop]]
    showers.files[1].path.unlink()
    loader = loaders(showers, on_bad_file="skip", **options)
    seen = [int(energy) for (energy,) in energies(loader.epoch(0, stop))]
    lost = set(range(10, 19)) - set(before)
    assert sorted([*before, *seen, *lost]) == list(range(1, 28))
    assert loader.lost == ({1: len(lost)} if lost else {})


@pytest.mark.parametrize("read", ["read_part", "sample"])
def test_where_all_files_are_bad_it_is_said_what_is_wrong_with_them(part, loaders, read):
    showers = part([4, 4, 4])
    for file in showers.files:
        make_shorter(file.path)
    wrong = r"0\.h5: .*has changed since the run began.* \(and 2 more\); no showers are left"

    def read_all():
        if read == "sample":
            return loaders(showers, on_bad_file="skip").sample(100)
        return read_part(showers, section(), bad={})

    with pytest.raises(DataError, match=wrong):
        read_all()


def test_empty_showers_are_not_blamed_on_another_file_that_is_bad(part):
    showers = part([4, 4])
    make_shorter(showers.files[1].path)
    with pytest.raises(DataError, match="all of 4 showers are empty: no cell reaches"):
        read_part(showers, section(threshold_gev=1.0), bad={})


def test_skipping_everything_is_an_error(part, loaders):
    showers = part([9])
    loader = loaders(showers, on_bad_file="skip")
    with pytest.raises(DataError, match="only 0 showers"):
        loader.exclude([0])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("on_bad_file", ["error", "skip"])
def test_a_reader_that_is_killed_ends_the_epoch_with_an_error(
    part, loaders, monkeypatch, on_bad_file
):
    reading = threading.Event()

    def hang(*arguments, **options):
        reading.set()
        while True:
            time.sleep(0.01)

    showers = part([9])
    monkeypatch.setattr("gan3d.data.blocks.open_for", hang)
    loader = loaders(showers, on_bad_file=on_bad_file)
    failure = []

    def consume():
        try:
            next(loader.epoch(0))
        except DataError as error:
            failure.append(str(error))

    consumer = threading.Thread(target=consume)
    consumer.start()
    assert reading.wait(20)
    ident = ctypes.c_ulong(loader._threads.threads[0].ident)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))
    consumer.join(20)
    assert failure
    assert "0.h5: showers" in failure[0]
    assert "has died" in failure[0]


def test_waiting_for_data_is_recorded(part, loaders, monkeypatch):
    def slow(*arguments, **options):
        time.sleep(0.2)
        return open_for(*arguments, **options)

    monkeypatch.setattr("gan3d.data.blocks.open_for", slow)
    loader = loaders(part([9]), workers=1)
    next(loader.epoch(0))
    assert loader.waited >= 0.15


@pytest.mark.skipif(sys.platform != "linux", reason="niceness of threads is Linux's")
def test_readers_are_nicer_than_the_model_as_the_experiment_says(part, loaders):
    before = os.getpriority(os.PRIO_PROCESS, 0)
    for changed, more in (({}, 5), ({"reader_niceness": 7}, 7), ({"reader_niceness": 0}, 0)):
        others = set(threading.enumerate())
        loader = loaders(part([13, 20]), workers=1, **changed)
        next(loader.epoch(0))
        (reader,) = set(threading.enumerate()) - others
        own = os.getpriority(os.PRIO_PROCESS, reader.native_id)
        assert own == min(before + more, 19)
        loader.close()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gan3d.data import FileRows, ShardLoader, read_part
from gan3d.errors import DataError


@pytest.fixture
def part(lcd_file):
    """A function that makes files of these sizes; incident energies number their showers."""

    def make(sizes):
        pieces, first = [], 0
        for number, count in enumerate(sizes):
            path = lcd_file(f"{number}.h5", count, first=first, chunks=(min(count, 3), 3, 4, 5))
            pieces.append(FileRows(path, np.arange(count)))
            first += count
        return tuple(pieces)

    return make


def energies(batches):
    return [list(batch.energy_n) for batch in batches]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    size=st.integers(1, 5),
    batch_size=st.integers(1, 4),
    shuffle=st.booleans(),
    epoch=st.integers(0, 10**6),
)
def test_an_epoch_takes_every_shower_once_but_for_the_remainder(
    part, sizes, size, batch_size, shuffle, epoch
):
    total = sum(sizes)
    assume(total // size >= batch_size)
    pieces = part(sizes)
    loaders = [
        ShardLoader(pieces, rank=rank, size=size, batch_size=batch_size, shuffle=shuffle)
        for rank in range(size)
    ]
    assert {loader.steps_per_epoch for loader in loaders} == {total // size // batch_size}
    epochs = [list(loader.epoch(epoch)) for loader in loaders]
    assert {len(batches) for batches in epochs} == {total // size // batch_size}
    seen = []
    for loader, batches in zip(loaders, epochs, strict=True):
        for batch in batches:
            assert len(batch) == batch_size
            # Image and energy of one shower stay together.
            np.testing.assert_allclose(batch.images_nxyz[:, 1, 1, 1], batch.energy_n * 1e-6)
            assert set(batch.energy_n) <= set(loader.energies)
            seen += list(batch.energy_n)
    assert len(seen) == len(set(seen))
    owned = [energy for loader in loaders for energy in loader.energies]
    assert owned == list(range(1, total + 1))
    smallest = total // size
    for loader, batches in zip(loaders, epochs, strict=True):
        left_out = len(loader.energies) - batch_size * len(batches)
        assert left_out == smallest % batch_size + (len(loader.energies) - smallest)
        assert left_out <= batch_size


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
    showers = read_part(part([4, 3]), threshold_gev=2.5e-6, limit=limit)
    expected = np.array(expected)
    np.testing.assert_array_equal(showers.energy_n, expected)
    np.testing.assert_allclose(
        showers.images_nxyz[:, 1, 1, 1], np.where(expected > 2, expected * 1e-6, 0), rtol=1e-6
    )


def test_showers_that_are_all_empty_are_refused(part):
    with pytest.raises(DataError, match=r"all 7 showers are empty.*threshold_gev = 1 GeV"):
        read_part(part([4, 3]), threshold_gev=1.0)


def test_a_part_without_showers_is_an_error(part):
    with pytest.raises(DataError, match="no showers to read: 4 are there, the limit is 0"):
        read_part(part([4]), limit=0)
    with pytest.raises(DataError, match="no showers to read"):
        read_part(())


def test_without_shuffling_batches_follow_the_files(part):
    loader = ShardLoader(part([4, 3]), batch_size=3, shuffle=False)
    assert energies(loader.epoch(0)) == energies(loader.epoch(7)) == [[1, 2, 3], [4, 5, 6]]


def test_ranks_own_neighbouring_showers(part):
    pieces = part([4, 3])
    shards = [ShardLoader(pieces, rank=r, size=2, batch_size=1) for r in range(2)]
    assert [list(loader.energies) for loader in shards] == [[1, 2, 3], [4, 5, 6, 7]]


def test_the_order_follows_from_seed_epoch_and_rank_alone(part):
    pieces = part([64])

    def order(seed, epoch, rank=0, size=1):
        loader = ShardLoader(pieces, batch_size=8, seed=seed, rank=rank, size=size)
        return energies(loader.epoch(epoch))

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    ranks = [np.array(order(1, 2, rank, 2)) - 32 * rank for rank in range(2)]
    assert not np.array_equal(*ranks)


@given(epoch=st.integers(0, 100), start=st.integers(0, 6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_resumed_epoch_gives_the_batches_that_were_left(part, epoch, start):
    loader = ShardLoader(part([13]), batch_size=2)
    assert energies(loader.epoch(epoch, start)) == energies(loader.epoch(epoch))[start:]


def test_other_showers_sit_out_every_epoch(part):
    loader = ShardLoader(part([10]), batch_size=9)
    left_out = {(set(range(1, 11)) - set(*energies(loader.epoch(e)))).pop() for e in range(30)}
    assert len(left_out) > 1


def test_cells_below_the_threshold_are_zero(part):
    loader = ShardLoader(part([3]), batch_size=1, threshold_gev=2.5e-6)
    np.testing.assert_array_equal(loader.images[:, 1, 1, 1], np.float32([0, 0, 3e-6]))


def test_changing_a_batch_leaves_the_shard_as_it_was(part):
    for shuffle in (True, False):
        loader = ShardLoader(part([4]), batch_size=2, shuffle=shuffle)
        for batch in loader.epoch(0):
            batch.images_nxyz[:] = 7.0
        assert loader.images.max() < 1.0


def test_a_batch_must_fit_into_the_smallest_shard(part):
    with pytest.raises(DataError, match=r"batch_size is 4 .* only 3 showers \(7 on 2 ranks\)"):
        ShardLoader(part([7]), batch_size=4, rank=1, size=2)


def test_there_must_be_a_shower_for_every_rank(part):
    with pytest.raises(DataError, match="3 ranks but only 2 showers"):
        ShardLoader(part([2]), batch_size=1, rank=0, size=3)


def test_cell_energies_in_mev_are_recognised(tmp_path):
    import h5py

    path = tmp_path / "mev.h5"
    with h5py.File(path, "w") as file:
        file["ECAL"] = np.full((3, 2, 2, 2), 50.0, np.float32)
        file["target"] = np.tile(np.float32([11, 20, 0, 0, 20]), (3, 1))
    with pytest.raises(DataError, match=r"mev\.h5: every shower deposits more .*\(20 times.*MeV\?"):
        ShardLoader((FileRows(path, np.arange(3)),), batch_size=1)


def test_a_bad_cell_is_found_before_the_first_batch(part):
    import h5py

    pieces = part([4, 4])
    with h5py.File(pieces[1].path, "r+") as file:
        file["ECAL"][2, 0, 0, 0] = -1.0
    with pytest.raises(DataError, match=r"1\.h5: shower 2: .* negative"):
        ShardLoader(pieces, batch_size=1)

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gan3d.config import Split
from gan3d.data import Survey, count_steps, divide, order_epoch, shuffle_quality, whole
from gan3d.data.order import spread
from gan3d.data.survey import FileEntry
from gan3d.errors import DataError


def make_part(sizes, block_rows=4):
    return whole(
        [
            FileEntry(Path(f"{number}.h5"), count, block_rows, 1, 1.0)
            for number, count in enumerate(sizes)
        ]
    )


def showers(part, order):
    """The showers of a share in the order in which they come, as (file, row)."""
    arriving = [
        (int(part.file_b[piece.block]), int(row))
        for piece in order.pieces
        for row in part.rows(piece.block)[piece.first : piece.stop]
    ]
    return [arriving[number] for _, group in order.groups() for number in group]


def every(part):
    return [(int(part.file_b[b]), int(r)) for b in range(len(part.count_b)) for r in part.rows(b)]


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    block_rows=st.integers(1, 9),
    size=st.integers(1, 6),
    batch_size=st.integers(1, 7),
    window=st.integers(1, 60),
    shuffle=st.booleans(),
    by_row=st.booleans(),
    epoch=st.integers(0, 10**6),
    seed=st.integers(0, 2**31 - 1),
)
def test_an_epoch_has_every_shower_once_but_for_the_remainder(
    sizes, block_rows, size, batch_size, window, shuffle, by_row, epoch, seed
):
    part = make_part(sizes, block_rows)
    if by_row:
        assume(sum(sizes) > 1)
        part = divide(Survey(part.files), Split(train=0.7, validation=0.3)).train
    settings = {"batch_size": batch_size, "size": size}
    if len(part) < size * batch_size:
        with pytest.raises(DataError, match=f"batch_size is {batch_size}"):
            count_steps(part, **settings)
        return
    steps = count_steps(part, **settings)
    shares = [
        showers(
            part,
            order_epoch(
                part, epoch=epoch, rank=rank, window=window, seed=seed, shuffle=shuffle, **settings
            ),
        )
        for rank in range(size)
    ]
    # Whole batches, as many on every rank.
    assert [len(share) for share in shares] == [steps * batch_size] * size
    seen = [shower for share in shares for shower in share]
    assert len(set(seen)) == len(seen), "a shower came twice"
    assert set(seen) <= set(every(part)), "a shower that is not of this part"
    left_out = len(part) - len(seen)
    assert left_out == len(part) % (size * batch_size) < size * batch_size
    if not shuffle:
        assert seen == every(part)[: len(seen)]


@given(
    window=st.integers(1, 300),
    batch_size=st.integers(1, 16),
    rank=st.integers(0, 2),
    shuffle=st.booleans(),
)
def test_a_window_holds_no_more_than_it_may(window, batch_size, rank, shuffle):
    part = make_part([300, 211], block_rows=10)
    order = order_epoch(
        part, epoch=0, rank=rank, size=3, batch_size=batch_size, window=window, shuffle=shuffle
    )
    stops = np.cumsum([len(piece) for piece in order.pieces])
    given_out: list[int] = []
    for arrived, group in order.groups():
        # Only showers that have arrived are given out.
        assert group.max() < stops[arrived - 1]
        held = stops[arrived - 1] - len(given_out)
        assert held <= max(window, 10)
        given_out += group.tolist()
        # There is room for the next piece, and no more was given out than that takes.
        if arrived < len(stops) and shuffle:
            left = stops[arrived - 1] - len(given_out)
            assert left == max(0, window - len(order.pieces[arrived]))
    assert sorted(given_out) == list(range(len(order)))


@given(count=st.integers(0, 150), window=st.integers(1, 100))
def test_the_first_showers_are_those_that_come_first(count, window):
    part = make_part([150], block_rows=10)
    order = order_epoch(part, epoch=3, batch_size=1, window=window)
    numbers = np.concatenate([group for _, group in order.groups()])
    assert set(np.flatnonzero(order.first(count))) == set(numbers[:count])


def test_the_order_follows_from_seed_and_epoch():
    part = make_part([64, 64])

    def order(**changes):
        settings = {"epoch": 2, "seed": 1, "batch_size": 8, "window": 64} | changes
        return showers(part, order_epoch(part, **settings))

    assert order() == order()
    assert order() != order(epoch=3)
    assert order() != order(seed=2)
    # Ranks cut the same order: another rank never has the same showers.
    assert not set(order(rank=0, size=2)) & set(order(rank=1, size=2))


@given(st.integers(0, 2**31 - 1), st.integers(0, 10**6))
def test_what_is_drawn_from_the_window_follows_from_seed_epoch_and_rank(seed, epoch):
    # Shares of one piece each: all that differs is the drawing.
    def drawn(seed, epoch, rank):
        settings = {"batch_size": 1, "window": 1000, "size": 2}
        order = order_epoch(
            make_part([200], block_rows=200), seed=seed, epoch=epoch, rank=rank, **settings
        )
        return tuple(np.concatenate([group for _, group in order.groups()]))

    place = (seed, epoch, 0)
    others = [place, (seed + 1, epoch, 0), (seed, epoch + 1, 0), (seed, epoch, 1)]
    assert drawn(*place) == drawn(*place)
    assert len({drawn(*each) for each in others}) == 4


def test_showers_move_between_ranks_from_epoch_to_epoch():
    part = make_part([400])
    first = [
        set(showers(part, order_epoch(part, epoch=e, rank=0, size=4, batch_size=4, window=50)))
        for e in range(2)
    ]
    # A quarter of a rank's showers would come again by chance.
    assert len(first[0] & first[1]) < 70


def test_other_showers_sit_out_every_epoch():
    part = make_part([10], block_rows=1)
    left_out = set()
    for epoch in range(30):
        left_out |= set(every(part)) - set(
            showers(part, order_epoch(part, epoch=epoch, batch_size=9, window=100))
        )
    assert len(left_out) > 5


def test_a_part_must_fill_a_batch_on_every_rank():
    with pytest.raises(
        DataError, match=r"batch_size is 4 on each of 2 ranks but there are only 7 showers"
    ):
        count_steps(make_part([7]), batch_size=4, size=2)


def quality(window, *, block_rows=100, shuffle=True):
    part = make_part([20_000], block_rows)
    order = order_epoch(part, epoch=0, batch_size=8, window=window, shuffle=shuffle)
    return shuffle_quality(part, order, batch_size=8)


def test_an_order_without_shuffling_is_as_bad_as_its_batches_are_large():
    # The closed form: batches of neighbours have the variance of single showers.
    unshuffled = quality(1000, shuffle=False)
    assert unshuffled.batch_variance == pytest.approx(8, rel=1e-3)
    assert unshuffled.neighbour_correlation == pytest.approx(1, abs=0.01)


def test_a_window_of_everything_shuffles_perfectly():
    perfect = quality(20_000)
    # 2500 batch means: their variance is known to sqrt(2/2500) = 3 %.
    assert perfect.batch_variance == pytest.approx(1, abs=0.12)
    assert perfect.neighbour_correlation == pytest.approx(0, abs=0.08)


def test_positions_are_counted_over_all_files():
    one, several = make_part([6000], 100), make_part([1000, 2000, 3000], 100)
    settings = {"epoch": 0, "batch_size": 8, "window": 500}
    found = [
        shuffle_quality(part, order_epoch(part, **settings), batch_size=8)
        for part in (one, several)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("blocks", [5, 10, 40])
def test_the_variance_is_that_of_drawing_from_the_window(blocks):
    # Two showers of a batch are from the same block with probability q = (b/C) / (2 - b/C).
    variances = []
    part = make_part([40_000], 100)
    for epoch in range(10):
        order = order_epoch(part, epoch=epoch, batch_size=8, window=blocks * 100)
        variances.append(shuffle_quality(part, order, batch_size=8).batch_variance)
    together = (1 / blocks) / (2 - 1 / blocks)
    assert np.mean(variances) == pytest.approx(1 + 7 * together, rel=0.05)


@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=4),
    limit=st.integers(1, 500),
    blocks=st.integers(1, 30),
)
def test_a_sample_is_of_the_size_asked_for_and_from_all_over_the_files(sizes, limit, blocks):
    part = make_part(sizes, block_rows=7)
    sample = spread(part, limit, blocks=blocks)
    rows = [(int(part.file_b[block]), int(row)) for block, each in sample for row in each]
    assert len(rows) == min(limit, len(part))
    assert rows == sorted(set(rows))
    if limit >= len(part):
        assert rows == every(part)


def test_a_small_sample_of_many_blocks_touches_few_of_them():
    part = make_part([100_000], block_rows=100)
    sample = spread(part, 200, blocks=64)
    assert len(sample) == 64
    firsts = [block for block, _ in sample]
    assert np.diff(firsts).max() <= 1000 / 64 + 1
    assert firsts[0] <= 1000 / 64 + 1
    assert firsts[-1] >= 1000 - (1000 / 64 + 1)

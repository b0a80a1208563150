"""Showers do not depend on the batch that they are made in."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.models.sampling import drawn_ahead, latent_block


@given(seed=st.integers(0, 2**31), first=st.integers(0, 10**9), count=st.integers(1, 9))
def test_the_latent_of_a_shower_depends_on_seed_and_number_alone(seed, first, count):
    block = latent_block(seed, first, count, 7)
    for row in range(count):
        np.testing.assert_array_equal(block[row], latent_block(seed, first + row, 1, 7)[0])


def test_latents_are_standard_normal_and_differ_between_showers_and_seeds():
    block = latent_block(1, 0, 400, 100)
    assert abs(block.mean()) < 0.02
    assert abs(block.std() - 1) < 0.02
    assert len(np.unique(block[:, 0])) == 400
    assert not np.array_equal(block, latent_block(2, 0, 400, 100))


@given(count=st.integers(0, 20), batch_size=st.integers(1, 7))
def test_what_is_drawn_ahead_is_what_would_be_drawn(count, batch_size):
    found = list(drawn_ahead(lambda first, rows: np.arange(first, first + rows), count, batch_size))
    assert [len(each) for each in found[:-1]] == [batch_size] * (len(found) - 1)
    np.testing.assert_array_equal(np.concatenate([[], *found]), np.arange(count))


def test_the_next_batch_is_drawn_while_one_is_worked_on():
    begun, worked_on = threading.Event(), threading.Event()

    def draw(first, rows):
        assert first < 2  # no more than one ahead
        if first == 1:
            begun.set()
            assert worked_on.wait(5)
        return np.full(rows, first)

    batches = drawn_ahead(draw, 3, 1)
    assert next(batches) == 0
    assert begun.wait(60)
    worked_on.set()
    batches.close()
    assert "gan3d-draws" not in str(threading.enumerate())


def test_an_error_in_drawing_is_raised():
    def draw(first, rows):
        raise ValueError(f"no draws of {first}")

    with pytest.raises(ValueError, match="no draws of 0"):
        next(drawn_ahead(draw, 2, 1))

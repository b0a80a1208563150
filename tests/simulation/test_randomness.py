"""Streams of random numbers that belong to a shower."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gan3d.simulation.randomness import Purpose, ShowerRandomness

NUMBERS = st.integers(0, 2**63 - 1)


@given(seed=NUMBERS, shower=NUMBERS, before=st.lists(NUMBERS, max_size=3))
def test_a_stream_is_the_same_whatever_was_drawn_before(seed, shower, before):
    used = ShowerRandomness(seed)
    for other in before:
        rng = used.at(other, Purpose.SPOTS)
        # Leaves half a word behind.
        rng.random(3, dtype=np.float32)
        rng.standard_normal(2)
    expected = ShowerRandomness(seed).at(shower, Purpose.SPOTS).random(5, dtype=np.float32)
    drawn = used.at(shower, Purpose.SPOTS).random(5, dtype=np.float32)
    np.testing.assert_array_equal(drawn, expected)


def test_showers_purposes_and_seeds_have_streams_of_their_own():
    streams = [
        ShowerRandomness(seed).at(shower, purpose).random(4).tobytes()
        for seed in (0, 1, 2**62)
        for shower in (0, 1, 2**40)
        for purpose in Purpose
    ]
    assert len(set(streams)) == len(streams)


def test_long_streams_do_not_run_into_the_next_one():
    randomness = ShowerRandomness(0)
    long = randomness.at(0, Purpose.INCIDENT).random(100_000)
    for shower, purpose in ((0, Purpose.SPOTS), (1, Purpose.INCIDENT), (1, Purpose.SPOTS)):
        assert not np.isin(randomness.at(shower, purpose).random(4), long).any()

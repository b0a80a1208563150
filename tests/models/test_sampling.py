"""Showers do not depend on the batch that they are made in."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gan3d.models.sampling import latent_block


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

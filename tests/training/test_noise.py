"""Draws do not depend on the number of ranks and do not repeat."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.tensorflow


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 9),
    ranks=st.integers(1, 5),
    width=st.integers(1, 40),
    step=st.integers(0, 10**9),
)
def test_ranks_draw_their_rows_of_what_one_rank_would_draw(batch, ranks, width, step):
    from gan3d.training.noise import NoiseStream

    whole = NoiseStream(7, first_row=0, rows=batch * ranks, streams=3)
    parts = [NoiseStream(7, first_row=r * batch, rows=batch, streams=3) for r in range(ranks)]
    np.testing.assert_array_equal(
        whole.normal(step, 1, width), np.concatenate([p.normal(step, 1, width) for p in parts])
    )
    np.testing.assert_array_equal(
        whole.uniform(step, 2), np.concatenate([p.uniform(step, 2) for p in parts])
    )


def test_steps_streams_and_seeds_draw_apart():
    from gan3d.training.noise import NoiseStream

    noise = NoiseStream(7, first_row=0, rows=4, streams=3)
    draws = [noise.normal(step, stream, 5).numpy() for step in range(4) for stream in range(3)]
    draws.append(NoiseStream(8, first_row=0, rows=4, streams=3).normal(0, 0, 5).numpy())
    assert len(np.unique(np.concatenate([d.ravel() for d in draws]))) == 13 * 4 * 5


def test_draws_are_standard_normal_and_uniform():
    from gan3d.training.noise import NoiseStream

    noise = NoiseStream(3, first_row=0, rows=2000, streams=2)
    normal, uniform = noise.normal(11, 0, 50).numpy(), noise.uniform(11, 1).numpy()
    assert abs(normal.mean()) < 0.02
    assert abs(normal.std() - 1) < 0.02
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.03

"""The warm-up against values worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.training.schedule import LearningRateSchedule


def schedule(workers, warmup_epochs=5.0, steps=100):
    return LearningRateSchedule(
        base=0.001, workers=workers, warmup_epochs=warmup_epochs, steps_per_epoch=steps
    )


@pytest.mark.parametrize(
    ("workers", "epoch", "step", "rate"),
    [
        (1, 0, 0, 0.001),
        (1, 3, 7, 0.001),
        (1, 24, 99, 0.001),
        (4, 0, 0, 0.001),
        (4, 0, 50, 0.0013),  # 0.001 * (1 + 3 * 0.5 / 5)
        (4, 2, 50, 0.0025),  # 0.001 * (1 + 3 * 2.5 / 5)
        (4, 5, 0, 0.004),
        (4, 20, 3, 0.004),
        (512, 0, 0, 0.001),
        (512, 0, 1, 0.002022),  # 0.001 * (1 + 511 * 0.01 / 5)
        (512, 4, 99, 0.510978),  # 0.001 * (1 + 511 * 4.99 / 5)
        (512, 5, 0, 0.512),
    ],
)
def test_published_warm_up(workers, epoch, step, rate):
    assert schedule(workers)(epoch, step) == pytest.approx(rate, rel=1e-12)


def test_no_warm_up_starts_at_the_full_rate():
    assert schedule(4, warmup_epochs=0)(0, 0) == pytest.approx(0.004)


@given(
    workers=st.integers(1, 4096),
    warmup=st.floats(0.01, 50),
    steps=st.integers(1, 500),
    epoch=st.integers(0, 60),
    data=st.data(),
)
def test_the_rate_rises_step_by_step_and_stays_within_its_bounds(
    workers, warmup, steps, epoch, data
):
    rates = schedule(workers, warmup, steps)
    step = data.draw(st.integers(0, steps - 1))
    here = rates(epoch, step)
    after = rates(epoch, step + 1) if step + 1 < steps else rates(epoch + 1, 0)
    assert 0.001 <= here <= after * (1 + 1e-12) <= 0.001 * workers * (1 + 1e-9)

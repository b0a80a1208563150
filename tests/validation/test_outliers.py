import numpy as np
import pytest

from gan3d.validation.outliers import _Tail


@pytest.mark.parametrize("draw", ["exponential", "normal"])
def test_tails_are_as_likely_as_they_say(draw):
    """Of equal samples a hundredth has p < 0.01, for tails that are exponential, and fewer for
    shorter ones."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(2000):
        theirs, ours = getattr(rng, draw)(size=(2, 300))
        tail = _Tail.of(theirs)
        p.append(tail.at_least(2, float(np.sort(ours)[-2]), 300))
    share = np.mean(np.array(p) < 0.01)
    if draw == "exponential":
        assert share == pytest.approx(0.01, abs=0.008)
    else:
        assert share < 0.01


def test_far_out_is_unlikely_and_many_are_less_likely_than_one():
    theirs = np.random.default_rng(1).normal(size=500)
    tail = _Tail.of(theirs)
    one, five = (tail.at_least(count, 8.0, 500) for count in (1, 5))
    assert five < 1e-6 < one < 1e-2


@pytest.mark.parametrize("values", [np.arange(40.0), np.repeat([1.0, 2.0], 100)])
def test_what_has_no_tail(values):
    assert _Tail.of(values) is None

"""The learning rate against values worked out by hand, and what holds for all schedules."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gan3d.config import Decay, Experiment
from gan3d.errors import ConfigError
from gan3d.training.schedule import LearningRateSchedule, count_reductions


def schedule(ranks=1, *, passes=1, epochs=25, **training):
    experiment = Experiment.model_validate(
        {
            "data": {"files": ["a.h5"]},
            "training": {"epochs": epochs, **training},
            "horovod": {"backward_passes_per_step": passes},
        }
    )
    return LearningRateSchedule.of(experiment, ranks)


@pytest.mark.parametrize(
    ("workers", "position", "rate"),
    [
        (1, 0, 0.001),
        (1, 3.07, 0.001),
        (1, 24.99, 0.001),
        (4, 0, 0.001),
        (4, 0.5, 0.0013),  # 0.001 * (1 + 3 * 0.5 / 5)
        (4, 2.5, 0.0025),  # 0.001 * (1 + 3 * 2.5 / 5)
        (4, 5, 0.004),
        (4, 20.03, 0.004),
        (512, 0, 0.001),
        (512, 0.01, 0.002022),  # 0.001 * (1 + 511 * 0.01 / 5)
        (512, 4.99, 0.510978),  # 0.001 * (1 + 511 * 4.99 / 5)
        (512, 5, 0.512),
    ],
)
def test_the_published_warm_up(workers, position, rate):
    assert schedule(workers)(position) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(("scaling", "peak"), [("linear", 0.016), ("sqrt", 0.004), ("none", 0.001)])
@pytest.mark.parametrize(("ranks", "passes"), [(16, 1), (8, 2), (2, 8)])
def test_the_rate_is_scaled_by_ranks_times_backward_passes(scaling, peak, ranks, passes):
    made = schedule(ranks, passes=passes, learning_rate_scaling=scaling)
    assert made.peak == pytest.approx(peak)
    assert [made(0.0), made(5.0)] == [pytest.approx(0.001), pytest.approx(peak)]


def test_without_warm_up_the_scaled_rate_holds_from_the_start():
    assert schedule(8, warmup_epochs=0)(0.0) == pytest.approx(0.008)


decays = st.one_of(
    st.just({"kind": "constant"}),
    st.builds(lambda f: {"kind": "cosine", "final_share": f}, st.floats(0, 1)),
    st.builds(
        lambda e, f: {"kind": "step", "epochs": sorted(e), "factor": f},
        st.sets(st.integers(0, 30).map(float), min_size=1, max_size=4),
        st.floats(0.01, 0.99),
    ),
    st.just({"kind": "plateau"}),
)


@given(
    ranks=st.integers(1, 1000),
    warmup=st.floats(0, 20),
    decay=decays,
    position=st.floats(0, 30),
    later=st.floats(0, 30),
)
def test_after_the_warm_up_the_rate_never_rises_and_never_exceeds_the_peak(
    ranks, warmup, decay, position, later
):
    made = schedule(ranks, warmup_epochs=warmup, decay=decay)
    assert 0 <= made(position) <= made.peak * (1 + 1e-12)
    begin = max(position, warmup)
    assert made(begin + later) <= made(begin) * (1 + 1e-12)


@given(position=st.floats(0, 40), warmup=st.floats(0, 20), passes=st.integers(1, 8))
def test_the_rate_of_one_worker_is_the_same_throughout(position, warmup, passes):
    assert schedule(1, warmup_epochs=warmup)(position) == 0.001
    unscaled = schedule(7, passes=passes, warmup_epochs=warmup, learning_rate_scaling="none")
    assert unscaled(position) == 0.001


@given(ranks=st.integers(1, 1000), decay=decays, position=st.floats(0, 30))
def test_the_rate_is_above_0_until_a_cosine_ends_at_0(ranks, decay, position):
    ended = decay["kind"] == "cosine" and decay["final_share"] < 1e-9 and position > 25 - 1e-3
    assert ended or schedule(ranks, decay=decay)(position) > 0


@given(ranks=st.integers(1, 1000), warmup=st.floats(0.5, 20), final=st.floats(0, 1))
def test_no_jump_at_the_end_of_the_warm_up(ranks, warmup, final):
    made = schedule(ranks, warmup_epochs=warmup, decay={"kind": "cosine", "final_share": final})
    assert made(warmup * (1 - 1e-9)) == pytest.approx(made(warmup), rel=1e-6)
    assert made(warmup) == pytest.approx(made.peak)


def test_a_cosine_is_half_way_down_half_way_and_ends_at_its_share():
    made = schedule(4, epochs=25, decay={"kind": "cosine", "final_share": 0.2})
    assert made(15.0) == pytest.approx(0.004 * 0.6)  # (1 + 0.2) / 2
    assert made(10.0) == pytest.approx(0.004 * (0.2 + 0.4 * (1 + math.cos(math.pi / 4))))
    assert made(25.0) == made(40.0) == pytest.approx(0.004 * 0.2)


def test_steps_fall_by_the_factor_at_their_epochs():
    made = schedule(4, decay={"kind": "step", "epochs": [10.0, 20.0], "factor": 0.5})
    assert [made(p) for p in (9.999, 10, 19.999, 20)] == pytest.approx([0.004, 0.002, 0.002, 0.001])


@pytest.mark.parametrize(
    "decay", [{"kind": "step"}, {"kind": "step", "epochs": [20.0, 10.0]}, {"epochs": [1.0, 1.0]}]
)
def test_steps_without_ascending_epochs_are_refused(decay):
    with pytest.raises(ValidationError, match="epochs"):
        schedule(decay=decay)


def test_a_plateau_lowers_the_rate_but_not_below_its_least_share():
    made = schedule(4, decay={"kind": "plateau", "factor": 0.5, "least_share": 0.2})
    assert [made(10, n) for n in range(5)] == pytest.approx([0.004, 0.002, 0.001, 0.0008, 0.0008])


PLATEAU = Decay(kind="plateau", monitor="validation.m", patience=3, improvement=0.1)


def records(*values):
    """Epochs 1, 2, ... of a history; None: not measured in that one."""
    measured = [{} if value is None else {"validation.m": value} for value in values]
    return [{"epoch": number, **record} for number, record in enumerate(measured, start=1)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.0, 1.0], 0),
        ([1.0, 1.0, 1.0, 1.0], 1),
        ([1.0, 0.95, 0.92, 0.91], 1),  # less than a tenth better than the best
        ([1.0, 0.95, 0.92, 0.89], 0),
        ([1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.6], 1),
        ([1.0] * 7, 2),
        ([1.0] * 10, 3),
        ([1.0, None, 1.0, None, 1.0, None, 1.0], 1),
        ([None] * 9, 0),
        ([], 0),
        ([-1.0, -1.0, -1.05, -1.09], 1),  # below 0 as well: a tenth of the best
        ([-1.0, -1.0, -1.05, -1.11], 0),
    ],
)
def test_reductions_of_a_plateau(values, expected):
    assert count_reductions(records(*values), PLATEAU) == expected


@given(
    falls=st.lists(st.floats(1e-3, 1.0), max_size=40),
    start=st.floats(-1.0, 100.0),
    patience=st.integers(1, 5),
)
def test_a_run_that_improves_in_every_epoch_keeps_its_rate(falls, start, patience):
    values = [start]
    for fall in falls:
        values.append(values[-1] - fall * 1.0001 * max(abs(values[-1]), 1e-3))
    decay = Decay(kind="plateau", monitor="validation.m", patience=patience, improvement=1e-3)
    assert count_reductions(records(*values), decay) == 0


@given(patience=st.integers(1, 20), epochs=st.integers(1, 100), improvement=st.floats(0, 1))
def test_a_run_that_stays_where_it_is_loses_a_factor_every_patience_epochs(
    patience, epochs, improvement
):
    decay = Decay(
        kind="plateau", monitor="validation.m", patience=patience, improvement=improvement
    )
    # The first epoch is what the others are measured against.
    assert count_reductions(records(*[3.0] * epochs), decay) == (epochs - 1) // patience


def test_a_plateau_of_what_no_epoch_has_or_is_no_number_is_refused():
    decay = Decay(kind="plateau", monitor="lost")
    with pytest.raises(
        ConfigError, match=r"training\.decay\.monitor: 'lost' is not in history.*'loss'"
    ):
        count_reductions([{"epoch": 1, "loss": 1.0, "other": 2.0}], decay)
    with pytest.raises(ConfigError, match=r"training\.decay\.monitor: 'lost' is no number"):
        count_reductions([{"epoch": 1, "lost": [{"rank": 1}]}], decay)
    assert count_reductions([{"epoch": 1, "other": 2.0}], Decay()) == 0


JUDGED_PLATEAU = Decay(kind="plateau", patience=2)
METRIC = "validation.optimisation_metric"


def test_epochs_between_judged_ones_do_not_count_for_a_plateau():
    history = [{"epoch": epoch, "generator.loss": 1.0} for epoch in range(1, 13)]
    assert count_reductions(history[:2], JUDGED_PLATEAU) == 0  # none is judged yet
    for epoch in (3, 6, 9, 12):
        history[epoch - 1][METRIC] = 0.5
    counts = [count_reductions(history[:epoch], JUDGED_PLATEAU) for epoch in range(13)]
    assert counts == [0] * 9 + [1] * 4


@given(
    values=st.lists(st.floats(-10, 10), max_size=20),
    every=st.integers(1, 4),
    rest=st.integers(0, 3),
)
def test_judging_every_k_epochs_gives_the_reductions_of_the_judged_ones(values, every, rest):
    spread = [None] * (every - 1)
    sparse = [each for value in values for each in (*spread, value)] + [None] * rest
    assert count_reductions(records(*sparse), PLATEAU) == count_reductions(
        records(*values), PLATEAU
    )


@given(st.lists(st.one_of(st.none(), st.floats(-10, 10)), max_size=40))
def test_reductions_never_become_fewer_as_a_run_goes_on(values):
    counts = [count_reductions(records(*values[:n]), PLATEAU) for n in range(len(values) + 1)]
    assert counts == sorted(counts)
    assert all(b - a <= 1 for a, b in itertools.pairwise(counts))


@pytest.mark.parametrize("kind", ["constant", "cosine"])
def test_other_decays_know_no_plateau(kind):
    assert count_reductions(records(*[1.0] * 50), Decay(kind=kind, monitor="validation.m")) == 0

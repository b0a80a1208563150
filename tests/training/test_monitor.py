"""When a number of the history has stopped falling, against histories worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config import EarlyStopping
from gan3d.errors import ConfigError
from gan3d.training.monitor import check_monitored, stop_reason

STOPPING = EarlyStopping(monitor="validation.m", patience=3, minimum_improvement=0.1)


def records(*values):
    """Epochs 1, 2, ... of a history; None: not measured in that one."""
    measured = [{} if value is None else {"validation.m": value} for value in values]
    return [{"epoch": number, **record} for number, record in enumerate(measured, start=1)]


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        ([], False),
        ([1.0, 1.0, 1.0], False),
        ([1.0, 1.0, 1.0, 1.0], True),
        ([1.0, 0.95, 0.92, 0.91], True),  # less than a tenth below the best
        ([1.0, 0.95, 0.92, 0.89], False),
        ([1.0, 2.0, 2.0, 0.8, 0.9, 0.9], False),  # the count begins anew
        ([1.0, 2.0, 2.0, 0.8, 0.9, 0.9, 0.9], True),
        ([None, 1.0, None, 1.0, None, 1.0, None], False),
        ([None, 1.0, None, 1.0, None, 1.0, None, 1.0], True),
        ([None] * 9, False),
        ([-1.0, -1.0, -1.05, -1.09], True),  # below 0 as well: a tenth of the best
        ([-1.0, -1.0, -1.05, -1.11], False),
    ],
)
def test_training_stops_after_patience_epochs_without_improvement(values, stops):
    assert bool(stop_reason(records(*values), STOPPING)) is stops


def test_the_reason_names_the_best_epoch_and_what_to_change():
    reason = stop_reason(records(2.0, 1.0, None, 1.5, 0.95, None, 1.2), STOPPING)
    assert reason == (
        "stopped early after epoch 7: validation.m has not fallen 10 % below the 1 of epoch 2 in 3 "
        "measured epochs; to go on, --resume with a larger training.early_stopping.patience or "
        "with training.early_stopping=null"
    )


@given(
    values=st.lists(st.one_of(st.none(), st.floats(-10, 10)), max_size=30),
    patience=st.integers(1, 6),
    improvement=st.floats(0, 0.5),
)
def test_with_more_patience_it_never_stops_sooner(values, patience, improvement):
    def stops_at(patience):
        stopping = EarlyStopping(
            monitor="validation.m", patience=patience, minimum_improvement=improvement
        )
        history = records(*values)
        ends = (n for n in range(len(values) + 1) if stop_reason(history[:n], stopping))
        return next(ends, len(values) + 1)

    assert stops_at(patience) <= stops_at(patience + 1)


@given(
    falls=st.lists(st.floats(1e-3, 1.0), max_size=40),
    start=st.floats(0.1, 100.0),
    patience=st.integers(1, 5),
)
def test_a_run_that_improves_in_every_epoch_is_trained_to_its_end(falls, start, patience):
    values = [start]
    for fall in falls:
        values.append(values[-1] * (1 - 0.9 * fall))
    stopping = EarlyStopping(monitor="validation.m", patience=patience, minimum_improvement=8e-4)
    assert stop_reason(records(*values), stopping) == ""


@given(patience=st.integers(1, 20), epochs=st.integers(1, 60), improvement=st.floats(0, 1))
def test_a_run_that_stays_where_it_is_stops_after_patience_more_epochs(
    patience, epochs, improvement
):
    stopping = EarlyStopping(
        monitor="validation.m", patience=patience, minimum_improvement=improvement
    )
    # The first epoch is what the others are measured against.
    assert bool(stop_reason(records(*[3.0] * epochs), stopping)) is (epochs > patience)


def test_what_no_epoch_has_is_refused_with_the_nearest_name():
    check_monitored([], "a.key", "m")
    check_monitored([{"m": None}], "a.key", "m")  # not measured in that epoch, but known
    with pytest.raises(ConfigError, match=r"a\.key: 'm' is not in history.* did you mean 'mm'\?"):
        check_monitored([{"mm": 1.0, "other": 2.0}], "a.key", "m")
    with pytest.raises(ConfigError, match=r"training\.early_stopping\.monitor: 'lost' is not in"):
        stop_reason([{"epoch": 1, "loss": 1.0}], EarlyStopping(monitor="lost"))


def test_numbers_of_the_judgement_are_missed_in_judged_epochs_alone():
    unjudged, judged = {"generator.loss": 1.0}, {"generator.loss": 1.0, "validation.hits": 1.0}
    check_monitored([unjudged, unjudged], "key", "validation.hit")
    with pytest.raises(ConfigError, match=r"did you mean 'validation\.hits'"):
        check_monitored([unjudged, judged, unjudged], "key", "validation.hit")


def test_what_is_no_number_is_refused():
    with pytest.raises(ConfigError, match=r"training\.early_stopping\.monitor: 'slow' is no num"):
        stop_reason([{"epoch": 1, "slow": [{"rank": 1}]}], EarlyStopping(monitor="slow"))

import pytest

from gan3d.config import Validation
from gan3d.validation import Selection, plots
from gan3d.validation.selection import Candidate


def a_selection(metrics, *, epochs=None, as_good=None):
    return Selection(
        candidates=[
            Candidate(epoch, 100 * number, {"optimisation_metric": value}, 0.005, 0.0, 0.0, good)
            for number, (value, epoch, good) in enumerate(
                zip(
                    metrics,
                    epochs or range(1, len(metrics) + 1),
                    as_good or [True] * len(metrics),
                    strict=True,
                ),
                start=1,
            )
        ],
        noise={"optimisation_metric": 0.06},
        bins=[],
        generated_showers=700,
        reference_showers=700,
        settings=Validation(),
    )


def test_the_curve_of_a_selection_shows_what_was_found_and_what_training_noted():
    history = [
        {"epoch": 1, "validation.optimisation_metric": 0.09},
        {"epoch": 2},
        {"epoch": 3, "validation.optimisation_metric": None},
        {"epoch": 4, "validation.optimisation_metric": 0.08},
    ]
    selection = a_selection([0.07, 0.05, 0.1], epochs=[2.0, 3.0, 4.0], as_good=[True, True, False])
    figure = plots.selection_curve(selection, history)
    (axes,) = figure.axes
    curve, *others = axes.lines
    assert list(curve.get_xdata()) == [2.0, 3.0, 4.0]
    assert list(curve.get_ydata()) == pytest.approx([7.0, 5.0, 10.0])
    by_label = {line.get_label(): line for line in others}
    assert list(by_label["Noted during training"].get_xdata()) == [1, 4]
    assert list(by_label["Best: epoch 3, step 200"].get_ydata()) == pytest.approx([5.0])
    worse = by_label["Worse than the best by more than 2 std. errors"]
    assert list(worse.get_xdata()) == [4.0]
    (band,) = axes.patches
    assert band.get_bbox().y1 == pytest.approx(6.0)
    low, high = axes.get_ylim()
    assert low == 0.0
    assert high > 10.5
    assert len(figure.legends[0].get_texts()) == 5


def test_the_curve_of_a_selection_far_from_its_end_is_logarithmic():
    axes = plots.selection_curve(a_selection([2.0, 0.3, 0.05])).axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[0] < 5.0


def test_checkpoints_of_the_first_epoch_are_drawn_against_steps():
    axes = plots.selection_curve(a_selection([0.2, 0.1], epochs=[0.0, 0.0])).axes[0]
    assert axes.get_xlabel() == "Step"
    assert list(axes.lines[0].get_xdata()) == [100, 200]


def test_the_curve_of_a_single_checkpoint_can_be_drawn():
    plots.selection_curve(a_selection([0.05])).canvas.draw()

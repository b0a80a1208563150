"""Figures of matrices, classifiers, trainings and verdicts: of plain numbers."""

import math
import warnings

import numpy as np
import pytest
from layout import flaws

from gan3d.errors import DataError
from gan3d.validation import plots

LONG = "runs/2026-11-21-ecal25-compact-batch-64-lr-0.0002-epoch-024"


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# --------------------------------------------------------------------------------- correlations


def matrix(seed, features=25):
    return np.corrcoef(np.random.default_rng(seed).normal(size=(features, 60)).cumsum(axis=0))


def images(figure):
    return [axes.images[0] for axes in figure.axes if axes.images]


def test_correlations_have_one_scale_and_their_differences_another():
    reference = matrix(0)
    generated = {"one": matrix(1), LONG: matrix(2), "three": matrix(3)}
    shown = images(plots.correlations(generated, ("Geant4", reference), axis_title="Layer"))
    above, below = shown[:4], shown[4:]
    for image, values in zip(above, (reference, *generated.values()), strict=True):
        np.testing.assert_allclose(image.get_array(), values)
        assert image.get_clim() == (-1.0, 1.0)
    largest = max(np.abs(each - reference).max() for each in generated.values())
    for image, values in zip(below, generated.values(), strict=True):
        np.testing.assert_allclose(image.get_array(), values - reference)
        assert image.get_clim() == pytest.approx((-largest, largest))


def test_the_rms_of_a_difference_is_that_of_its_pairs():
    one, other = np.eye(3), np.eye(3)
    other[0, 1] = other[1, 0] = 0.3
    figure = plots.correlations({"one": one}, ("Geant4", other))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert f"Difference, rms {0.3 / np.sqrt(3):.3f}" in titles


def test_equal_correlations_are_not_magnified():
    figure = plots.correlations([("same", matrix(0))], ("Geant4", matrix(0)))
    assert images(figure)[-1].get_clim() == (-0.05, 0.05)


@pytest.mark.parametrize("count", [1, 3, 6])
@pytest.mark.parametrize(
    ("features", "naming"),
    [
        (25, {"axis_title": "Layer", "title": "Layers"}),
        (
            15,
            {"names": [f"A feature with a long name {i}" for i in range(15)], "title": "Features"},
        ),
        (100, {}),
    ],
    ids=["numbered", "named", "bare"],
)
def test_correlations_are_whole_and_named(features, naming, count):
    undefined = matrix(9, features)
    undefined[3] = undefined[:, 3] = np.nan
    generated = [(f"{LONG}-{i}", undefined) for i in range(count)]
    figure = plots.correlations(generated, ("Geant4", matrix(0, features)), **naming)
    assert flaws(figure) == []
    lowest = figure.axes[-3]  # before the two colour bars
    names = [label.get_text() for label in lowest.get_xticklabels()]
    assert names == naming["names"] if "names" in naming else True
    assert lowest.get_xlabel() == naming.get("axis_title", "")
    assert bool(lowest.get_xticks().size) == bool(naming)


# ----------------------------------------------------------------------------------- classifiers


def roc(label, power):
    rate = np.linspace(0.0, 1.0, 50)
    return plots.RocCurve(label, rate, rate**power, 1.0 / (1.0 + power), 0.004)


def test_roc_has_a_curve_for_each_its_area_in_the_legend_and_the_diagonal():
    for curves in (roc("all", 0.5), [roc("a", 0.5), roc(LONG, 0.9), roc("c", 0.2)]):
        figure = plots.classifier_roc(curves)
        assert flaws(figure) == []
        (axes,) = figure.axes
        diagonal, first, *_ = axes.lines
        assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
        assert first.get_ydata() == pytest.approx(first.get_xdata() ** 0.5)
        text = figure.legends[0].get_texts()[0].get_text()
        assert text.endswith(": AUC 0.667 ± 0.004")


def test_discriminator_outputs_have_a_panel_each():
    rng = np.random.default_rng(0)
    outputs = {
        label: {"Probability of real": rng.random(300), "Sum of cells [GeV]": rng.random(300)}
        for label in ("Geant4", "epoch 1", LONG, "epoch 3")
    }
    outputs["epoch 3"]["Probability of real"][:] = np.nan
    for count in (2, 4):
        figure = plots.discriminator_outputs(dict(list(outputs.items())[:count]))
        assert flaws(figure) == []
        titles = [axes.get_xlabel() for axes in figure.axes[1::2]]
        assert titles == ["Probability of real", "Sum of cells [GeV]"]
        assert len(figure.legends[0].get_texts()) == count
    del outputs["epoch 1"]["Sum of cells [GeV]"]
    with pytest.raises(DataError, match="epoch 1 has the outputs Probability of real, Geant4 has"):
        plots.discriminator_outputs(outputs)


# -------------------------------------------------------------------------------------- histories


def history(scale=1.0):
    return [
        {
            "epoch": epoch,
            "generator.loss": scale * 5.0 / epoch,
            "discriminator.loss.ecal": scale,
            "rate": 3.0,
            "validation.optimisation_metric": metric,
            "validation.moments.rel_error": 0.1 / epoch,
            "validation.hits.separation": None if epoch == 2 else 0.3,
        }
        for epoch, metric in ((1, 0.4), (2, None), (3, 0.2), (4, 0.3))
    ]


def test_losses_are_found_by_their_names():
    rows = history()
    assert plots.loss_names(rows) == ["generator.loss", "discriminator.loss.ecal"]
    figure = plots.losses(rows)
    assert flaws(figure) == []
    left, right = figure.axes
    assert left.lines[0].get_ydata() == pytest.approx([5.0, 2.5, 5 / 3, 1.25])
    assert right.lines[0].get_label() == "discriminator.loss.ecal"


def test_losses_of_several_runs_have_a_panel_for_each_loss():
    figure = plots.losses({"a": history(), LONG: history(100.0)[:2], "c": []})
    assert flaws(figure) == []
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "generator.loss",
        "discriminator.loss.ecal",
    ]
    for axes in figure.axes:
        assert [len(line.get_xdata()) for line in axes.lines] == [4, 2, 0]
    assert figure.axes[0].get_yscale() == "log"


def test_best_epoch_is_where_the_optimisation_metric_is_smallest():
    figure = plots.metric_history(history())
    assert flaws(figure) == []
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["optimisation_metric", "moments.rel_error", "hits.separation"]
    stars = [
        line.get_xydata().tolist()
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() == "*"
    ]
    assert stars == [[[3.0, 0.2]], [[3.0, pytest.approx(0.1 / 3)]], [[3.0, 0.3]]]
    assert figure.axes[0].texts[0].get_text() == "best epoch 3: 0.2000"


def test_metrics_of_several_runs_are_in_the_same_panels():
    without = [{"epoch": 1, "validation.optimisation_metric": None}]
    figure = plots.metric_history({"a": history(), LONG: history(2.0)[:1], "c": without})
    assert flaws(figure) == []
    assert len(figure.axes) == 3
    assert len(figure.legends[0].get_texts()) == 3
    with pytest.raises(DataError, match="7 are too many"):
        plots.metric_history({str(i): history() for i in range(7)})


def test_a_history_without_numbers_has_figures():
    for draw in (plots.losses, plots.metric_history):
        draw([]).draw_without_rendering()
        draw({}).draw_without_rendering()


# -------------------------------------------------------------------------------------- scorecard


def row(title, *values):
    return plots.ScoreRow(
        title,
        [
            plots.Score(label, significance, word)
            for label, (significance, word) in zip(
                ("Generated", LONG, "runs/b"), values, strict=False
            )
        ],
    )


ROWS = [
    row("Fine", (0.0, "agrees"), (0.2, "agrees"), (0.0, "agrees")),
    row("Undefined", *[(math.nan, "differs")] * 3),
    row("Worst by the second", (1.0, "agrees"), (90.0, "differs"), (8.0, "close")),
    row("Without noise", (math.inf, "differs"), (0.0, "agrees"), (6.0, "close")),
    row("Near " * 12, (40.0, "differs"), (7.0, "close"), (0.0, "agrees")),
]


def card(rows=ROWS):
    return plots.scorecard(rows)


def titles(figure):
    return [label.get_text().replace("\n", " ") for label in figure.axes[0].get_yticklabels()]


def test_scorecard_has_the_least_significant_agreement_on_top():
    figure = card()
    ranked = titles(figure)
    assert ranked[:2] == ["Without noise", "Worst by the second"]
    assert ranked[-2:] == ["Fine", "Undefined"]
    assert figure.axes[0].yaxis_inverted()


def test_scorecard_tells_verdicts_by_colour_and_by_marker():
    axes = card().axes[2]
    looks = {(line.get_marker(), line.get_color()) for line in axes.lines}
    assert looks == {("o", "#009e73"), ("D", "#e69f00")}
    at = {int(line.get_ydata()[0]): line.get_xdata()[0] for line in axes.lines}
    assert at[1] == 8.0


def test_scorecard_puts_what_cannot_be_shown_at_its_edges():
    left, middle, _ = card().axes
    _, high = left.get_xlim()
    assert [line.get_xdata()[0] for line in left.lines if line.get_ydata()[0] == 0] == [high]
    assert [line.get_xdata()[0] for line in middle.lines if line.get_ydata()[0] == 0] == [0.0]
    assert "undefined" in [text.get_text() for text in left.texts]
    assert left.get_xscale() == "symlog"


@pytest.mark.parametrize("count", [1, 3])
def test_scorecards_are_whole(count):
    rows = [plots.ScoreRow(each.title, each.scores[:count]) for each in ROWS]
    figure = card(rows)
    assert len(figure.axes) == count
    assert flaws(figure) == []


def test_a_scorecard_of_nothing_is_empty():
    card([]).draw_without_rendering()

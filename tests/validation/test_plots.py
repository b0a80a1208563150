import matplotlib as mpl
import numpy as np
import pytest

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.validation import Selection, observe, plots, summarise
from gan3d.validation.selection import Candidate

BINS = [(10.0, 100.0), (10.0, 40.0), (40.0, 70.0)]


@pytest.fixture(scope="module")
def samples(geant4, other_geant4):
    return tuple(
        summarise(showers, Geometry(), Validation(), label=label)
        for showers, label in ((other_geant4, "Generated"), (geant4, "Geant4"))
    )


@pytest.fixture(scope="module")
def observed(samples):
    return tuple(sample.observables for sample in samples)


def drawn(axes):
    """Heights of the outlined steps, the reference's first."""
    return [patch.get_data().values for patch in axes.patches if not patch.get_fill()]


def test_profile_shows_the_mean_energy_over_the_incident_energy(observed, geant4):
    figure = plots.longitudinal_profile(*observed)
    linear, ratio, log, _ = figure.axes
    by_hand = 100 * (geant4.images_nxyz.sum(axis=(1, 2)) / geant4.energy_n[:, None]).mean(axis=0)
    assert len(drawn(linear)) == 2
    assert drawn(linear)[0] == pytest.approx(by_hand, rel=1e-4)
    assert (linear.get_yscale(), log.get_yscale()) == ("linear", "log")
    low, high = ratio.get_ylim()
    assert low < 1 < high


@pytest.mark.parametrize("draw", [plots.longitudinal_profile_in_bins, plots.response_histogram])
def test_bins_have_a_panel_each_and_a_legend_that_tells_them_apart(draw, observed):
    figure = draw(*observed, BINS)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert sum("GeV:" in title for title in titles) == len(BINS)
    (legend,) = figure.legends
    colours = {
        text.get_text(): mpl.colors.to_hex(handle.get_color())
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    assert colours["Generated"] == "#d55e00"
    assert colours["Geant4"] == "#111111"


def test_cell_spectrum_is_logarithmic_in_both_and_counts_cells(observed, geant4):
    axes = plots.cell_energy_spectrum(*observed).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    cells = np.count_nonzero(geant4.images_nxyz) / len(geant4)
    assert drawn(axes)[0].sum() == pytest.approx(cells, rel=1e-6)


def test_maps_of_both_samples_have_one_colour_scale(samples):
    for figure in (plots.mean_projections(*samples), plots.shower_projections(*samples, 1)):
        norms = {mesh.norm for axes in figure.axes[:6] for mesh in axes.collections}
        assert len(norms) == 1
        assert figure.axes[0].get_title(loc="left").startswith("Geant4")
        assert figure.axes[3].get_title(loc="left").startswith("Generated")


def test_maps_are_not_transposed(one_cell):
    showers = one_cell((2, 5, 9), count=4)
    sample = summarise(showers, Geometry(), Validation(), label="s")
    maps = [
        axes.collections[0].get_array().reshape(25, 25)
        for axes in plots.mean_projections(sample, sample).axes[:3]
    ]
    filled = [tuple(int(i) for i in np.argwhere(~np.ma.getmaskarray(m))[0]) for m in maps]
    assert filled == [(2, 9), (5, 9), (5, 2)]  # (row, column): x-layer, y-layer, y-x


def test_event_display_has_a_point_for_every_hit(samples):
    generated, reference = samples
    figure = plots.event_display(generated, reference, 2)
    for axes, sample in zip(figure.axes, (reference, generated), strict=False):
        hits = np.count_nonzero(sample.examples.images_nxyz[2] > 1e-5)
        assert len(axes.collections[0].get_offsets()) == hits


def test_losses_are_found_by_their_names():
    history = [
        {"epoch": e, "generator.loss": 5.0 / e, "discriminator.loss.ecal": 1.0, "rate": 3.0}
        for e in (1, 2, 3)
    ]
    assert plots.loss_names(history) == ["generator.loss", "discriminator.loss.ecal"]
    left, right = plots.losses(history).axes
    assert left.lines[0].get_ydata() == pytest.approx([5.0, 2.5, 5 / 3])
    assert right.lines[0].get_label() == "discriminator.loss.ecal"


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


def test_drawing_leaves_the_settings_alone_and_needs_no_pyplot_figure(observed):
    before = dict(mpl.rcParams)
    plots.hits(*observed)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    "make",
    [
        lambda s: Showers(np.zeros_like(s.images_nxyz), s.energy_n),
        lambda s: Showers(s.images_nxyz * np.float32(50), s.energy_n),
        lambda s: Showers(s.images_nxyz, np.full_like(s.energy_n, 50)),
    ],
    ids=["empty", "far off", "one energy"],
)
def test_figures_can_be_drawn_of_showers_that_are_all_wrong(make, geant4, observed, recwarn):
    few = geant4.take(slice(40))
    wrong = observe(make(few), Geometry(), Validation(), label="Generated")
    reference = observed[1]
    for draw in (
        plots.longitudinal_profile,
        plots.response_against_energy,
        plots.hits,
        plots.cell_energy_spectrum,
        plots.moments,
        plots.shower_maximum,
        plots.layer_fractions,
    ):
        draw(wrong, reference).draw_without_rendering()

import matplotlib as mpl
import numpy as np
import pytest

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.validation import observe, plots, summarise

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

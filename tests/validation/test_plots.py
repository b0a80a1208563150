"""Figures of observables and of showers: of one and of several generated samples."""

import warnings
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from layout import flaws

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.errors import DataError
from gan3d.validation import observe, plots, summarise
from gan3d.validation.resolution import fit_resolution, resolution_curve

BINS = [(10.0, 100.0), (10.0, 40.0), (40.0, 70.0)]
LONG = "runs/2026-11-21-ecal25-compact-batch-64-lr-0.0002-epoch-024-of-a-name-that-does-not-end"

FIGURES = {
    **{
        draw.__name__: draw
        for draw in (
            plots.longitudinal_profile,
            plots.occupancy,
            plots.response_against_energy,
            plots.resolution,
            plots.hits,
            plots.cell_energy_spectrum,
            plots.moments,
            plots.higher_moments,
            plots.shower_maximum,
            plots.shower_start,
            plots.containment,
            plots.layer_fractions,
            plots.angles,
        )
    },
    "transverse_profile": lambda ours, theirs: plots.transverse_profile(ours, theirs, "x"),
    "profile_in_bins": lambda ours, theirs: plots.longitudinal_profile_in_bins(ours, theirs, BINS),
    "response_histogram": lambda ours, theirs: plots.response_histogram(ours, theirs, BINS),
    "response_in_one_bin": lambda ours, theirs: plots.response_histogram(ours, theirs, BINS[1:2]),
}
PICTURES = {
    draw.__name__: draw
    for draw in (plots.mean_projections, plots.shower_projections, plots.event_display)
}


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="module")
def samples(geant4, other_geant4):
    return tuple(
        summarise(showers, Geometry(), Validation(), label=label)
        for showers, label in ((other_geant4, "Generated"), (geant4, "Geant4"))
    )


@pytest.fixture(scope="module")
def several(samples, other_geant4):
    """Three generated samples; of the second half are empty, the third has another energy."""
    images = other_geant4.images_nxyz[:200].copy()
    images[::2] = 0.0
    half_empty = Showers(images, other_geant4.energy_n[:200])
    more = Showers(np.roll(other_geant4.images_nxyz, 1, 3) * 1.1, other_geant4.energy_n)
    return [
        samples[0],
        summarise(half_empty, Geometry(), Validation(), label=LONG),
        summarise(more, Geometry(), Validation(), label="runs/b"),
    ]


@pytest.fixture(scope="module")
def observed(samples):
    return tuple(sample.observables for sample in samples)


def drawn(axes):
    """Heights of the outlined steps, the reference's first."""
    return [patch.get_data().values for patch in axes.patches if not patch.get_fill()]


def ratios(axes):
    """Points of the ratio panel for each generated sample."""
    return [container.lines[0].get_ydata() for container in axes.containers]


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_figures_of_one_and_of_three_are_whole_and_labelled(draw, observed, several):
    reference = observed[1]
    for generated in (observed[0], [sample.observables for sample in several]):
        figure = draw(generated, reference)
        assert flaws(figure) == []
        (legend,) = figure.legends
        assert legend.get_texts()[0].get_text().startswith("Geant4")
        assert len(legend.get_texts()) == (2 if generated is observed[0] else 4)
        for main, ratio in zip(figure.axes[::2], figure.axes[1::2], strict=True):
            assert main.get_ylabel()
            assert ratio.get_ylabel() == "Ratio"
            assert ratio.get_xlabel()


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_pictures_of_one_and_of_three_are_whole(draw, samples, several):
    for generated in (samples[0], several):
        assert flaws(draw(generated, samples[1])) == []


def test_profile_shows_the_mean_energy_over_the_incident_energy(observed, geant4):
    figure = plots.longitudinal_profile(*observed)
    linear, ratio, log, _ = figure.axes
    by_hand = 100 * (geant4.images_nxyz.sum(axis=(1, 2)) / geant4.energy_n[:, None]).mean(axis=0)
    assert len(drawn(linear)) == 2
    assert drawn(linear)[0] == pytest.approx(by_hand, rel=1e-4)
    assert (linear.get_yscale(), log.get_yscale()) == ("linear", "log")
    low, high = ratio.get_ylim()
    assert low < 1 < high


def test_ratio_is_generated_over_reference_for_each_sample(observed):
    reference = observed[1]
    scaled = [
        replace(reference, longitudinal_nz=reference.longitudinal_nz * factor, label=str(factor))
        for factor in (0.9, 1.05)
    ]
    _, ratio, *_ = plots.longitudinal_profile(scaled, reference).axes
    assert [np.unique(each.round(9)).tolist() for each in ratios(ratio)] == [[0.9], [1.05]]


def test_points_beyond_the_ratio_panel_are_triangles_at_its_edge(observed):
    reference = observed[1]
    far = reference.longitudinal_nz.copy()
    far[:, 12] *= 30.0
    _, ratio, *_ = plots.longitudinal_profile(
        replace(reference, longitudinal_nz=far), reference
    ).axes
    marks = {line.get_marker(): line.get_xydata().tolist() for line in ratio.lines}
    assert marks["^"] == [[12.0, ratio.get_ylim()[1]]]


def test_samples_are_told_apart_by_colour_marker_and_line(observed):
    six = [replace(observed[0], label=f"epoch {i}") for i in range(6)]
    figure = plots.hits(six, observed[1])
    handles = figure.legends[0].legend_handles
    for look in ("get_color", "get_marker"):
        assert len({getattr(handle, look)() for handle in handles}) == 7
    assert len({mpl.colors.to_hex(line.get_color()) for line in figure.axes[0].lines}) == 7
    with pytest.raises(DataError, match="7 are too many"):
        plots.hits([*six, six[0]], observed[1])


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


def test_long_names_lose_their_middle_and_the_figure_grows(observed):
    short = plots.hits(observed[0], observed[1])
    figure = plots.hits([replace(observed[0], label=LONG)] * 3, observed[1])
    name = figure.legends[0].get_texts()[1].get_text()
    assert name[:10] == LONG[:10]
    assert name[-10:] == LONG[-10:]
    assert len(name) < len(LONG)
    assert figure.get_figheight() > short.get_figheight()


def test_cell_spectrum_is_logarithmic_in_both_and_counts_cells(observed, geant4):
    axes = plots.cell_energy_spectrum(*observed).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    cells = np.count_nonzero(geant4.images_nxyz) / len(geant4)
    assert drawn(axes)[0].sum() == pytest.approx(cells, rel=1e-6)


def test_occupancy_counts_the_cells_of_layers_above_each_threshold(observed, geant4):
    figure = plots.occupancy(*observed)
    for axes, threshold in zip(
        figure.axes[::2], Validation().occupancy_thresholds_gev, strict=True
    ):
        by_hand = (geant4.images_nxyz > threshold).sum(axis=(1, 2)).mean(axis=0)
        assert drawn(axes)[0] == pytest.approx(by_hand)
    titles = [axes.get_title(loc="left") for axes in figure.axes[::2]]
    assert titles == ["Above 10 keV", "Above 0.1 MeV", "Above 1 MeV"]


def test_skewness_and_kurtosis_are_those_of_the_profile(observed):
    reference = observed[1]
    moments = np.zeros((len(reference), 3, 4))
    moments[:, :, 1] = 4.0
    moments[:, :, 2] = 0.5 * 4.0**1.5
    moments[:, :, 3] = 3.0 * 4.0**2
    moments[0, :, 1] = 0.0  # all energy in one slice
    given = replace(reference, moments_nao=moments)
    figure = plots.higher_moments(given, given)
    share = 100.0 * (len(reference) - 1) / len(reference)
    for axes, value in zip(figure.axes[::2], [0.5] * 3 + [3.0] * 3, strict=True):
        low, high = axes.get_xlim()
        assert low < value < high
        assert drawn(axes)[0].sum() == pytest.approx(share)


def test_angles_are_in_degrees(observed):
    tilted = replace(observed[1], angle_n2=np.radians(np.full((len(observed[1]), 2), 30.0)))
    axes = plots.angles(tilted, tilted).axes
    assert axes[0].get_xlim()[0] < 30.0 < axes[0].get_xlim()[1]
    assert axes[1].get_xlabel() == "Angle in x and depth [degrees]"


def test_resolution_names_the_terms_of_its_fit(observed):
    reference = observed[1]
    rng = np.random.default_rng(1)
    energy = np.linspace(10.0, 100.0, len(reference))
    sigma = np.sqrt(0.2**2 / energy + 0.01**2)
    total = 0.02 * energy * (1.0 + sigma * rng.standard_normal(len(energy)))
    given = replace(reference, energy_n=energy, total_energy_n=total)
    few = given.select(np.linspace(0, len(given) - 1, 9).astype(int))
    figure = plots.resolution([given, few], given)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    fit = fit_resolution(resolution_curve(given, np.linspace(10.0, 100.0, 10)))
    for term, error in (
        (fit.stochastic, fit.stochastic_error),
        (fit.constant, fit.constant_error),
    ):
        assert f"({100 * term:.2f} ± {100 * error:.2f}) %" in texts[0]
    assert texts[2].endswith("too few points for a fit")


def test_maps_of_all_samples_have_one_colour_scale(samples, several):
    for generated, rows in ((samples[0], 2), (several, 4)):
        for draw in (plots.mean_projections, plots.shower_projections):
            figure = draw(generated, samples[1])
            maps = figure.axes[: 3 * rows]
            assert len({mesh.norm for axes in maps for mesh in axes.collections}) == 1
            titles = [axes.get_title(loc="left") for axes in maps[::3]]
            assert titles[0].startswith("Geant4")
            assert titles[1].startswith("Generated")
            assert len(titles) == rows


def test_maps_are_not_transposed(one_cell):
    showers = one_cell((2, 5, 9), count=4)
    sample = summarise(showers, Geometry(), Validation(), label="s")
    maps = [
        axes.collections[0].get_array().reshape(25, 25)
        for axes in plots.mean_projections(sample, sample).axes[:3]
    ]
    filled = [tuple(int(i) for i in np.argwhere(~np.ma.getmaskarray(m))[0]) for m in maps]
    assert filled == [(2, 9), (5, 9), (5, 2)]  # (row, column): x-layer, y-layer, y-x


def test_event_display_has_a_point_for_every_hit(samples, several):
    figure = plots.event_display(several, samples[1], 2)
    for axes, sample in zip(figure.axes, (samples[1], *several), strict=False):
        hits = np.count_nonzero(sample.examples.images_nxyz[2] > 1e-5)
        assert len(axes.collections[0].get_offsets()) == hits


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
        lambda s: s.take(slice(1)),
    ],
    ids=["empty", "far off", "one energy", "one shower"],
)
def test_figures_can_be_drawn_of_showers_that_are_all_wrong(make, geant4, observed):
    few = geant4.take(slice(40))
    wrong = observe(make(few), Geometry(), Validation(), label="Generated")
    for draw in FIGURES.values():
        draw(wrong, observed[1])
    for draw in (plots.longitudinal_profile, plots.cell_energy_spectrum, plots.moments):
        draw(wrong, wrong).draw_without_rendering()


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_showers_that_are_empty_have_a_picture(draw, geant4):
    nothing = Showers(np.zeros_like(geant4.images_nxyz[:30]), geant4.energy_n[:30])
    empty = summarise(nothing, Geometry(), Validation(), label="Generated")
    draw(empty, empty).draw_without_rendering()


def test_files_are_pdf_with_truetype_fonts_and_png(observed, tmp_path):
    figure = plots.resolution(*observed)
    pdf, png = plots.save_figure(figure, tmp_path / "resolution.first")
    assert (pdf.name, png.name) == ("resolution.first.pdf", "resolution.first.png")
    assert sorted(tmp_path.iterdir()) == [pdf, png]
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/CIDFontType2" in content
    assert b"/Type3" not in content
    height, width, _ = mpl.image.imread(png).shape
    assert width >= 1100
    assert height > 300
    plots.save_figure(figure, tmp_path / "again")
    assert (tmp_path / "again.pdf").read_bytes() == content
    with pytest.raises(DataError, match="cannot be written"):
        plots.save_figure(figure, tmp_path / "missing" / "resolution")

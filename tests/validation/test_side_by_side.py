"""Angle bins and kinds of particle side by side: in the judgement, the figures and the report."""

import numpy as np
import pytest

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.validation import judge, plots, write_report
from gan3d.validation.bins import Bin, split_name
from gan3d.validation.pictures import _in_bins

SHAPE = (6, 8, 7)
SETTINGS = Validation(
    angle_bins_deg=[(60, 90), (90, 120)], energy_bins_gev=[(10, 100)], minimum_showers=10,
    sample_showers=0, noise_replicas=10, bootstrap_replicas=2, exchanges=20,
)  # fmt: skip


def showers(seed, count=120, depth=0.0):
    """Showers along their angle, those of photons a layer deeper; `depth` layers more."""
    rng = np.random.default_rng(seed)
    energy_n = rng.uniform(10, 100, count).astype(np.float32)
    theta_n = np.radians(rng.uniform(60, 120, count))
    pdg_n = rng.choice([11, 22], count)
    x, y, z = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    middle_n = 2.5 + (pdg_n == 22) + depth
    along = (z - middle_n[:, None, None, None]) ** 2
    across = (x - 2.5) ** 2 + (y - 3.5 - (z - 3) / np.tan(theta_n)[:, None, None, None]) ** 2
    cells = np.exp(-along / 4 - across / 2) * rng.gamma(2.0, 1.0, (count, *SHAPE))
    cells *= (0.02 * energy_n / cells.sum(axis=(1, 2, 3)))[:, None, None, None]
    return Showers(cells.astype(np.float32), energy_n, {"theta": theta_n, "pdg": pdg_n})


@pytest.fixture(scope="module")
def judgement():
    geometry = Geometry(shape=SHAPE)
    return judge(showers(1, depth=0.5), showers(2), geometry, SETTINGS)


def test_kinds_of_particle_are_bins_where_there_are_several(judgement):
    assert [each.name for each in judgement.bins] == [
        "10-100GeV", "60-90deg", "90-120deg", "pdg11", "pdg22",
    ]  # fmt: skip
    for name in ("pdg11", "60-90deg"):
        assert judgement.metrics[f"bin.{name}.barycentre_layer.ks"] > 0
    alone = showers(2)
    electrons = Showers(alone.images_nxyz, alone.energy_n, {"pdg": np.full(120, 11)})
    settings = SETTINGS.model_copy(update={"angle_bins_deg": []})
    one = judge(electrons, electrons, Geometry(shape=SHAPE), settings)
    assert [each.name for each in one.bins] == ["10-100GeV"]


@pytest.mark.parametrize(("code", "title"), [(22, "γ"), (-211, "π⁻"), (1000020040, "PDG code 1")])
def test_a_particles_name_can_be_taken_apart(code, title):
    own = Bin("particle", code, code, closed=True)
    assert split_name(f"bin.{own.name}.hits.ks") == (own.name, "hits.ks")
    assert own.title.startswith(title)
    assert list(own.holds(np.array([code, 11.0, np.nan]))) == [True, False, False]


def test_each_bin_has_a_panel_with_its_own_showers(judgement):
    ours, theirs = judgement.generated.observables, judgement.reference.observables
    particles = [each for each in judgement.bins if each.quantity == "particle"]
    figure = plots.profiles_in_bins(ours, theirs, particles, "layer")
    titles = [axes.get_title("left") for axes in figure.axes if axes.get_title("left")]
    electrons, photons = (int((theirs.pdg_n == code).sum()) for code in (11, 22))
    assert len(titles) == 2
    assert titles[0].startswith(f"e⁻: {electrons} and ")
    assert titles[1].startswith(f"γ: {photons} and ")


def test_the_report_has_tables_and_figures_of_both(judgement, tmp_path, monkeypatch):
    def save(figure, path):  # drawing takes seconds, and is tested elsewhere
        path.with_suffix(".png").write_bytes(b"a picture")
        return path.with_suffix(".pdf"), path.with_suffix(".png")

    monkeypatch.setattr("gan3d.validation.plots.save_figure", save)
    monkeypatch.setattr("gan3d.validation.report.pictures", lambda judged, *_: _in_bins(judged))
    page = write_report(judgement, tmp_path, title="Two kinds", facts={}).read_text()
    names = sorted(path.stem for path in (tmp_path / "figures").glob("*.png"))
    axes = ("layer", "x", "y")
    assert names == sorted(
        ["scorecard", *(f"{what}-{axis}" for what in ("angle", "particle") for axis in axes)]
    )
    for expected in ("By angle", "By particle", "60–90°", "90–120°", "e⁻", "γ"):
        assert expected in page
    by_particle = page.partition('id="by-particle"')[2].partition("</table>")[0]
    row = by_particle.partition("<td>Layer with most energy</td>")[2].partition("</tr>")[0]
    cells = [part.partition("</td>")[0] for part in row.split('<td class="number">')[1:]]
    theirs = judgement.reference.observables
    for cell, code in ((cells[0], 11), (cells[2], 22)):
        mean = theirs.maximum_layer_n[theirs.pdg_n == code].mean()
        assert cell.startswith(f"{mean:.2f} ±")
    assert "σ" in cells[1]

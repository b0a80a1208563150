import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from gan3d.data import Showers
from gan3d.errors import DataError
from gan3d.validation import judge, write_report
from gan3d.validation.pictures import pictures
from gan3d.validation.quantities import quantities
from gan3d.validation.report import flat_metrics, headline, json_name, show, show_p

pytestmark = pytest.mark.xdist_group("report")  # one worker: the page takes half a minute to make

FIGURES = [
    "scorecard",
    "longitudinal",
    "longitudinal-bins",
    "transverse-x",
    "transverse-y",
    "response",
    "resolution",
    "sampling-fraction",
    "hits",
    "occupancy",
    "cell-energy",
    "moments",
    "higher-moments",
    "containment",
    "start",
    "maximum",
    "layer-fractions",
    "layers",
    "angles",
    "correlations-layers",
    "correlations-features",
    "correlations-cells",
    "classifier",
    "mean-shower",
    "single-shower",
    "event-display",
    "discriminator",
    "losses",
    "metric-history",
]
VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.sources, self.links, self.sections, self.text, self.open = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.sections.append(attributes["id"])
        self.sources += [attributes[k] for k in ("src", "srcset", "data") if k in attributes]
        if "href" in attributes:
            self.links.append(attributes["href"])
        assert tag not in ("script", "iframe", "object")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def settings():
    from gan3d.config import Validation

    return Validation(noise_replicas=10, exchanges=20, bootstrap_replicas=3, sample_showers=0)


@pytest.fixture(scope="module")
def page(report_folder):
    return Page((report_folder / "index.html").read_text(encoding="utf-8"))


def test_all_figures_are_embedded_pictures(page):
    assert page.sections == FIGURES
    assert len(page.sources) == len(FIGURES)
    for source in page.sources:
        kind, _, content = source.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content).startswith(b"\x89PNG")


def test_the_page_is_whole_and_needs_nothing_from_outside(report_folder, page):
    assert page.open == []
    for link in page.links:
        assert link.startswith(("#", "data:"))
        assert link[1:] in [*FIGURES, "ata:,"]
    text = (report_folder / "index.html").read_text(encoding="utf-8")
    assert "http" not in "".join(page.text)
    assert "url(" not in text
    assert "@import" not in text
    assert len(text) < 8e6


def test_what_the_user_gave_is_escaped(report_folder, page):
    assert "A <b>run</b>" in "".join(page.text)
    assert "A &lt;b&gt;run&lt;/b&gt;" in (report_folder / "index.html").read_text(encoding="utf-8")
    assert "ecal25 & friends" in page.text


def test_the_verdict_is_on_top(page, judgement):
    text = "".join(page.text)
    assert text.index(headline([judgement])) < text.index("What was compared")
    for verdict in judgement.verdicts:
        assert verdict.name in text


def test_metrics_and_figures_are_beside_the_page_and_nothing_else(report_folder, judgement):
    names = sorted(path.name for path in report_folder.iterdir())
    assert names == ["figures", "index.html", "metrics.json"]
    assert json.loads((report_folder / "metrics.json").read_text()) == judgement.metrics
    files = {path.name for path in (report_folder / "figures").iterdir()}
    assert files == {f"{name}.{suffix}" for name in FIGURES for suffix in ("pdf", "png")}


def test_every_number_of_the_tables_is_that_of_metrics_json(page, judgement):
    text = "".join(page.text)
    for verdict in judgement.verdicts:
        metrics = judgement.metrics
        assert metrics[verdict.name] == verdict.value
        kind = verdict.metric.kind
        assert show(kind, metrics[verdict.name], metrics[f"error.{verdict.name}"]) in text
        noise, spread = (metrics[f"{part}.{verdict.name}"] for part in ("noise", "spread"))
        assert show(kind, noise, spread) in text
        assert show_p(verdict) in text


def test_without_a_training_there_are_no_figures_of_it(judgement):
    for history in ([], [{"epoch": 1, "rate": 2.0}]):
        names = [picture.name for picture in pictures([judgement], {"Generated": history}, {})]
        assert names == FIGURES[1:-3]


def test_a_report_without_figures(geant4, geometry, settings, tmp_path):
    judgement = judge(geant4, geant4, geometry, settings.model_copy(update={"figures": False}))
    page = Page(write_report(judgement, tmp_path, title="Fast", facts={}).read_text("utf-8"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "metrics.json"]
    assert (page.sections, page.sources, page.open) == ([], [], [])
    assert "Figures" not in page.text


def test_too_few_showers_for_whole_metrics_have_no_figures_of_them(geant4, geometry, settings):
    judgement = judge(geant4.take(slice(50)), geant4, geometry, settings)
    names = [picture.name for picture in pictures([judgement], {}, {})]
    assert "classifier" not in names
    assert not any(name.startswith("correlations") for name in names)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.01234, None, "1.23 %"),
        (0.01234, 0.0021, "1.23 ± 0.21 %"),
        (0.0, 0.0, "0 ± 0 %"),
        (0.5, 0.25, "50 ± 25 %"),
        (0.01234, 0.0, "1.23 ± 0 %"),
        (0.00000123, 0.000000045, "(1.230 ± 0.045)e-4 %"),
        (0.00000000123, 0.000000045, "(0.1 ± 4.5)e-6 %"),
    ],
)
def test_numbers_have_two_digits_of_their_error(value, error, text):
    from gan3d.validation.catalogue import RELATIVE_ERROR

    assert show(RELATIVE_ERROR, value, error) == text


@pytest.fixture(scope="module")
def compared(geant4, other_geant4):
    """The same showers as they are, and 10 % too bright."""
    from gan3d.config import Geometry, Validation
    from gan3d.validation import summarise

    settings = Validation(noise_replicas=10, exchanges=20, bootstrap_replicas=3, sample_showers=0)
    reference = summarise(geant4, Geometry(), settings, label="Geant4")
    bright = Showers(other_geant4.images_nxyz * np.float32(1.1), other_geant4.energy_n)
    return [
        judge(showers, reference, Geometry(), settings, labels=(label, "Geant4"))
        for label, showers in (("epoch 1", bright), ("epoch 2", other_geant4))
    ]


def test_several_samples_side_by_side(compared, tmp_path, monkeypatch):
    monkeypatch.setattr("gan3d.validation.report.pictures", lambda *arguments: [])
    index = write_report(compared, tmp_path, title="Epochs", facts={})
    page = Page(index.read_text(encoding="utf-8"))
    text = "".join(page.text)
    assert "The smallest optimisation metric is that of epoch 2" in text
    assert headline(compared) in text
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == flat_metrics(compared)
    bright, good = (
        metrics[f"{label}.sampling_fraction.rel_error"] for label in ("epoch_1", "epoch_2")
    )
    assert bright > 0.09 > 0.02 > good
    for judgement in compared:
        for verdict in judgement.verdicts:
            assert show(verdict.metric.kind, verdict.value, verdict.estimate.error) in text


def test_samples_need_names_of_their_own(compared, tmp_path):
    assert json_name("run A@best") == "run_A_best"
    with pytest.raises(DataError, match="names of their own"):
        write_report([compared[0], compared[0]], tmp_path / "new", title="t", facts={})
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made(tmp_path, judgement):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be made"):
        write_report(judgement, tmp_path / "file" / "report", title="none", facts={})


def test_headline_names_what_differs(geant4, geometry, settings):
    same = judge(geant4, geant4, geometry, settings)
    # All of its showers are copies of the reference's.
    said = headline([same])
    assert re.search(
        r"Of \d+ main metrics [^.]*, 1 differs: copies of reference showers\. Of ", said
    )
    scaled = Showers(geant4.images_nxyz * np.float32(1.2), geant4.energy_n)
    said = headline([judge(scaled, geant4, geometry, settings)])
    assert said.startswith("The showers differ from Geant4: a perfect generator would look as bad")
    assert re.search(r"\d+ differ, most of all: .*(ECAL/Ep|longitudinal profile)", said)
    assert re.search(
        r"Of \d+ distances of distributions \d+ are within .*?; farthest off is ECAL/Ep \(", said
    )
    assert re.search(r"Of \d+ metrics in bins .*?; farthest off is [^;]* in [0-9-]+GeV \(", said)


def test_quantities_give_means_errors_and_differences(geant4, geometry, settings):
    scaled = Showers(geant4.images_nxyz * np.float32(1.1), geant4.energy_n)
    judgement = judge(scaled, geant4, geometry, settings)
    rows = {
        row.name: row
        for row in quantities([judgement.generated.observables], judgement.reference.observables)
    }
    ((_, difference),) = rows["ECAL [GeV]"].generated
    assert difference.startswith("+10.0 %")
    mean = geant4.images_nxyz.sum(axis=(1, 2, 3), dtype=np.float64).mean()
    assert rows["ECAL [GeV]"].reference.startswith(f"{mean:.4f} ±")
    assert rows["Layer with most energy"].generated[0][1] == "+0.0 %, 0.0 σ"


def test_importing_validation_does_not_import_tensorflow_or_matplotlib():
    code = (
        "import sys, gan3d.validation as v;"
        "wanted = ('tensorflow', 'keras', 'matplotlib', 'jinja2', 'sklearn');"
        "print([m for m in wanted if m in sys.modules])"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"

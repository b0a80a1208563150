import base64
import json
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from gan3d.data import Showers
from gan3d.errors import DataError
from gan3d.validation import judge, write_report
from gan3d.validation.report import headline, pictures, quantities

HISTORY = [
    {"epoch": 1, "step": 10, "generator.loss": 9.0, "discriminator.loss": 4.0, "rate": 5.0},
    {"epoch": 2, "step": 20, "generator.loss": 7.0, "discriminator.loss": 3.0, "rate": 5.0},
]
FIGURES = [
    "longitudinal",
    "longitudinal-bins",
    "transverse-x",
    "transverse-y",
    "response",
    "sampling-fraction",
    "hits",
    "cell-energy",
    "moments",
    "maximum",
    "layer-fractions",
    "mean-shower",
    "single-shower",
    "event-display",
    "losses",
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


@pytest.fixture(scope="module")
def judgement(geant4, other_geant4):
    from gan3d.config import Geometry, Validation

    return judge(other_geant4, geant4, Geometry(), Validation(noise_splits=2))


@pytest.fixture(scope="module")
def folder(judgement, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "new" / "report"
    write_report(
        judgement,
        folder,
        title="A <b>run</b>",
        facts={"Model": "ecal25 & friends"},
        history=HISTORY,
    )
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def test_all_figures_are_embedded_pictures(page):
    assert page.sections == FIGURES
    assert len(page.sources) == len(FIGURES)
    for source in page.sources:
        kind, _, content = source.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content).startswith(b"\x89PNG")


def test_the_page_is_whole_and_needs_nothing_from_outside(folder, page):
    assert page.open == []
    for link in page.links:
        assert link.startswith(("#", "data:"))
        assert link[1:] in [*FIGURES, "ata:,"]
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert "http" not in "".join(page.text)
    assert "url(" not in text
    assert "@import" not in text
    assert len(text) < 5e6


def test_what_the_user_gave_is_escaped(folder, page):
    assert "A <b>run</b>" in "".join(page.text)
    assert "A &lt;b&gt;run&lt;/b&gt;" in (folder / "index.html").read_text(encoding="utf-8")
    assert "ecal25 & friends" in page.text


def test_the_verdict_is_on_top(page, judgement):
    text = "".join(page.text)
    assert text.index(headline(judgement)) < text.index("What was compared")
    for verdict in judgement.verdicts:
        assert verdict.name in text


def test_metrics_are_beside_the_page_and_nothing_else(folder, judgement):
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "metrics.json"]
    assert json.loads((folder / "metrics.json").read_text()) == judgement.metrics


def test_without_losses_there_is_no_figure_of_them(judgement):
    for history in ([], [{"epoch": 1, "rate": 2.0}]):
        assert [picture.name for picture in pictures(judgement, history)] == FIGURES[:-1]


def test_a_folder_that_cannot_be_made(tmp_path, judgement):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be made"):
        write_report(judgement, tmp_path / "file" / "report", title="none", facts={})


def test_headline_names_what_differs(geant4, geometry, settings):
    same = judge(geant4, geant4, geometry, settings)
    assert "agree" in headline(same)
    assert "all 9 metrics" in headline(same)
    scaled = Showers(geant4.images_nxyz * np.float32(1.2), geant4.energy_n)
    assert "Different: sampling fraction ECAL/Ep" in headline(
        judge(scaled, geant4, geometry, settings)
    )


def test_quantities_give_means_errors_and_differences(geant4, geometry, settings):
    scaled = Showers(geant4.images_nxyz * np.float32(1.1), geant4.energy_n)
    judgement = judge(scaled, geant4, geometry, settings)
    rows = {
        row.name: row
        for row in quantities(judgement.generated.observables, judgement.reference.observables)
    }
    assert rows["ECAL [GeV]"].difference.startswith("+10.0 %")
    mean = geant4.images_nxyz.sum(axis=(1, 2, 3), dtype=np.float64).mean()
    assert rows["ECAL [GeV]"].reference.startswith(f"{mean:.4f} ±")
    assert rows["Layer with most energy"].difference == "+0.0 %, 0.0 σ"


def test_importing_validation_does_not_import_tensorflow_or_matplotlib():
    code = (
        "import sys, gan3d.validation as v;"
        "print([m for m in ('tensorflow', 'keras', 'matplotlib', 'jinja2') if m in sys.modules])"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"

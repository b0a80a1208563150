"""The report in a real browser: Debian's chromium, headless."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.validation import judge, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("report"),  # one worker: the page takes half a minute to make
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium (Debian's package) on this machine"),
]

PROBE = """<script>
addEventListener("error", event => {
  const what = event.message || event.target.src.slice(0, 80);
  document.documentElement.dataset.errors = (document.documentElement.dataset.errors || "") + what;
}, true);
addEventListener("load", () => {
  const pictures = [...document.images];
  const page = document.documentElement;
  page.dataset.pictures = pictures.length;
  page.dataset.missing = pictures.filter(p => !p.complete || p.naturalWidth < 500).length;
  page.dataset.overflow = page.scrollWidth - innerWidth;
  page.dataset.anchors = [...document.querySelectorAll('a[href^="#"]')]
    .filter(a => !document.getElementById(a.getAttribute("href").slice(1))).length;
});
</script>"""


def chromium(*arguments):
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
        "--virtual-time-budget=20000",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)


@pytest.fixture
def page(report_folder):
    return report_folder / "index.html"


@pytest.fixture
def page_of_several(geant4, other_geant4, tmp_path, monkeypatch):
    """Wide tables; the figures, which take long to draw, are those of one sample."""
    monkeypatch.setattr("gan3d.validation.report.pictures", lambda *arguments: [])
    settings = Validation(noise_replicas=10, exchanges=20, bootstrap_replicas=3, sample_showers=0)
    judgements = [
        judge(
            Showers(other_geant4.images_nxyz * np.float32(factor), other_geant4.energy_n),
            geant4,
            Geometry(),
            settings,
            labels=(f"a run of a longer name, epoch {number}", "Geant4"),
        )
        for number, factor in enumerate([1.0, 1.03, 0.9], start=1)
    ]
    return write_report(judgements, tmp_path, title="Three epochs", facts={})


@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "desktop"])
def test_it_renders_without_errors_or_missing_pictures(page, width, tmp_path):
    assert check(page, width, tmp_path) > 20


def test_several_samples_fit_a_phone(page_of_several, tmp_path):
    assert check(page_of_several, 390, tmp_path) == 1


def check(page, width, folder):
    """Open the page in the browser; the number of pictures that it shows."""
    # The page itself has no script: a copy is watched by one.
    watched = folder / "watched.html"
    text = page.read_text(encoding="utf-8")
    watched.write_text(text.replace("<head>", f"<head>{PROBE}", 1), encoding="utf-8")
    seen = chromium(f"--window-size={width},900", "--dump-dom", watched.as_uri())
    # Of the copy: whatever the page says on the console would be here.
    assert "CONSOLE" not in seen.stderr, seen.stderr
    (root,) = re.findall(r"<html[^>]*>", seen.stdout)
    found = dict(re.findall(r'data-(\w+)="([^"]*)"', root))
    assert "errors" not in found
    assert int(found["pictures"]) == text.count("<img")
    assert int(found["missing"]) == 0
    assert int(found["anchors"]) == 0
    assert int(found["overflow"]) <= 0, "the page must not scroll sideways"
    return int(found["pictures"])


def test_it_can_be_printed(page, tmp_path):
    pdf = tmp_path / "printed.pdf"
    chromium(f"--print-to-pdf={pdf}", page.as_uri())
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", content))
    assert 5 <= pages <= 60


def test_the_verdict_is_what_one_sees_first(page, tmp_path):
    shot = tmp_path / "shot.png"
    chromium("--window-size=1280,900", f"--screenshot={shot}", page.as_uri())
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert pixels.shape == (900, 1280)
    assert (pixels < 128).mean() > 0.01  # text, and not a blank page

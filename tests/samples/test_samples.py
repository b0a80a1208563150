import hashlib
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from gan3d.samples import sample_files

README_ROW = re.compile(
    r"^\| `(?P<name>\S+\.h5)` \| (?P<count>\d+) \|.*"
    r"\| (?P<size>\d+) \| `(?P<sha>[0-9a-f]{64})` \|$",
    re.MULTILINE,
)
BY_NAME = {path.name: path for path in sample_files()}


def readme_rows():
    text = sample_files().train.with_name("README.md").read_text(encoding="utf-8")
    return [match.groupdict() for match in README_ROW.finditer(text)]


def test_the_readme_describes_every_shipped_file():
    assert {row["name"] for row in readme_rows()} == set(BY_NAME)
    assert set(BY_NAME) == {path.name for path in sample_files().train.parent.glob("*.h5")}


@pytest.mark.parametrize("row", readme_rows(), ids=lambda row: row["name"])
def test_a_file_is_the_one_that_the_readme_describes(row):
    content = BY_NAME[row["name"]].read_bytes()
    assert len(content) == int(row["size"])
    assert hashlib.sha256(content).hexdigest() == row["sha"]
    with h5py.File(BY_NAME[row["name"]]) as file:
        assert file["ECAL"].shape == (int(row["count"]), 25, 25, 25)


def test_the_sample_stays_small():
    assert sum(path.stat().st_size for path in sample_files()) <= 14_000_000


@pytest.mark.parametrize("path", sample_files(), ids=lambda path: path.name)
def test_a_file_holds_one_particle_in_the_lcd_schema(path: Path):
    with h5py.File(path) as file:
        images, target = file["ECAL"], file["target"]
        assert images.dtype == target.dtype == np.float32
        assert target.shape == (len(images), 5)
        assert images.compression == "gzip"
        assert images.shuffle
        assert file.attrs["simulation"] == "Geant4 11.4.0"
        assert file.attrs["unit"] == "GeV"
        assert re.search(r"(Ele|Gamma)Escan_1_\d+\.h5 rows \d+:\d+", file.attrs["source"])
        assert set(target[:, 0]) == {22.0 if path.name.startswith("Gamma") else 11.0}
        energy = target[:, 1]
        assert energy.min() >= 10.0
        assert energy.max() <= 100.0
        cells = images[:]
        assert np.isfinite(cells).all()
        assert cells.min() == 0.0
        fraction = cells.sum(axis=(1, 2, 3), dtype=np.float64) / energy
        assert np.median(fraction) == pytest.approx(0.0208, abs=0.0003)


def test_no_shower_is_in_the_sample_twice():
    digests = []
    for path in sample_files():
        with h5py.File(path) as file:
            digests += [hashlib.sha256(image.tobytes()).digest() for image in file["ECAL"][:]]
    assert len(set(digests)) == len(digests) == 2600

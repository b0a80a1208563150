"""Bad labels for `generate` and `validate`: one clear line, before TensorFlow is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from bare_run import told_in_one_line, write_bare_run
from labelled import CONFIG, SHAPE, write_labelled

from gan3d.cli import main
from gan3d.config import Geometry, load_experiment
from gan3d.data import geometry_attributes

COMPACT = """
data: {files: [thick.h5], geometry: {shape: [4, 4, 5]}}
model: {architecture: compact, conditions: [energy, theta]}
training: {batch_size: 2, response_degree: 1}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, labelled_architectures):
    """A run that says all of itself but has no weights, which nobody gets to miss."""
    write_labelled(tmp_path / "train.h5", 12, seed=1)
    write_labelled(tmp_path / "heldout.h5", 8, seed=2)
    (tmp_path / "experiment.yaml").write_text(CONFIG)
    experiment = load_experiment(tmp_path / "experiment.yaml")
    write_bare_run(tmp_path / "run", experiment)
    (tmp_path / "compact.yaml").write_text(COMPACT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def along_the_layers(folder):
    """Files for `compact.yaml`, and what may have been trained with them: the last is parallel."""
    theta = np.linspace(1.2, 1.9, 30, dtype="f4")[:, None]
    cells = np.full((30, 4, 4, 5), 1e-2, "f4")
    write_labelled(folder / "thick.h5", 30, 1, ECAL=cells, theta=theta, pdg=None)
    experiment = load_experiment(folder / "compact.yaml")
    write_bare_run(folder / "inclined", experiment)
    theta[29] = 0.0
    write_labelled(folder / "thick.h5", 30, 1, ECAL=cells, theta=theta, pdg=None)


def of_a_cylinder(folder):
    cells = Geometry(coordinates="cylindrical", shape=SHAPE, cell_size_mm=(None, 5.0, 5.0))
    with h5py.File(folder / "heldout.h5", "r+") as file:
        file.attrs.update(geometry_attributes(cells))


def wrong_file(name, **changes):
    return lambda folder: write_labelled(folder / name, 6, 0, **changes)


def one_kind(folder):
    """A run that is not told the particle, and was trained on one kind."""
    text = (folder / "run" / "config.yaml").read_text()
    start, _, rest = text.partition("  - name: particle")
    (folder / "run" / "config.yaml").write_text(start + rest[rest.index("\n  dropout") + 1 :])
    write_labelled(folder / "mixed.h5", 6, 0)


GENERATE = ["generate", "run", "-n", "2", "-o", "no.h5"]
VALIDATE = ["validate", "run", "--out", "report", "--reference"]
CASES = [
    (None, [*GENERATE, "--condition", "theta=70"], 2, ["'theta' is 70, expected rad", "degrees"]),
    (None, [*GENERATE, "--condition", "particle=111"], 2, ["111", "expected one of 22, 11"]),
    (None, [*GENERATE, "--condition", "eta=1"], 2, ["not conditioned on eta, but on energy, th"]),
    (None, [*GENERATE, "--energy", "-3"], 2, ["-3"]),
    (
        wrong_file("no.h5", theta=None, target=np.ones((6, 5), "f4")),
        ["generate", "run", "-n", "2", "-o", "x.h5", "--like", "no.h5"],
        1,
        ["no.h5: has no column 'theta'"],
    ),
    (wrong_file("a.h5", pdg=None), [*VALIDATE, "a.h5"], 1, ["a.h5: has no column 'pdg'"]),
    (
        wrong_file("a.h5", theta=np.full((6, 1), 75.0, "f4")),
        [*VALIDATE, "a.h5"],
        1,
        ["a.h5: shower 0: 'theta' is 75", "are the angles in degrees?"],
    ),
    (
        wrong_file("a.h5", ECAL=np.ones((6, 5, 4, 3), "f4")),
        [*VALIDATE, "a.h5"],
        1,
        ["a.h5: images have 5×4×3 cells, expected 4×4×3"],
    ),
    (
        along_the_layers,
        ["train", "compact.yaml", "--dry-run"],
        1,
        ["thick.h5: shower 29: 'theta' is 0, expected at least 0.245 rad between"],
    ),
    (
        along_the_layers,
        ["generate", "inclined", "-n", "2", "-o", "no.h5", "--condition", "theta=0.0"],
        2,
        ["'theta' is 0, expected at least 0.245 rad between"],
    ),
    (None, [*GENERATE, *2 * ["--condition", "theta=1.5"]], 2, ["theta: is given 2 times"]),
    (
        of_a_cylinder,
        ["train", "experiment.yaml", "--dry-run"],
        1,
        ["heldout.h5: cells of a cylinder, but those along (x, y, layer) are reckoned with"],
    ),
    (one_kind, [*VALIDATE, "mixed.h5"], 1, ["mixed.h5: holds particles", "expected one kind"]),
]


@pytest.mark.parametrize(("spoil", "arguments", "code", "words"), CASES)
def test_one_line_that_names_file_and_expectation(folder, capsys, spoil, arguments, code, words):
    if spoil is not None:
        spoil(folder)
    assert main(arguments) == code
    told_in_one_line(capsys, words)
    assert not (folder / "no.h5").exists() or spoil is not None
    assert not (folder / "report").exists()


def test_it_is_said_before_tensorflow_is_loaded(folder):
    write_labelled(folder / "a.h5", 6, 0, pdg=None)
    calls = [CASES[0][1], [*VALIDATE, "a.h5"]]
    code = (
        f"import sys; sys.path.append({str(Path(__file__).parents[1])!r})\n"
        "from labelled_gan3d import main\n"
        f"codes = [main(call) for call in {calls}]\n"
        "sys.exit(99 if {'tensorflow', 'keras'} & set(sys.modules) else 10 * codes[0] + codes[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=dict(os.environ), check=False
    )
    assert done.returncode == 21


def test_angles_in_degrees_are_named_where_they_are_binned(folder, capsys):
    for name, theta in (("good.h5", 1.2), ("degrees.h5", 70.0)):
        write_labelled(folder / name, 30, 0, theta=np.full((30, 1), theta, "f4"))
    (folder / "judge.yaml").write_text(
        f"data: {{files: [train.h5], geometry: {{shape: {list(SHAPE)}}}}}\n"
        "validation: {angle_bins_deg: [[60, 90]], minimum_showers: 4, sample_showers: 0}\n"
    )
    call = ["validate", "good.h5", "--reference", "degrees.h5", "--config", "judge.yaml"]
    assert main([*call, "--out", "report"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "angles (theta) up to 70, expected rad" in said
    assert "degrees.h5" in said

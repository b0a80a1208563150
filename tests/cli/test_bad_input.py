"""Bad input to `gan3d train`: one clear line, exit code 1 or 2, nothing half-written."""

import os
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from gan3d.cli import main

CONFIG = """\
data:
  files: [train*.h5]
  validation_files: [heldout.h5]
model:
  architecture: ecal25
training:
  epochs: 1
  batch_size: 4
"""


@pytest.fixture
def folder(tmp_path, write_lcd, monkeypatch):
    write_lcd("train.h5", range(8))
    write_lcd("heldout.h5", range(8, 12))
    (tmp_path / "experiment.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(folder, change):
    with h5py.File(folder / "train.h5", "r+") as file:
        change(file)


def replace(file, name, values):
    del file[name]
    file[name] = values


def put(name, index, value):
    return lambda file: file[name].__setitem__(index, value)


def missing(folder):
    (folder / "heldout.h5").unlink()


def directory(folder):
    (folder / "train.h5").unlink()
    (folder / "train.h5").mkdir()


def not_hdf5(folder):
    (folder / "train.h5").write_text("x,y\n1,2\n")


def empty_file(folder):
    (folder / "train.h5").write_bytes(b"")


def truncated(folder):
    path = folder / "train.h5"
    os.truncate(path, path.stat().st_size // 2)


def empty_glob(folder):
    (folder / "train.h5").unlink()


def typo(folder):
    text = CONFIG.replace("batch_size", "batchsize")
    (folder / "experiment.yaml").write_text(text)


def wrong_type(folder):
    (folder / "experiment.yaml").write_text(CONFIG.replace("epochs: 1", "epochs: many"))


def unknown_architecture(folder):
    (folder / "experiment.yaml").write_text(CONFIG.replace("ecal25", "ecal52"))


def other_grid_than_the_preset(folder):
    text = CONFIG.replace("model:", "  geometry: {shape: [51, 51, 25]}\nmodel:")
    (folder / "experiment.yaml").write_text(text)


def refused_by(architecture, data="", model=""):
    """An experiment that this architecture cannot take."""

    def spoil(folder):
        text = CONFIG.replace("ecal25", architecture)
        text = text.replace("model:", f"  {data}\nmodel:") if data else text
        text = text.replace("training:", f"  {model}\ntraining:") if model else text
        (folder / "experiment.yaml").write_text(text)

    return spoil


CYLINDER = (
    "geometry: {{coordinates: cylindrical, shape: [{turn}, 9, 45], cell_size_mm: [null, 5, 3]}}"
)


def unknown_start(folder):
    (folder / "experiment.yaml").write_text(f"{CONFIG}  init_from: runs/none@best\n")


def no_experiment(folder):
    (folder / "experiment.yaml").unlink()


def large_batch(folder):
    (folder / "experiment.yaml").write_text(CONFIG.replace("batch_size: 4", "batch_size: 9"))


def run_folder_in_a_file(folder):
    (folder / "runs").write_text("in the way")


def all_empty(folder):
    edit(folder, lambda file: replace(file, "ECAL", np.zeros((8, 25, 25, 25), "f4")))


TABLE = [
    (missing, 1, ["heldout.h5"]),
    (directory, 1, ["train*.h5"]),
    (not_hdf5, 1, ["train.h5", "HDF5"]),
    (empty_file, 1, ["train.h5", "empty"]),
    (truncated, 1, ["train.h5", "truncated"]),
    (empty_glob, 1, ["train*.h5"]),
    (lambda f: edit(f, lambda h: h.__delitem__("ECAL")), 1, ["train.h5", "ECAL"]),
    (lambda f: edit(f, lambda h: h.__delitem__("target")), 1, ["train.h5", "target"]),
    (
        lambda f: edit(f, lambda h: replace(h, "ECAL", np.ones((8, 24, 25, 25), "f4"))),
        1,
        ["train.h5", "24", "25"],
    ),
    (lambda f: edit(f, put("ECAL", (3, 1, 1, 1), -0.1)), 1, ["train.h5", "shower 3"]),
    (lambda f: edit(f, put("ECAL", (5, 1, 1, 1), np.nan)), 1, ["train.h5", "shower 5"]),
    (lambda f: edit(f, put("target", (2, 1), -50.0)), 1, ["train.h5", "shower 2"]),
    (lambda f: edit(f, put("target", (7, 1), np.nan)), 1, ["train.h5", "shower 7"]),
    (lambda f: edit(f, lambda h: replace(h, "ECAL", h["ECAL"][:] * 1000)), 1, ["train.h5", "MeV"]),
    (all_empty, 1, ["train.h5", "empty", "threshold_gev"]),
    (typo, 2, ["experiment.yaml:8", "training.batchsize", "batch_size"]),
    (wrong_type, 2, ["experiment.yaml:7", "training.epochs"]),
    (
        unknown_architecture,
        2,
        ["experiment.yaml:5: model.architecture: ", "ecal52", "did you mean 'ecal25'"],
    ),
    (
        other_grid_than_the_preset,
        2,
        ["experiment.yaml:6: model.architecture: ecal25 makes images of (25, 25, 25)", "51"],
    ),
    (
        refused_by("ecal25-compact", data="cell_log_gev: 1.0e-4"),
        2,
        ["experiment.yaml:4: data.cell_log_gev: ecal25-compact has the physics of cells in GeV"],
    ),
    (
        refused_by("ecal25-compact", model="minibatch_deviation: true"),
        2,
        ["experiment.yaml:6: model.minibatch_deviation: the discriminator of ecal25-compact sees"],
    ),
    (
        refused_by("ecal25", model="conditions: [energy, theta]"),
        2,
        ["experiment.yaml:6: model.conditions: ecal25 takes energy alone, not [energy, theta]"],
    ),
    (
        refused_by("ecal25", data=CYLINDER.format(turn=16)),
        2,
        ["experiment.yaml:6: model.architecture: ecal25 does not go round"],
    ),
    (
        refused_by("convolutional", data=CYLINDER.format(turn=47)),
        2,
        ["experiment.yaml:4: data.geometry.shape: the 47 cells of the turn are 47 at least"],
    ),
    (
        refused_by("compact", CYLINDER.format(turn=16), "conditions: [energy, theta]"),
        2,
        ["experiment.yaml:7: model.conditions: compact moves the layers of inclined showers"],
    ),
    (unknown_start, 2, ["experiment.yaml:9: training.init_from: ", "runs/none@best: no such run"]),
    (no_experiment, 2, ["experiment.yaml"]),
    (large_batch, 1, ["training.batch_size"]),
    (run_folder_in_a_file, 1, ["runs"]),
]


@pytest.mark.parametrize(("spoil", "code", "words"), TABLE)
def test_one_line_the_right_exit_code_and_nothing_written(folder, capsys, spoil, code, words):
    spoil(folder)
    before = sorted(folder.rglob("*"))
    assert main(["train", "experiment.yaml"]) == code
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("gan3d: error: ")
    for word in words:
        assert word in lines[0]
    assert captured.out == ""
    assert sorted(folder.rglob("*")) == before


def test_more_ranks_than_showers_are_refused(folder, capsys, monkeypatch):
    monkeypatch.setattr("gan3d.runtime.distributed.horovod_lacks", lambda: None)
    for name, value in {"RANK": 0, "SIZE": 100, "LOCAL_RANK": 0, "LOCAL_SIZE": 1}.items():
        monkeypatch.setenv(f"HOROVOD_{name}", str(value))
    assert main(["train", "experiment.yaml"]) == 1
    assert "each of 100 ranks but there are only 8 showers" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc")
def test_a_run_folder_that_cannot_be_written_is_refused(folder, gan3d):
    before = sorted(folder.rglob("*"))
    # /proc takes no new folders, not even from root, though it says that root may write there.
    done = gan3d("train", "experiment.yaml", "--run", "/proc/gan3d-run")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "gan3d: error: /proc/gan3d-run: cannot be made: No such file or directory"
    ]
    assert sorted(folder.rglob("*")) == before


def test_bad_input_is_found_before_tensorflow_is_loaded(folder):
    import subprocess

    found = []
    for spoil, code, words in TABLE:
        if code == 2 and spoil is not no_experiment:
            spoil(folder)
            (folder / "experiment.yaml").rename(folder / f"{len(found)}.yaml")
            found.append((f"{len(found)}.yaml", code, words))
    (folder / "truncated.yaml").write_text(CONFIG)
    truncated(folder)
    found.append(("truncated.yaml", 1, []))
    code = (
        "import sys; from gan3d.cli import main\n"
        f"codes = [main(['train', name]) for name in {[name for name, *_ in found]}]\n"
        f"assert codes == {[code for _, code, _ in found]}, codes\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "nowhere", "-n", "5", "-o", "x.h5"], ["nowhere", "not a run"]),
        (["generate", "nowhere", "-n", "5", "-o", "no/such/x.h5"], ["no/such"]),
        (["generate", "nowhere", "-n", "0", "-o", "x.h5"], ["-n"]),
        (["generate", "nowhere", "-n", "5", "-o", "x.hdf5"], ["x.hdf5", ".h5 or .parquet"]),
        (["generate", "nowhere", "-n", "5", "--energy", "ten", "-o", "x.h5"], ["ten", "10:100"]),
        (["train", "experiment.yaml", "--resume"], ["no run to resume"]),
        (["validate", "train.h5", "--reference", "none*.h5", "--out", "r"], ["none*.h5"]),
        (["validate", "train.h5", "--out", "r"], ["--reference"]),
        (["data", "info", "none.h5"], ["none.h5"]),
    ],
)
def test_bad_calls_are_answered_with_one_line(folder, capsys, arguments, words):
    before = sorted(folder.rglob("*"))
    assert main(arguments) in (1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0]
    assert sorted(folder.rglob("*")) == before

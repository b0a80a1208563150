"""A cylinder from simulated showers to a verdict, by the commands that a user has for it."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from gan3d.cli import main
from gan3d.data import read_showers, stated_geometry

CONFIGS = Path(__file__).parents[2] / "configs"
SHAPE = (8, 4, 6)
CALORIMETER = f"""\
extends: {CONFIGS}/simulation/challenge2.yaml
calorimeter: {{shape: {list(SHAPE)}, cell_size_mm: [null, 10, 15]}}
"""
EXPERIMENT = f"""\
extends: {CONFIGS}/challenge2-compact.yaml
data:
  files: [showers/*.h5]
  split: {{by: row, train: 0.5, validation: 0.5}}
  geometry: {{coordinates: cylindrical, shape: {list(SHAPE)}, cell_size_mm: [null, 10, 15]}}
training: {{epochs: 1, batch_size: 20, response_degree: 1}}
validation:
  energy_bins_gev: [[1, 1000]]
  noise_replicas: 10
  exchanges: 20
  bootstrap_replicas: 2
  sample_showers: 0
  figures: false
node: {{intra_op_threads: 1, inter_op_threads: 1}}
"""


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_cylinder_is_simulated_trained_on_generated_and_judged(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "calorimeter.yaml").write_text(CALORIMETER)
    (tmp_path / "round.yaml").write_text(EXPERIMENT)
    assert main(["simulate", "calorimeter.yaml", "-n", "80", "-o", "showers"]) == 0
    (simulated,) = (tmp_path / "showers").glob("*.h5")
    assert stated_geometry([str(simulated)]).is_cylinder

    # This process has had TensorFlow set up by other tests.
    monkeypatch.setattr("gan3d.runtime.apply_node", lambda node: None)
    assert main(["train", "round.yaml"]) == 0
    call = ["generate", "runs/round", "-n", "40", "--like", str(simulated), "-o", "made.h5"]
    assert main(call) == 0
    record = json.loads((tmp_path / "runs" / "round" / "history.jsonl").read_text())
    assert record["step"] == 2
    assert 0.0 < record["validation.profile.transverse_y.rel_error"] < 1.0
    stated = stated_geometry([str(tmp_path / "made.h5")])
    assert (stated.is_cylinder, stated.shape) == (True, SHAPE)

    # Nothing depends on where the turn ends: the same showers, turned, have the same numbers.
    made = read_showers([tmp_path / "made.h5"]).images_nxyz
    assert made.sum() > 0.0
    with h5py.File("made.h5") as file, h5py.File("turned.h5", "w") as turned:
        for name in file:
            file.copy(name, turned)
        turned.attrs.update(file.attrs)
        turned["ECAL"][...] = np.roll(made, 3, axis=1)
    judged = []
    for name in ("made.h5", "turned.h5"):
        call = ["validate", name, "--reference", str(simulated), "--config", "round.yaml"]
        assert main([*call, "--out", f"report-{name}", "--json"]) == 0, capsys.readouterr().err
        judged.append(json.loads(Path(f"report-{name}/metrics.json").read_text()))
    before, after = judged
    for name in (
        "profile.longitudinal.rel_error",
        "profile.transverse_y.rel_error",
        "layers.hits.separation",
        "hits.separation",
        "radius_90.ks",
    ):
        assert after[name] == pytest.approx(before[name], rel=1e-6), name
        assert before[name] > 0.0
    assert after["profile.transverse_x.rel_error"] != before["profile.transverse_x.rel_error"]

    capsys.readouterr()
    flat = ["--set", "calorimeter.coordinates=cartesian"]
    flat += ["--set", "calorimeter.cell_size_mm=[10, 10, 15]"]
    assert main(["simulate", "calorimeter.yaml", "-n", "40", "-o", "flat", *flat]) == 0
    assert main(["validate", "made.h5", "--reference", "flat/*.h5", "--out", "none"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "made.h5: cells of a cylinder, but those of flat/*.h5 are along (x, y" in said[0]

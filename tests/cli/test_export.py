"""`gan3d export`, and `gan3d generate` with what it has written."""

import json

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from tiny import begin

from gan3d.cli import export, generate, main
from gan3d.errors import RunError, UsageError
from gan3d.export import load_exported

pytestmark = pytest.mark.tensorflow


def invoke(command, *arguments):
    result = CliRunner(env={"COLUMNS": "100"}).invoke(command, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(autouse=True)
def node_left_alone(monkeypatch):
    monkeypatch.setattr("gan3d.runtime.apply_node", lambda node: None)


@pytest.fixture
def folder(make_trainer, listen):
    """A run of one epoch, judged the best."""
    trainer = make_trainer(**{"training.epochs": 1, "validation.minimum_showers": 4})
    begin(trainer)
    trainer.train(listen(), lambda *_: {"optimisation_metric": 0.1})
    return trainer.folder


def test_an_exported_model_generates_the_runs_showers(folder, tmp_path):
    result = invoke(export.command, folder, "--format", "onnx", "--checkpoint", "best")
    path = folder / "generator.onnx"
    assert result.stdout.startswith(f"{path}: ecal25/step-00000005/")
    asked = ("-n", 30, "--energy", "5:100", "--seed", 3)
    invoke(generate.command, folder, *asked, "-o", tmp_path / "run.h5")
    said = invoke(generate.command, path, *asked, "-o", tmp_path / "model.h5").stdout
    low, high = load_exported(path).energy_range_gev
    assert f"note: the network was trained with {low:.4g} to {high:.4g} GeV only" in said
    with h5py.File(tmp_path / "run.h5") as ours, h5py.File(tmp_path / "model.h5") as theirs:
        np.testing.assert_array_equal(ours["target"], theirs["target"])
        largest = np.max(ours["ECAL"])
        np.testing.assert_allclose(ours["ECAL"], theirs["ECAL"], rtol=1e-5, atol=1e-6 * largest)
        assert theirs.attrs["model"] == f"{ours.attrs['model']} (onnx)"
        assert theirs.attrs["weights_sha256"] == ours.attrs["weights_sha256"]
        assert theirs.attrs["generator"].startswith("gan3d ")
        assert theirs.attrs["seed"] == 3
    with pytest.raises(UsageError, match=r"generator\.onnx: is already there"):
        invoke(export.command, folder, "--format", "onnx")
    with pytest.raises(UsageError, match="an exported model has one checkpoint"):
        invoke(generate.command, path, "-n", 1, "--checkpoint", "best", "-o", tmp_path / "x.h5")
    with pytest.raises(UsageError, match="--xla is for runs"):
        invoke(generate.command, path, "-n", 1, "--xla", "-o", tmp_path / "x.h5")
    for each in (folder, path):
        many = ("-n", 100_000_000, "--batch-size", 100_000_000)
        with pytest.raises(UsageError, match=r"a batch of 100000000 .* can fit \(--batch-size\)"):
            invoke(generate.command, each, *many, "-o", tmp_path / "x.h5")
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.parametrize("kind", ["savedmodel", "tflite"])
def test_the_other_formats_and_drawing_inside(kind, folder, tmp_path):
    invoke(export.command, folder, "--format", kind, "--latent", "inside")
    path = folder / f"generator.{kind}"
    for name in ("a.h5", "b.h5"):
        invoke(generate.command, path, "-n", 20, "--batch-size", 7, "-o", tmp_path / name)
    with h5py.File(tmp_path / "a.h5") as first, h5py.File(tmp_path / "b.h5") as second:
        np.testing.assert_array_equal(first["ECAL"], second["ECAL"])
        assert first.attrs["model"].endswith(f" ({kind}, latents inside)")
        assert np.all(np.sum(first["ECAL"], axis=(1, 2, 3)) > 0)
        assert len(np.unique(first["ECAL"], axis=0)) == 20


def test_int8_prints_and_keeps_what_it_costs(folder, monkeypatch):
    monkeypatch.setattr("gan3d.export.quantisation.LEAST_WEIGHTS", 100)
    call = ("--format", "onnx", "--int8", "--float-layers", 0, "--calibration", 99)
    result = invoke(export.command, folder, *call)
    loss = load_exported(folder / "generator-int8.onnx").metadata.int8
    assert loss["calibration"] == "10 incident energies of held-out showers of heldout.h5"
    assert loss["showers"] == 10
    assert len(loss["layers"]) == 1
    assert set(loss["size_bytes"]) == set(loss["ms_per_shower"]) == {"float32", "int8"}
    metric = loss["metrics"]["sampling_fraction.rel_error"]
    assert metric["float32"] != metric["int8"]
    assert abs(metric["float32"] - metric["int8"]) < 0.1 * metric["float32"]
    row = next(line for line in result.stdout.splitlines() if "sampling_fraction.rel_error" in line)
    shown = [float(word) for word in row.split() if word[0].isdigit()]
    expected = [100 * metric[name] for name in ("float32", "int8", "perfect")]
    np.testing.assert_allclose(shown, expected, rtol=0.01)
    assert "size, MB" in result.stdout
    assert "ms per shower" in result.stdout
    assert json.dumps(loss)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--format", "tflite", "--int8"],
            "--int8 is for --format onnx: TensorFlow Lite's CONV_3D",
        ),
        (["--format", "savedmodel", "--int8"], "--int8 is for --format onnx: a SavedModel"),
        (["--format", "onnx", "--reference", "x.h5"], "--reference is for --int8"),
        (["--format", "onnx", "--float-layers", "1"], "--float-layers is for --int8"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(arguments, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        invoke(export.command, tmp_path, *arguments)


def test_a_run_without_an_epoch_is_one_line(tmp_path, capsys):
    assert main(["export", str(tmp_path), "--format", "onnx"]) == 1
    assert "not a run's folder" in capsys.readouterr().err
    (tmp_path / "config.yaml").write_text("data: {files: [a.h5]}\n")
    with pytest.raises(RunError, match="no checkpoint yet; train at least one epoch"):
        invoke(export.command, tmp_path, "--format", "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]

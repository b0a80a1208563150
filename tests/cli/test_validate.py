import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import gan3d
from gan3d.cli.validate import command
from gan3d.config import Data, Experiment, Validation
from gan3d.data import Showers, read_showers, write_showers
from gan3d.errors import ConfigError, DataError, UsageError
from gan3d.samples import sample_files
from gan3d.validation import METRICS, report

REFERENCE = str(sample_files().heldout)


def invoke(*arguments, columns=80):
    result = CliRunner(env={"COLUMNS": str(columns)}).invoke(command, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing takes seconds and is for the tests of the report."""
    monkeypatch.setattr(report, "pictures", lambda judgement, history: [])


@pytest.fixture
def write(tmp_path):
    def write(name, showers):
        path = tmp_path / name
        write_showers(path, [showers], attributes={})
        return path

    return write


@pytest.fixture
def some():
    return read_showers([sample_files().train], limit=150)


def test_files_are_judged_and_the_report_written(write, some, tmp_path):
    half = len(some) // 2
    write("part_1.h5", some.take(slice(0, half)))
    write("part_2.h5", some.take(slice(half, None)))
    out = tmp_path / "deep" / "report"
    result = invoke(tmp_path / "part_*.h5", "--reference", REFERENCE, "--out", out)
    assert result.exit_code == 0
    for name in METRICS:
        assert name in result.output
    assert f"report: {out / 'index.html'}" in result.output
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["generated.showers"] == 150
    page = (out / "index.html").read_text()
    assert "part_1.h5, part_2.h5 against Geant4" in page
    for line in result.output.splitlines():
        assert len(line) <= 80 or line.startswith("report: ")


def test_json_is_all_that_is_printed(write, some, tmp_path):
    path = write("showers.h5", some)
    result = invoke(path, "--reference", REFERENCE, "--out", tmp_path / "out", "--json")
    assert json.loads(result.stdout) == json.loads((tmp_path / "out/metrics.json").read_text())


def test_settings_come_from_the_config(write, some, tmp_path):
    config = tmp_path / "experiment.yaml"
    config.write_text(
        f"data: {{files: [{REFERENCE}]}}\nvalidation: {{energy_bins_gev: [[20, 80]]}}\n"
    )
    path = write("showers.h5", some)
    invoke(path, "--reference", REFERENCE, "--out", tmp_path / "out", "--config", config)
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert "bin.20-80GeV.moments.rel_error" in metrics
    assert "bin.10-40GeV.moments.rel_error" not in metrics


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.take(slice(3)), "3 showers are too few.*generated: showers.h5"),
        (lambda s: Showers(s.images_nxyz * 0, s.energy_n), "empty.*generated: showers.h5"),
        (lambda s: Showers(s.images_nxyz * 0.001, s.energy_n), "GeV.*generated: showers.h5"),
        (lambda s: Showers(s.images_nxyz[:, :24], s.energy_n), "showers.h5.*24"),
    ],
    ids=["few", "empty", "units", "geometry"],
)
def test_bad_showers_are_named_and_nothing_is_written(spoil, message, write, some, tmp_path):
    spoilt = spoil(some)
    path = write("showers.h5", Showers(spoilt.images_nxyz.astype(np.float32), spoilt.energy_n))
    with pytest.raises(DataError, match=message):
        invoke(path, "--reference", REFERENCE, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_cell_that_is_not_a_number_is_named(write, some, tmp_path):
    path = write("showers.h5", some)
    with h5py.File(path, "r+") as file:
        file["ECAL"][7, 1, 2, 3] = np.nan
    with pytest.raises(DataError, match=r"showers\.h5.*shower 7"):
        invoke(path, "--reference", REFERENCE, "--out", tmp_path / "out")


def test_wrong_calls(write, some, tmp_path):
    path = write("showers.h5", some)
    (tmp_path / "run").mkdir()
    for arguments, error, message in (
        ([path, "--out", tmp_path / "o"], UsageError, "--reference GLOB is missing"),
        ([path, "--reference", REFERENCE], UsageError, "--out DIR is missing"),
        ([tmp_path / "run", path], UsageError, "either shower files or one run"),
        ([tmp_path / "run", tmp_path / "run"], UsageError, "several runs one by one"),
        (
            [path, "--reference", tmp_path / "no*.h5", "--out", tmp_path / "o"],
            DataError,
            r"no\*\.h5",
        ),
        (
            [path, "--reference", REFERENCE, "--out", path / "o"],
            DataError,
            "is not a folder",
        ),
        (
            [path, "--reference", REFERENCE, "--out", tmp_path, "--config", tmp_path / "no.yaml"],
            ConfigError,
            "no.yaml",
        ),
    ):
        with pytest.raises(error, match=message):
            invoke(*arguments)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose generator repeats Geant4 showers, 5 % too bright."""
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    heldout = read_showers([REFERENCE], threshold_gev=1e-6)
    asked = SimpleNamespace()

    def generate(*, energy_n, seed):
        asked.energy_n, asked.seed = energy_n, seed
        images = np.resize(heldout.images_nxyz, (len(energy_n), *heldout.image_shape))
        return Showers(images * np.float32(1.05), energy_n)

    trained = SimpleNamespace(
        path=folder,
        identity="ecal25/step-1/abc",
        experiment=Experiment(
            data=Data(files=[str(sample_files().train)], validation_files=[REFERENCE]),
            validation=Validation(seed=5, noise_splits=2),
        ),
        generate=generate,
    )
    monkeypatch.setattr(gan3d, "load_run", lambda path: trained, raising=False)
    monkeypatch.setattr("gan3d.generation.find_checkpoint", lambda path: path)
    monkeypatch.setattr("gan3d.runtime.apply_node", lambda node: None)
    return SimpleNamespace(folder=folder, asked=asked, heldout=heldout)


def test_a_run_generates_the_energies_of_its_heldout_showers(run):
    result = invoke(run.folder, "--json")
    metrics = json.loads((run.folder / "report/metrics.json").read_text())
    assert json.loads(result.stdout) == metrics
    assert metrics["sampling_fraction.rel_error"] == pytest.approx(0.05, abs=1e-5)
    assert np.array_equal(run.asked.energy_n, run.heldout.energy_n)
    assert run.asked.seed == 5
    page = (run.folder / "report/index.html").read_text()
    assert "mine: ecal25 against Geant4" in page
    assert "held-out showers of EleEscan_heldout.h5" in page


def test_a_run_against_other_showers_with_more_generated(run, write, some, tmp_path):
    reference = write("other.h5", some)
    config = tmp_path / "more.yaml"
    config.write_text(f"data: {{files: [{REFERENCE}]}}\nvalidation: {{showers: 200}}\n")
    out = tmp_path / "out"
    invoke(run.folder, "--reference", reference, "--out", out, "--config", config)
    assert np.array_equal(run.asked.energy_n[:150], some.energy_n)
    assert np.array_equal(run.asked.energy_n[150:], some.energy_n[:50])
    assert json.loads((out / "metrics.json").read_text())["generated.showers"] == 200

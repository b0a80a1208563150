import json
import re
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import gan3d
from gan3d.cli.validate import command
from gan3d.config import Data, Experiment, Geometry, Validation
from gan3d.data import (
    Showers,
    geometry_attributes,
    read_showers,
    stated_geometry,
    survey_files,
    write_showers,
)
from gan3d.errors import ConfigError, DataError, RunError, UsageError
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
    monkeypatch.setattr(report, "_embedded", lambda shown, folder: [(each, "") for each in shown])
    monkeypatch.setattr(Validation.model_fields["sample_showers"], "default", 0)
    monkeypatch.setattr(Validation.model_fields["exchanges"], "default", 20)
    Validation.model_rebuild(force=True)
    yield
    monkeypatch.undo()
    Validation.model_rebuild(force=True)


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
    assert "part_1.h5, part_2.h5 against Monte Carlo" in page
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


def test_cells_of_another_size_are_not_compared(some, tmp_path):
    paths = [tmp_path / f"{name}.h5" for name in ("coarse", "fine", "other")]
    for path, size in zip(
        paths, ((10.0, 10.0, 5.0), (10.0, 10.0, 5.0), (2.0, 2.0, 8.0)), strict=True
    ):
        write_showers(path, [some], attributes={}, cell_size_mm=size)
    coarse, fine, other = map(str, paths)
    invoke(coarse, "--reference", fine, "--out", tmp_path / "alike")
    page = (tmp_path / "alike/index.html").read_text()
    assert "10 × 10 × 5 mm" in page
    for arguments, message in (
        ([other, "--reference", fine], r"other.h5: cells of 2 x 2 x 8 mm, but 10 x 10 x 5 mm"),
        ([coarse, "--reference", fine, "--reference", other], r"they are not of one detector"),
    ):
        with pytest.raises(DataError, match=message):
            invoke(*arguments, "--out", tmp_path / "unlike")
    assert not (tmp_path / "unlike").exists()


def test_axes_of_challenge_files_are_remarked(write, some, tmp_path):
    path = tmp_path / "challenge.h5"
    write_showers(path, [some], layout="challenge", attributes={})
    for generated, remarked in ((path, True), (write("lcd.h5", some), False)):
        result = invoke(generated, "--reference", REFERENCE, "--out", tmp_path / "out")
        assert ("cells in angle, radius and layer" in " ".join(result.output.split())) == remarked


def test_cells_of_a_data_set_of_the_challenge_are_those_of_a_cylinder(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.hdf5" for name in ("generated", "reference")]
    for path in paths:
        energy = rng.uniform(10, 90, 40).astype(np.float32)
        images = rng.gamma(0.01, 1e-2, (40, 16, 9, 45)).astype(np.float32)
        write_showers(path, [Showers(images, energy)], layout="challenge", attributes={})
    result = invoke(paths[0], "--reference", paths[1], "--out", tmp_path / "out")
    assert "taken as if these were x, y and depth" not in " ".join(result.output.split())
    # A file of other axes that says so is of the same cells; one of other cells is not compared.
    files = [tmp_path / f"{name}.h5" for name in ("said", "other")]
    for file, radius in zip(files, (4.65, 5.0), strict=True):
        cells = Geometry(
            coordinates="cylindrical", shape=(16, 9, 45), cell_size_mm=(None, radius, 3.4)
        )
        write_showers(file, [Showers(images, energy)], attributes=geometry_attributes(cells))
    assert stated_geometry(files[:1]) == stated_geometry(paths)
    for arguments in ((files[1], paths[1]), (paths[1], files[1])):
        with pytest.raises(DataError, match=r"cells of .* mm in radius .* are reckoned with"):
            invoke(arguments[0], "--reference", arguments[1], "--out", tmp_path / "unlike")
    with pytest.raises(DataError, match="they are not of one detector"):
        stated_geometry(files)
    page = (tmp_path / "out/index.html").read_text()
    assert "16 × 9 × 45 (angle, radius, layer) of 22.5° × 4.65 × 3.4 mm" in page
    assert "Profile in radius" in page


def test_wrong_calls(write, some, tmp_path):
    path = write("showers.h5", some)
    (tmp_path / "run").mkdir()
    for arguments, error, message in (
        ([path, "--out", tmp_path / "o"], UsageError, "--reference GLOB is missing"),
        ([path, "--reference", REFERENCE], UsageError, "--out DIR is missing"),
        ([tmp_path / "run", path], RunError, "not a run's folder"),
        ([tmp_path / "run", tmp_path / "run"], UsageError, "two samples are called run"),
        ([f"{tmp_path / 'run'}@worst"], UsageError, "'worst' is neither last, best"),
        ([f"a={path}", f"b={path}", "--reference", REFERENCE], UsageError, "--out DIR"),
        (
            [path, "--reference", f"a={REFERENCE}", "--reference", f"b={REFERENCE}"],
            UsageError,
            "one sample has one name",
        ),
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


def fake_run(folder, factor, asked):
    """A run whose generator repeats Geant4 showers, `factor` times too bright."""
    folder.mkdir(parents=True)
    heldout = read_showers([REFERENCE], threshold_gev=1e-6)

    def stream(energy_n, *, seed, columns):
        asked.energy_n, asked.seed = energy_n, seed
        images = np.resize(heldout.images_nxyz, (len(energy_n), *heldout.image_shape))
        yield Showers(images * np.float32(factor), energy_n)

    def discriminate(showers):
        asked.discriminated = showers
        return {"generation": np.full(len(showers), 0.5), "auxiliary": showers.energy_n}

    data = Data(files=[str(sample_files().train)], validation_files=[REFERENCE])
    (folder / "data.json").write_text(json.dumps(survey_files(data).as_dict()))
    experiment = Experiment(
        data=data,
        validation=Validation(seed=5, noise_replicas=10, exchanges=20, bootstrap_replicas=2),
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
    return SimpleNamespace(
        path=folder,
        identity="ecal25/step-1/abc",
        experiment=experiment,
        labels=[],
        judged_labels=[],
        stream=stream,
        discriminate=discriminate,
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    asked = SimpleNamespace(checkpoints=[])
    folders = {name: tmp_path / "runs" / name for name in ("mine", "other")}
    runs = {
        str(folders["mine"]): fake_run(folders["mine"], 1.05, asked),
        str(folders["other"]): fake_run(folders["other"], 1.0, asked),
    }

    def load(path, checkpoint):
        asked.checkpoints.append(checkpoint)
        return runs[str(path)]

    monkeypatch.setattr(gan3d, "load_run", load, raising=False)
    monkeypatch.setattr("gan3d.generation.find_checkpoint", lambda path, checkpoint: path)
    monkeypatch.setattr("gan3d.runtime.apply_node", lambda node: None)
    heldout = read_showers([REFERENCE], threshold_gev=1e-6)
    return SimpleNamespace(
        folder=folders["mine"], other=folders["other"], asked=asked, heldout=heldout, runs=runs
    )


def test_a_run_generates_the_energies_of_its_heldout_showers(run):
    result = invoke(run.folder, "--json")
    metrics = json.loads((run.folder / "report/metrics.json").read_text())
    assert json.loads(result.stdout) == metrics
    assert metrics["sampling_fraction.rel_error"] == pytest.approx(0.05, abs=1e-5)
    assert np.array_equal(run.asked.energy_n, run.heldout.energy_n)
    assert run.asked.seed == 5
    assert run.asked.checkpoints == ["last"]
    page = (run.folder / "report/index.html").read_text()
    assert "mine: ecal25 against Monte Carlo" in page
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


def test_a_reference_that_was_trained_on_is_remarked(run, tmp_path):
    train = sample_files().train
    result = invoke(run.folder, "--reference", train, "--out", tmp_path / "out")
    said = " ".join(result.output.split())
    assert "was trained on EleEscan_train.h5: showers that a generator has learnt" in said
    result = invoke(run.folder, "--reference", REFERENCE, "--out", tmp_path / "out")
    assert "was trained on" not in result.output


def test_runs_and_files_side_by_side(run, write, some, tmp_path):
    path = write("flow_1.h5", some)
    out = tmp_path / "compared"
    result = invoke(
        f"{run.folder}@best", run.other, f"flow={path}", "--reference", REFERENCE, "--out", out
    )
    assert run.asked.checkpoints == ["best", "last"]
    metrics = json.loads((out / "metrics.json").read_text())
    brighter, same, files = (
        metrics[f"{label}.sampling_fraction.rel_error"] for label in ("mine_best", "other", "flow")
    )
    assert brighter == pytest.approx(0.05, abs=1e-5)
    assert same == pytest.approx(0, abs=1e-6)
    assert 0 < files < 0.05
    page = (out / "index.html").read_text()
    assert "mine@best, other, flow against Monte Carlo" in page
    assert "mine@best in" in result.output
    for line in result.output.splitlines():
        assert len(line) <= 80 or line.startswith(("report: ", "generating "))


def test_runs_of_unlike_data_have_no_common_reference(run):
    other = run.runs[str(run.other)]
    other.experiment = other.experiment.model_copy(
        update={"data": Data(files=[REFERENCE], split={"train": 0.5, "validation": 0.5})}
    )
    with pytest.raises(UsageError, match="hold out different showers: give --reference"):
        invoke(run.folder, run.other, "--out", run.folder / "out")
    other.experiment = other.experiment.model_copy(
        update={"data": Data(files=[REFERENCE], threshold_gev=1e-5)}
    )
    with pytest.raises(UsageError, match=r"cells below 1e-06 GeV to 0.*those below 1e-05 GeV"):
        invoke(run.folder, run.other, "--reference", REFERENCE, "--out", run.folder / "out")
    other.experiment = other.experiment.model_copy(
        update={"data": Data(files=[REFERENCE], geometry={"shape": (24, 24, 25)})}
    )
    with pytest.raises(UsageError, match=r"24x24x25 cells.*25x25x25"):
        invoke(run.folder, run.other, "--reference", REFERENCE, "--out", run.folder / "out")


def test_angles_of_the_reference_are_those_of_generated_showers(run, write, some, tmp_path):
    theta = np.linspace(1.1, 2.0, len(some)).astype(np.float32)
    reference = write("angles.h5", Showers(some.images_nxyz, some.energy_n, {"theta": theta}))
    config = tmp_path / "angles.yaml"
    config.write_text(
        f"data: {{files: [{REFERENCE}]}}\nvalidation: {{angle_bins_deg: [[60, 90], [90, 120]]}}\n"
    )
    out = tmp_path / "out"
    invoke(run.folder, "--reference", reference, "--out", out, "--config", config)
    assert "bin.60-90deg.moments.rel_error" in json.loads((out / "metrics.json").read_text())


def test_the_discriminator_is_asked_about_both_samples(run, monkeypatch):
    monkeypatch.setattr(Validation.model_fields["sample_showers"], "default", 50)
    Validation.model_rebuild(force=True)
    trained = run.runs[str(run.folder)]
    trained.experiment = trained.experiment.model_copy(
        update={"validation": Validation(noise_replicas=10, exchanges=20, bootstrap_replicas=2)}
    )
    seen = {}
    monkeypatch.setattr(
        report, "pictures", lambda judgements, histories, outputs: seen.update(outputs) or []
    )
    result = invoke(run.folder)
    assert re.search(r"classifier.discriminator.auc +0.500 ± ", result.output)
    assert list(seen) == ["Geant4", "Generated"]
    for outputs in seen.values():
        assert len(outputs["Probability of being Monte Carlo"]) == 50
        assert outputs["Estimated over true incident energy"] == pytest.approx(1.0)

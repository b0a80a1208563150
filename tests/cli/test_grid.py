"""Showers of a run that sees cropped images (`data.grid`), from generation to the report."""

import json

import h5py
import pytest
from bare_run import write_bare_run
from click.testing import CliRunner
from tiny import write_tiny

from gan3d.cli import generate, validate
from gan3d.config import load_experiment
from gan3d.data import read_showers, regrid, write_showers
from gan3d.errors import DataError
from gan3d.validation import report

WHOLE, GRID = (6, 6, 4), (4, 4, 3)
CONFIG = """
data: {files: [train.h5], validation_files: [whole.h5], grid: [4, 4, 3],
       geometry: {shape: [6, 6, 4]}}
model: {architecture: tiny-labelled}
validation: {sample_showers: 0, exchanges: 20, noise_replicas: 10, bootstrap_replicas: 2}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, labelled_architectures):
    """A run without weights, and files of whole and of cropped showers."""
    monkeypatch.setattr(report, "_embedded", lambda shown, folder: [(each, "") for each in shown])
    monkeypatch.setattr("gan3d.runtime.apply_node", lambda node: None)
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("train", "whole", "other")):
        write_tiny(tmp_path / f"{name}.h5", 40, seed=number, shape=WHOLE)
        core = regrid(read_showers([tmp_path / f"{name}.h5"]), GRID)
        write_showers(tmp_path / f"{name}-core.h5", [core], attributes={})
    (tmp_path / "experiment.yaml").write_text(CONFIG)
    write_bare_run(tmp_path / "run", load_experiment(tmp_path / "experiment.yaml"))
    return tmp_path


def invoke(command, *arguments):
    result = CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def judged(sample, reference, *options):
    out = ["--out", "report", "--json"]
    result = invoke(validate.command, sample, "--reference", reference, *out, *options)
    return json.loads(result.stdout)


def test_files_are_judged_whether_they_are_cropped_already_or_not():
    told = ["--config", "run/config.yaml"]
    expected = judged("other-core.h5", "whole-core.h5", *told)
    for sample, reference in (("other.h5", "whole-core.h5"), ("other-core.h5", "whole.h5")):
        assert judged(sample, reference, *told) == expected


def test_files_of_neither_grid_are_told_both(folder):
    write_tiny(folder / "odd.h5", 40, seed=5, shape=(5, 5, 4))
    expected = (
        r"5×5×4 cells, expected 6×6×4 cells \(data\.geometry\.shape\) or 4×4×3 cells \(data\.g"
    )
    for sample, reference in (("odd.h5", "whole.h5"), ("whole.h5", "odd.h5")):
        with pytest.raises(DataError, match=rf"odd\.h5: images have {expected}rid\)"):
            judged(sample, reference, "--config", "run/config.yaml")


def test_without_an_experiment_it_is_told_what_says_the_grid():
    with pytest.raises(DataError, match=r"core\.h5: .* 4×4×3 .* --config RUN/config\.yaml") as told:
        judged("other-core.h5", "whole.h5")
    assert "--shape" not in str(told.value)


@pytest.mark.tensorflow
def test_what_a_run_generates_is_of_the_grid_and_compares_with_whole_files(folder):
    from gan3d.models import architecture_of
    from gan3d.models.weights import GENERATOR_WEIGHTS

    experiment = load_experiment(folder / "experiment.yaml")
    generator = architecture_of(experiment).build_generator(experiment.model)
    cells = generator.get_layer("cells")
    cells.set_weights([1e-3 * each for each in cells.get_weights()])  # GeV of showers
    generator.save_weights(folder / "run/checkpoints/step-00000001" / GENERATOR_WEIGHTS)

    invoke(generate.command, "run", "-n", "40", "-o", "made.h5")
    with h5py.File("made.h5") as file:
        assert file["ECAL"].shape == (40, *GRID)
    metrics = judged("made.h5", "whole.h5", "--config", "run/config.yaml")
    assert metrics == judged("made.h5", "whole-core.h5", "--config", "run/config.yaml")
    of_run = judged("run", "whole-core.h5")
    assert of_run["generated.showers"] == metrics["generated.showers"] == 40

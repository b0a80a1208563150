"""Exported models of networks with more conditions than the energy."""

import json

import keras
import numpy as np
import pytest
from labelled import CONFIG

from gan3d.config import load_experiment
from gan3d.errors import UsageError
from gan3d.export import FORMATS, SUFFIXES, export_run, load_exported
from gan3d.generation.run import TrainedRun
from gan3d.models import architecture_of

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("labelled_architectures")]


@pytest.fixture
def labelled_run(tmp_path):
    """A run that was not trained, whose conditions have offsets and scales."""
    (tmp_path / "data.json").write_text('{"files": []}')
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace(" theta,", " {name: theta, offset: 1.5, scale: 0.5},"))
    experiment = load_experiment(path)
    keras.utils.set_random_seed(1)
    generator = architecture_of(experiment).build_generator(experiment.model)
    rng = np.random.default_rng(1)
    for weight in generator.weights:
        weight.assign(rng.uniform(0.3, 1.0, weight.shape))
    return TrainedRun(
        tmp_path,
        experiment,
        tmp_path / "step-00000005",
        generator,
        "5" * 64,
        (10.0, 100.0),
        {"theta": (1.0, 2.0), "pdg": (11.0, 22.0)},
        pdg_id=22,
        seen_categories={"pdg": (22,)},
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("latent", ["input", "inside"])
def test_conditions_are_inputs_by_name_in_physical_units(labelled_run, kind, latent, tmp_path):
    path = tmp_path / f"model{SUFFIXES[kind]}"
    export_run(labelled_run, path, kind, latent)
    model = load_exported(path)
    assert [label.name for label in model.labels] == ["theta", "particle"]
    assert model.label_ranges == labelled_run.label_ranges
    assert model.seen_categories == {"pdg": (22,)}
    assert model.pdg_id == 22
    theta_n, pdg_n = np.linspace(1.0, 2.0, 9), np.array([11, 22, 11] * 3)
    columns = {"theta": theta_n, "pdg": pdg_n}
    energy_n = np.full(9, 50.0)
    inputs = model.inputs(model.draw_noise(3, 0, 9), energy_n, columns)
    assert list(inputs)[1:] == ["energy", "theta", "particle"]
    assert (inputs["theta"].dtype, inputs["particle"].dtype) == (np.float32, np.int32)
    (found,) = model.stream(energy_n, seed=3, columns=columns)
    np.testing.assert_allclose(found.columns["theta"], theta_n, rtol=1e-6)
    assert np.count_nonzero(found.images_nxyz) > 100
    if latent == "input":
        expected = labelled_run.generate(
            energy_n=energy_n, seed=3, theta=theta_n, particle=pdg_n
        ).images_nxyz
        np.testing.assert_allclose(
            found.images_nxyz, expected, rtol=1e-5, atol=1e-6 * expected.max()
        )
    (other,) = model.stream(energy_n, seed=3, columns=columns | {"pdg": 33 - pdg_n})
    (third,) = model.stream(energy_n, seed=3, columns=columns | {"theta": theta_n[::-1]})
    for different in (other, third):
        assert not np.allclose(different.images_nxyz, found.images_nxyz)


def test_what_it_is_not_told_or_cannot_be_is_refused(labelled_run, tmp_path):
    path = tmp_path / "model.onnx"
    export_run(labelled_run, path, "onnx")
    model = load_exported(path)
    energy_n = np.full(2, 50.0)
    with pytest.raises(UsageError, match="theta is missing"):
        next(model.stream(energy_n))
    with pytest.raises(UsageError, match="'pdg' is 111, expected one of 22, 11"):
        next(model.stream(energy_n, columns={"theta": np.ones(2), "pdg": np.array([11, 111])}))
    said = model.metadata.model_dump(mode="json")["labels"]
    assert said[1] == {
        "name": "particle",
        "column": "pdg",
        "kind": "categories",
        "unit": "",
        "plane_rad": 0.0,
        "values": [22, 11],
        "range": [11.0, 22.0],
        "seen": [22],
    }
    assert json.loads(model.metadata.split()["labels"]) == said

"""What networks are told of the showers that they generate."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from labelled import CONFIG, write_labelled

import gan3d
from gan3d.cli import main
from gan3d.config import Condition
from gan3d.data import Survey, read_showers
from gan3d.data.survey import FileEntry
from gan3d.errors import RunError, UsageError
from gan3d.generation import Dataset
from gan3d.generation.run import draw_labels

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("labelled_architectures")]

THETA = Condition(name="angle", column="theta", unit="rad")
PARTICLE = Condition(name="particle", column="pdg", kind="categories", values=[11, 22])
PDG_RANGE = ("pdg", 11.0, 22.0)
RANGES = {"theta": (1.0, 2.0), "pdg": (11.0, 22.0)}


@pytest.fixture
def run_folder(tmp_path):
    from gan3d.config import load_experiment
    from gan3d.models import architecture_of

    folder = tmp_path / "run"
    checkpoint = folder / "checkpoints" / "step-00000001"
    checkpoint.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "response.json").write_text('{"energy_range_gev": [10.0, 100.0]}')
    files = [
        FileEntry(Path(f"{low}.h5"), 10, 10, 1000, 500.0, (("theta", low, low + 0.5), PDG_RANGE))
        for low in (1.0, 1.5)
    ]
    (folder / "data.json").write_text(json.dumps(Survey(tuple(files), None).as_dict()))
    experiment = load_experiment(folder / "config.yaml")
    generator = architecture_of(experiment).build_generator(experiment.model)
    generator.save_weights(checkpoint / "generator.weights.h5")
    return folder


@pytest.fixture
def run(run_folder):
    return gan3d.load_run(run_folder)


def test_conditions_are_numbers_ranges_or_one_for_each(run):
    assert run.label_ranges == {"theta": (1.0, 2.0), "pdg": (11.0, 22.0)}
    showers = run.generate(300)
    assert 1.0 <= showers.columns["theta"].min() < 1.1 < 1.9 < showers.columns["theta"].max() <= 2
    assert set(showers.columns["pdg"]) == {11, 22}
    showers = run.generate(5, theta=1.25, particle=22)
    assert showers.columns["theta"].tolist() == [1.25] * 5
    assert showers.columns["pdg"].tolist() == [22] * 5
    showers = run.generate(50, theta=(1.2, 1.3))
    assert 1.2 <= showers.columns["theta"].min() < showers.columns["theta"].max() <= 1.3
    given = np.array([1.1, 1.9])
    showers = run.generate(energy_n=np.array([20.0, 30.0]), theta=given)
    np.testing.assert_allclose(showers.columns["theta"], given, rtol=1e-6)


@pytest.fixture
def run_of_photons(run_folder):
    """A run whose networks know electrons, too, but whose training showers were photons."""
    survey = json.loads((run_folder / "data.json").read_text())
    for entry in survey["files"]:
        entry["categories"] = [["pdg", [22]]]
    (run_folder / "data.json").write_text(json.dumps(survey))
    return run_folder


def test_categories_that_training_has_not_seen_are_not_drawn_but_may_be_asked_for(run_of_photons):
    run = gan3d.load_run(run_of_photons)
    assert set(run.draw_labels(100, {}, 0)["pdg"]) == {22}
    assert set(run.draw_labels(100, {"particle": 11}, 0)["pdg"]) == {11}


def test_a_category_that_training_has_not_seen_is_noted_where_it_is_asked_for(
    run_of_photons, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("gan3d.runtime.apply_node", lambda node: None)  # once in a process
    for particle, noted in ((11, True), (22, False)):
        output = tmp_path / f"{particle}.h5"
        condition = f"particle={particle}"
        call = ["generate", run_of_photons, "-n", 2, "--condition", condition, "-o", output]
        assert main([str(each) for each in call]) == 0
        note = "note: the network was trained with particle 22 only: showers of particle 11 are"
        assert (note in " ".join("".join(capsys.readouterr()).split())) is noted


def test_a_report_says_which_particles_training_has_not_seen(
    run_of_photons, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("gan3d.runtime.apply_node", lambda node: None)
    held = write_labelled(tmp_path / "held.h5", 40, seed=3)
    judge = tmp_path / "judge.yaml"
    judge.write_text(
        f"extends: {run_of_photons}/config.yaml\n"
        "validation: {minimum_showers: 4, figures: false, noise_replicas: 10, exchanges: 20,"
        " bootstrap_replicas: 3, sample_showers: 0}\n"
    )
    call = ["validate", run_of_photons, "--reference", held, "--config", judge]
    assert main([str(each) for each in call]) == 0
    remark = "was trained with particle 22 only: showers of particle 11 are made of what it"
    assert remark in " ".join(capsys.readouterr().out.split())


def test_a_shower_depends_on_its_seed_number_and_conditions_alone(run):
    whole = run.generate(20, seed=5)
    parts = run.generate(20, seed=5, batch_size=7)
    np.testing.assert_allclose(whole.images_nxyz, parts.images_nxyz, rtol=1e-5, atol=1e-7)
    assert not np.allclose(run.generate(20, seed=5, theta=1.0).images_nxyz, whole.images_nxyz)
    other = 33 - whole.columns["pdg"]
    assert not np.allclose(run.generate(20, seed=5, particle=other).images_nxyz, whole.images_nxyz)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"phi": 1.0}, "not conditioned on phi, but on energy, theta, particle"),
        ({"theta": 70.0}, "'theta' is 70, expected rad, between 0 and pi"),
        (
            {"theta": -0.2},
            "'theta' is -0.2, expected rad, between 0 and pi .across the layers: pi/2",
        ),
        ({"theta": (2.0, 1.0)}, "theta from 2 to 1; give a rising range"),
        ({"theta": np.ones(3)}, r"theta of shape \(3,\) for 2 showers"),
        ({"particle": 13}, "'pdg' is 13, expected one of 22, 11"),
        ({"particle": (11, 22)}, "particle is one of .*, and has no range"),
        (
            {"particle": [11, 22, 11]},
            r"particle of shape \(3,\) for 2 showers; give one each",
        ),
        ({"particle": ["e", "gamma"]}, r"particle: \['e', 'gamma'\] is no list of numbers"),
        ({"theta": [[1.0], [1.0, 1.2]]}, "theta: .* is no list of numbers"),
        ({"theta": (1.0, 1.1, 1.2)}, r"theta is \(1.0, 1.1, 1.2\); .* a range as a tuple \(low"),
        ({"theta": "1.2"}, "theta is '1.2'; give a number for all showers"),
        (
            {"energy": np.array([20, 30, 40])},
            r"energy is an array of shape \(3,\); .*; energy_n",
        ),
        ({"energy": np.array([20, 30])}, r"energy is an array of shape \(2,\); .* a range as a tu"),
        (
            {"energy": [20, 30]},
            r"energy is \[20, 30\]; give .*; energy_n has one for each",
        ),
    ],
)
def test_conditions_that_cannot_be_are_refused(run, conditions, expected):
    with pytest.raises(UsageError, match=expected):
        run.generate(2, **conditions)


def test_conditions_of_each_shower_may_be_lists_and_numbers_those_of_numpy(run):
    showers = run.generate(
        energy_n=[20, 30, 40], theta=[1.1, 1.9, 1.2], particle=np.array([11, 22, 11])
    )
    np.testing.assert_array_equal(showers.energy_n, [20, 30, 40])
    np.testing.assert_allclose(showers.columns["theta"], [1.1, 1.9, 1.2], rtol=1e-6)
    assert showers.columns["pdg"].tolist() == [11, 22, 11]
    assert run.generate(4, particle=[11, 22, 22, 11]).columns["pdg"].tolist() == [11, 22, 22, 11]
    showers = run.generate(
        2, energy=np.float32(50), theta=(np.float32(1.5), 1.5), particle=np.array(22)
    )
    assert showers.energy_n.tolist() == [50, 50]
    assert showers.columns["theta"].tolist() == [1.5, 1.5]
    assert showers.columns["pdg"].tolist() == [22, 22]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"energy_n": [20, 30], "energy": 50}, "give energy, for all showers, or energy_n, not"),
        ({"energy_n": 50.0}, r"energies of shape \(\); give a list of numbers"),
        ({"energy_n": ["low", "high"]}, "energies: .* is no list of numbers"),
    ],
)
def test_energies_that_cannot_be_are_refused(run, arguments, expected):
    with pytest.raises(UsageError, match=expected):
        run.generate(**arguments)


def test_a_stream_wants_them(run):
    with pytest.raises(UsageError, match="theta is missing"):
        next(run.stream(np.array([50.0])))


def test_a_run_that_does_not_say_its_labels_is_refused(run_folder):
    survey = json.loads((run_folder / "data.json").read_text())
    for entry in survey["files"]:
        entry["labels"] = [["theta", 1.0, 1.5]]
    (run_folder / "data.json").write_text(json.dumps(survey))
    with pytest.raises(RunError, match=r"data\.json: does not say the range of pdg"):
        gan3d.load_run(run_folder)
    (run_folder / "data.json").write_text('{"files": [{}]}')
    with pytest.raises(RunError, match=r"data\.json: not the files"):
        gan3d.load_run(run_folder)


@pytest.mark.parametrize("layout", ["lcd", "parquet"])
def test_files_hold_them_and_are_known_by_them(run, tmp_path, layout):
    energy_n = np.linspace(10, 100, 11).astype(np.float32)
    columns = run.draw_labels(11, {}, 0)
    options = {"layout": layout, "showers_per_file": 4, "columns": columns}
    made = Dataset(run, energy_n, 0, tmp_path / "made", **options)
    for file in made.files:
        made.write(file)
    assert made.missing(made.files) == []
    showers = read_showers([f"{tmp_path}/made/*"])
    for name, values_n in columns.items():
        np.testing.assert_array_equal(showers.columns[name], values_n)
    options["columns"] = columns | {"theta": columns["theta"] + np.float32(1e-3)}
    with pytest.raises(UsageError, match=r"showers_00001.*holds other showers"):
        Dataset(run, energy_n, 0, tmp_path / "made", **options).missing(made.files)


@given(st.integers(1, 50), st.integers(0, 2**32), st.floats(0, 3), st.floats(0, 0.1))
def test_draws_are_within_what_is_asked_for(n, seed, low, width):
    columns = draw_labels(n, [THETA, PARTICLE], RANGES, {"angle": (low, low + width)}, seed)
    assert np.all(columns["theta"] >= np.float32(low))
    assert np.all(columns["theta"] <= np.float32(low + width))
    assert set(columns["pdg"]) <= {11, 22}
    again = draw_labels(n, [THETA, PARTICLE], RANGES, {"angle": (low, low + width)}, seed)
    np.testing.assert_array_equal(columns["theta"], again["theta"])


def test_a_run_of_before_there_were_conditions_generates_the_same(trained_folder):
    expected = gan3d.load_run(trained_folder).generate(5, seed=1)
    config, data = trained_folder / "config.yaml", trained_folder / "data.json"
    tree, files = yaml.safe_load(config.read_text()), json.loads(data.read_text())
    assert tree["model"].pop("conditions") == ["energy"]
    del tree["data"]["particles"]
    for name in ("angle", "bins"):
        del tree["training"]["loss_weights"][name]
    for entry in files["files"]:
        assert entry.pop("labels") == []
    config.write_text(yaml.safe_dump(tree))
    data.write_text(json.dumps(files))
    run = gan3d.load_run(trained_folder)
    found = run.generate(5, seed=1)
    np.testing.assert_array_equal(found.images_nxyz, expected.images_nxyz)
    np.testing.assert_array_equal(found.energy_n, expected.energy_n)
    assert found.columns == {}
    assert [each.name for each in run.generator.inputs] == ["latent", "energy"]

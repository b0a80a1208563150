"""Showers from a run: reproducible, of the energies asked for, and signed by the model."""

import h5py
import numpy as np
import pytest

import gan3d
from gan3d.data import write_showers
from gan3d.errors import RunError, UsageError

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def run(trained_folder):
    return gan3d.load_run(trained_folder)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_the_seed_alone_decides_the_showers_not_the_batch(run, batch_size):
    expected = run.generate(20, seed=5, batch_size=20)
    found = run.generate(20, seed=5, batch_size=batch_size)
    np.testing.assert_array_equal(found.energy_n, expected.energy_n)
    np.testing.assert_allclose(found.images_nxyz, expected.images_nxyz, rtol=1e-5, atol=1e-7)
    other = run.generate(20, seed=6, batch_size=batch_size)
    assert not np.array_equal(other.energy_n, expected.energy_n)
    assert not np.allclose(other.images_nxyz, expected.images_nxyz)


def test_energies_are_those_asked_for(run):
    assert np.all(run.generate(9, energy=50.0).energy_n == 50.0)
    energies = run.generate(300, energy=(20.0, 30.0), seed=1).energy_n
    assert 20.0 <= energies.min() < 21.0 < 29.0 < energies.max() <= 30.0
    given = np.array([11.0, 99.0, 42.0], np.float32)
    np.testing.assert_array_equal(run.generate(energy_n=given).energy_n, given)
    low, high = run.energy_range_gev
    trained = run.generate(300).energy_n
    assert low <= trained.min()
    assert trained.max() <= high


def test_cells_below_the_threshold_of_the_experiment_are_zero(run):
    images = run.generate(50).images_nxyz
    assert images.dtype == np.float32
    assert images.shape == (50, 4, 4, 3)
    assert not np.any((images != 0) & (images < run.experiment.data.threshold_gev))
    assert images.min() >= 0


def test_the_average_of_the_weights_generates(run):
    assert (run.checkpoint / "generator_average.weights.h5").is_file()
    with (
        h5py.File(run.checkpoint / "generator_average.weights.h5") as average,
        h5py.File(run.checkpoint / "generator.weights.h5") as last,
    ):
        kernel = average["layers/dense/vars/0"][()]
        assert not np.array_equal(kernel, last["layers/dense/vars/0"][()])
    np.testing.assert_array_equal(run.generator.get_layer("cells").kernel.numpy(), kernel)


def test_a_file_of_showers_says_which_model_and_seed_made_it(run, tmp_path):
    path = tmp_path / "showers.h5"
    blocks = run.stream(np.full(5, 50.0), seed=3, batch_size=2)
    write_showers(path, blocks, attributes=run.attributes(3))
    with h5py.File(path) as file:
        assert file["ECAL"].shape == (5, 4, 4, 3)
        assert file["target"].shape == (5, 5)
        assert file.attrs["seed"] == 3
        assert file.attrs["model"] == run.identity
        assert len(file.attrs["weights_sha256"]) == 64


def test_a_checkpoint_is_chosen_by_step_or_as_the_best(trained_folder):
    assert gan3d.load_run(trained_folder).checkpoint.name == "step-00000010"
    assert gan3d.load_run(trained_folder, "best").checkpoint.name == "step-00000005"
    assert gan3d.load_run(trained_folder, 5).checkpoint.name == "step-00000005"
    with pytest.raises(RunError, match=r"no checkpoint step-00000007 \(there are: step-0"):
        gan3d.load_run(trained_folder, 7)


def test_folders_that_are_no_run_or_damaged_are_named(trained_folder, tmp_path):
    with pytest.raises(RunError, match=r"nowhere: not a run's folder"):
        gan3d.load_run(tmp_path / "nowhere")
    weights = trained_folder / "checkpoints/step-00000010/generator_average.weights.h5"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(RunError, match=r"generator_average.weights.h5 in step-00000010"):
        gan3d.load_run(trained_folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "at least 1"),
        ({}, "number of showers"),
        ({"n": 2, "energy": (50.0, 20.0)}, "rising range"),
        ({"n": 2, "energy": -1.0}, "positive"),
        ({"energy_n": np.array([5.0, np.nan])}, "shower 1 is nan"),
        ({"energy_n": np.zeros((2, 2))}, "list of numbers"),
        ({"n": 2, "batch_size": 0}, "batch size 0"),
        ({"n": 2, "seed": -1}, "seed -1"),
        ({"n": 2, "energy_n": np.ones(2)}, "not both"),
    ],
)
def test_wrong_calls_say_what_is_wrong(run, arguments, message):
    with pytest.raises(UsageError, match=message):
        run.generate(**arguments)


@pytest.mark.parametrize("name", ["best.json", "response.json"])
@pytest.mark.parametrize("content", ["{", "[]"])
def test_damaged_small_files_are_named(trained_folder, name, content):
    (trained_folder / name).write_text(content)
    with pytest.raises(RunError, match=name):
        gan3d.load_run(trained_folder, "best")


def test_an_unknown_choice_of_checkpoint_is_a_usage_error(trained_folder):
    with pytest.raises(UsageError, match="checkpoint 'newest'"):
        gan3d.load_run(trained_folder, "newest")

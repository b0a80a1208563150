"""An exported model gives the showers of the run, with the real runtimes."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest

from gan3d.config import Model, load_experiment
from gan3d.errors import UsageError
from gan3d.export import FORMATS, SUFFIXES, export_run, load_exported
from gan3d.generation.run import TrainedRun
from gan3d.models import get_architecture

pytestmark = pytest.mark.tensorflow


def assert_same(found, expected):
    """To 1e-5; small cells are differences of numbers as large as the largest."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.max(expected))


@pytest.fixture
def export(tmp_path):
    """Export a run and open what was written: export(run, "onnx")."""

    def exported(run, kind, latent="input"):
        path = tmp_path / f"exported-{latent}{SUFFIXES[kind]}"
        export_run(run, path, kind, latent)
        return load_exported(path)

    return exported


@pytest.mark.parametrize("kind", FORMATS)
def test_it_gives_the_runs_showers_in_batches_of_any_size(kind, run, export):
    model = export(run, kind)
    expected = run.generate(20, seed=5)
    assert np.count_nonzero(expected.images_nxyz) > 400
    for batch_size in (7, 1, 20):
        blocks = list(model.stream(expected.energy_n, seed=5, batch_size=batch_size))
        assert {len(block) for block in blocks[:-1]} <= {batch_size}
        found = np.concatenate([block.images_nxyz for block in blocks])
        assert found.dtype == np.float32
        assert_same(found, expected.images_nxyz)
    other = next(model.stream(expected.energy_n, seed=6))
    assert not np.allclose(other.images_nxyz, expected.images_nxyz)


@pytest.mark.parametrize("kind", FORMATS)
def test_convolutions_are_exported_as_they_are_whatever_makes_them_fast(kind, run, export):
    """One that is computed in pairs, with a gradient of its own, which TensorFlow Lite refuses."""
    import keras

    from gan3d.models.layers import Conv3D

    layers, shape = keras.layers, run.generator.output_shape[1:4]
    inputs = [keras.Input(each.shape[1:]) for each in run.generator.inputs]
    x = layers.Dense(16 * int(np.prod(shape)))(layers.Concatenate()(inputs))
    x = Conv3D(6, (3, 3, 5), padding="same")(layers.Reshape((*shape, 16))(x))
    generator = keras.Model(inputs, layers.ReLU()(Conv3D(1, (3, 3, 3), padding="same")(x)))
    convolved = replace(run, generator=generator)
    expected = convolved.generate(9, seed=2)
    assert np.count_nonzero(expected.images_nxyz) > 50
    (found,) = export(convolved, kind).stream(expected.energy_n, seed=2)
    np.testing.assert_allclose(
        found.images_nxyz, expected.images_nxyz, atol=1e-5 * expected.images_nxyz.max()
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("scale", [{"cell_power": 0.85}, {"cell_log_gev": 0.5}])
def test_scales_and_thresholds_are_in_the_model(kind, scale, with_data, export):
    plain = with_data()
    run = with_data(**scale, energy_scale_gev=50, threshold_gev=0.5)
    expected = run.generate(7, seed=1).images_nxyz
    assert 0.1 < np.mean(expected == 0) < 0.9
    assert not np.allclose(expected, plain.generate(7, seed=1).images_nxyz, rtol=0.1)
    found = export(run, kind)(*_noise_and_energies(run, 7, seed=1))
    assert_same(found, expected)


def _noise_and_energies(run, count, seed):
    from gan3d.models.sampling import latent_block

    latent_dim = run.generator.inputs[0].shape[1]
    return latent_block(seed, 0, count, latent_dim), run.draw_energies(count, None, seed)


def test_drawn_inside_the_same_seeds_give_the_same_showers_in_all_runtimes(run, export):
    energies = run.draw_energies(7, None, 0)
    showers = {}
    for kind in FORMATS:
        model = export(run, kind, "inside")
        noise = model.draw_noise(3, 10, 7)
        assert noise.tolist() == [[3, 10 + row] for row in range(7)]
        showers[kind] = model(noise, energies)
        alone = [model(noise[[row]], energies[[row]])[0] for row in range(7)]
        assert_same(alone, showers[kind])
        again = model(np.repeat(noise[:1], 7, axis=0), np.full(7, energies[0], np.float32))
        assert_same(again, np.repeat(showers[kind][:1], 7, axis=0))
        for other in ((1, 0), (0, 7)):
            changed = noise + np.array(other, np.int32)
            assert not np.allclose(model(changed, energies), showers[kind])
    for kind in ("onnx", "tflite"):
        assert_same(showers[kind], showers["savedmodel"])


def test_a_seed_that_the_model_cannot_take_is_refused(run, export):
    model = export(run, "onnx", "inside")
    model.draw_noise(2**31 - 1, 0, 1)
    with pytest.raises(UsageError, match=r"exported-inside\.onnx: seed 2147483648"):
        model.draw_noise(2**31, 0, 1)


def test_energies_outside_the_range_are_warned_of_with_the_range(run, export):
    model = export(run, "onnx")
    low, high = model.energy_range_gev
    noise = model.draw_noise(0, 0, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(noise, np.array([low, high]))
    said = rf"exported-input\.onnx was trained with {low:.4g} to {high:.4g} GeV; .* "
    for first, last in ((5, 50), (50, 200)):
        with pytest.warns(UserWarning, match=f"{said}{first} to {last} GeV"):
            model(noise, np.array([first, last], np.float32))


@pytest.mark.parametrize("latent", ["input", "inside"])
@pytest.mark.parametrize("kind", FORMATS)
def test_it_says_what_it_is(kind, latent, run, export):
    said = export(run, kind, latent).metadata
    assert said.model == run.identity
    assert said.weights_sha256 == run.weights_sha256
    assert (said.latent, said.latent_dim, said.image_shape) == (latent, 5, (4, 4, 3))
    assert said.cell_size_mm == (5.1, 5.1, 5.1)
    assert said.energy_range_gev == run.energy_range_gev
    assert said.threshold_gev == run.experiment.data.threshold_gev
    (file,) = said.training_data
    assert (file.name, file.showers) == ("train.h5", 20)
    assert len(said.training_data_sha256) == 64


def test_each_format_has_the_metadata_in_its_own_way(run, export, tmp_path):
    import onnx
    from tensorflow.lite.tools import flatbuffer_utils

    said = json.loads(export(run, "onnx").metadata.model_dump_json())
    model = onnx.load(str(tmp_path / "exported-input.onnx"))
    assert {each.key: json.loads(each.value) for each in model.metadata_props} == said
    assert (model.producer_name, model.producer_version) == ("gan3d", said["gan3d_version"])
    # The order in which DDFastShowerML hands tensors over.
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert list(shapes.items()) == [
        ("latent", ["N", 5]),
        ("energy", ["N", 1]),
        ("cells", ["N", 4, 4, 3]),
    ]
    export(run, "tflite")
    lite = flatbuffer_utils.read_model(str(tmp_path / "exported-input.tflite"))
    (entry,) = [each for each in lite.metadata if each.name == b"gan3d"]
    assert json.loads(bytes(lite.buffers[entry.buffer].data)) == said
    export(run, "savedmodel")
    extra = tmp_path / "exported-input" / "assets.extra" / "gan3d.json"
    assert json.loads(extra.read_text()) == said


@pytest.mark.parametrize("architecture", ["ecal25", "ecal25-mkl16", "ecal25-compact"])
def test_the_architectures_are_exported_as_exactly_as_they_generate(
    architecture, untouched_run, tmp_path
):
    """To 1e-5 of what 64 bits give, or as near to that as the run itself, in 32 bits, is.

    Cells are differences of larger numbers, and `ecal25-compact` interpolates in tables: there the
    run's own rounding is beyond 1e-5, and two roundings are twice as far from each other.
    """
    import keras

    keras.utils.set_random_seed(1)
    generator = get_architecture(architecture).build_generator(Model())
    shutil.copy(untouched_run.path / "data.json", tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(f"data: {{files: [train.h5]}}\nmodel: {{architecture: {architecture}}}\n")
    experiment = load_experiment(config)
    large = TrainedRun(tmp_path, experiment, tmp_path, generator, "0" * 64, (10.0, 100.0))
    latent_nz, energy_n = _noise_and_energies(large, 4, seed=3)
    exact_nxyz = _in_64_bits(large, latent_nz, energy_n)
    own = _errors(large.generate(energy_n=energy_n, seed=3).images_nxyz, exact_nxyz)
    for kind in FORMATS:
        path = tmp_path / f"big{SUFFIXES[kind]}"
        agreement = export_run(large, path, kind)
        assert agreement.showers == 16
        found = _errors(load_exported(path)(latent_nz, energy_n), exact_nxyz)
        for measured, rounding in zip(found, own, strict=True):
            assert measured < max(1e-5, 2 * rounding), kind
        # The run itself goes on generating with the fast convolutions.
        convolutions = [layer for layer in generator.layers if hasattr(layer, "plain")]
        assert convolutions or architecture == "ecal25-compact"
        assert not any(layer.plain for layer in convolutions)


def _in_64_bits(run, latent_nz, energy_n):
    """The showers of a network of the same layers and weights that computes in float64."""
    import keras

    config = json.dumps(run.generator.get_config()).replace('"float32"', '"float64"')
    exact = keras.Model.from_config(json.loads(config))
    exact.set_weights([weight.astype(np.float64) for weight in run.generator.get_weights()])
    energy_n1 = energy_n[:, None].astype(np.float64) / run.experiment.data.energy_scale_gev
    images = np.asarray(exact([latent_nz.astype(np.float64), energy_n1], training=False))
    assert images.dtype == np.float64
    return np.where(images < run.experiment.data.threshold_gev, 0.0, images)[..., 0]


def _errors(images_nxyz, exact_nxyz):
    """Largest errors of a shower's energy, and of a cell in terms of its shower's largest."""
    found, axes = images_nxyz.astype(np.float64), (1, 2, 3)
    energy_n = np.abs(found.sum(axes) / exact_nxyz.sum(axes) - 1)
    cell_n = np.abs(found - exact_nxyz).max(axes) / exact_nxyz.max(axes)
    return energy_n.max(), cell_n.max()

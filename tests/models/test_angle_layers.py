"""The angle and the spectrum that a network measures, against NumPy's."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d.config import Geometry, Validation, load_simulation
from gan3d.data import Showers
from gan3d.data.sparse import from_images
from gan3d.models.angle_layers import (
    BIN_EDGES_GEV,
    BarycentreAngle,
    CellCounts,
    count_in_bins,
    measure_angle,
)
from gan3d.models.layers import CellsInGev
from gan3d.simulation import ShowerSimulator
from gan3d.simulation.angle import measured_theta
from gan3d.validation import observe

pytestmark = pytest.mark.tensorflow

PITCH = (5.1, 5.1, 5.1)


def slanted(theta_n, shape=(9, 31, 12), seed=0, spread=0.0):
    """Showers along straight lines at `theta_n` (rad) in the plane (y, layer); energies in GeV."""
    rng = np.random.default_rng(seed)
    nx, ny, nz = shape
    images = np.zeros((len(theta_n), *shape), np.float32)
    for image, theta in zip(images, theta_n, strict=True):
        for layer in range(nz):
            y = ny / 2 + (layer - nz / 2) / np.tan(theta) + rng.normal(0.0, spread)
            low = int(np.floor(y - 0.5))
            share = y - 0.5 - low
            energy = rng.uniform(0.1, 1.0)
            # Two cells whose barycentre is at y exactly.
            image[nx // 2, low, layer] += energy * (1 - share)
            image[nx // 2, low + 1, layer] += energy * share
    return images


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from([PITCH, (3.0, 4.0, 7.0)]), st.floats(0.0, 0.95))
def test_it_is_the_published_method_that_made_the_files(seed, pitch, empty):
    rng = np.random.default_rng(seed)
    images = rng.exponential(0.01, (4, 7, 9, 6)).astype(np.float32)
    images[rng.random(images.shape) < empty] = 0.0
    images[:, 3, 4, 2] += 0.01
    # With one lit layer alone the angle is a matter of rounding.
    images[:, 3, 5, 4] += 0.01
    found = np.asarray(measure_angle(images, pitch))[:, 0]
    expected = measured_theta(from_images(images, np.ones(4, np.float32)), pitch)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("pitch", [PITCH, (4.0, 6.0, 5.0)])
def test_of_straight_showers_it_is_the_observable_of_the_validation(pitch):
    """That is the slope of a line through the barycentres of the layers, this a mean of angles."""
    theta_n = np.linspace(np.radians(60), np.radians(120), 13)
    images = slanted(theta_n)
    found = np.asarray(measure_angle(images, pitch))[:, 0]
    seen = observe(
        Showers(images, np.ones(len(images), np.float32)),
        Geometry(shape=images.shape[1:], cell_size_mm=pitch),
        Validation(),
    )
    np.testing.assert_allclose(found, np.pi / 2 - seen.angle_n2[:, 1], atol=1e-4)
    if pitch == PITCH:
        np.testing.assert_allclose(found, theta_n, atol=1e-4)


def test_of_showers_that_fluctuate_it_follows_the_observable_of_the_validation():
    overrides = ["beam.theta_deg=[60, 120]", "beam.energy_gev=[20, 100]"]
    showers = ShowerSimulator(load_simulation(None, overrides), 1).simulate(0, 60).dense()
    found = np.asarray(measure_angle(showers.images_nxyz, PITCH))[:, 0]
    seen = observe(showers, Geometry(shape=showers.image_shape), Validation())
    np.testing.assert_allclose(found, showers.columns["mtheta"], atol=2e-3)
    for other, spread in ((np.pi / 2 - seen.angle_n2[:, 1], 2.0), (showers.columns["theta"], 4.0)):
        difference = np.degrees(found - other)
        assert np.corrcoef(found, other)[0, 1] > 0.97
        assert np.std(difference) < spread
        assert abs(np.mean(difference)) < 1.0


def awkward():
    """Images at which something could be divided by nothing."""
    empty = np.zeros((7, 9, 6), np.float32)
    images = {"empty": empty}
    images["one cell"] = empty.copy()
    images["one cell"][3, 4, 2] = 0.5
    images["one layer"] = empty.copy()
    images["one layer"][:, :, 3] = 0.1
    images["empty layers"] = empty.copy()
    images["empty layers"][3, 4, ::3] = 0.5
    images["tiny"] = np.full_like(empty, 1e-30)
    images["one layer next to nothing"] = images["one layer"] + np.float32(1e-30)
    images["huge"] = np.full_like(empty, 1e6)
    images["symmetric"] = empty.copy()
    images["symmetric"][2:5, 3:6, :] = 1.0
    return images


@pytest.mark.parametrize("name", awkward())
def test_value_and_gradient_are_finite_whatever_the_image(name):
    images = tf.constant(awkward()[name][None])
    with tf.GradientTape() as tape:
        tape.watch(images)
        angle = measure_angle(images)
    gradient = tape.gradient(angle, images)
    assert np.isfinite(angle.numpy()).all()
    assert 0.0 <= float(angle[0, 0]) <= np.pi
    assert np.isfinite(gradient.numpy()).all()


def test_an_empty_shower_beside_others_leaves_them_their_gradient():
    theta_n = np.array([1.2, 1.9])
    images = slanted(theta_n)
    for batch in (images, np.concatenate([images, np.zeros_like(images[:1])])):
        tensor = tf.constant(batch)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            total = tf.reduce_sum(measure_angle(tensor))
        gradient = tape.gradient(total, tensor).numpy()
        assert np.isfinite(gradient).all()
        if batch is images:
            alone = gradient
    np.testing.assert_allclose(gradient[:2], alone, rtol=1e-5, atol=1e-7)
    assert not gradient[2].any()


def test_its_gradient_is_that_of_differences():
    images = slanted(np.array([1.3]), shape=(3, 15, 5)) + np.float32(0.01)
    tensor = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        angle = measure_angle(tensor)
    gradient = tape.gradient(angle, tensor).numpy()
    for cell in ((1, 5, 0), (1, 9, 4), (0, 2, 2)):
        step = np.zeros_like(images)
        step[(0, *cell)] = 1e-2
        after, before = (
            float(measure_angle(images + sign * step).numpy()[0, 0]) for sign in (1, -1)
        )
        assert (after - before) / 2e-2 == pytest.approx(gradient[(0, *cell)], rel=0.05, abs=2e-3)


@given(st.integers(0, 2**31))
@settings(max_examples=20)
def test_counts_are_those_of_a_histogram(seed):
    rng = np.random.default_rng(seed)
    images = (10 ** rng.uniform(-6, 0, (3, 5, 4, 3))).astype(np.float32)
    images[rng.random(images.shape) < 0.5] = 0.0
    found = np.asarray(count_in_bins(images))
    edges = np.array([0.0, *BIN_EDGES_GEV, np.inf], np.float32)
    for counts, image in zip(found, images, strict=True):
        lit = image[image > 0]
        expected = [*np.histogram(lit, edges)[0][::-1].tolist(), image.size - lit.size]
        assert counts.tolist() == expected


def test_counts_have_no_gradient():
    images = tf.constant(np.full((1, 3, 3, 3), 0.01, np.float32))
    with tf.GradientTape() as tape:
        tape.watch(images)
        counts = count_in_bins(images)
    assert tape.gradient(counts, images) is None


@pytest.mark.parametrize("layer", [BarycentreAngle(PITCH), CellCounts(), CellsInGev(0.85)])
def test_layers_are_saved_as_data_and_compute_in_float32(layer, tmp_path):
    images = keras.Input((7, 9, 6, 1), dtype="float32")
    model = keras.Model(images, layer(images))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")  # safe mode: no code is loaded
    values = np.random.default_rng(0).exponential(0.01, (2, 7, 9, 6, 1)).astype(np.float32)
    np.testing.assert_array_equal(model(values), again(values))
    assert tuple(layer.compute_output_shape((None, 7, 9, 6, 1))) == model.output_shape
    assert model.output.dtype == "float32"

"""The published recipe for any regular grid: derived sizes, turns, what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config import CellScale, Geometry, Model
from gan3d.errors import ConfigError
from gan3d.models import get_architecture
from gan3d.models.plans import generator_plan, kernel_taps
from gan3d.models.registry import Wanted

pytestmark = pytest.mark.tensorflow

CYLINDER = Geometry(coordinates="cylindrical", shape=(16, 9, 45), cell_size_mm=(None, 4.65, 3.4))
PARTICLE = {"name": "particle", "values": [11, 22]}


def networks(geometry, name="convolutional", **model):
    model = Model(architecture=name, **model)
    architecture = get_architecture(name, Wanted(model, geometry))
    keras.utils.set_random_seed(0)
    return (
        architecture,
        architecture.build_generator(model),
        architecture.build_discriminator(model),
    )


def cells_made(plan, axis):
    """Along one axis, by the arithmetic of convolutions."""
    cells = plan.seed[axis]
    for index, each in enumerate(plan.convolutions):
        if index:
            cells *= plan.upsampling[index - 1][axis]
        if not plan.periodic[axis]:
            assert each.zeros[axis] >= 0
            cells += 2 * each.zeros[axis] - each.kernel[axis] + 1
            # What is seen of an image is more than the zeros around it.
            assert each.zeros[axis] < each.kernel[axis]
    return cells if plan.periodic[axis] else cells - 1


SMALL = Geometry(shape=(5, 6, 7))


@pytest.mark.parametrize("scale", [CellScale(power=0.6), CellScale(log_gev=1e-4)])
@pytest.mark.parametrize("name", ["ecal25", "ecal25-mkl16", "convolutional", "joint"])
def test_sums_are_in_gev_whatever_the_networks_see(name, scale):
    joint = name == "joint"
    model = Model(architecture="convolutional" if joint else name)
    grids = {"HCAL": Geometry(shape=(4, 4, 5))} if joint else {}
    wanted = Wanted(model, SMALL, scale, grids)
    architecture = get_architecture(model.architecture, wanted)
    discriminator = architecture.build_discriminator(model)
    rng = np.random.default_rng(0)
    gev = rng.gamma(0.3, 1e-3, (3, *architecture.image_shape, 1)).astype(np.float32)
    gev[gev < 1e-4] = 0.0
    gev[2] = 0.0
    shown = tf.constant(scale.seen(gev))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(shown)
        said = discriminator(shown)
    cells = {"ecal": slice(0, 210), "HCAL": slice(210, None)} if joint else {"ecal": slice(None)}
    for output in architecture.outputs:
        if output.measure is None:
            continue
        expected = gev[:, cells[output.name]].sum(axis=(1, 2, 3))
        np.testing.assert_allclose(said[output.name], expected, rtol=1e-5)
        np.testing.assert_allclose(output.measure(shown), expected, rtol=1e-5)
        slope = tape.gradient(said[output.name], shown)
        assert np.isfinite(slope).all()
        assert (slope.numpy()[:2] != 0.0).any()


def test_images_in_gev_are_added_up_as_they_are():
    names = [layer.name for layer in networks(SMALL)[2].layers]
    assert "ecal" in names
    assert "gev" not in names


grids = st.tuples(*[st.integers(4, 150)] * 3)
sizes = st.tuples(*[st.floats(0.5, 50.0)] * 3)


@given(grids, sizes)
def test_the_derived_generator_makes_the_grid(shape, cell_size):
    plan = generator_plan(Geometry(shape=shape, cell_size_mm=cell_size), 25.5)
    assert tuple(cells_made(plan, axis) for axis in range(3)) == shape
    small = [seed <= 8 for seed, cells in zip(plan.seed, shape, strict=True) if cells < 128]
    assert all(small)


@given(st.integers(4, 200), st.integers(4, 30))
def test_a_turn_is_made_whole_or_refused(angles, radii):
    geometry = CYLINDER.model_copy(update={"shape": (angles, radii, 45)})
    # Two factors of at most 7, and at most 16 cells to begin with.
    products = {a * b for a in range(1, 8) for b in range(1, 8)}
    if not any(angles % each == 0 and angles <= 16 * each for each in products):
        with pytest.raises(ConfigError, match="cells of the turn"):
            generator_plan(geometry, 25.5)
        return
    plan = generator_plan(geometry, 25.5)
    assert tuple(cells_made(plan, axis) for axis in range(3)) == geometry.shape
    assert plan.seed[0] <= 16


def test_kernels_span_as_far_along_all_axes():
    assert kernel_taps(Geometry(), 25.5) == (5, 5, 5)
    assert kernel_taps(Geometry(cell_size_mm=(10.0, 5.1, 3.4)), 25.5) == (3, 5, 7)
    assert kernel_taps(Geometry(shape=(4, 5, 25), cell_size_mm=(1.0, 1.0, 1.0)), 25.5) == (3, 5, 7)
    assert kernel_taps(Geometry(), 15.0) == (3, 3, 3)
    # 16 cells of 8.2 mm halfway out.
    assert kernel_taps(CYLINDER, 25.5) == (3, 5, 7)


def test_for_the_published_grid_the_discriminator_is_the_published_one():
    settings = Model(conditions=["energy"])
    made = []
    for name in ("ecal25", "convolutional"):
        _, _, discriminator = networks(Geometry(), name)
        keras.utils.set_random_seed(1)
        made.append(get_architecture(name).build_discriminator(settings))
        assert discriminator.count_params() == 73_450
    ours, theirs = ([(w.path, w.numpy()) for w in network.weights] for network in made)
    assert [path for path, _ in ours] == [path for path, _ in theirs]
    assert all((a == b).all() for (_, a), (_, b) in zip(ours, theirs, strict=True))
    images = np.random.default_rng(0).random((1, 25, 25, 25, 1)).astype(np.float32)
    said = [network.predict_on_batch(images) for network in made]
    assert all(said[0][name] == said[1][name] for name in said[0])


@pytest.mark.parametrize(
    "geometry",
    [
        CYLINDER,
        Geometry(shape=(7, 12, 30), cell_size_mm=(10.0, 5.0, 3.0)),
        Geometry(shape=(4, 4, 4)),
    ],
)
def test_networks_have_the_grid_and_are_told_conditions(geometry):
    architecture, generator, discriminator = networks(
        geometry, conditions=["energy", {"name": "depth", "column": "z"}, PARTICLE]
    )
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(1, architecture.latent_dim)).astype(np.float32)
    energy = np.ones((1, 1), np.float32)
    images, other = (
        generator.predict_on_batch([latent, energy, np.float32([[0.3, category]])])
        for category in (0, 1)
    )
    assert images.shape == (1, *geometry.shape, 1)
    assert (images != other).any()
    for labels in ([[0.3, 1]], [[0.9, 0]]):
        said = discriminator.predict_on_batch([images, np.float32(labels)])
        assert said["ecal"][0, 0] == pytest.approx(images.sum(), rel=1e-4)
        known = discriminator.predict_on_batch([images, np.float32([[0.3, 0]])])
        assert said["generation"] != known["generation"]


@pytest.fixture(scope="module")
def showers():
    rng = np.random.default_rng(0)
    return rng.gamma(0.2, 1e-3, (2, 16, 9, 45, 1)).astype(np.float32)


def rolled(images, cells):
    return np.roll(images, cells, axis=1)


@pytest.mark.parametrize(
    ("name", "layer", "stride"), [("convolutional", "pool", 2), ("compact", "conv_3", 8)]
)
@pytest.mark.parametrize("angles", [16, 18])
def test_what_discriminators_see_turns_with_the_shower(showers, name, layer, stride, angles):
    """18 cells are an odd number after one halving."""
    stride = stride if angles == 16 or stride == 2 else 2
    geometry = CYLINDER.model_copy(update={"shape": (angles, 9, 45)})
    _, _, discriminator = networks(geometry, name)
    seen = keras.Model(discriminator.inputs[0], discriminator.get_layer(layer).output)
    images = np.concatenate([showers, showers[:, : angles - 16]], axis=1)
    before, after = (seen.predict_on_batch(each) for each in (images, rolled(images, stride)))
    assert before.std(axis=1).max() > 0
    np.testing.assert_allclose(rolled(before, 1), after, rtol=1e-3, atol=1e-5)


def test_the_generator_turns_showers_with_their_seed():
    _, generator, _ = networks(CYLINDER)
    after_seed = keras.Model(generator.get_layer("seed_image").output, generator.output)
    shape = (1, *after_seed.inputs[0].shape[1:])
    seed = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    before, after = (after_seed.predict_on_batch(each) for each in (seed, rolled(seed, 1)))
    assert before.std(axis=1).max() > 0
    np.testing.assert_allclose(rolled(before, 2), after, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("geometry", "said"),
    [
        (
            Geometry(shape=(3, 25, 25)),
            r"^data\.geometry\.shape: .* at least 4 cells .* 3 x 25 x 25",
        ),
        (
            CYLINDER.model_copy(update={"shape": (34, 9, 45)}),
            r"^data\.geometry\.shape: the 34 cells of the turn",
        ),
    ],
)
def test_grids_that_have_no_plan_are_refused(geometry, said):
    with pytest.raises(ConfigError, match=said):
        networks(geometry)


@pytest.mark.parametrize("name", ["convolutional", "compact"])
def test_networks_learn_around_the_turn(name):
    """All convolutions of both, through layers that wrap images around."""
    geometry = CYLINDER.model_copy(update={"shape": (6, 4, 5)})
    architecture, generator, discriminator = networks(geometry, name, dropout=0.0)
    rng = np.random.default_rng(0)
    latent = tf.constant(rng.normal(size=(4, architecture.latent_dim)), tf.float32)
    energy = tf.constant(rng.uniform(0.1, 1.0, (4, 1)), tf.float32)
    if name == "compact":
        # Where two weights are multiplied and one starts at 0, the other has no gradient at first.
        for layer, weight in (("lateral_modes", "shapes"), ("correlated_noise", "kernel")):
            zeros = getattr(generator.get_layer(layer), weight)
            zeros.assign(rng.normal(0.0, 0.01, zeros.shape))
    with tf.GradientTape() as tape:
        images = generator([latent, energy], training=True)
        said = discriminator(architecture.judged(images, energy), training=True)
        loss = sum(tf.reduce_sum(tf.math.log(1.0 + tf.abs(each))) for each in said.values())
    weights = [
        weight
        for weight in (*generator.trainable_weights, *discriminator.trainable_weights)
        if "conv_" in weight.path or weight.path == "correlated_noise/kernel"
    ]
    assert len(weights) > 6
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    for weight, gradient in zip(weights, gradients, strict=True):
        assert np.isfinite(gradient.numpy()).all(), weight.path
        assert np.abs(gradient.numpy()).max() > 0, weight.path

"""Networks for several images of one shower."""

import keras
import numpy as np
import pytest

from gan3d.config import Data, Experiment, Geometry, Model
from gan3d.errors import ConfigError
from gan3d.models import architecture_of, check_networks

pytestmark = pytest.mark.tensorflow

ECAL = Geometry(shape=(7, 6, 9))
HCAL = Geometry(shape=(4, 5, 12), cell_size_mm=(30.0, 30.0, 30.0))
CELLS = 7 * 6 * 9
SMALL = {
    "architecture": "convolutional",
    "generator_filters": (4, 3, 2),
    "discriminator_filters": (4, 3, 3, 2),
}


def experiment(further=None, grid=ECAL, **model):
    further = {"HCAL": HCAL} if further is None else further
    data = Data(files=["a.h5"], geometry=grid, further_images=further)
    return Experiment(data=data, model=Model(**{**SMALL, **model}))


def networks(chosen):
    architecture = architecture_of(chosen)
    keras.utils.set_random_seed(0)
    built = (architecture.build_generator, architecture.build_discriminator)
    return architecture, *(build(chosen.model) for build in built)


def random_cells(shape, seed=0):
    return np.random.default_rng(seed).gamma(0.2, 1e-3, shape).astype(np.float32)


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"conditions": ["energy", {"name": "particle", "values": [11, 22]}]},
        {"spectral_norm": 1.0, "minibatch_deviation": True},
    ],
)
def test_one_network_makes_and_judges_both_images(model):
    architecture, generator, discriminator = networks(experiment(**model))
    assert architecture.image_shape == (CELLS + 240, 1, 1)
    labels = [np.float32([[1], [0]])] if "conditions" in model else []
    latents = np.random.default_rng(0).normal(size=(2, architecture.latent_dim))
    inputs = [latents.astype(np.float32), np.ones((2, 1), np.float32), *labels]
    cells = generator.predict_on_batch(inputs)
    assert cells.shape == (2, CELLS + 240, 1, 1, 1)
    for part in (cells[:, :CELLS], cells[:, CELLS:]):
        assert part.any(axis=(1, 2, 3, 4)).all()
    said = discriminator.predict_on_batch([cells, *labels] if labels else cells)
    assert said.keys() == {output.name for output in architecture.outputs}
    np.testing.assert_allclose(said["ecal"][:, 0], cells[:, :CELLS].sum((1, 2, 3, 4)), rtol=1e-5)
    np.testing.assert_allclose(said["HCAL"][:, 0], cells[:, CELLS:].sum((1, 2, 3, 4)), rtol=1e-5)
    for output in architecture.outputs:
        if output.measure is not None:
            measured = np.asarray(output.measure(cells))
            np.testing.assert_allclose(measured, said[output.name], rtol=1e-5)


def test_each_image_is_seen_with_its_own_neighbours():
    """A cell changes what is seen of its own image alone, as convolutions on that alone would."""
    _, _, discriminator = networks(experiment(batch_norm=False))
    seen = keras.Model(
        discriminator.input,
        [discriminator.get_layer(f"{name}_features").output for name in ("ECAL", "HCAL")],
    )
    cells = random_cells((1, CELLS + 240, 1, 1, 1))
    before = seen.predict_on_batch(cells)
    for first, image in ((0, 0), (CELLS, 1)):
        other = cells.copy()
        other[:, first + 100] += 1.0
        after = seen.predict_on_batch(other)
        assert (after[image] != before[image]).any()
        assert (after[1 - image] == before[1 - image]).all()
    picture = keras.Model(discriminator.input, discriminator.get_layer("HCAL_image").output)
    expected = cells[:, CELLS:].reshape(1, 4, 5, 12, 1)
    np.testing.assert_array_equal(picture.predict_on_batch(cells), expected)


def test_what_one_image_has_counts_by_what_the_other_has():
    """The heads see more than a sum of what each image says for itself."""
    _, _, discriminator = networks(experiment(batch_norm=False, dropout=0.0))
    ecal, hcal = random_cells((CELLS,)) * 100, random_cells((240,), seed=1) * 100
    rows = [np.concatenate([a * ecal, b * hcal]) for a in (0, 1) for b in (0, 1)]
    probability = discriminator.predict_on_batch(np.stack(rows).reshape(4, -1, 1, 1, 1))
    logit = np.log(probability["generation"] / (1 - probability["generation"]))[:, 0]
    assert abs(logit[0] + logit[3] - logit[1] - logit[2]) > 1e-4


@pytest.mark.parametrize("name", ["ecal25", "angle51", "compact", "ecal25-compact"])
def test_architectures_of_one_image_refuse_several(name):
    chosen = experiment(grid=Geometry(), architecture=name)
    said = f"model.architecture: {name} takes one image of a shower, and data.further_images"
    with pytest.raises(ConfigError, match=said):
        check_networks(chosen)


def test_a_further_image_that_is_too_small_is_named():
    small = experiment({"HCAL": Geometry(shape=(3, 5, 12))})
    with pytest.raises(ConfigError, match=r"data\.further_images\.HCAL\.shape: convolutional"):
        architecture_of(small)


def test_three_images_go_as_two_do():
    tail = Geometry(shape=(4, 4, 4))
    architecture, generator, discriminator = networks(experiment({"HCAL": HCAL, "TAIL": tail}))
    assert architecture.image_shape == (CELLS + 240 + 64, 1, 1)
    assert generator.output_shape[1:] == (*architecture.image_shape, 1)
    assert {"ecal", "HCAL", "TAIL"} < set(discriminator.output)

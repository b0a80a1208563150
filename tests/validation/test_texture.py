import numpy as np
import pytest
from scipy import sparse

from gan3d.validation.classifier import classify
from gan3d.validation.texture import textures

SHAPE = (9, 9, 9)


def told(images):
    images = np.asarray(images, np.float32)
    return textures(sparse.csr_array(images.reshape(len(images), -1)), images.shape[1:])


def blobs(seed, count):
    """Gaussian blobs of fluctuating cells, somewhere in the image."""
    rng = np.random.default_rng(seed)
    at_3i = np.indices(SHAPE).reshape(3, -1)
    centre_n3 = rng.uniform(3, 5, (count, 3))
    distance_ni = ((at_3i.T[None] - centre_n3[:, None]) ** 2).sum(axis=-1)
    cells_ni = 1e-2 * np.exp(-distance_ni / 6) * rng.gamma(2, 0.5, distance_ni.shape)
    return np.where(cells_ni > 1e-4, cells_ni, 0).reshape(count, *SHAPE).astype(np.float32)


def test_a_shower_without_energy_has_no_texture():
    assert not told(np.zeros((2, *SHAPE))).any()


def test_the_texture_does_not_depend_on_the_place():
    here = np.zeros((1, *SHAPE), np.float32)
    here[0, 2:5, 2:5, 2:5] = np.random.default_rng(0).uniform(0, 0.01, (3, 3, 3))
    there = np.roll(here, (2, 1, 2), axis=(1, 2, 3))
    assert told(here) == pytest.approx(told(there), rel=1e-4, abs=1e-5)
    # Not so at the border, where there is nothing beyond: what is rolled over it is torn apart.
    assert not np.allclose(told(here), told(np.roll(here, 6, axis=1)), rtol=1e-2)


def test_the_texture_looks_at_all_three_axes():
    line = np.zeros((3, *SHAPE), np.float32)
    for axis in range(3):
        line[(axis, *(slice(3, 6) if a == axis else 4 for a in range(3)))] = 0.01
    one, two, three = told(line)
    assert not np.allclose(one, two, rtol=0.1)
    assert not np.allclose(two, three, rtol=0.1)


def test_showers_whose_cells_are_shuffled_among_equals_are_told_apart():
    """The same spectrum of energies and, nearly, the same profiles; only who is whose neighbour."""
    real, fake = blobs(0, 300), blobs(1, 300)
    swapped = fake.copy()
    for first in range(0, 9, 3):
        box = (slice(None), *[slice(first, first + 3)] * 3)
        swapped[box] = swapped[box][:, ::-1, ::-1, ::-1]
    shift = np.argsort(np.random.default_rng(2).random((300, 8)), axis=1)
    cells = swapped[:, 3:5, 3:5, 3:5].reshape(300, 8)
    swapped[:, 3:5, 3:5, 3:5] = np.take_along_axis(cells, shift, axis=1).reshape(300, 2, 2, 2)
    found = classify(told(swapped), told(real), 5, 0, learner="logistic")
    assert found.auc > 0.6
    alike = classify(told(fake), told(real), 5, 0, learner="logistic")
    assert abs(alike.auc - 0.5) < 4 * alike.error_of_equal

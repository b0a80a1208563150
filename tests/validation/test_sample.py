import numpy as np
import pytest

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.validation import summarise
from gan3d.validation.sample import example_energies

GEOMETRY = Geometry(shape=(2, 2, 3))


def numbered(count):
    """Showers of which each can be told by the energy of its only lit cell."""
    images = np.zeros((count, 2, 2, 3), np.float32)
    images[:, 1, 0, 2] = np.arange(1, count + 1)
    return Showers(images, np.linspace(10, 100, count).astype(np.float32))


def in_blocks(showers, size):
    return (showers.take(slice(at, at + size)) for at in range(0, len(showers), size))


@pytest.mark.parametrize("size", [7, 40, 1000])
def test_kept_showers_are_whole_and_each_is_kept_once(size):
    sample = summarise(in_blocks(numbered(300), size), GEOMETRY, Validation(sample_showers=50))
    assert sample.kept_kc.shape == (50, 12)
    cells = sample.kept_kc.toarray()
    assert np.count_nonzero(cells) == 50
    rows = sample.kept_rows_k
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(cells[:, np.ravel_multi_index((1, 0, 2), (2, 2, 3))], rows + 1)
    some = sample.some(5)
    assert len(some) == 5
    assert some.energy_n == pytest.approx(
        numbered(300).energy_n[some.images_nxyz.max((1, 2, 3)).astype(int) - 1]
    )


def test_every_shower_has_the_same_chance_to_be_kept():
    kept = np.zeros(40)
    for seed in range(300):
        settings = Validation(sample_showers=10, seed=seed)
        kept[summarise(in_blocks(numbered(40), 9), GEOMETRY, settings).kept_rows_k] += 1
    # Binomial: 300 draws of a chance of 1/4.
    assert kept.sum() == 3000
    assert np.abs(kept - 75).max() < 5 * np.sqrt(300 * 0.25 * 0.75)


def test_of_few_showers_all_are_kept_and_of_none_wanted_none():
    assert list(summarise(numbered(5), GEOMETRY, Validation()).kept_rows_k) == list(range(5))
    nothing = summarise(numbered(5), GEOMETRY, Validation(sample_showers=0))
    assert nothing.kept_kc.shape == (0, 12)


def test_the_mean_and_the_examples_do_not_depend_on_blocks():
    whole, blocks = (
        summarise(each, GEOMETRY, Validation())
        for each in (numbered(90), in_blocks(numbered(90), 11))
    )
    assert whole.mean_image_xyz == pytest.approx(numbered(90).images_nxyz.mean(axis=0))
    assert blocks.mean_image_xyz == pytest.approx(whole.mean_image_xyz)
    assert np.array_equal(blocks.examples.energy_n, whole.examples.energy_n)
    wanted = example_energies(Validation())
    assert whole.examples.energy_n == pytest.approx(wanted, abs=1.0)

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.errors import DataError
from gan3d.validation import observables, observe, summarise

ARRAYS = [
    "energy_n",
    "total_energy_n",
    "transverse_x_nx",
    "transverse_y_ny",
    "longitudinal_nz",
    "moments_nao",
    "start_mm_n",
    "radii_mm_ns",
    "angle_n2",
    "maximum_layer_n",
    "layer_fractions_n3",
    "hits_n",
    "layer_hits_ntz",
    "cell_counts_nb",
]


def test_all_energy_in_one_cell(one_cell, geometry, settings):
    seen = observe(one_cell((3, 20, 7), energy=0.5, incident=25.0), geometry, settings)
    assert seen.total_energy_n == pytest.approx([0.5])
    assert seen.sampling_fraction_n == pytest.approx([0.02])
    assert seen.moments_nao[0, :, 0] == pytest.approx([3.5 * 5.1, 20.5 * 5.1, 7.5 * 5.1])
    assert seen.moments_nao[0, :, 1] == pytest.approx([0, 0, 0], abs=1e-9)
    assert seen.start_mm_n == pytest.approx([(7 + settings.start_share) * 5.1])
    assert seen.radii_mm_ns.tolist() == [[0.0, 0.0]]
    assert np.isnan(seen.angle_n2).all()
    assert seen.maximum_layer_n == [7]
    assert seen.layer_fractions_n3.tolist() == [[1, 0, 0]]
    assert seen.hits_n == [1]
    assert seen.layer_hits_ntz.shape == (1, 3, 25)
    assert seen.layer_hits_ntz[0, :, 7].tolist() == [1, 1, 1]
    assert seen.layer_hits_ntz.sum() == 3
    assert seen.transverse_x_nx[0].nonzero()[0] == [3]
    assert seen.transverse_y_ny[0].nonzero()[0] == [20]
    assert seen.longitudinal_nz[0].nonzero()[0] == [7]
    assert seen.cell_counts_nb.sum() == 1


def test_a_particle_that_nobody_knows_is_no_particle(geometry, settings):
    images = np.ones((2, *geometry.shape), np.float32)
    two = Showers(images, np.float32([50, 50]), {"pdg": np.array([0, -211])})
    np.testing.assert_array_equal(observe(two, geometry, settings).pdg_n, [np.nan, -211])


def test_a_gaussian_blob_has_its_own_mean_and_width():
    shape, pitch, centre, sigma = (41, 45, 49), (2.0, 3.0, 4.0), (40.0, 66.0, 90.0), (5, 8, 12)
    axes = [(np.arange(n) + 0.5) * p for n, p in zip(shape, pitch, strict=True)]
    factors = [
        np.exp(-0.5 * ((a - c) / s) ** 2) for a, c, s in zip(axes, centre, sigma, strict=True)
    ]
    image = np.einsum("x,y,z->xyz", *factors).astype(np.float32)
    blob = Showers(image[None], np.float32([50]))
    seen = observe(blob, Geometry(shape=shape, cell_size_mm=pitch), Validation())
    assert seen.moments_nao[0, :, 0] == pytest.approx(centre, rel=1e-3)
    assert np.sqrt(seen.moments_nao[0, :, 1]) == pytest.approx(sigma, rel=1e-2)


def test_a_shift_by_one_layer_moves_the_depth_by_one_pitch(geant4, geometry, settings):
    images = geant4.images_nxyz[:20].copy()
    images[..., -1] = 0.0  # so that nothing comes round to the first layer
    before = observe(Showers(images, geant4.energy_n[:20]), geometry, settings)
    after = observe(Showers(np.roll(images, 1, axis=3), geant4.energy_n[:20]), geometry, settings)
    assert after.moments_nao[:, 2, 0] - before.moments_nao[:, 2, 0] == pytest.approx(5.1)
    assert after.moments_nao[:, :, 1:] == pytest.approx(before.moments_nao[:, :, 1:])
    assert after.start_mm_n - before.start_mm_n == pytest.approx(5.1)
    assert after.angle_n2 == pytest.approx(before.angle_n2)
    assert np.array_equal(after.maximum_layer_n, before.maximum_layer_n + 1)


def test_an_empty_shower_has_no_moments_but_counts_as_empty(one_cell, geometry, settings):
    seen = observe(one_cell((1, 1, 1), energy=0.0), geometry, settings)
    assert seen.empty_n.tolist() == [True]
    for name in ("moments_nao", "start_mm_n", "radii_mm_ns", "angle_n2"):
        assert np.isnan(getattr(seen, name)).all(), name
    assert np.isnan(seen.maximum_layer_n).all()
    assert np.isnan(seen.layer_fractions_n3).all()
    assert seen.sampling_fraction_n == [0]
    assert seen.hits_n == [0]


def test_the_mean_shower_and_the_nearest_examples(geant4, geometry, settings):
    sample = summarise(geant4, geometry, settings)
    assert sample.mean_image_xyz == pytest.approx(
        geant4.images_nxyz.mean(axis=0, dtype=np.float64), rel=1e-9
    )
    nearest = [np.abs(geant4.energy_n - target).argmin() for target in (25, 55, 85)]
    assert np.array_equal(sample.examples.energy_n, geant4.energy_n[nearest])
    assert np.array_equal(sample.examples.images_nxyz, geant4.images_nxyz[nearest])


@hypothesis_settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 12),
    cuts=st.lists(st.integers(1, 11), max_size=3),
    chunk=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_chunks_and_blocks_do_not_change_the_result(count, cuts, chunk, seed):
    rng = np.random.default_rng(seed)
    shape = (4, 5, 6)
    images = rng.exponential(1e-3, (count, *shape)) * (rng.random((count, *shape)) < 0.4)
    whole = Showers(images.astype(np.float32), rng.uniform(10, 100, count).astype(np.float32))
    borders = [0, *sorted({c for c in cuts if c < count}), count]
    blocks = [whole.take(slice(a, b)) for a, b in itertools.pairwise(borders)]
    geometry, settings = Geometry(shape=shape), Validation()
    expected = observe(whole, geometry, settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observables, "_CHUNK_CELLS", chunk * 120)
        seen = observe(blocks, geometry, settings)
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(seen, name), getattr(expected, name), rtol=1e-10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, e: i.__setitem__((2, 1, 1, 1), np.nan), "Mine: shower 2: a cell .* finite"),
        (lambda i, e: i.__setitem__((1, 0, 0, 0), np.inf), "shower 1: a cell .* finite"),
        (lambda i, e: i.__setitem__((2, 0, 0, 0), -1e-9), "shower 2: a cell energy is negative"),
        (lambda i, e: e.__setitem__(1, np.nan), "shower 1: the incident energy is not a finite"),
        (lambda i, e: e.__setitem__(2, 0.0), "shower 2: the incident energy is not above 0"),
    ],
)
def test_bad_showers_are_named(change, message, one_cell, geometry, settings):
    showers = one_cell((1, 1, 1), count=3)
    change(showers.images_nxyz, showers.energy_n)
    with pytest.raises(DataError, match=message):
        observe(showers, geometry, settings, label="Mine")


def test_another_geometry_is_named(one_cell, settings):
    with pytest.raises(DataError, match="25x25x25 cells, the geometry has 51x51x25"):
        observe(one_cell((1, 1, 1)), Geometry(shape=(51, 51, 25)), settings)


def test_no_showers_at_all(geometry, settings):
    with pytest.raises(DataError, match="no showers"):
        observe([], geometry, settings)


def test_an_energy_bin_holds_its_lower_bound_and_the_last_one_its_upper(one_cell, geometry):
    settings = Validation(energy_bins_gev=[(10, 50), (50, 100)])
    showers = Showers(one_cell((1, 1, 1), count=4).images_nxyz, np.float32([10, 50, 99, 100]))
    seen = observe(showers, geometry, settings)
    assert seen.in_energy_bin(10, 50).energy_n.tolist() == [10]
    assert seen.in_energy_bin(50, 100).energy_n.tolist() == [50, 99, 100]

"""What is computed from images, against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.validation import measures as m


def centres(count, pitch):
    """Of so many slices, from the low edge."""
    return (np.arange(count) + 0.5) * pitch


def plane(shape, pitch):
    """The same of cells, along x and y."""
    return tuple(np.meshgrid(*map(centres, shape, pitch), indexing="ij"))


def test_two_cells_give_the_variance_of_two_points():
    profile = np.zeros((1, 10))
    profile[0, [2, 6]] = 1.0, 3.0
    barycentre, variance, third, fourth = m.moments(profile, centres(10, 2.0))[0]
    assert barycentre == pytest.approx((2.5 * 2 + 3 * 6.5 * 2) / 4)
    assert variance == pytest.approx(0.25 * 0.75 * (4 * 2.0) ** 2)
    # p q (q - p) d^3 and p q (p^3 + q^3) d^4, p of the points being at the higher one.
    assert third == pytest.approx(0.75 * 0.25 * (0.25 - 0.75) * 8.0**3)
    assert fourth == pytest.approx(0.75 * 0.25 * (0.75**3 + 0.25**3) * 8.0**4)


def test_thirds_of_25_layers_are_8_9_and_8():
    fractions = m.layer_fractions(np.ones((1, 25)))
    assert fractions == pytest.approx(np.array([[8, 9, 8]]) / 25)


def test_hits_are_above_and_not_at_the_threshold(one_cell):
    images = one_cell((0, 0, 0), energy=0.5).images_nxyz
    assert m.count_hits(images, 0.5) == [0]
    assert m.count_hits(images, 0.4999) == [1]


def test_cells_outside_the_spectrum_are_in_the_flow_bins():
    edges = np.array([1e-3, 1e-2, 1e-1])
    images = np.float32([1e-4, 0, 5e-3, 5e-2, 5e-2, 1, 2, 3]).reshape(1, 2, 2, 2)
    assert m.count_cells(images, edges).tolist() == [[1, 1, 2, 3]]


def test_a_gaussian_has_the_moments_of_a_gaussian():
    position = (np.arange(400) + 0.5) * 0.5
    profile = np.exp(-0.5 * ((position - 90.0) / 8.0) ** 2)[None]
    assert m.moments(profile, position)[0] == pytest.approx([90.0, 64.0, 0.0, 3 * 8.0**4], abs=1e-6)


@given(share=st.floats(0.01, 0.99), layers=st.integers(1, 40), pitch=st.floats(0.1, 100.0))
def test_an_even_shower_has_left_a_share_by_that_share_of_its_depth(share, layers, pitch):
    depth = m.energy_depth(np.full((2, layers), 0.3), share, pitch)
    assert depth == pytest.approx([share * layers * pitch] * 2)


def test_an_exponential_shower_starts_where_the_exponential_says():
    # E(z) = 1 - exp(-z / 20 mm), in layers of 0.1 mm.
    edges = np.arange(5001) * 0.1
    longitudinal = np.diff(1.0 - np.exp(-edges / 20.0))[None]
    for share in (0.05, 0.5, 0.9):
        depth = m.energy_depth(longitudinal, share, 0.1)
        assert depth == pytest.approx([-20.0 * np.log(1.0 - share)], rel=1e-3)


def test_a_gaussian_is_contained_in_the_radii_of_rayleigh():
    sigma, pitch = 12.0, (1.0, 0.8)
    x, y = ((np.arange(201) + 0.5) * p for p in pitch)
    image = np.exp(
        -0.5 * (((x - 100.0)[:, None] / sigma) ** 2 + ((y - 80.0)[None, :] / sigma) ** 2)
    )
    shares = (0.3, 0.5, 0.9)
    expected = [sigma * np.sqrt(-2.0 * np.log(1.0 - share)) for share in shares]
    radii = m.containment_radii(image[None], plane(image.shape, pitch), shares)
    assert radii[0] == pytest.approx(expected, rel=5e-3)


def test_two_equal_cells_are_half_inside_the_nearer_one():
    image = np.zeros((1, 9, 9))
    image[0, 2, 4] = image[0, 6, 4] = 1.0  # 2 cells of 3 mm to either side of the barycentre
    radii = m.containment_radii(image, plane((9, 9), (3.0, 3.0)), (0.999,))
    assert radii[0] == pytest.approx([6.0], rel=1e-2)


@given(slope=st.floats(-0.8, 0.8), pitch=st.floats(0.5, 10.0), layer_pitch=st.floats(0.5, 10.0))
def test_a_tilted_track_has_its_angle(slope, pitch, layer_pitch):
    layers, image = 11, np.zeros((1, 41, 11))
    for layer in range(layers):
        # Between two cells, so that the barycentre is on the line.
        at = 20.0 + slope * (layer - 5)
        low = int(np.floor(at))
        image[0, low, layer] += (low + 1 - at) * (1.0 + layer)
        image[0, low + 1, layer] += (at - low) * (1.0 + layer)
    angle = m.barycentre_angle(image, centres(41, pitch), layer_pitch)
    assert angle == pytest.approx([np.arctan(slope * pitch / layer_pitch)], abs=1e-9)


def test_an_angle_in_one_layer_is_not_known():
    image = np.zeros((1, 5, 5))
    image[0, :, 2] = 1.0
    assert np.isnan(m.barycentre_angle(image, centres(5, 1.0), 1.0)).all()


def test_layers_are_occupied_above_and_not_at_a_threshold():
    images = np.zeros((2, 3, 3, 4), np.float32)
    images[0, :2, 0, 1] = 0.5
    images[0, 2, 2, 3] = 2.0
    hits = m.count_layer_hits(images, [0.25, 0.5, 1.0])
    assert hits[0].tolist() == [[0, 2, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]]
    assert hits[1].sum() == 0


@given(scale=st.floats(1e-3, 1e3))
def test_positions_do_not_depend_on_the_energy(scale):
    images = np.random.default_rng(3).exponential(1.0, (3, 6, 7, 5)).astype(np.float32)
    one, other = (m.Projections.of(each) for each in (images, images * np.float32(scale)))
    for measure in (
        lambda p: m.energy_depth(p.profiles[2], 0.1, 2.0),
        lambda p: m.containment_radii(p.xy_nxy, plane((6, 7), (1.0, 2.0)), (0.5, 0.9)),
        lambda p: m.barycentre_angle(p.xz_nxz, centres(6, 1.0), 2.0),
        lambda p: m.moments(p.profiles[0], centres(6, 1.0)),
    ):
        np.testing.assert_allclose(measure(one), measure(other), rtol=1e-4, atol=1e-6)

"""Showers in the cells of a cylinder: nothing depends on where its turn ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.validation import observe, plots
from gan3d.validation.catalogue import all_metrics
from gan3d.validation.features import features
from gan3d.validation.positions import axis_edges, cell_positions, middle_mm
from gan3d.validation.sample import summarise
from gan3d.validation.texture import textures

GEOMETRY = Geometry(coordinates="cylindrical", shape=(16, 9, 12), cell_size_mm=(None, 4.65, 3.4))
MIDDLE = np.array(middle_mm(GEOMETRY))
SETTINGS = Validation()


def seen(images):
    return observe(Showers(images, np.full(len(images), 50, np.float32)), GEOMETRY, SETTINGS)


def shower_like(seed, count=1, side=4):
    """Energy in a few sectors around the end of the turn."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, *GEOMETRY.shape), np.float32)
    images[:, :side] = rng.gamma(0.3, 1e-3, (count, side, *GEOMETRY.shape[1:]))
    return np.roll(images, -side // 2, axis=1)


def turned(images, cells):
    return np.roll(images, cells, axis=1)


@given(seed=st.integers(0, 100), cells=st.integers(1, 15))
def test_a_turned_shower_is_the_same_shower_turned(seed, cells):
    images = shower_like(seed)
    before, after = seen(images), seen(turned(images, cells))
    for name in ("radii_mm_ns", "hits_n", "longitudinal_nz", "transverse_y_ny", "start_mm_n"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-6), name
    assert after.transverse_x_nx == pytest.approx(turned(before.transverse_x_nx, cells))
    # x and y of the barycentre, and the sum of the variances.
    turn = 2 * np.pi * cells / 16
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    offset = before.moments_nao[0, :2, 0] - MIDDLE
    assert after.moments_nao[0, :2, 0] - MIDDLE == pytest.approx(matrix @ offset, abs=1e-6)
    widths = [each.moments_nao[0, :2, 1].sum() for each in (before, after)]
    assert widths[0] == pytest.approx(widths[1])
    if cells == 8:
        # Across the end of the turn, or half a turn from there: as wide, and as far from Gaussian.
        for order, sign in ((1, 1), (2, -1), (3, 1)):
            expected = sign * before.moments_nao[0, :2, order]
            assert after.moments_nao[0, :2, order] == pytest.approx(expected, rel=1e-6, abs=1e-6)
        tilt = np.tan(before.angle_n2)
        assert np.tan(after.angle_n2) == pytest.approx(-tilt, abs=1e-9)


def test_a_ring_is_as_wide_as_a_ring():
    images = np.zeros((1, *GEOMETRY.shape), np.float32)
    images[0, :, 3, 5] = 1e-3
    observed = seen(images)
    radius = 3.5 * 4.65
    assert observed.moments_nao[0, :2, 0] == pytest.approx(MIDDLE)
    assert observed.moments_nao[0, :2, 1] == pytest.approx([radius**2 / 2] * 2)
    # Of its energy half is in the inner half of the ring.
    assert observed.radii_mm_ns[0] == pytest.approx([radius, 3.9 * 4.65])
    assert observed.moments_nao[0, 2, 0] == pytest.approx(5.5 * 3.4)


def test_a_track_from_the_axis_outwards_has_its_angle():
    """A radius further out with every layer, at the angle of a cell."""
    images = np.zeros((1, *GEOMETRY.shape), np.float32)
    for layer in range(9):
        images[0, 12, layer, layer] = 1e-3
    angle = -np.pi + 12.5 * 2 * np.pi / 16
    expected = np.arctan(4.65 / 3.4 * np.array([np.cos(angle), np.sin(angle)]))
    assert seen(images).angle_n2[0] == pytest.approx(expected)


def test_cells_lie_where_the_challenge_has_them():
    x_xy, y_xy = (each - MIDDLE[0] for each in cell_positions(GEOMETRY))
    assert np.hypot(x_xy, y_xy)[5] == pytest.approx((np.arange(9) + 0.5) * 4.65)
    # The first sector of sixteen begins at -pi, and y falls into it.
    assert np.arctan2(y_xy, x_xy)[0] == pytest.approx(-np.pi + np.pi / 16)
    assert axis_edges(GEOMETRY, 0)[[0, -1]] == pytest.approx([-np.pi, np.pi])
    assert axis_edges(GEOMETRY, 1)[[0, -1]] == pytest.approx([0.0, 41.85])


@given(st.integers(1, 15))
def test_texture_goes_round(cells):
    images = shower_like(0, count=2)

    def answers(showers):
        flat = sparse.csr_array(showers.reshape(len(showers), -1))
        return textures(flat, GEOMETRY.shape, GEOMETRY.periodic)

    assert answers(turned(images, cells)) == pytest.approx(answers(images), rel=1e-4, abs=1e-5)


def test_a_cylinder_lies_around_its_particle():
    showers = Showers(shower_like(0), np.float32([50]), {"theta": np.float32([1.2])})
    feature = features(SETTINGS)["angle_to_track"]
    assert np.isnan(feature.values(observe(showers, GEOMETRY, SETTINGS))).all()


@pytest.fixture(scope="module")
def samples():
    energies = np.linspace(10, 100, 60).astype(np.float32)
    return [
        summarise(Showers(shower_like(seed, 60, 16), energies), GEOMETRY, SETTINGS, label=label)
        for seed, label in enumerate(("Generated", "Reference"))
    ]


def test_figures_have_the_axes_of_a_cylinder(samples):
    ours, theirs = samples
    for axis, title, end in (("x", "angle [rad]", np.pi), ("y", "radius [mm]", 41.85)):
        figure = plots.transverse_profile(ours.observables, theirs.observables, axis)
        ratio = figure.axes[1]
        assert ratio.get_xlabel() == title
        assert ratio.get_xlim()[1] == pytest.approx(end, rel=0.1)
    maps = plots.mean_projections(ours, theirs).axes
    assert [each.get_ylabel() for each in maps[:3]] == ["angle [rad]", "radius [mm]", "y [mm]"]
    display = plots.event_display(ours, theirs).axes[0]
    assert display.get_ylim() == pytest.approx((-41.85, 41.85))


def test_metrics_keep_their_names_and_say_what_they_are_of():
    metrics = all_metrics(SETTINGS, GEOMETRY)
    assert metrics["profile.transverse_x.rel_error"].title == "Profile in angle"
    assert metrics["profile.transverse_y.chi2"].title == "Profile in radius, with covariance"
    assert metrics.keys() == all_metrics(SETTINGS, Geometry()).keys()

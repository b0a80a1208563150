"""Shapes of showers against closed forms and the paper's statements."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config.simulation import Calorimeter
from gan3d.simulation import gflash

TUNGSTEN_SILICON = gflash.Medium.of(Calorimeter())
HOMOGENEOUS = gflash.Medium(z=82.0, layer_x0=0.0, e_over_mip=1.0, critical_energy_gev=7.4e-3)
LOG_Y = np.array([5.0, 7.0, 9.0])


@given(st.integers(1, 20), st.floats(0.0, 60.0))
def test_the_incomplete_gamma_function_of_whole_alpha_is_a_poisson_sum(alpha, x):
    poisson = math.exp(-x) * sum(x**k / math.factorial(k) for k in range(alpha))
    value = gflash.regularised_gamma(np.array([float(alpha)]), np.array([x]))
    assert value[0] == pytest.approx(1.0 - poisson, abs=1e-11)


@given(st.floats(1e-6, 50.0))
def test_the_incomplete_gamma_function_of_a_half_is_the_error_function(x):
    value = gflash.regularised_gamma(np.array([0.5]), np.array([x]))
    assert value[0] == pytest.approx(math.erf(math.sqrt(x)), abs=1e-11)


def test_the_incomplete_gamma_function_reaches_one():
    alpha, x = np.array([1.1, 5.0, 300.0]), np.array([1e300, 800.0, 5000.0])
    assert gflash.regularised_gamma(alpha, x) == pytest.approx(1.0, abs=1e-12)


def test_the_incomplete_gamma_function_does_not_depend_on_what_is_beside_it():
    alpha, x = np.array([2.0, 5.0, 9.0]), np.array([0.3, 4.0, 80.0])
    together = gflash.regularised_gamma(alpha, x)
    alone = [gflash.regularised_gamma(alpha[i : i + 1], x[i : i + 1])[0] for i in range(3)]
    assert together.tolist() == alone


def test_the_longitudinal_profile_is_a_gamma_distribution_with_its_maximum_at_t():
    maximum, alpha = np.array([7.2]), np.array([4.7])
    depth = np.linspace(0.0, 40.0, 8001)
    density = np.diff(gflash.contained(depth, maximum, alpha)) / np.diff(depth)
    middle = 0.5 * (depth[1:] + depth[:-1])
    beta = (4.7 - 1.0) / 7.2
    closed = (beta * middle) ** 3.7 * beta * np.exp(-beta * middle) / math.gamma(4.7)
    np.testing.assert_allclose(density, closed, atol=1e-6)
    assert middle[np.argmax(density)] == pytest.approx(7.2, abs=0.01)
    assert np.sum(middle * density) * 0.005 == pytest.approx(4.7 / beta, rel=1e-3)


def test_nothing_is_deposited_before_the_start():
    assert gflash.contained(np.array([-3.0, 0.0]), np.array(7.0), np.array(4.0)).tolist() == [0, 0]


def test_without_layers_a_sampling_calorimeter_has_the_homogeneous_means():
    moments = gflash.shape_moments(LOG_Y, HOMOGENEOUS)
    np.testing.assert_allclose(np.exp(moments.mean_log_t), LOG_Y - 0.812)
    np.testing.assert_allclose(np.exp(moments.mean_log_alpha), 0.81 + (0.458 + 2.26 / 82.0) * LOG_Y)


def test_layers_make_showers_shallower():
    # Equation for T_sam with 1/F_S = 0.8 and ê = 0.7.
    medium = gflash.Medium(z=70.0, layer_x0=0.8, e_over_mip=0.7, critical_energy_gev=8e-3)
    moments = gflash.shape_moments(np.array([8.0]), medium)
    assert np.exp(moments.mean_log_t)[0] == pytest.approx(7.188 - 0.44 - 0.207)
    assert np.exp(moments.mean_log_alpha)[0] == pytest.approx(0.81 + 3.664 + 0.258286 - 0.3808)
    assert moments.sigma_log_t[0] == pytest.approx(1 / 7.5)
    assert moments.sigma_log_alpha[0] == pytest.approx(1 / 5.5)
    assert moments.correlation[0] == pytest.approx(0.6)


@pytest.mark.parametrize("log_y", [6.0, 8.0, 9.5])
def test_drawn_shapes_have_the_means_the_widths_and_the_correlation(log_y):
    moments = gflash.shape_moments(np.array(log_y), TUNGSTEN_SILICON)
    normal = np.random.default_rng(1).standard_normal((100_000, 2))
    log_t, log_alpha = np.log(moments.draw(normal))
    assert log_t.mean() == pytest.approx(moments.mean_log_t, abs=2e-3)
    assert log_alpha.mean() == pytest.approx(moments.mean_log_alpha, abs=3e-3)
    assert log_t.std() == pytest.approx(moments.sigma_log_t, rel=0.01)
    assert log_alpha.std() == pytest.approx(moments.sigma_log_alpha, rel=0.01)
    assert np.corrcoef(log_t, log_alpha)[0, 1] == pytest.approx(moments.correlation, abs=0.01)


def test_the_calorimeter_gives_the_signal_ratio_and_the_layer_thickness():
    assert TUNGSTEN_SILICON.e_over_mip == pytest.approx(1.0 / 1.42)
    assert TUNGSTEN_SILICON.layer_x0 * 25 == pytest.approx(20.3, abs=0.01)
    assert TUNGSTEN_SILICON.critical_energy_gev == pytest.approx(8.55e-3)


def test_the_radial_profile_has_the_published_numbers():
    # Lead, 10 GeV, at the centre of gravity: equations 24 to 26 worked out by hand.
    profile = gflash.radial_profile(np.array(10.0), np.array(1.0), HOMOGENEOUS)
    assert profile.core == pytest.approx(0.0251 + 0.00734525 + 0.084958, abs=1e-6)
    tail = 0.40562 * (math.exp(-2.59 * 0.355) + math.exp(0.4554388 * 0.355))
    assert profile.tail == pytest.approx(tail, rel=1e-6)
    depth = (0.55434 - 1.0) / (1.313 - 0.0686 * math.log(10.0))
    share = 2.55492 * math.exp(depth - math.exp(depth))
    assert profile.core_share == pytest.approx(share, rel=1e-6)


def test_layers_change_the_radial_profile():
    layers = gflash.Medium(z=82.0, layer_x0=0.8, e_over_mip=0.7, critical_energy_gev=7.4e-3)
    energy, tau = np.array(10.0), np.array(1.0)
    without = gflash.radial_profile(energy, tau, HOMOGENEOUS)
    with_layers = gflash.radial_profile(energy, tau, layers)
    fading = 0.8 * math.exp(-1.0)
    assert with_layers.core - without.core == pytest.approx(-0.00609 + 0.0397 * fading)
    assert with_layers.tail - without.tail == pytest.approx(-0.042 - 0.495 * fading)
    share = 0.3 * (0.348 - 0.642 * 0.8)
    assert with_layers.core_share - without.core_share == pytest.approx(share)


@given(st.floats(0.5, 1000.0), st.floats(0.0, 20.0))
def test_radii_are_positive_and_shares_are_shares(energy, tau):
    profile = gflash.radial_profile(np.array(energy), np.array(tau), TUNGSTEN_SILICON)
    assert profile.core > 0
    assert profile.tail > 0
    assert 0 <= profile.core_share <= 1


def test_showers_get_wider_with_depth():
    tau = np.linspace(1.0, 4.0, 20)
    profile = gflash.radial_profile(np.array(50.0), tau, TUNGSTEN_SILICON)
    assert (np.diff(profile.core) > 0).all()
    assert (np.diff(profile.tail) > 0).all()


def test_the_average_shower_has_depth_one_at_its_maximum():
    alpha = np.array(5.0)
    tau = gflash.scaled_depth(np.array(7.0), np.array(7.0), alpha, np.log(alpha))
    assert tau == pytest.approx(1.0)


def test_the_number_of_spots_grows_a_little_slower_than_the_energy():
    few, many = gflash.mean_spots(np.array([1.0, 100.0]), 0.1)
    assert few == pytest.approx(103.0)
    assert many / few == pytest.approx(100.0**0.959)
    assert gflash.mean_spots(np.array(1.0), 0.2) == pytest.approx(51.5)


def test_spots_lie_a_little_shallower_than_the_energy():
    medium = gflash.Medium(z=70.0, layer_x0=0.8, e_over_mip=0.7, critical_energy_gev=8e-3)
    maximum, alpha = gflash.spot_shape(np.array(7.0), np.array(5.0), medium)
    assert maximum == pytest.approx(7.0 * 0.946)
    assert alpha == pytest.approx(5.0 * 1.026)


def test_soft_showers_have_the_shape_of_twenty_critical_energies():
    twenty = 20 * TUNGSTEN_SILICON.critical_energy_gev
    softer = np.array([0.0, 0.5 * twenty])
    log_y = TUNGSTEN_SILICON.log_y(softer)
    assert log_y == pytest.approx(math.log(20.0))
    moments = gflash.shape_moments(log_y, TUNGSTEN_SILICON)
    assert ((moments.sigma_log_t > 0) & (moments.sigma_log_t <= 0.5)).all()
    assert ((moments.sigma_log_alpha > 0) & (moments.sigma_log_alpha <= 0.5)).all()
    tau = np.array(1.0)
    expected = gflash.radial_profile(np.array(twenty), tau, TUNGSTEN_SILICON)
    for energy in softer:
        profile = gflash.radial_profile(np.array(energy), tau, TUNGSTEN_SILICON)
        assert profile.tail == pytest.approx(expected.tail)


def test_radii_stay_finite_at_any_depth():
    profile = gflash.radial_profile(np.array(50.0), np.array([10.0, 1e6]), TUNGSTEN_SILICON)
    assert profile.tail[1] == profile.tail[0] < 100
    assert profile.core[1] == profile.core[0] < 100

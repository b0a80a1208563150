import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.errors import DataError
from gan3d.validation import observe
from gan3d.validation.resolution import Curve, fit_resolution, resolution_curve, response_curve

ENERGIES = np.array([12.0, 20.0, 35.0, 50.0, 70.0, 95.0])
EDGES = np.linspace(10.0, 100.0, 10)


def curve_of(a, c, energies=ENERGIES, error=0.02):
    values = np.sqrt(a**2 / energies + c**2)
    return Curve(energies, values, error * values, np.full(len(energies), 500))


def smeared(a, c, *, count, seed, response=0.02):
    """Showers with one lit cell: ECAL/Ep is Gaussian with sigma/E = a / sqrt(E) (+) c."""
    rng = np.random.default_rng(seed)
    energy = rng.uniform(10.0, 100.0, count)
    sigma = np.sqrt(a**2 / energy + c**2)
    images = np.zeros((count, 1, 1, 1), np.float32)
    images[:, 0, 0, 0] = response * energy * (1.0 + sigma * rng.standard_normal(count))
    return observe(
        Showers(images, energy.astype(np.float32)), Geometry(shape=(1, 1, 1)), Validation()
    )


@given(a=st.floats(0.01, 1.0), c=st.floats(0.001, 0.1))
def test_an_exact_curve_gives_back_its_terms(a, c):
    fit = fit_resolution(curve_of(a, c))
    assert fit.stochastic == pytest.approx(a, rel=1e-6)
    assert fit.constant == pytest.approx(c, rel=1e-4, abs=1e-7)
    assert fit.chi2 == pytest.approx(0.0, abs=1e-6)
    assert fit.ndf == len(ENERGIES) - 2
    assert fit.at(ENERGIES) == pytest.approx(np.sqrt(a**2 / ENERGIES + c**2))


@pytest.mark.parametrize(("a", "c"), [(0.0, 0.03), (0.2, 0.0)])
def test_a_missing_term_is_zero_within_its_error(a, c):
    fit = fit_resolution(curve_of(a, c))
    assert abs(fit.stochastic - a) <= fit.stochastic_error
    assert abs(fit.constant - c) <= fit.constant_error
    assert np.isfinite([fit.stochastic_error, fit.constant_error]).all()


@pytest.mark.parametrize("power", [0.5, -1.0], ids=["rises", "falls too fast"])
def test_terms_are_never_negative(power):
    values = 0.01 * ENERGIES**power
    fit = fit_resolution(Curve(ENERGIES, values, 0.01 * values, np.full(6, 500)))
    assert min(fit.stochastic, fit.constant) == 0.0
    assert max(fit.stochastic, fit.constant) > 0.0


def test_smeared_showers_give_back_their_terms_within_the_errors():
    """Over 40 samples the pulls of both terms are unbiased and of unit width."""
    a, c = 0.16, 0.017
    pulls = []
    for seed in range(40):
        fit = fit_resolution(resolution_curve(smeared(a, c, count=2000, seed=seed), EDGES))
        pulls.append(
            ((fit.stochastic - a) / fit.stochastic_error, (fit.constant - c) / fit.constant_error)
        )
    mean, width = np.mean(pulls, axis=0), np.std(pulls, axis=0)
    assert np.abs(mean).max() < 3.5 / np.sqrt(len(pulls))
    assert ((width > 0.7) & (width < 1.4)).all()


@pytest.mark.parametrize("edges", [EDGES, np.array([10.0, 40.0, 70.0, 100.0])])
def test_the_width_of_intervals_hardly_changes_the_fit(edges):
    fit = fit_resolution(resolution_curve(smeared(0.3, 0.01, count=300_000, seed=1), edges))
    assert fit.stochastic == pytest.approx(0.3, rel=0.01)
    assert fit.constant == pytest.approx(0.01, abs=0.002)


def test_few_showers_do_not_pull_the_fit_down():
    """Points that fluctuate down have small errors of their own, and would pull it by 5 %."""
    fits = [
        fit_resolution(resolution_curve(smeared(0.2, 0.02, count=250, seed=seed), EDGES))
        for seed in range(150)
    ]
    expected = np.sqrt(0.2**2 / 40.0 + 0.02**2)
    assert np.mean([fit.at(40.0) for fit in fits]) == pytest.approx(expected, rel=0.02)


def test_a_tail_hardly_widens_the_resolution():
    clean = resolution_curve(smeared(0.1, 0.02, count=20_000, seed=2), EDGES)
    sample = smeared(0.1, 0.02, count=20_000, seed=2)
    sample.total_energy_n[::50] *= 0.3
    tailed = resolution_curve(sample, EDGES)
    assert tailed.value_i == pytest.approx(clean.value_i, rel=0.06)


def test_response_is_the_mean_fraction_and_the_last_edge_is_inside():
    sample = smeared(0.0, 0.0, count=300, seed=3)
    sample.energy_n[0] = 100.0
    sample.total_energy_n[:] = 0.02 * sample.energy_n
    curve = response_curve(sample, EDGES)
    assert curve.value_i == pytest.approx(0.02)
    assert curve.error_i == pytest.approx(0.0, abs=1e-12)
    assert curve.showers_i.sum() == len(sample)


def test_the_error_of_the_width_is_what_it_spreads_by():
    edges = np.array([10.0, 100.0])
    curves = [
        resolution_curve(smeared(0.0, 0.05, count=400, seed=seed), edges) for seed in range(200)
    ]
    widths = np.array([curve.value_i[0] for curve in curves])
    assert widths.mean() == pytest.approx(0.05, rel=0.01)
    assert np.std(widths) == pytest.approx(np.mean([c.error_i[0] for c in curves]), rel=0.15)


def test_intervals_with_too_few_showers_have_no_width():
    sample = smeared(0.1, 0.02, count=5, seed=4)
    assert np.isnan(resolution_curve(sample, EDGES).value_i).all()
    with pytest.raises(DataError, match="0 usable energies, at least 3"):
        fit_resolution(resolution_curve(sample, EDGES))


def test_two_points_are_too_few_to_fit():
    with pytest.raises(DataError, match="2 usable energies, at least 3"):
        fit_resolution(curve_of(0.1, 0.01, ENERGIES[:2]))

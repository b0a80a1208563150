"""The response polynomial against ones that are known."""

import numpy as np
import pytest

from gan3d.config import Data, Experiment
from gan3d.errors import DataError, RunError
from gan3d.training.records import check_sums
from gan3d.training.response import Response, fit_response


@pytest.mark.parametrize(
    "coefficients",
    [
        (0.0018, -0.023, 0.11, -0.28, 2.21),  # published, electrons
        (0.0085, -0.094, 2.051),  # published, pi0
        (2.0,),
    ],
)
def test_a_polynomial_response_is_found_again(coefficients):
    energy = np.linspace(10, 500, 300)
    scaled = energy / 100
    ecal = scaled * np.polyval(coefficients, scaled)
    response = fit_response(ecal, energy, degree=len(coefficients) - 1, energy_scale_gev=100.0)
    np.testing.assert_allclose(response.coefficients, coefficients, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(response.ecal_gev(energy), ecal, rtol=1e-10)
    assert response.energy_range_gev == (10.0, 500.0)
    assert response.showers == 300
    assert response.mean_per_energy() == pytest.approx(np.mean(ecal / scaled), rel=0.01)


def test_fluctuations_average_out():
    rng = np.random.default_rng(0)
    energy = rng.uniform(10, 100, 20_000)
    ecal = 0.021 * energy * (1 + rng.normal(size=20_000) * 0.16 / np.sqrt(energy))
    response = fit_response(ecal, energy, degree=4, energy_scale_gev=100.0)
    np.testing.assert_allclose(response.ecal_gev(energy) / energy, 0.021, rtol=5e-3)


def test_too_few_energies_for_the_degree_are_refused():
    with pytest.raises(DataError, match="lower the degree"):
        fit_response(np.ones(100), np.full(100, 50.0), degree=4, energy_scale_gev=100.0)


@pytest.mark.parametrize(
    ("begun", "scale", "refused"),
    [
        ({}, {"cell_power": 0.5}, True),
        ({}, {}, False),
        ({"in_gev": True}, {"cell_power": 0.5}, False),
    ],
)
def test_a_run_of_sums_in_another_unit_does_not_go_on(tmp_path, begun, scale, refused):
    """Older runs fitted the sums of what their networks saw, and did not say so."""
    fields = {
        "coefficients": [0.02],
        "energy_range_gev": [10.0, 100.0],
        "energy_scale_gev": 100.0,
        "showers": 9,
        **begun,
    }
    response = Response.from_dict(fields)
    experiment = Experiment(data=Data(files=["a.h5"], **scale))
    if not refused:
        check_sums(tmp_path, response, experiment)
        return
    with pytest.raises(RunError, match=r"response\.json: an older gan3d fitted the sums of what"):
        check_sums(tmp_path, response, experiment)

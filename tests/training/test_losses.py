"""The losses against values worked out by hand."""

import math

import numpy as np
import pytest

from gan3d.config import LossWeights
from gan3d.models import AUXILIARY, ECAL, GENERATION, Output

pytestmark = pytest.mark.tensorflow

OUTPUTS = (GENERATION, AUXILIARY, ECAL)


def column(*values):
    return np.array(values, np.float32)[:, None]


def test_published_losses_and_their_weighted_sum():
    from gan3d.training.losses import discriminator_losses, loss_names

    said = {
        "generation": column(0.5, 0.9),
        "auxiliary": column(0.4, 1.0),
        "ecal": column(1.0, 3.0),
    }
    targets = {
        "generation": column(1, 1),
        "auxiliary": column(0.5, 0.8),
        "ecal": column(2.0, 2.0),
    }
    losses = discriminator_losses(OUTPUTS, said, targets, LossWeights())
    assert tuple(losses) == loss_names(OUTPUTS)
    generation = -(math.log(0.5) + math.log(0.9)) / 2
    auxiliary = 100 * (0.1 / 0.5 + 0.2 / 0.8) / 2
    assert float(losses["generation"]) == pytest.approx(generation, rel=1e-4)
    assert float(losses["auxiliary"]) == pytest.approx(auxiliary, rel=1e-4)
    assert float(losses["ecal"]) == pytest.approx(50.0, rel=1e-4)
    assert float(losses["ecal_gev"]) == pytest.approx(2.0)
    expected = 8 * generation + 0.2 * auxiliary + 0.1 * 50.0
    assert float(losses["loss"]) == pytest.approx(expected, rel=1e-4)


def test_empty_showers_have_an_ecal_loss_of_one_hundred_percent():
    from gan3d.training.losses import discriminator_losses

    zeros = np.zeros((3, 1), np.float32)
    said = {"generation": zeros + 0.5, "auxiliary": zeros, "ecal": zeros}
    targets = {"generation": zeros, "auxiliary": zeros + 0.5, "ecal": zeros + 2.0}
    losses = discriminator_losses(OUTPUTS, said, targets, LossWeights())
    assert float(losses["ecal"]) == pytest.approx(100.0)
    assert float(losses["ecal_gev"]) == 0.0


def test_a_shower_that_should_leave_nothing_does_not_outweigh_the_others():
    from gan3d.training.losses import discriminator_losses

    said = {"generation": column(0.5, 0.5, 0.5), "auxiliary": column(1, 1, 1)}
    targets = {"generation": column(1, 1, 1), "auxiliary": column(1, 1, 1)}
    said["ecal"], targets["ecal"] = column(1.0, 3.0, 2.2), column(0.0, 0.5, 2.0)
    least = {"ecal": column(0.2, 1.0, 0.2)}
    losses = discriminator_losses(OUTPUTS, said, targets, LossWeights(), {}, least)
    expected = 100 * (1.0 / 0.2 + 2.5 / 1.0 + 0.2 / 2.0) / 3
    assert float(losses["ecal"]) == pytest.approx(expected, rel=1e-5)
    # Of an angle's absolute error nothing is taken.
    angle = Output("ecal", "mean_absolute_error")
    losses = discriminator_losses((*OUTPUTS[:2], angle), said, targets, LossWeights(), {}, least)
    assert float(losses["ecal"]) == pytest.approx((1.0 + 2.5 + 0.2) / 3, rel=1e-5)


def test_further_outputs_have_losses_and_weights_of_their_own():
    """Published for variable angles: 3 / 0.1 / 25 (MAE of the angle) / 0.1 / 0.1."""
    from gan3d.training.losses import discriminator_losses

    outputs = (
        *OUTPUTS,
        Output("angle", "mean_absolute_error"),
        Output("bins", "mean_absolute_percentage_error"),
    )
    said = {
        "generation": column(0.5, 0.5),
        "auxiliary": column(0.5, 0.8),
        "ecal": column(2.0, 2.0),
        "angle": column(1.5, 1.7),
        "bins": np.array([[4, 0], [5, 10]], np.float32),
    }
    targets = said | {
        "generation": column(1, 1),
        "angle": column(1.4, 2.0),
        "bins": np.array([[8, 1], [4, 10]], np.float32),
    }
    weights = LossWeights(generation=3, auxiliary=0.1, ecal=0.1)
    losses = discriminator_losses(outputs, said, targets, weights)
    assert float(losses["angle"]) == pytest.approx(0.2, rel=1e-5)
    assert float(losses["bins"]) == pytest.approx((50 + 100 + 25 + 0) / 4, rel=1e-5)
    expected = 3 * math.log(2) + 25 * 0.2 + 0.1 * 175 / 4
    assert float(losses["loss"]) == pytest.approx(expected, rel=1e-5)

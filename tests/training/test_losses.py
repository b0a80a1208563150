"""The losses against values worked out by hand."""

import math

import numpy as np
import pytest

from gan3d.config import LossWeights

pytestmark = pytest.mark.tensorflow


def test_published_losses_and_their_weighted_sum():
    from gan3d.training.losses import discriminator_losses

    column = lambda *values: np.array(values, np.float32)[:, None]  # noqa: E731
    outputs = {
        "generation": column(0.5, 0.9),
        "auxiliary": column(0.4, 1.0),
        "ecal": column(1.0, 3.0),
    }
    losses = discriminator_losses(
        outputs, column(1, 1), column(0.5, 0.8), column(2.0, 2.0), LossWeights()
    )
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
    outputs = {"generation": zeros + 0.5, "auxiliary": zeros, "ecal": zeros}
    losses = discriminator_losses(outputs, zeros, zeros + 0.5, zeros + 2.0, LossWeights())
    assert float(losses["ecal"]) == pytest.approx(100.0)
    assert float(losses["ecal_gev"]) == 0.0

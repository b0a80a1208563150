"""What is refused before training begins."""

import keras
import pytest
from tiny import begin

from gan3d.config import Training
from gan3d.errors import ConfigError
from gan3d.models.arithmetic import activation_bytes, largest_layer_bytes
from gan3d.training.checks import STEP_LAYERS, check_memory

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def network():
    image = keras.Input((4, 4, 4, 1))
    return keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(image)))


def test_the_memory_of_a_network_is_that_of_its_layers(network):
    assert activation_bytes(network) == 4 * (64 + 64 + 1)
    assert largest_layer_bytes(network) == 4 * (64 + 64)


def test_a_batch_that_cannot_fit_is_refused_and_the_largest_that_can_is_named(network):
    shower = STEP_LAYERS * 2 * 4 * 129
    check_memory(network, network, Training(batch_size=100), int(100 * shower))
    with pytest.raises(ConfigError, match=r"training.batch_size: 101 .* at most 100 can fit"):
        check_memory(network, network, Training(batch_size=101), int(100 * shower))
    with pytest.raises(ConfigError, match=r"not one can fit: fewer cells \(data\.grid\)"):
        check_memory(network, network, Training(batch_size=1), int(0.9 * shower))


def test_the_trainer_refuses_it_before_the_first_step(make_trainer, listen, monkeypatch):
    monkeypatch.setattr("gan3d.training.trainer.memory_bytes", lambda: 1000)
    with pytest.raises(ConfigError, match=r"training\.batch_size"):
        begin(make_trainer())

"""What is refused before training begins."""

import keras
import numpy as np
import pytest
from tiny import begin

from gan3d.config import Condition, Data, Geometry, Training, Validation
from gan3d.data import Showers
from gan3d.errors import ConfigError
from gan3d.models.arithmetic import activation_bytes, largest_layer_bytes
from gan3d.training.checks import STEP_LAYERS, check_heldout, check_memory, too_few

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


def test_held_out_showers_that_cannot_fit_are_refused_with_how_many_can():
    data = Data(files=["x.h5"], geometry=Geometry(shape=(400, 400, 400)))
    one = 2 * 4 * 400**3  # a held-out shower and a generated one
    check_heldout(data, Validation(epoch_showers=3), 3 * one)
    check_heldout(data, Validation(epoch_showers=0), 0)
    with pytest.raises(ConfigError, match=r"validation\.epoch_showers: 4 .* at most 3 can be"):
        check_heldout(data, Validation(epoch_showers=4), 4 * one - 1)


@pytest.mark.parametrize(("electrons", "photons"), [(199, 0), (250, 12), (200, 200)])
def test_statistics_of_few_showers_are_told_of(electrons, photons):
    count = electrons + photons
    pdg_n = np.repeat(np.array([11, 22], np.int32), [electrons, photons])
    showers = Showers(np.ones((count, 2, 2, 2), "f4"), np.ones(count, "f4"), {"pdg": pdg_n})
    particle = Condition(name="particle", column="pdg", kind="categories", values=[11, 22])
    told = [note.split("only ")[1].split(";")[0] for note in too_few(showers, [particle])]
    wanted = {"": count, " of particle 11": electrons, " of particle 22": photons}
    assert told == [f"{n} showers{kind}" for kind, n in wanted.items() if n < 200]
    assert too_few(showers, []) == too_few(showers, [particle])[: count < 200]

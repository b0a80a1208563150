"""What is refused before training begins, and what is said then."""

from pathlib import Path

import keras
import numpy as np
import pytest
from labelled import SHAPE, write_labelled
from tiny import begin

from gan3d.config import Condition, Data, Geometry, Training, Validation
from gan3d.data import Showers, Survey, survey_files, whole
from gan3d.data.survey import FileEntry
from gan3d.errors import ConfigError
from gan3d.models.arithmetic import activation_bytes, largest_layer_bytes
from gan3d.training.checks import (
    STEP_LAYERS,
    check_angle_bins,
    check_heldout,
    check_memory,
    too_few,
    unseen_categories,
)

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
    assert told == [f"{n} showers{kind}" for kind, n in wanted.items() if 0 < n < 200]
    assert too_few(showers, []) == too_few(showers, [particle])[: count < 200]


def test_categories_that_no_training_shower_has_are_told_of():
    particle = Condition(name="particle", column="pdg", kind="categories", values=[22, 11, 111])
    theta = Condition(name="theta", column="theta")

    def files(*categories):
        entry = FileEntry(Path("a.h5"), 10, 10, 1000, 500.0, categories=categories)
        return Survey((entry,), None)

    (note,) = unseen_categories(files(("pdg", (22,))), [theta, particle])
    assert note.startswith("note: model.conditions: no training shower has particle 11, 111 (co")
    assert unseen_categories(files(("pdg", (11, 22, 111))), [theta, particle]) == []
    assert unseen_categories(files(), [theta, particle]) == []  # a run of before


def test_bins_of_angle_want_an_angle_of_the_held_out_showers(tmp_path):
    bins = Validation(angle_bins_deg=[(57, 120)])
    files = {}
    for name, theta in (("angle", {}), ("none", {"theta": None}), ("nan", {"theta": UNKNOWN_6})):
        path = write_labelled(tmp_path / f"{name}.h5", 6, seed=1, target=TARGET_6, **theta)
        files[name] = Data(files=[str(path)], geometry=Geometry(shape=SHAPE))
    for name, data in files.items():
        heldout = whole(survey_files(data).files)
        check_angle_bins(Validation(), heldout, data)
        if name == "angle":
            check_angle_bins(bins, heldout, data)
            continue
        with pytest.raises(ConfigError, match=rf"^validation\.angle_bins_deg: .*{name}\.h5; rem"):
            check_angle_bins(bins, heldout, data)


UNKNOWN_6 = np.full((6, 1), np.nan, "f4")
TARGET_6 = np.tile(np.float32([11, 30, 0, 0, 30]), (6, 1))

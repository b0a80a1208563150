"""What `gan3d bench generate` measures; how fast that is, is no test's business."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gan3d.bench.generate import GEANT4_MS, Settings, measure_generation
from gan3d.cli.bench.generate import command
from gan3d.data import Showers
from gan3d.errors import UsageError


class Counting:
    identity = "counting/1"

    def __init__(self):
        self.asked = []

    def draw_labels(self, n, conditions, seed):
        return {}

    def stream(self, energy_n, *, seed=0, batch_size=128, first=0, columns=None):
        self.asked.append((len(energy_n), batch_size))
        for start in range(0, len(energy_n), batch_size):
            energy_b = np.asarray(energy_n[start : start + batch_size], np.float32)
            yield Showers(np.ones((len(energy_b), 5, 5, 5), np.float32), energy_b)


def test_every_batch_of_every_model_is_measured_and_compared():
    one, two, said = Counting(), Counting(), []
    settings = Settings(batches=(1, 8), rounds=2, written=200, layout="parquet")
    figures = measure_generation([("one", one), ("two", two)], 2, settings, said.append)
    assert said == ["round 1 of 2", "round 2 of 2"]
    # A batch alone to warm up, then several: what the next is made from is drawn meanwhile.
    assert set(one.asked) == {(1, 1), (4, 1), (8, 8), (32, 8), (200, 128)}
    for name in ("one", "two"):
        found = figures["models"][name]
        assert found["model"] == "counting/1"
        for batch in ("1", "8"):
            row = found["batches"][batch]
            assert row["showers_per_second"] == pytest.approx(1e3 / row["ms_per_shower"], rel=1e-2)
            assert row["times_faster_than_geant4_per_core"] == pytest.approx(
                GEANT4_MS / row["core_ms_per_shower"], rel=1e-2
            )
        assert found["writing"]["layout"] == "parquet"
        assert found["writing"]["showers"] == 200
        for unit in ("ms_per_shower", "core_ms_per_shower"):
            assert found["writing"][unit]["with"] > found["writing"][unit]["without"] > 0
            assert found["writing"][unit]["with_over_without"] > 1
    assert json.loads(json.dumps(figures)) == figures


def test_nothing_is_written_unless_asked_for():
    model = Counting()
    settings = Settings(batches=(4,), rounds=1, written=0)
    figures = measure_generation([("one", model)], 1, settings, lambda line: None)
    assert "writing" not in figures["models"]["one"]
    assert set(model.asked) == {(4, 4), (16, 4)}


def test_showers_that_are_none_are_not_written():
    model = Counting()
    model.checkpoint = Path("untrained")  # a network of random weights lights every cell
    settings = Settings(batches=(4,), rounds=1, written=200)
    figures = measure_generation([("one", model)], 1, settings, lambda line: None)
    assert "writing" not in figures["models"]["one"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ecal26"], "ecal26: neither a run, nor an exported model, nor an architecture"),
        (["--batch", "1,x"], "--batch 1,x: expected batch sizes"),
    ],
)
def test_bad_input(arguments, message):
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)

"""What a study costs beyond its trainings: real blocks, trials that sleep."""

import json
import time
from dataclasses import fields

import pytest

from gan3d.bench.tune import Overhead
from gan3d.cli import main
from gan3d.tuning.proposals import Proposals

pytestmark = pytest.mark.distributed("waiting")

SLOWER = 0.4
"""Seconds that telling a trial takes more here."""


def test_a_slower_machinery_is_seen_and_trials_and_start_up_are_not_taken_for_it(
    monkeypatch, capsys
):
    tell = Proposals.tell

    def slow(*arguments, **notes):
        time.sleep(SLOWER)
        tell(*arguments, **notes)

    monkeypatch.setattr(Proposals, "tell", slow)
    monkeypatch.setattr("gan3d.cli.bench.tune._START", "import time; time.sleep(0.3)")
    call = ["bench", "tune", "--trials", "3", "--seconds", "0.2", "--blocks", "1"]
    assert main([*call, "--parameters", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {field.name for field in fields(Overhead)}
    assert (found["trials"], found["blocks"], found["sleep_seconds"]) == (3, 1, 0.2)
    overhead = found["overhead_seconds"]
    assert overhead >= SLOWER
    assert found["share_at_30s"] == pytest.approx(overhead / (30 + overhead))
    assert found["tensorflow_seconds"] >= 0.3
    # All that there is: what is one thing's is no other's.
    assert found["startup_seconds"] > 0
    assert found["startup_seconds"] + 3 * 0.2 + 2 * overhead <= found["wall_seconds"]

"""All checkpoints of a run, in turn."""

import json

import numpy as np
import pytest
from tiny import begin

from gan3d.errors import RunError
from gan3d.generation import find_checkpoints, load_run, stream_checkpoints

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def folder(make_trainer, listen):
    """A run of two epochs of five steps, with checkpoints within them too."""
    trainer = make_trainer(**{"run.keep_checkpoints": "null", "run.checkpoint_steps": 3})
    begin(trainer)
    trainer.train(listen())
    return trainer.folder


def test_checkpoints_say_where_in_training_they_were_written(folder):
    found = find_checkpoints(folder)
    assert [each.step for each in found] == [3, 5, 8, 10]
    assert [each.epoch for each in found] == pytest.approx([0.6, 1.0, 1.6, 2.0])
    assert found[0].path == folder / "checkpoints" / "step-00000003"


def test_before_the_first_epoch_has_ended_none_is_counted(folder):
    for step in (5, 8, 10):
        (folder / "checkpoints" / f"step-{step:08d}").rename(folder / f"{step}")
    assert [(each.step, each.epoch) for each in find_checkpoints(folder)] == [(3, 0.0)]


def test_each_checkpoint_generates_the_showers_that_it_generates_alone(folder):
    energy_n = np.linspace(10, 100, 7)
    seen = []
    for checkpoint, blocks in stream_checkpoints(folder, energy_n, seed=4, batch_size=3):
        parts = list(blocks)
        assert [len(part) for part in parts] == [3, 3, 1]
        seen.append(np.concatenate([part.images_nxyz for part in parts]))
        alone = load_run(folder, checkpoint.step).generate(energy_n=energy_n, seed=4)
        np.testing.assert_allclose(seen[-1], alone.images_nxyz, rtol=1e-5)
    assert len(seen) == 4
    assert not np.array_equal(seen[0], seen[-1])


def test_a_checkpoint_that_does_not_say_where_it_stood_is_named(folder):
    state = folder / "checkpoints" / "step-00000005" / "state.json"
    state.write_text(json.dumps({"format": 2}))
    with pytest.raises(RunError, match=r"step-00000005/state\.json: does not say"):
        find_checkpoints(folder)


def test_no_run_and_no_checkpoint_are_errors(folder, tmp_path):
    with pytest.raises(RunError, match="not a run's folder"):
        find_checkpoints(tmp_path / "nothing")
    (folder / "checkpoints").rename(folder / "elsewhere")
    with pytest.raises(RunError, match="no checkpoint yet"):
        find_checkpoints(folder)

"""A run that was stopped and resumed ends with the bits of one that was not."""

import json
import signal
import subprocess
import time

import numpy as np
import pytest

from gan3d.config import Data, Experiment
from gan3d.errors import TrainingError
from gan3d.runtime import Signals, SingleProcess
from gan3d.training.records import write_status
from gan3d.training.session import Session

pytestmark = pytest.mark.slow

CONFIG = """
data: {files: [train.h5], validation_files: [heldout.h5]}
model: {architecture: ecal25-compact}
training:
  epochs: 3
  batch_size: 4
  warmup_epochs: 2
  weight_average: {decay: 0.9, start_epoch: 1}
node: {intra_op_threads: 1, inter_op_threads: 1, deterministic: true}
validation: {epoch_showers: 0}
"""


MEASURED = (
    "seconds",
    "showers_per_second",
    "data_wait_seconds",
    "data_wait_share",
    "peak_memory_mb",
    "compute_seconds",
    "all_reduce_seconds",
    "rank_wait_seconds",
    "compute_spread",
    "stragglers",
)


@pytest.fixture
def experiment(tmp_path, write_lcd):
    write_lcd("train.h5", range(26))
    write_lcd("heldout.h5", range(26, 30))
    path = tmp_path / "experiment.yaml"
    path.write_text(CONFIG)
    return path


def test_resuming_after_an_epoch_and_after_ctrl_c_gives_the_same_bits(
    gan3d, gan3d_program, experiment, tmp_path, checkpoint_arrays
):
    def status():
        return json.loads((tmp_path / "parts" / "status.json").read_text())["status"]

    whole = gan3d("train", experiment, "--run", "whole")
    assert whole.returncode == 0, whole.stderr

    # A run that is out of time asks to be started again.
    first = gan3d("train", experiment, "--run", "parts", "--set", "run.max_minutes=1e-9")
    assert first.returncode == 75, first.stderr
    assert "go on with --resume" in first.stdout
    assert status() == "requeue"

    # Another experiment is refused, and the keys are named.
    again = gan3d("train", experiment, "--run", "parts")
    assert again.returncode == 1
    assert "holds a run already (config.yaml)" in again.stderr
    other = gan3d(
        "train", experiment, "--run", "parts", "--resume",
        "--set", "training.batch_size=2", "--set", "training.epochs=4",
    )  # fmt: skip
    assert other.returncode == 2
    assert "training.batch_size" in other.stderr
    assert "training.epochs" not in other.stderr

    # Ctrl-C while the second epoch is under way: the checkpoint lies between two steps.
    interrupted = subprocess.Popen(
        [gan3d_program, "train", str(experiment), "--run", "parts", "--resume"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert interrupted.stdout is not None
    for line in interrupted.stdout:
        if line.startswith("training"):
            break
    time.sleep(1.0)
    interrupted.send_signal(signal.SIGINT)
    interrupted.communicate(timeout=120)
    newest = max((tmp_path / "parts" / "checkpoints").glob("step-*"))
    state = json.loads((newest / "state.json").read_text())
    assert interrupted.returncode == 130
    assert status() == "interrupted"
    assert 6 <= state["global_step"] < 18

    last = gan3d("train", experiment, "--run", "parts", "--auto-resume")
    assert last.returncode == 0, last.stderr
    assert status() == "finished"

    expected = checkpoint_arrays(tmp_path / "whole")
    found = checkpoint_arrays(tmp_path / "parts")
    assert expected.keys() == found.keys()
    assert any(name.startswith("generator_average") for name in expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)

    def history(run):
        lines = (tmp_path / run / "history.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k not in MEASURED} for line in lines]

    assert history("parts") == history("whole")


def test_a_rank_goes_on_with_no_run_in_which_another_has_failed(tmp_path):
    """As in an elastic run, in which Horovod takes the failed one for lost."""
    session = Session(
        Experiment(data=Data(files=["a.h5"])), tmp_path, None,
        resume=False, signals=Signals(), begin=lambda _: None,
    )  # fmt: skip
    session._trainer = object()
    write_status(tmp_path, "failed", "generator.loss is nan")
    with pytest.raises(TrainingError, match=r"another rank has failed: generator\.loss is nan"):
        session.join(SingleProcess())

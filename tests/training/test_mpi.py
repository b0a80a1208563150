"""Training under mpirun, with real ranks; under horovodrun the rest of this folder tests it."""

import json

import numpy as np
import pytest
from launchers import NEEDS_MPI

pytestmark = [pytest.mark.distributed, NEEDS_MPI]

CONFIG = """
data: {files: [train.h5], validation_files: [heldout.h5]}
model: {architecture: ecal25-compact}
training: {epochs: 2, batch_size: 4, warmup_epochs: 0}
node: {intra_op_threads: 1, inter_op_threads: 1}
validation: {epoch_showers: 0}
"""


@pytest.fixture
def experiment(tmp_path, write_lcd):
    write_lcd("train.h5", range(40))
    write_lcd("heldout.h5", range(40, 44))
    path = tmp_path / "experiment.yaml"
    path.write_text(CONFIG)
    return path


def test_a_run_is_the_same_whichever_launcher_starts_it(
    gan3d, tmp_path, experiment, checkpoint_arrays
):
    for launcher in ("horovodrun", "mpirun"):
        done = gan3d(
            "train", experiment, "--run", launcher, "--set", "horovod.cycle_time_ms=3",
            ranks=2, launcher=launcher,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        # Open MPI's own terminal is none: lines, and no bars that are drawn again and again.
        assert "\x1b" not in done.stdout
    gloo, mpi = (checkpoint_arrays(tmp_path / run) for run in ("horovodrun", "mpirun"))
    assert gloo.keys() == mpi.keys()
    for name, values in gloo.items():
        # A sum of two does not depend on who adds.
        np.testing.assert_array_equal(mpi[name], values, err_msg=name)
    said = [
        json.loads((tmp_path / run / "environment.json").read_text())
        for run in ("horovodrun", "mpirun")
    ]
    assert [each["world_size"] for each in said] == [2, 2]
    assert [each["horovod"]["HOROVOD_CYCLE_TIME"] for each in said] == ["3.0", "3.0"]


def test_adasum_trains_ranks_that_stay_alike(gan3d, tmp_path, experiment):
    for run, op in (("average", "average"), ("adasum", "adasum")):
        done = gan3d(
            "train", experiment, "--run", run, "--set", f"horovod.op={op}",
            ranks=2, launcher="mpirun",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    losses = [
        json.loads((tmp_path / run / "history.jsonl").read_text().splitlines()[-1])
        for run in ("average", "adasum")
    ]
    assert losses[0]["generator.loss"] != losses[1]["generator.loss"]
    three = gan3d(
        "train", experiment, "--set", "horovod.op=adasum", "--set", "node.oversubscribe=true",
        ranks=3, launcher="mpirun",
    )  # fmt: skip
    assert three.returncode != 0
    assert "adasum needs a power of two of ranks, there are 3" in three.stderr

"""Training under horovodrun, with real ranks."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import read_arrays
from launchers import launch
from tiny import write_tiny

pytestmark = pytest.mark.distributed

CONFIG = """
data: {files: [train.h5], validation_files: [heldout.h5], shuffle: false}
model: {architecture: ecal25, dropout: 0.0, batch_norm: false}
training:
  epochs: 1
  batch_size: 2
  warmup_epochs: 0
  learning_rate_scaling: none
  # Plain gradients, and not those of the untrained network's ECAL loss, which are a thousand times
  # the others: an optimiser that scales them turns the last bit of a sum into a step of its own.
  optimizer: {name: sgd, learning_rate: 3.0e-6}
  loss_weights: {ecal: 1.0e-4}
node: {intra_op_threads: 1, inter_op_threads: 1}
validation: {epoch_showers: 0}
"""


def write_experiment(folder, showers, training, *, files="train.h5", data="shuffle: false", run=""):
    """Files of so many showers by name, and an experiment that trains tiny networks on some.

    What becomes of the ranks does not depend on the networks.
    """
    for seed, (name, count) in enumerate({**showers, "heldout.h5": 1}.items()):
        write_tiny(folder / name, count, seed=seed)
    path = folder / "experiment.yaml"
    path.write_text(f"""
data: {{files: ['{files}'], validation_files: [heldout.h5], geometry: {{shape: [4, 4, 3]}}, {data}}}
model: {{architecture: tiny-labelled}}
training: {{{training}, batch_size: 2, warmup_epochs: 0, response_degree: 1}}
node: {{intra_op_threads: 1, inter_op_threads: 1}}
validation: {{epoch_showers: 0}}
run: {{{run}}}
""")
    return path


def test_two_ranks_at_batch_b_equal_one_rank_at_batch_2b(
    gan3d, tmp_path, write_lcd, checkpoint_arrays
):
    # Rank 0 owns the first six showers and rank 1 the others; a step of one rank with twice the
    # batch must see what the two saw together.
    write_lcd("train.h5", range(12))
    write_lcd("heldout.h5", [12])
    write_lcd("interleaved.h5", [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11])
    config = tmp_path / "experiment.yaml"
    config.write_text(CONFIG)

    two = gan3d("train", config, "--run", "two", ranks=2)
    assert two.returncode == 0, two.stdout + two.stderr
    one = gan3d(
        "train", config, "--run", "one",
        "--set", "data.files=[interleaved.h5]", "--set", "training.batch_size=4",
        "--set", "run.checkpoint_steps=1", "--set", "run.keep_checkpoints=null",
    )  # fmt: skip
    assert one.returncode == 0, one.stderr
    first = min((tmp_path / "one" / "checkpoints").glob("step-*"))
    assert first.name == "step-00000001"

    def weights(arrays):
        return {name: a for name, a in arrays.items() if "weights.h5" in name}

    together, alone = (weights(checkpoint_arrays(tmp_path / run)) for run in ("two", "one"))
    before = weights(read_arrays(*first.glob("*.h5")))
    assert together.keys() == alone.keys()
    moved = max(np.abs(alone[name] - before[name]).max() for name in alone)
    assert moved > 1e-4, "the weights hardly moved: agreement would say nothing"
    for name, values in alone.items():
        np.testing.assert_allclose(together[name], values, rtol=0, atol=1e-6, err_msg=name)

    def record(run):
        return json.loads((tmp_path / run / "history.jsonl").read_text())

    assert record("two")["ranks"] == 2
    assert record("two")["step"] == record("one")["step"] == 3
    for name in ("discriminator.real.loss", "discriminator.fake.loss", "generator.loss"):
        assert record("two")[name] == pytest.approx(record("one")[name], rel=1e-5)
    environment = json.loads((tmp_path / "two" / "environment.json").read_text())
    assert environment["world_size"] == 2


def test_ranks_stop_early_together_and_the_run_is_finished(labelled_gan3d, tmp_path):
    # The number of steps never falls.
    training = "epochs: 9, early_stopping: {monitor: steps, patience: 2}"
    config = write_experiment(tmp_path, {"train.h5": 12}, training)

    def epochs():
        history = tmp_path / "run" / "history.jsonl"
        return [json.loads(line)["epoch"] for line in history.read_text().splitlines()]

    def status():
        return json.loads((tmp_path / "run" / "status.json").read_text())

    two = labelled_gan3d("train", config, "--run", "run", ranks=2)
    assert two.returncode == 0, two.stdout + two.stderr
    assert epochs() == [1, 2, 3]
    assert status()["status"] == "finished"
    assert "stopped early after epoch 3" in status()["message"]
    assert status()["message"] in two.stdout

    again = labelled_gan3d("train", config, "--run", "run", "--resume")
    assert (again.returncode, epochs()) == (0, [1, 2, 3]), again.stderr
    assert status()["message"] in again.stdout
    assert "to go on, --resume with a larger training.early_stopping.patience" in again.stdout
    further = labelled_gan3d(
        "train", config, "--run", "run", "--resume", "--set", "training.early_stopping.patience=3"
    )
    assert (further.returncode, epochs()) == (0, [1, 2, 3, 4]), further.stderr


def test_more_ranks_than_showers_end_with_one_line(gan3d, tmp_path, write_lcd):
    write_lcd("train.h5", [0])
    write_lcd("heldout.h5", [1])
    config = tmp_path / "experiment.yaml"
    config.write_text(CONFIG)
    done = gan3d("train", config, ranks=2)
    assert done.returncode != 0
    assert (
        "batch_size is 2 on each of 2 ranks but there are only 1 showers"
        in done.stdout + done.stderr
    )
    # horovodrun's own traceback follows; ours would carry a rank's prefix.
    assert not re.search(r"\[\d\]<std(out|err)>:.*Traceback", done.stdout + done.stderr)
    assert not (tmp_path / "runs" / "experiment" / "config.yaml").exists()


@pytest.fixture
def start_two_ranks(tmp_path):
    """Start training on two ranks and wait for the end of the first epoch.

    A step takes a tenth of a second until there is a file `hurry`.
    """
    program = [sys.executable, Path(__file__).with_name("noting_rank.py"), "0.1"]
    jobs = []

    def start(config):
        job = subprocess.Popen(
            [*launch(2), *program, "train", config, "--run", "run"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A shell that starts the tests in the background leaves SIGINT ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        jobs.append(job)
        lines = []
        assert job.stdout is not None
        for line in job.stdout:
            lines.append(line)
            if re.search(r"epoch +1/\d+ ", line):
                break
        return job, lines

    yield start
    for job in jobs:
        job.kill()


def test_ctrl_c_under_horovodrun_leaves_a_checkpoint_between_two_steps(
    start_two_ranks, labelled_gan3d, tmp_path
):
    config = write_experiment(tmp_path, {"train.h5": 80}, "epochs: 1000", run="checkpoint_steps: 3")
    job, lines = start_two_ranks(config)
    # The second epoch is under way, and a while from its end.
    while max((tmp_path / "run" / "checkpoints").glob("step-*")).name == "step-00000020":
        assert job.poll() is None
        time.sleep(0.02)
    job.send_signal(signal.SIGINT)
    lines.append(job.communicate(timeout=120)[0])
    output = "".join(lines)
    assert job.returncode != 0
    assert "checkpoint written in run" in output, output
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    state = json.loads((newest / "state.json").read_text())
    assert state["global_step"] > 20
    assert state["global_step"] == 20 * state["epoch"] + state["step_in_epoch"]
    batch = 2
    assert state["divisions"] == [[batch * state["step_in_epoch"]] * 2]
    # One rank goes on from there, with what the two have left of the epoch.
    epochs = f"training.epochs={state['epoch'] + 1}"
    alone = labelled_gan3d("train", config, "--run", "run", "--resume", "--set", epochs)
    assert alone.returncode == 0, alone.stderr
    last = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[-1])
    left = 80 - 2 * batch * state["step_in_epoch"]
    assert last["steps"] == state["step_in_epoch"] + left // batch


@pytest.fixture
def two_files_one_bad(tmp_path):
    """a.h5 and b.h5 of 12 showers each; the cells of b.h5 from shower 6 on are damaged."""
    showers = {"a.h5": 12, "whole.h5": 12}
    config = write_experiment(tmp_path, showers, "epochs: 3", files="[ab].h5")
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "b.h5", "w") as file:
        file["target"] = whole["target"][:]
        file.create_dataset("ECAL", data=whole["ECAL"][:], chunks=(6, 4, 4, 3), compression="gzip")
        info = file["ECAL"].id.get_chunk_info(1)
    with (tmp_path / "b.h5").open("r+b") as raw:
        raw.seek(info.byte_offset)
        raw.write(b"\xff" * info.size)
    return config


def test_a_file_that_disappears_ends_all_ranks_with_a_line_that_names_it(start_two_ranks, tmp_path):
    showers = {"a.h5": 40, "b.h5": 40}
    config = write_experiment(tmp_path, showers, "epochs: 1000", files="[ab].h5")
    job, lines = start_two_ranks(config)
    (tmp_path / "b.h5").unlink()
    lines.append(job.communicate(timeout=120)[0])
    output = "".join(lines)
    assert job.returncode != 0
    # Unshuffled, b.h5 is rank 1's.
    assert re.search(r"\[rank 1\] gan3d: error: \S*b\.h5: showers \d+ to \d+ .*disappeared", output)
    assert not re.search(r"\[\d\]<std(out|err)>:.*(Traceback|unexpected)", output), output
    assert (tmp_path / "run" / "checkpoints").is_dir()


def test_a_damaged_file_ends_training_before_it_begins(labelled_gan3d, two_files_one_bad, tmp_path):
    done = labelled_gan3d("train", two_files_one_bad, "--run", "run")
    assert done.returncode == 1
    assert re.fullmatch(r"gan3d: error: \S*b\.h5: showers 6 to 11 .*damaged.*\n", done.stderr)
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_bad_from_the_start_is_left_out(labelled_gan3d, two_files_one_bad, tmp_path):
    done = labelled_gan3d(
        "train", two_files_one_bad, "--run", "run", "--set", "data.on_bad_file=skip", ranks=2
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    history = tmp_path / "run" / "history.jsonl"
    records = [json.loads(line) for line in history.open()]
    # The twelve showers of a.h5 are three batches of two for each rank.
    assert [record["step"] for record in records] == [3, 6, 9]
    assert [record["skipped_files"] for record in records] == [1, 1, 1]
    assert [record["lost_showers"] for record in records] == [0, 0, 0]
    assert len(re.findall(r"skipped: \S*b\.h5: showers 6 to 11 .*damaged", output)) == 1
    assert output.count("going on without 1 bad file;") == 3


def test_a_file_that_disappears_is_skipped_by_all_ranks_alike(
    start_two_ranks, labelled_gan3d, tmp_path
):
    showers = {"a.h5": 20, "b.h5": 20}
    config = write_experiment(
        tmp_path, showers, "epochs: 8", files="[ab].h5", data="on_bad_file: skip"
    )
    job, lines = start_two_ranks(config)
    (tmp_path / "b.h5").unlink()
    (tmp_path / "hurry").touch()
    lines.append(job.communicate(timeout=240)[0])
    output = "".join(lines)
    assert job.returncode == 0, output
    records = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").open()]
    assert [record["epoch"] for record in records] == list(range(1, 9))
    steps = np.diff([0, *(record["step"] for record in records)])
    # Ten batches of two for each rank, then five: those of a.h5 alone.
    assert (steps[0], steps[-1]) == (10, 5)
    assert [record["skipped_files"] for record in records][-1] == 1
    assert sum(len(record["newly_skipped"]) for record in records) == 1
    assert sum(record["lost_showers"] > 0 for record in records) == 1
    assert len(re.findall(r"skipped: \S*b\.h5: .*disappeared", output)) == 1
    state = max((tmp_path / "run" / "checkpoints").glob("step-*")) / "state.json"
    assert json.loads(state.read_text())["skipped_files"] == [1]
    # The run goes on without it, one rank alone.
    again = labelled_gan3d(
        "train", config, "--run", "run", "--resume", "--set", "training.epochs=9"
    )
    assert again.returncode == 0, again.stdout + again.stderr
    last = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[-1])
    assert last["step"] - records[-1]["step"] == 10
    assert (last["skipped_files"], last["lost_showers"]) == (1, 0)

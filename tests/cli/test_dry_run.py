"""`gan3d train --dry-run`: everything checked, nothing started."""

import subprocess
import sys

import pytest

CONFIG = """
data: {files: [train.h5], validation_files: [heldout.h5]}
model: {architecture: ecal25}
training: {epochs: 10, batch_size: 4, warmup_epochs: 2}
node: {intra_op_threads: 1}
"""


@pytest.fixture
def experiment(tmp_path, write_lcd):
    write_lcd("train.h5", range(50))
    write_lcd("heldout.h5", range(50, 60))
    path = tmp_path / "experiment.yaml"
    path.write_text(CONFIG)
    return path


def test_it_says_what_would_run_and_writes_nothing(gan3d, experiment, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    done = gan3d(
        "train", experiment, "--dry-run", "--ranks", "3", "--set", "horovod.cycle_time_ms=2.5"
    )
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    said = " ".join(done.stdout.split())
    assert "50 to train on from 1 file, 10 held out" in said
    assert "3, each with batches of 4: 12 showers a step" in said
    assert "10 of 4 steps; 2 showers sit each one out" in said
    assert "0.001 x 3 (linear) = 0.003 after 2 epochs of warm-up" in said
    assert "HOROVOD_CYCLE_TIME=2.5" in said
    assert max(map(len, done.stdout.splitlines())) <= 80
    # The curve: it rises over the first fifth, then it is full.
    top = next(line for line in done.stdout.splitlines() if line.startswith("    0.003 "))
    assert 46 <= top.count("█") <= 49


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--set", "model.architecture=ecal26"), 2, "did you mean"),
        (("--ranks", "20"), 1, "batch_size is 4 on each of 20 ranks but there are only 50 showers"),
        (("--set", "node.intra_op_threads=4000"), 1, "node.intra_op_threads is 4000"),
        (("--resume",), 1, "no run to resume here"),
        (("--set", "data.files=[nothing.h5]"), 1, "nothing.h5"),
    ],
)
def test_errors_are_those_of_training(gan3d, experiment, arguments, code, message):
    done = gan3d("train", experiment, "--dry-run", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_number_of_ranks_is_for_the_dry_run_alone(gan3d, experiment):
    done = gan3d("train", experiment, "--ranks", "2")
    assert done.returncode == 2
    assert "horovodrun -np N" in done.stderr


def test_tensorflow_is_not_loaded(experiment, tmp_path):
    code = (
        "import sys; from gan3d.cli import main; "
        f"code = main(['train', {str(experiment)!r}, '--dry-run']); "
        "sys.exit(code or ('tensorflow' in sys.modules) or ('keras' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0

"""N ranks compute what one process computes, and stay identical."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import write_tiny

pytestmark = pytest.mark.distributed


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_train_on_the_global_batch_as_one_process_does(tmp_path, ranks):
    write_tiny(tmp_path / "train.h5", 48, seed=1)
    script = Path(__file__).with_name("equivalence_ranks.py")
    done = subprocess.run(
        [
            Path(sys.executable).with_name("horovodrun"), "--gloo", "-np", str(ranks),
            sys.executable, script, tmp_path, str(ranks), "5",
        ],
        env={**os.environ, "PYTHONPATH": str(script.parents[1])},
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("done-*"))) == ranks

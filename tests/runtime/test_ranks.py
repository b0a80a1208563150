"""The communicator between real ranks."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.distributed
def test_two_ranks_average_broadcast_sum_and_gather(tmp_path):
    horovodrun = Path(sys.executable).with_name("horovodrun")
    script = Path(__file__).with_name("ranks.py")
    done = subprocess.run(
        [horovodrun, "-np", "2", "--gloo", sys.executable, script, tmp_path],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]

"""The communicator between real ranks."""

import subprocess
import sys
from pathlib import Path

import pytest
from launchers import LAUNCHERS, launch

from gan3d.runtime import read_topology


@pytest.mark.distributed
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_ranks_average_broadcast_sum_and_gather(tmp_path, launcher):
    script = Path(__file__).with_name("ranks.py")
    done = subprocess.run(
        [*launch(2, launcher), sys.executable, script, tmp_path],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


@pytest.mark.distributed
@pytest.mark.skipif(len(read_topology().cores) < 2, reason="there are no two cores")
def test_two_ranks_are_where_their_node_section_puts_them(tmp_path):
    script = Path(__file__).with_name("bound_ranks.py")
    done = subprocess.run(
        [*launch(2), sys.executable, script, tmp_path],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]

"""The communicator between real ranks."""

import json
import shutil
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


@pytest.fixture
def confined(tmp_path):
    """What two ranks say of their cores, in the order of ranks: confined(before, around, affinity).

    `before` and `around` are commands that come before the launcher and before the rank.
    """

    def run(before, around, affinity="cores"):
        script = Path(__file__).with_name("confined_ranks.py")
        command = [*before, *launch(2), *around, sys.executable, script, tmp_path, affinity]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]

    return run


# One of each of two cores.
FIRST, OTHER, *_ = [*(core.cpus[0] for core in read_topology().cores), None]


@pytest.mark.distributed("waiting")
@pytest.mark.skipif(shutil.which("taskset") is None, reason="there is no taskset")
@pytest.mark.skipif(len(read_topology().cores) < 2, reason="there are no two cores")
@pytest.mark.parametrize("around", [[], ["sh", "-c", '"$0" "$@"; exit $?']], ids=["bare", "shell"])
def test_ranks_kept_together_on_a_part_of_the_node_share_it(confined, around):
    for said in confined(["taskset", "-c", str(FIRST)], around):
        assert said["mask"] == [FIRST]
        assert not said["bound"]
        assert "2 ranks share NUMA domain" in said["refused"]


@pytest.mark.distributed("waiting")
@pytest.mark.skipif(shutil.which("taskset") is None, reason="there is no taskset")
@pytest.mark.skipif(len(read_topology().cores) < 2, reason="there are no two cores")
def test_ranks_bound_one_by_one_stay_where_they_are(confined):
    bind = f'[ $HOROVOD_LOCAL_RANK = 0 ] && c={FIRST} || c={OTHER}; taskset -c $c "$0" "$@"'
    for cpu, said in zip((FIRST, OTHER), confined([], ["sh", "-c", bind]), strict=True):
        assert said == {"bound": True, "cores": 1, "placed": None, "mask": [cpu]}

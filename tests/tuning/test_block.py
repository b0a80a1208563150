"""What is told of processes that have ended."""

from pathlib import Path

import pytest

from gan3d.config import Experiment
from gan3d.errors import NodeError
from gan3d.tuning import worker
from gan3d.tuning.block import memory_kills, read_last_words

LOG = Path("block-1.log")

NOISE = """
2026-11-22 10:00:00.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] This TensorFlow \
binary is optimized to use available CPU instructions in performance-critical operations.
To enable the following instructions: AVX2 FMA, rebuild TensorFlow with the appropriate flags.
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
[1,0]<stderr>:W0000 00:00:1732269600.123456    1234 gpu_device.cc:2344] Cannot dlopen libraries
"""


def test_blocks_that_a_machine_has_no_cores_for_do_not_start():
    experiment = Experiment.model_validate({"data": {"files": ["a.h5"]}}).model_dump(mode="json")
    with pytest.raises(NodeError, match=r"5000 ranks on this node, but there are"):
        worker._prepare({"part": 0, "parts": 5000, "experiment": experiment})


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("", -9, "killed (SIGKILL)"),
        ("", 137, "killed (SIGKILL)"),
        ("Process 1 exit with status code -9.\nExit code: -9", None, "killed (SIGKILL)"),
        ("srun: error: node1: task 0: Killed\nslurmstepd: error: Detected 1 oom_kill event", 137,
         "out of memory: srun: error: node1: task 0: Killed / slurmstepd: error: Detected 1 "
         "oom_kill event"),
        (NOISE, None, "a rank has ended: it printed nothing (see block-1.log)"),
        (f"{NOISE}ValueError: no\n{NOISE}", 1,
         "ended with exit code 1: ValueError: no (see block-1.log)"),
        ("gan3d: error: it is wrong\nmore", 2,
         "ended with exit code 2: gan3d: error: it is wrong (see block-1.log)"),
        ("", -6, "ended by SIGABRT"),
    ],
)  # fmt: skip
def test_last_words_say_what_is_known(text, code, reason):
    words = read_last_words(text.replace("\\\n", ""), code, short=False, log=LOG)
    assert words.reason == reason
    assert words.memory == ("memory" in reason)
    assert not words.orphaned


def test_memory_is_named_where_the_system_has_killed_for_it():
    words = read_last_words("", -9, short=True, log=LOG)
    assert words.memory
    assert words.reason == "out of memory: killed (SIGKILL) by the system"
    assert memory_kills() >= 0


@pytest.mark.parametrize(("text", "code"), [("", 70), ("[0]gan3d: the coordinator has gone", 1)])
def test_ranks_that_were_left_alone_say_so(text, code):
    assert read_last_words(text, code, short=True, log=LOG).orphaned

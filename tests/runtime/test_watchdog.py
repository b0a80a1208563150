"""A process in which nothing happens any more is ended; in a process of its own."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys, threading, time
from gan3d.runtime import Watchdog

def rescue(idle):
    print(f"rescued after {idle >= 1.0}", flush=True)
    if "fail" in sys.argv:
        raise OSError("no disk")
    return "lost" not in sys.argv

with Watchdog(1.0, rescue) as watchdog:
    if "alive" in sys.argv:
        for _ in range(15):
            time.sleep(0.1)
            watchdog.progress()
    else:
        threading.Event().wait(60)
print("done")
time.sleep(1.5)
"""


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("hang", 75, "rescued after True\n"),
        ("lost", 1, "rescued after True\n"),
        ("fail", 1, "rescued after True\n"),
        ("alive", 0, "done\n"),
    ],
)
def test_a_hang_is_ended_with_the_code_to_requeue_if_the_run_can_go_on(how, code, said):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout) == (code, said)
    assert done.stderr == ("gan3d: error: OSError: no disk\n" if how == "fail" else "")


def test_without_a_limit_there_is_no_watchdog():
    from gan3d.runtime import Watchdog

    with Watchdog(None, lambda idle: True) as watchdog:
        assert not watchdog._thread.is_alive()

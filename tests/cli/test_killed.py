"""Commands that write files and are killed in the middle, with real signals."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMANDS = {
    "simulate": (
        "--debug", "simulate", "-n", "6000", "-o", "out", "--showers-per-file", "3000",
    ),
    "convert": (
        "data", "convert", "source/*.h5", "--to", "lcd", "-o", "out", "--showers-per-file", "3000",
        "--compression-level", "9", "--workers", "1",
    ),
}  # fmt: skip


@pytest.fixture
def start(gan3d, gan3d_program, tmp_path, request):
    """Start a command and wait until it is writing."""
    jobs = []

    def run(name):
        if name == "convert":
            done = gan3d("simulate", "-n", "6000", "-o", "source")
            assert done.returncode == 0, done.stderr
        job = subprocess.Popen(
            [gan3d_program, *COMMANDS[name]],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        jobs.append(job)
        for _ in range(600):
            if hidden(tmp_path / "out") or job.poll() is not None:
                break
            time.sleep(0.05)
        assert job.poll() is None, "ended before it could be killed"
        assert hidden(tmp_path / "out")
        return job

    yield run
    for job in jobs:
        job.kill()


def hidden(folder):
    return list(folder.glob(".*")) if folder.is_dir() else []


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_sigterm_leaves_nothing_half_written(start, tmp_path, name):
    job = start(name)
    job.send_signal(signal.SIGTERM)
    _, said = job.communicate(timeout=60)
    assert job.returncode == 143
    assert said.strip() == "gan3d: interrupted"
    assert not hidden(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_what_sigkill_left_is_removed_by_the_next_call(start, gan3d, tmp_path, name):
    job = start(name)
    job.kill()
    job.communicate(timeout=60)
    assert hidden(tmp_path / "out")
    done = gan3d(*COMMANDS[name])
    assert done.returncode == 0, done.stderr
    assert not hidden(tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
@pytest.mark.parametrize("layout", ["lcd", "parquet"])
def test_a_signal_in_the_middle_of_any_write_leaves_nothing(tmp_path, number, code, layout):
    script = Path(__file__).with_name("interrupted_writes.py")
    done = subprocess.run(
        [
            sys.executable, script, number, str(code),
            "simulate", "-n", "10", "-o", "out", "--to", layout,
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        # A shell that starts the tests in the background leaves SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

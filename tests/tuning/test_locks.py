"""What only one call of a study holds, whoever is killed with it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gan3d.tuning import claims, locks
from gan3d.tuning.locks import Lock
from gan3d.tuning.storage import JOURNAL, TRIALS, open_study, turn
from gan3d.tuning.study import Study

HOLD = """
import os, signal, sys
from pathlib import Path
from gan3d.tuning.locks import Lock
for path in sys.argv[1:]:
    Lock(Path(path)).acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_locks_of_one_that_is_killed_keep_nobody_waiting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("study")  # relative, as it is without --run
    folder.mkdir()
    study = Study.model_validate(
        {"objective": {"function": "sphere"}, "search": {"a": {"float": (0.0, 1.0)}}}
    )
    open_study(folder, study, TRIALS)
    paths = [str(folder / name) for name in ("turn", JOURNAL)]
    assert subprocess.run([sys.executable, "-c", HOLD, *paths], check=False).returncode == -9
    assert len(list(folder.glob("*.lock"))) == 2
    with turn(folder):
        open_study(folder, study, TRIALS).ask()
    assert not list(folder.glob("*.lock*"))


@pytest.fixture
def foreign(monkeypatch):
    """Locks as of another machine, whose processes cannot be looked at."""
    monkeypatch.setattr(locks, "_SLEEPS", (0.001, 0.01))

    def taken(path, pid=1):
        real = locks.machine
        monkeypatch.setattr(locks, "machine", lambda: "elsewhere")
        lock = Lock(path)
        lock.acquire()
        monkeypatch.setattr(locks, "machine", real)
        return lock

    return taken


def test_a_lock_of_another_machine_is_broken_when_nobody_has_it_any_more(
    tmp_path, foreign, monkeypatch, capfd
):
    monkeypatch.setattr(locks, "_FOREIGN_SECONDS", 0.3)
    monkeypatch.setattr(locks, "_LONG_SECONDS", 0.1)
    old = foreign(tmp_path / "turn")
    mine = Lock(tmp_path / "turn")
    mine.acquire()
    assert f"waiting for {tmp_path / 'turn.lock'}" in capfd.readouterr().err
    # Whoever comes back to life leaves it to its new holder.
    old.release()
    assert (tmp_path / "turn.lock").is_symlink()
    mine.release()
    assert not list(tmp_path.iterdir())


def test_a_lock_that_passes_from_hand_to_hand_is_not_broken(tmp_path, foreign, monkeypatch):
    monkeypatch.setattr(locks, "_FOREIGN_SECONDS", 0.4)
    broken = []
    monkeypatch.setattr(Lock, "_break", lambda self, holder: broken.append(holder))
    done = threading.Event()
    held = [foreign(tmp_path / "turn")]

    def pass_on():
        for _ in range(8):  # always somebody, always another
            done.wait(0.1)
            aside = tmp_path / "aside"
            aside.symlink_to(f"elsewhere|1|1|{os.urandom(4).hex()}")
            aside.rename(tmp_path / "turn.lock")
        (tmp_path / "turn.lock").unlink()

    passing = threading.Thread(target=pass_on)
    passing.start()
    with Lock(tmp_path / "turn").held():
        assert broken == []
    passing.join()
    assert held


def test_a_process_that_has_ended_is_known_by_its_number_and_start():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = f"{claims.machine()}|{process.pid}|{claims.started(process.pid)}|0"
    assert not locks._is_dead(holder)
    assert locks._is_dead(f"{claims.machine()}|{process.pid}|1|0")
    assert not locks._is_dead(f"elsewhere|{process.pid}|1|0")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert locks._is_dead(holder)

import ctypes
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gan3d.data.threads import ReaderThreads
from gan3d.errors import DataError


@pytest.fixture
def threads():
    made = []

    def make(count, stall_seconds=60.0, **settings):
        made.append(ReaderThreads(count, stall_seconds=stall_seconds, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_results_and_errors_come_to_who_waits(threads, count):
    pool = threads(count)

    def fail():
        raise DataError("a.h5: bad")

    tasks = [pool.submit(lambda n=n: n * n, "work") for n in range(20)]
    bad = pool.submit(fail, "work")
    assert [pool.wait(task) for task in reversed(tasks)] == [n * n for n in reversed(range(20))]
    with pytest.raises(DataError, match=r"^a\.h5: bad$"):
        pool.wait(bad)
    # The thread lives on.
    assert pool.wait(pool.submit(lambda: 7, "work")) == 7


def niceness(thread=None):
    """What Linux has for a thread of this process; None: the one that asks."""
    number = threading.get_native_id() if thread is None else thread.native_id
    status = Path(f"/proc/self/task/{number}/stat").read_text()
    return int(status.rpartition(")")[2].split()[16])  # proc(5): field 19, the name being field 2


@pytest.mark.skipif(sys.platform != "linux", reason="niceness of threads is Linux's")
@pytest.mark.parametrize(("asked", "added"), [(0, 0), (5, 5), (19, 19)])
def test_the_threads_alone_are_nicer(threads, asked, added):
    before, together = niceness(), threading.Barrier(2)
    pool = threads(2, niceness=asked)
    # One task for each of the threads.
    for task in [pool.submit(together.wait, "work") for _ in range(2)]:
        pool.wait(task)
    assert {niceness(thread) for thread in pool.threads} == {min(before + added, 19)}
    assert niceness() == before
    # Without threads the work is done by who waits, who stays as it is.
    alone = threads(0, niceness=asked)
    assert alone.wait(alone.submit(niceness, "work")) == before == niceness()


@pytest.mark.parametrize("count", [0, 1])
def test_work_is_done_once_however_often_it_is_waited_for(threads, count):
    pool, done = threads(count), []
    task = pool.submit(lambda: done.append(1), "work")
    for _ in range(2):
        pool.wait(task)
    assert done == [1]


def test_errors_that_nobody_expects_come_through_as_they_are(threads):
    pool = threads(1)

    def fail():
        raise MemoryError("no room")

    with pytest.raises(MemoryError):
        pool.wait(pool.submit(fail, "work"))


def test_tasks_run_at_the_same_time_in_several_threads(threads):
    pool = threads(2)
    meeting = threading.Barrier(2, timeout=20)
    tasks = [pool.submit(meeting.wait, "meeting") for _ in range(2)]
    assert sorted(pool.wait(task) for task in tasks) == [0, 1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_is_killed_ends_the_wait_with_an_error(threads):
    pool = threads(1)
    started = threading.Event()

    def spin():
        started.set()
        while True:
            time.sleep(0.01)

    task = pool.submit(spin, "a.h5: showers 0 to 99")
    assert started.wait(20)
    # A real death: an exception that no handler of the thread's expects.
    ident = ctypes.c_ulong(pool.threads[0].ident)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit)) == 1
    with pytest.raises(DataError, match=r"a\.h5: showers 0 to 99: a thread .* has died"):
        pool.wait(task)


def test_a_read_that_hangs_ends_the_wait_with_an_error(threads):
    pool = threads(1, stall_seconds=0.5)
    release = threading.Event()
    task = pool.submit(release.wait, "a.h5: showers 0 to 99")
    with pytest.raises(DataError, match=r"a\.h5: showers 0 to 99: nothing has been read for"):
        pool.wait(task)
    release.set()


def test_slow_reads_are_not_a_hang(threads):
    pool = threads(1, stall_seconds=1.0)
    tasks = [pool.submit(lambda: time.sleep(0.3), "slow") for _ in range(5)]
    pool.wait(tasks[-1])


def test_time_in_which_nobody_waited_is_no_hang(threads, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("gan3d.data.threads.time", SimpleNamespace(monotonic=lambda: now[0]))
    pool = threads(1)
    pool.wait(pool.submit(lambda: 0, "work"))
    now[0] = 3600.0  # an epoch's examination
    release = threading.Event()
    task = pool.submit(lambda: release.wait(20), "a.h5: showers 0 to 99")
    threading.Timer(0.5, release.set).start()
    assert pool.wait(task)


HANGING = """
import threading
from gan3d.data.threads import ReaderThreads

started = threading.Event()
ReaderThreads(1, stall_seconds=60.0).submit(
    lambda: (started.set(), threading.Event().wait()), "a.h5: showers 0 to 99"
)
started.wait()
"""


def test_a_thread_that_hangs_does_not_keep_the_process():
    subprocess.run([sys.executable, "-c", HANGING], check=True, timeout=60)


def test_closing_drops_what_waits(threads):
    pool = threads(1)
    started, release, done = threading.Event(), threading.Event(), []

    def hold():
        started.set()
        release.wait()

    first = pool.submit(hold, "first")
    pool.submit(lambda: done.append(1), "second")
    assert started.wait(20)
    threading.Timer(0.2, release.set).start()
    pool.close()
    assert first.wait(1)
    assert not done
    assert not pool.threads[0].is_alive()

"""Which commands SIGTERM ends as Ctrl-C does, with real signals to this process."""

import os
import signal
import threading

import pytest

from gan3d.cli import _sigterm_unwinds


@pytest.fixture(params=[signal.SIG_DFL, signal.SIG_IGN], ids=["default", "ignored"])
def before(request):
    """What SIGTERM did before the command."""
    usual = signal.signal(signal.SIGTERM, request.param)
    yield request.param
    signal.signal(signal.SIGTERM, usual)


@pytest.mark.parametrize("command", ["data", "simulate", "generate", "bench"])
def test_sigterm_ends_what_writes_files_as_ctrl_c_does_unless_it_is_ignored(before, command):
    def killed():
        with _sigterm_unwinds([command]):
            # Or else it would be the tests that end.
            now = signal.getsignal(signal.SIGTERM)
            assert now == signal.SIG_IGN if before == signal.SIG_IGN else callable(now)
            os.kill(os.getpid(), signal.SIGTERM)

    if before == signal.SIG_IGN:
        killed()
    else:
        with pytest.raises(KeyboardInterrupt):
            killed()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("command", [["train"], ["quickstart"], ["doctor"], []])
def test_sigterm_is_left_to_other_commands(before, command):
    with _sigterm_unwinds(command):
        assert signal.getsignal(signal.SIGTERM) == before


def test_a_thread_of_another_program_leaves_its_signals_alone():
    # Python sets handlers in the main thread alone.
    came = []

    def run():
        with _sigterm_unwinds(["data"]):
            came.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert came == [signal.SIG_DFL]

"""Signals become notes; a second Ctrl-C ends the process."""

import os
import signal
import subprocess
import sys

import pytest

from gan3d.runtime import noted_signals


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_batch_systems_signal_that_comes_several_times_is_noted_once(number):
    usual = signal.getsignal(number)
    with noted_signals() as signals:
        assert not signals.preempted
        for each in (number, number, signal.SIGTERM):
            send(each)
        assert signals.preempted
        assert not signals.interrupted
    assert signal.getsignal(number) is usual


def test_another_thread_hears_of_it_while_the_main_one_is_busy_elsewhere():
    code = """
import ctypes, os, signal, threading, time
from gan3d.runtime import noted_signals
with noted_signals() as signals:
    def listen():
        came = signals.wait(20.0)
        print(came == {signal.SIGUSR1}, signals.preempted, flush=True)
        os._exit(0)
    threading.Thread(target=listen).start()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    # As in an operation of TensorFlow: no Python runs here, and a signal does not end the wait.
    lock = ctypes.CDLL(None).pthread_mutex_lock
    mutex = ctypes.create_string_buffer(64)
    lock(mutex), lock(mutex)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "True False\n", done.stderr


def test_a_second_ctrl_c_ends_at_once():
    with noted_signals() as signals:
        send(signal.SIGINT)
        assert signals.interrupted
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)

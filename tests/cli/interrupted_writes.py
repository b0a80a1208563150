"""Run in a process of its own: `gan3d` gets a real signal while HDF5 or Arrow writes.

interrupted_writes.py SIGNAL CODE COMMAND ...: the signal comes in the first, the second, ... write
of the new file, until the command ends undisturbed. What ends Python ends this process, too.
"""

import os
import signal
import sys
from pathlib import Path

from gan3d.cli import main
from gan3d.data import new_file

number, code, command = signal.Signals[sys.argv[1]], int(sys.argv[2]), sys.argv[3:]
write = new_file.Sink.write
at = writes = 0


def interrupted(self, data):
    global writes
    writes += 1
    if writes == at:
        os.kill(os.getpid(), number)
    return write(self, data)


new_file.Sink.write = interrupted
while writes >= at:
    at, writes = at + 1, 0
    found = main(command)
    if writes < at:
        break
    assert found == code, f"write {at}: exit code {found}"
    left = [path.name for path in Path().iterdir()]
    assert not left, f"write {at} leaves {left}"
assert at > 5, f"only {at - 1} writes"
assert found == 0

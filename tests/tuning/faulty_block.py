"""A rank of a block whose function fails as the parameter `fault` says."""

import os
import signal
import sys
import time
from pathlib import Path

from gan3d.errors import DivergedError
from gan3d.tuning import worker

call = worker._call


def faulty(settings, ears):
    fault = settings["values"].get("fault")
    if fault == "diverges":
        raise DivergedError("epoch 1, step 3: generator.loss is nan; start anew")
    if fault == "memory":
        raise MemoryError("cannot allocate 1 TB")
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "cancelled":
        os.kill(os.getpid(), signal.SIGTERM)
    if fault == "crashes":
        os.abort()
    if fault == "hangs":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        time.sleep(1000)
    with Path("calls").open("a") as notes:
        notes.write(f"{settings['values']}\n")
    return call(settings, ears)


worker._call = faulty
sys.exit(worker.serve(Path(sys.argv[1]), None))

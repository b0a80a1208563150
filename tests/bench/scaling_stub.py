"""Stands for gan3d, horovodrun and MWMS workers: writes what a run of theirs would leave.

As horovodrun it is called with the ranks after -np. Two ranks reach 1.9 times one, MWMS 1.5 times.
"""

import json
import os
import sys
from pathlib import Path

arguments = sys.argv[1:]


def option(name, default=None):
    return arguments[arguments.index(name) + 1] if name in arguments else default


def history(ranks, gain):
    for epoch in range(3):
        # The first epoch compiles, and is ten times as slow.
        rate = 10.0 * gain * (0.1 if epoch == 0 else 1.0)
        yield {
            "epoch": epoch + 1,
            "ranks": ranks,
            "steps": 4,
            "seconds": 4 * 8 * ranks / rate,
            "showers_per_second": rate,
            "data_wait_seconds": 0.5,
            "compute_seconds": 9.0,
            "all_reduce_seconds": 0.2 if ranks > 1 else 0.0,
            "rank_wait_seconds": 0.3 if ranks > 1 else 0.0,
            "compute_spread": 0.01,
            "gradient_mb": 8.0 if ranks > 1 else 0.0,
            "exchanges": 4 if ranks > 1 else 0,
        }


if "fail" in os.environ.get("STUB", ""):
    print("loading\n[rank 1] gan3d: error: rank 1 has no data\nmore words")
    sys.exit(3)
if "gan3d.bench.all_reduce" in arguments:
    target = Path(arguments[arguments.index("gan3d.bench.all_reduce") + 1])
    sizes = [2**10, 2**20]
    # Half a cycle of 10 ms (of the experiment), three latencies of 20 us, and 2 GB/s.
    seconds = [5e-3 + 3 * 20e-6 + size / 2e9 for size in sizes]
    target.write_text(json.dumps({"ranks": 2, "bytes": sizes, "seconds": seconds}))
    sys.exit(0)
folder = Path(option("--run") or option("mwms"))
folder.mkdir(exist_ok=True)
ranks = int(option("-np") or (2 if "mwms" in arguments else 1))
gain = {1: 1.0, 2: 1.5 if "mwms" in arguments else 1.9}[ranks]
lines = "".join(json.dumps(record) + "\n" for record in history(ranks, gain))
(folder / "history.jsonl").write_text(lines)
with Path(os.environ["STUB_LOG"]).open("a") as log:
    log.write(json.dumps(arguments) + "\n")

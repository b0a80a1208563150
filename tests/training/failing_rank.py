"""Run by every rank under horovodrun: `gan3d` with a fault in one rank's step.

failing_rank.py FAULT RANK STEP train ...; slow: in every step; very slow: after STEP, and a file
`asleep` says so.
"""

import os
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from labelled_gan3d import main  # it stands in the folder of all tests

fault, rank, at_step = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

if int(os.environ.get("HOROVOD_RANK", "0")) == rank:
    import gan3d.training.session as session

    build = session.Session._build

    def build_faulty(self, *arguments):
        trainer = build(self, *arguments)
        step = trainer.step
        call = type(step).__call__

        def faulty(self, *batch, **settings):
            if fault == "slow":
                time.sleep(0.2)
            if fault == "very slow" and settings["step"] > at_step:
                Path("asleep").touch()
                time.sleep(6.0)
            if settings["step"] == at_step:
                if fault == "memory":
                    raise MemoryError("no memory for this batch")
                if fault == "exit":
                    os._exit(3)
            losses = dict(call(self, *batch, **settings))
            if settings["step"] == at_step and fault == "nan":
                losses["generator.loss"] = float("nan")
            return losses

        type(step).__call__ = faulty
        return trainer

    session.Session._build = build_faulty

sys.exit(main(sys.argv[4:]))

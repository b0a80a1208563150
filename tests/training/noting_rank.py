"""Run by every rank under horovodrun: `gan3d`, with a note of the showers of every step.

noting_rank.py SECONDS train ...; a line of JSON for each step, [step, incident energies], in
seen-PID. Each step takes SECONDS more, until there is a file `hurry`.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from labelled_gan3d import main  # it stands in the folder of all tests

from gan3d.training import session

seconds = float(sys.argv[1])
build = session.Session._build


def build_noting(self, *arguments):
    trainer = build(self, *arguments)
    call = type(trainer.step).__call__

    def noting(self, images_bxyz, energy_b1, *labels, **settings):
        if not Path("hurry").exists():
            time.sleep(seconds)
        losses = call(self, images_bxyz, energy_b1, *labels, **settings)
        with Path(f"seen-{os.getpid()}").open("a") as notes:
            notes.write(json.dumps([settings["step"], energy_b1[:, 0].tolist()]) + "\n")
        return losses

    type(trainer.step).__call__ = noting
    return trainer


session.Session._build = build_noting
sys.exit(main(sys.argv[2:]))

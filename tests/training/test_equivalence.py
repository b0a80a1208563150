"""N ranks compute what one process computes, and stay identical."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import read_arrays
from launchers import LAUNCHERS, launch
from tiny import write_tiny

import gan3d

pytestmark = pytest.mark.distributed


@pytest.mark.parametrize("launcher", LAUNCHERS)
# Two ranks on a network of real size: test_distributed.py. With one, sums are what they are of.
@pytest.mark.parametrize(("ranks", "cases"), [(1, 1), (3, 5)])
def test_ranks_train_on_the_global_batch_as_one_process_does(tmp_path, ranks, cases, launcher):
    write_tiny(tmp_path / "train.h5", 48, seed=1)
    script = Path(__file__).with_name("equivalence_ranks.py")
    paths = script.parents[1], Path(gan3d.__file__).parents[1]
    done = subprocess.run(
        [
            *launch(ranks, launcher), sys.executable, script, tmp_path, str(ranks), str(cases),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("done-*"))) == ranks
    # The saved model is the same whichever rank saves.
    saved = [read_arrays(*sorted(tmp_path.glob(f"rank-{r}/*/*.h5"))) for r in range(ranks)]
    assert any("moving_mean" in name or "batch_normalization" in name for name in saved[0])
    for arrays in saved[1:]:
        assert arrays.keys() == saved[0].keys()
        for name, values in arrays.items():
            if not name.startswith("variables.h5/random"):  # each rank's dropout is its own
                np.testing.assert_array_equal(values, saved[0][name], err_msg=name)

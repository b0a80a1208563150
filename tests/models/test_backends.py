"""The networks are written for any backend of Keras: another one than TensorFlow computes the same.

No other one is installed with the package: uv run --with jax pytest tests/models/test_backends.py
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed")
def test_jax_computes_what_tensorflow_computes(tmp_path):
    from forward_values import CASES, forward

    written = tmp_path / "jax.npz"
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parents[1] / "forward_values.py"), str(written)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(written) as theirs:
        for case in CASES:
            for name, ours in forward(case).items():
                scale = max(1.0, np.abs(ours).max())
                np.testing.assert_allclose(
                    theirs[name], ours, rtol=0, atol=1e-4 * scale, err_msg=name
                )
                assert np.isfinite(ours).all(), name

"""Ranks that generate together; real ones, and a real kill."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest

from gan3d.data import read_showers

pytestmark = [pytest.mark.tensorflow, pytest.mark.distributed]


def test_two_ranks_write_what_one_process_writes(gan3d, compact_folder, tmp_path):
    common = "-n", 44, "--to", "parquet", "--showers-per-file", 10, "--seed", 3
    alone = gan3d("generate", compact_folder, *common, "-o", "alone")
    assert alone.returncode == 0, alone.stderr
    two = gan3d("generate", compact_folder, *common, "-o", "two", "--batch-size", 7, ranks=2)
    assert two.returncode == 0, two.stderr
    assert "rank 1: two: 20 showers in 2 files" in two.stdout
    one, other = (read_showers([f"{tmp_path / name}/*.parquet"]) for name in ("alone", "two"))
    assert np.array_equal(one.energy_n, other.energy_n)
    largest = one.images_nxyz.max()
    np.testing.assert_allclose(one.images_nxyz, other.images_nxyz, atol=1e-4 * largest)
    again = gan3d("generate", compact_folder, *common, "-o", "two")
    assert "5 of 5 files are there already" in again.stdout
    refused = gan3d("generate", compact_folder, *common[:2], "-o", "one.h5", ranks=2)
    assert "2 ranks cannot write one file" in refused.stderr + refused.stdout


def test_a_killed_call_is_repeated_and_makes_what_is_missing(
    gan3d, gan3d_program, compact_folder, tmp_path
):
    arguments = ["generate", compact_folder, "-n", "1000", "--showers-per-file", "50"]
    arguments += ["-o", "showers", "--to", "parquet", "--batch-size", "10"]
    running = subprocess.Popen(
        [gan3d_program, *map(str, arguments)], cwd=tmp_path, env=os.environ, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("showers/*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("showers/*.parquet")}
    assert 2 <= len(done) < 20
    result = gan3d(*arguments)
    assert result.returncode == 0, result.stderr
    assert f"{len(done)} of 20 files are there already" in result.stdout
    assert all(path.stat().st_mtime_ns == written for path, written in done.items())
    assert len(read_showers([f"{tmp_path}/showers/*.parquet"])) == 1000
    assert len(list((tmp_path / "showers").iterdir())) == 20

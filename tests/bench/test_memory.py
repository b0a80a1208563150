"""Peak memory does not grow with the data set."""

import json
import shutil

import pytest

from gan3d.samples import sample_files


@pytest.mark.slow
def test_a_data_set_sixteen_times_as_large_takes_no_more_memory(gan3d, tmp_path):
    def peak_mb(copies):
        folder = tmp_path / str(copies)
        folder.mkdir()
        for number in range(copies):
            shutil.copy(sample_files().train, folder / f"{number}.h5")
        done = gan3d("bench", "data", folder / "*.h5", "--as-is", "--workers", "1")
        assert done.returncode == 0, done.stderr
        figures = json.loads(done.stdout)
        assert figures["showers"] == 1600 * copies
        return figures["peak_memory_mb"]

    # In memory, sixteen copies would be 1500 MB of images more.
    assert peak_mb(16) < 1.1 * peak_mb(1)

import json

import h5py
import numpy as np
import pytest

from gan3d.bench.data import Settings, measure_files, measure_formats, plain_read
from gan3d.cli import main
from gan3d.data import Showers, read_showers, write_showers


@pytest.fixture
def shower_file(tmp_path):
    """A function that writes showers of 4 x 3 x 5 cells in a layout."""

    def write(layout="lcd", count=30):
        rng = np.random.default_rng(0)
        images = rng.random((count, 4, 3, 5), np.float32) * (rng.random((count, 4, 3, 5)) < 0.3)
        path = tmp_path / f"showers.{layout}"
        energy_n = rng.uniform(10, 100, count).astype(np.float32)
        write_showers(path, [Showers(images.astype(np.float32), energy_n)], layout=layout,
                      attributes={}, chunk_showers=7)  # fmt: skip
        return path

    return write


SMALL = Settings(formats=("lcd-gzip", "lcd-plain", "parquet"), showers=50, rounds=2, batch_size=4)


def test_every_format_is_measured_beside_a_plain_read(shower_file):
    said = []
    figures = measure_formats([str(shower_file())], SMALL, said.append)
    assert figures.keys() == {"lcd-gzip", "lcd-plain", "parquet"}
    assert said[-1] == "round 2 of 2"
    for each in figures.values():
        assert each["showers"] == 50
        for cache in ("cold", "warm"):
            assert each[cache]["plain_showers_per_second"] > 0
            assert each[cache]["workers"].keys() == {"0", "1", "2"}
            for worker in each[cache]["workers"].values():
                assert worker["showers_per_second"] > 0
                assert worker["times_plain"] > 0


def test_files_are_read_as_they_are_by_every_rank(shower_file):
    path = str(shower_file("parquet"))
    shares = [measure_files([path], SMALL, rank=rank, size=2) for rank in range(2)]
    # 30 showers in batches of 4 on 2 ranks.
    assert [share["showers_of_this_rank"] for share in shares] == [12, 12]
    assert shares[0]["showers"] == 30
    assert shares[0]["peak_memory_mb"] > 10
    assert shares[0]["workers"].keys() == {"0", "1", "2"}


@pytest.mark.parametrize("layout", ["lcd", "parquet"])
def test_a_plain_read_reads_all_showers(shower_file, layout):
    assert plain_read(shower_file(layout)) == 30


def test_a_plain_read_takes_contiguous_files(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["ECAL"] = np.zeros((250, 2, 2, 2), np.float32)
    assert plain_read(path) == 250


def test_the_command_prints_json(shower_file, capsys):
    path = str(shower_file())
    assert main(["bench", "data", path, "--as-is", "--workers", "1", "--batch-size", "4"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["showers"] == len(read_showers([path])) == 30
    assert figures["ranks"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "x"], "--workers x: expected numbers of threads"),
        (["--workers", "-1"], "--workers -1: expected numbers of threads"),
        (["--format", "root"], "--format root: expected lcd-gzip"),
    ],
)
def test_a_wrong_call_is_refused(arguments, message, capsys):
    assert main(["bench", "data", *arguments]) == 2
    assert message in capsys.readouterr().err

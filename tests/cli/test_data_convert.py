import signal
import subprocess
import time

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from gan3d.cli import main
from gan3d.cli.data import command
from gan3d.samples import sample_files


def invoke(*arguments):
    result = CliRunner(env={"COLUMNS": "80"}).invoke(command, ["convert", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def small_file(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["ECAL"] = np.full((7, 5, 5, 4), 1e-3, np.float32)
        file["target"] = np.tile(np.float32([22, 10, 0, 0, 10]), (7, 1))
    return path


def test_shards_are_written_and_kept(small_file, tmp_path):
    out = tmp_path / "out"
    call = (small_file, "--to", "parquet", "-o", out, "--showers-per-file", 3)
    assert invoke(*call) == f"{out}: 7 showers in 3 parquet files\n"
    assert sorted(path.name for path in out.iterdir()) == [
        f"showers-0000{number}-of-00003.parquet" for number in range(3)
    ]
    (out / "showers-00001-of-00003.parquet").unlink()
    assert invoke(*call) == f"{out}: 7 showers in 3 parquet files, 2 of them from before\n"


def test_what_does_not_stay_exact_is_said(small_file, tmp_path):
    output = invoke(small_file, "--to", "challenge", "-o", tmp_path / "mev")
    assert output.startswith("note: energies change between MeV and GeV and are rounded")
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file["incident_energies"] = np.full((3, 1), 1e4, np.float32)
        file["showers"] = np.ones((3, 100), np.float32)
        file["extra"] = np.ones((3, 7))
    output = invoke(
        tmp_path / "b.hdf5", "--shape", "5,5,4", "--to", "lcd", "-o", tmp_path, "--pdg", "22"
    )
    notes = [line for line in output.splitlines() if line.startswith("note: ")]
    assert len(notes) == 3
    assert notes[1].endswith("it is written as PDG code 22")
    assert "b.hdf5: 'extra' is neither cells nor a number a shower: left out" in notes[2]
    with h5py.File(tmp_path / "showers-00000-of-00001.h5") as file:
        assert file["target"][:, :2] == pytest.approx(np.tile([22, 10], (3, 1)))


def test_another_image_that_is_left_out_is_called_that(small_file, tmp_path):
    with h5py.File(small_file, "r+") as file:
        file["HCAL"] = np.zeros((7, 2, 2, 3), np.float32)
        file["extra"] = np.ones((7, 7))
    output = invoke(small_file, "--to", "lcd", "-o", tmp_path / "out")
    assert f"note: {small_file}: 'HCAL' is the cells of another image of the showers" in output
    assert f"note: {small_file}: 'extra' is neither cells nor a number a shower" in output


def test_double_precision_that_is_lost_is_said(small_file, tmp_path):
    with h5py.File(small_file, "r+") as file:
        cells = file["ECAL"][:]
        del file["ECAL"]
        file["ECAL"] = cells.astype(np.float64)
    output = invoke(small_file, "--to", "parquet", "-o", tmp_path / "out")
    assert output.startswith("note: energies in double precision become single (1 in 10^7)\n")


def test_the_options_reach_the_shards(small_file, tmp_path):
    invoke(
        *(small_file, "--to", "lcd", "-o", tmp_path, "--name", "few"),
        *("--chunk-showers", 4, "--compression-level", 9, "--workers", 1),
    )
    with h5py.File(tmp_path / "few-00000-of-00001.h5") as file:
        assert file["ECAL"].chunks[0] == 4
        assert file["ECAL"].compression_opts == 9


def test_other_shards_are_refused_with_exit_1_and_replaced_by_force(small_file, tmp_path, capsys):
    call = ["data", "convert", str(small_file), "--to", "lcd", "-o", str(tmp_path / "out")]
    assert main(call) == 0
    assert main([*call, "--showers-per-file", "3"]) == 1
    error = capsys.readouterr().err
    assert "showers-00000-of-00001.h5: made of other showers or in another way" in error
    assert error.count("\n") == 1
    assert main([*call, "--showers-per-file", "3", "--force"]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.h5", "-o", "out"], "Missing option '--to'"),
        (["a.h5", "--to", "lcd"], "Missing option '-o'"),
        (["a.h5", "--to", "root", "-o", "out"], "'root' is not one of"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(arguments, message, capsys):
    assert main(["data", "convert", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_ctrl_c_leaves_whole_shards_alone(gan3d_program, tmp_path):
    # One worker and many shards: when the first is there, the others are not.
    call = [gan3d_program, "data", "convert", sample_files().train, "--to", "lcd", "-o", "out"]
    call += ["--showers-per-file", "10", "--compression-level", "9", "--workers", "1"]
    with subprocess.Popen(call, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob("out/showers-*")):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stderr.read().strip() == "gan3d: interrupted"
    there = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert 0 < len(there) < 160
    assert there == [f"showers-{number:05d}-of-00160.h5" for number in range(len(there))]


def test_help_has_an_example():
    assert "gan3d data convert 'data/EleEscan_*.h5' --to parquet" in invoke("--help")

import json

import click
import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from gan3d.cli import main
from gan3d.cli.data import command
from gan3d.samples import sample_files


def invoke(*arguments, env=None):
    result = CliRunner(env=env).invoke(command, ["check", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return result.output, str(result.exception)
    return result.output, ""


@pytest.fixture
def files(tmp_path):
    """A sound file, one with two faults, and one that is none."""
    cells = np.random.default_rng(0).uniform(1e-3, 1e-2, (10, 5, 5, 4)).astype(np.float32)
    target = np.tile(np.float32([11, 30, 0, 0, 30]), (10, 1))
    paths = [tmp_path / name for name in ("a.h5", "b.h5", "c.h5")]
    for number, path in enumerate(paths[:2]):
        with h5py.File(path, "w") as file:
            file["ECAL"], file["target"] = cells + np.float32(number * 1e-4), target
    with h5py.File(paths[1], "r+") as file:
        file["ECAL"][3, 0, 0, 0] = -1
        file["ECAL"][7] = 0
    paths[2].write_bytes(b"no shower")
    return paths


def test_the_sample_is_sound():
    output, error = invoke(*sample_files())
    assert error == ""
    assert output.count("sound") == len(sample_files())


def test_every_file_has_a_row_and_every_fault_a_line(files):
    output, error = invoke(*files)
    lines = output.splitlines()
    verdicts = {line.split()[0]: line.split()[-2:] for line in lines if ".h5 " in line}
    assert verdicts["a.h5"][-1] == "sound"
    assert verdicts["b.h5"] == ["2", "faults"]
    assert verdicts["c.h5"] == ["1", "fault"]
    assert "b.h5: 1 cell with negative energy in 1 shower: shower 3" in lines
    assert "b.h5: 1 shower without a cell of at least 1e-06 GeV: shower 7" in lines
    assert error == f"not sound: 2 of 3 files: {files[1]}, {files[2]}"


def test_a_further_image_is_checked_and_named(files):
    with h5py.File(files[0], "r+") as file:
        file["HCAL"] = np.zeros((10, 2, 2, 3), np.float32)
        file["HCAL"][4, 1, 1, 2] = np.nan
    output, error = invoke(files[0])
    assert "a.h5: 1 cell of HCAL with an energy that is not finite in 1 shower: shower 4" in output
    assert "note: a.h5: several images of a shower were read: ECAL, HCAL of 2×2×3 cells" in output
    assert error == f"not sound: 1 of 1 file: {files[0]}"


def test_the_table_fits_80_columns(files, tmp_path):
    long_name = tmp_path / ("a_name_of_a_file_that_is_longer_than_its_column_" * 2 + ".h5")
    long_name.write_bytes(files[0].read_bytes())
    output, _ = invoke(files[0], long_name, env={"FORCE_COLOR": "1", "COLUMNS": "80"})
    output = click.unstyle(output)
    assert "ECAL/Ep (%)" in output
    table = output[: output.index("ECAL/Ep: sum")]
    assert max(map(len, table.splitlines())) <= 80


def test_it_is_exit_1_where_something_is_wrong_and_0_elsewhere(files, capsys):
    assert main(["data", "check", str(files[0])]) == 0
    assert main(["data", "check", *map(str, files)]) == 1
    assert capsys.readouterr().err.startswith("gan3d: error: not sound: 2 of 3 files: ")


def test_what_was_found_as_json(files):
    output, error = invoke(*files, "--json")
    found = json.loads(output)
    assert [each["sound"] for each in found.values()] == [True, False, False]
    assert found[str(files[1])]["faults"][0] == {
        "kind": "negative",
        "text": "1 cell with negative energy in 1 shower: shower 3",
        "showers": 1,
        "first": 3,
    }
    assert found[str(files[2])]["layout"] is None
    assert error.startswith("not sound")


def test_criteria_are_options(files):
    assert invoke(files[0], "--largest-fraction", "0.001")[1].startswith("not sound")
    assert invoke(files[0], "--shape", "5,5,4")[1] == ""
    assert invoke(files[0], "--shape", "5,5,5")[1].startswith("not sound")


@pytest.mark.parametrize("shape", ["5,5", "5,5,0", "a,b,c", "5,-5,4"])
def test_a_shape_is_three_numbers(shape, capsys):
    assert main(["data", "check", "a.h5", "--shape", shape]) == 2
    assert "is not X,Y,LAYERS" in capsys.readouterr().err


def test_help_has_an_example():
    assert "gan3d data check 'data/EleEscan_*.h5'" in invoke("--help")[0]

import json

import click
import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from gan3d.cli.data import command
from gan3d.errors import DataError
from gan3d.samples import sample_files


def invoke(*arguments, terminal=False):
    # rich takes any output for a terminal then.
    env = {"FORCE_COLOR": "1", "COLUMNS": "80"} if terminal else {}
    result = CliRunner(env=env).invoke(command, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def small_file(tmp_path):
    path = tmp_path / "GammaEscan_1_1.h5"
    with h5py.File(path, "w") as file:
        file["ECAL"] = np.full((3, 5, 5, 4), 1e-3, np.float32)
        file["target"] = np.tile(np.float32([22, 10, 0, 0, 10]), (3, 1))
    return path


def test_the_bundled_sample_is_shown_by_default():
    output = invoke("info").output
    for path in sample_files():
        assert path.name in output
    assert "2600" in output
    assert "total" in output
    assert "2.08 ± 0.06" in output


def lines_on_a_terminal(*arguments):
    return click.unstyle(invoke(*arguments, terminal=True).output).splitlines()


def test_the_tables_fit_80_columns(tmp_path, small_file):
    long_name = tmp_path / ("a_name_of_a_file_that_is_longer_than_its_column_" * 2 + ".h5")
    long_name.write_bytes(small_file.read_bytes())
    for line in lines_on_a_terminal("info", str(small_file), str(long_name)):
        assert len(line) <= 80
    for line in lines_on_a_terminal("info"):
        assert len(line) <= 80
        assert "…" not in line


def test_other_programs_get_whole_names_in_rows_of_one_line(tmp_path, small_file):
    name = "a_name_of_a_file_that_is_longer_than_its_column_" * 2 + ".h5"
    (tmp_path / name).write_bytes(small_file.read_bytes())
    rows = [
        line for line in invoke("info", str(tmp_path / "*.h5")).output.splitlines() if ".h5" in line
    ]
    assert [row.split()[0] for row in rows] == [small_file.name, name] * 2


def test_files_are_listed_as_people_count(tmp_path, small_file):
    for number in (10, 2):
        (tmp_path / f"GammaEscan_1_{number}.h5").write_bytes(small_file.read_bytes())
    output = invoke("info", str(tmp_path / "*.h5")).output
    at = [output.index(f"GammaEscan_1_{number}.h5") for number in (1, 2, 10)]
    assert at == sorted(at)


def test_figures_as_json(small_file):
    figures = json.loads(invoke("info", "--json", "--threshold", "1e-2", str(small_file)).output)
    assert figures["hit_threshold_gev"] == 1e-2
    assert figures["files"][str(small_file)] == figures["total"]
    assert figures["total"]["showers"] == 3
    assert figures["total"]["particles"] == [22]
    assert figures["total"]["columns"] == ["pdg", "px", "py", "pz"]
    assert figures["total"]["image_shapes"] == [[5, 5, 4]]
    assert figures["total"]["mean_hits"] == 0.0
    assert figures["total"]["lit_fraction"] == 1.0
    assert figures["total"]["layouts"] == ["lcd"]
    assert figures["total"]["sampling_fraction"]["mean"] == pytest.approx(0.01, rel=1e-6)


def test_files_of_the_same_name_are_told_apart(tmp_path, small_file):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / small_file.name
    twin.write_bytes(small_file.read_bytes())
    output = invoke("info", str(small_file), str(twin)).output
    assert str(small_file) in output
    assert str(twin) in output


def test_a_missing_file_is_an_error_for_the_shell(tmp_path):
    with pytest.raises(DataError, match=r"nix\.h5: no such file"):
        invoke("info", str(tmp_path / "nix.h5"))


def test_angles_are_shown_where_files_have_them(tmp_path, small_file):
    with h5py.File(tmp_path / "angles.h5", "w") as file:
        file["ECAL"] = np.full((2, 5, 5, 4), 1e-3, np.float32)
        file["energy"] = np.full((2, 1), 10, np.float32)
        file["theta"] = np.radians(np.float32([[60], [120]]))
    lines = lines_on_a_terminal("info", str(small_file), str(tmp_path / "angles.h5"))
    assert "60–120" in "\n".join(lines)
    assert "for model.conditions: pdg (not in all), " in "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "θ" not in invoke("info", str(small_file)).output


@pytest.mark.parametrize("call", [["--help"], ["info", "--help"]], ids=" ".join)
def test_help_has_an_example(call):
    assert "gan3d data info 'data/EleEscan_*.h5'" in invoke(*call).output

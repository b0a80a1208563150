import numpy as np
import pytest
from click.testing import CliRunner

from gan3d.cli import main
from gan3d.cli.data import command
from gan3d.data import open_shower_file, write_showers
from gan3d.data.sparse import from_images


def invoke(*arguments):
    result = CliRunner(env={"COLUMNS": "80"}).invoke(command, ["split", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def files(tmp_path):
    """Two files, of 60 and 40 showers."""
    for name, count in (("a.h5", 60), ("b.h5", 40)):
        energy_n = np.arange(1, count + 1, dtype=np.float32)
        showers = from_images(np.full((count, 1, 1, 2), 1e-3, np.float32), energy_n)
        write_showers(tmp_path / name, [showers], attributes={})
    return tmp_path / "?.h5"


def counts(folder):
    found = {}
    for path in sorted(folder.iterdir()):
        with open_shower_file(path) as file:
            found[path.name] = file.count
    return found


def test_showers_are_divided_in_the_format_of_the_files(files, tmp_path):
    out = tmp_path / "out"
    assert invoke(files, "-o", out) == f"{out}: 100 showers in 2 lcd files\n"
    assert counts(out) == {"train-00000-of-00001.h5": 90, "validation-00000-of-00001.h5": 10}


def test_fractions_format_and_files_are_options(files, tmp_path):
    out = tmp_path / "out"
    fractions = ("--train", 0.5, "--validation", 0.2, "--test", 0.3)
    invoke(files, "-o", out, *fractions, "--to", "parquet", "--showers-per-file", 30)
    assert counts(out) == {
        "test-00000-of-00001.parquet": 30,
        "train-00000-of-00002.parquet": 30,
        "train-00001-of-00002.parquet": 20,
        "validation-00000-of-00001.parquet": 20,
    }


def test_files_stay_whole_by_file(files, tmp_path):
    out = tmp_path / "out"
    invoke(files, "-o", out, "--by", "file", "--train", 0.5, "--validation", 0.5)
    assert sorted(counts(out).values()) == [40, 60]


def test_another_division_into_the_same_folder_is_refused(files, tmp_path, capsys):
    call = ["data", "split", str(files), "-o", str(tmp_path / "out"), "--train", "0.8"]
    assert main([*call, "--test", "0.1"]) == 0
    for other in (["--test", "0.1", "--seed", "1"], []):
        assert main([*call, *other]) == 1
        assert "made of other showers or in another way" in capsys.readouterr().err
    assert main([*call, "--force"]) == 0
    assert not list((tmp_path / "out").glob("test-*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "0.9", "--validation", "0.1", "--test", "0.1"], "= 1.1, must not exceed 1"),
        (["--train", "0"], "0.0 is not in the range"),
        (["--by", "event"], "'event' is not one of"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(files, tmp_path, arguments, message, capsys):
    assert main(["data", "split", str(files), "-o", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_files_of_two_formats_need_a_choice(files, tmp_path, capsys):
    assert main(["data", "convert", str(files), "--to", "parquet", "-o", str(tmp_path)]) == 0
    call = ["data", "split", str(tmp_path / "*[h5,parquet]"), "-o", str(tmp_path / "out")]
    capsys.readouterr()
    assert main(call) == 2
    assert "of several formats (lcd, parquet): name --to" in capsys.readouterr().err
    assert main([*call, "--to", "lcd"]) == 0


def test_help_has_an_example():
    assert "gan3d data split 'data/EleEscan_*.h5' -o divided" in invoke("--help")

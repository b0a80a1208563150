import signal
import subprocess
import time

import pytest
from click.testing import CliRunner
from zenodo_server import ZenodoServer, refuse, stall_after

from gan3d.cli import main
from gan3d.cli.data import command

NAMES = ["lcd-electrons", "calochallenge-1", "calochallenge-2", "calochallenge-3"]


@pytest.fixture
def server(monkeypatch):
    server = ZenodoServer()
    server.files = {"dataset_1.hdf5": b"x" * 2_500_000, "showers.tar.gz": b"y" * 10}
    monkeypatch.setenv("GAN3D_ZENODO", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.close()


def invoke(*arguments):
    result = CliRunner(env={"COLUMNS": "80"}).invoke(command, ["fetch", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_list_names_all_data_sets_in_80_columns():
    output = invoke("--list").output
    for name in NAMES:
        assert name in output
    assert max(map(len, output.splitlines())) <= 80


def test_the_list_of_a_data_set_names_its_files(server):
    output = invoke("calochallenge-2", "--list").output
    assert "dataset_1.hdf5" in output
    assert "2.5" in output
    assert server.entry("showers.tar.gz")["checksum"] in output
    assert max(map(len, output.splitlines())) <= 80
    assert server.contents == []


def test_fetching_says_a_line_for_each_file_and_what_to_unpack(server, tmp_path):
    lines = invoke("calochallenge-2", "-o", tmp_path / "out").output.splitlines()
    assert lines == [
        "dataset_1.hdf5: fetched, 3 MB, its checksum is right",
        "showers.tar.gz: fetched, 1 MB, its checksum is right",
        f"{tmp_path / 'out'}: 2 files of calochallenge-2, all verified",
        f"to unpack, in {tmp_path / 'out'}: showers.tar.gz",
    ]
    again = invoke("calochallenge-2", "-o", tmp_path / "out").output
    assert "dataset_1.hdf5: is there, its checksum is right" in again


def test_files_are_chosen_by_patterns(server, tmp_path):
    invoke("calochallenge-2", "-o", tmp_path, "--file", "*.hdf5")
    assert [name for name, _ in server.contents] == ["dataset_1.hdf5"]


def test_attempts_are_bounded(server, tmp_path, capsys):
    server.faults["dataset_1.hdf5"].extend([refuse(503)] * 2)
    assert main(["data", "fetch", "calochallenge-2", "-o", str(tmp_path), "--attempts", "1"]) == 1
    error = capsys.readouterr().err
    assert "given up after 1 attempt" in error
    assert "the server answers 503" in error
    assert error.count("\n") == 1
    assert len(server.contents) == 1


def test_without_internet_it_is_one_line_with_the_address(tmp_path, capsys):
    url = "http://127.0.0.1:9"  # the discard service, which nobody runs
    call = ["data", "fetch", "lcd-electrons", "-o", str(tmp_path), "--base-url", url]
    assert main(call) == 1
    error = capsys.readouterr().err
    assert "https://zenodo.org/records/3603086" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which data set?"),
        (["lcd-electrons"], "where to?"),
        (["lcd"], "'lcd' is not one of 'lcd-electrons'"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(arguments, message, capsys):
    assert main(["data", "fetch", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_ctrl_c_keeps_what_has_come(server, gan3d_program, tmp_path):
    server.faults["dataset_1.hdf5"].append(stall_after(1_000_000))
    call = [gan3d_program, "data", "fetch", "calochallenge-2", "-o", tmp_path]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not [p for p in tmp_path.glob(".*.part") if p.stat().st_size == 1_000_000]:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stderr.read().strip() == b"gan3d: interrupted"
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".part"] == [
        "zenodo-6366270.json"
    ]
    invoke("calochallenge-2", "-o", tmp_path)
    assert server.contents[1] == ("dataset_1.hdf5", "bytes=1000000-")
    assert (tmp_path / "dataset_1.hdf5").read_bytes() == server.files["dataset_1.hdf5"]


def test_help_has_an_example():
    assert "gan3d data fetch calochallenge-2 -o" in invoke("--help").output

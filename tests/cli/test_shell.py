"""What all subcommands share: help, errors as one line, exit codes."""

import os
import signal
import subprocess
import sys

import click
import pytest

import gan3d
from gan3d import cli
from gan3d.cli import COMMANDS, main
from gan3d.errors import ConfigError, DataError


@pytest.fixture
def failing(monkeypatch):
    """Make `gan3d doctor` raise what is given."""

    def install(error):
        @click.command()
        def command():
            raise error

        monkeypatch.setattr(cli.importlib.import_module("gan3d.cli.doctor"), "command", command)

    return install


def test_help_lists_the_commands_with_an_example(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert [
        line.split()[0]
        for line in out.splitlines()
        if line.split()[:1] and line.split()[0] in COMMANDS
    ] == list(COMMANDS)
    assert "gan3d quickstart" in out


def test_help_imports_no_subcommand():
    code = (
        "import sys; from gan3d.cli import COMMANDS, main; main(['--help'])\n"
        "assert not [name for name in COMMANDS if f'gan3d.cli.{name}' in sys.modules]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_is_there(name, capsys):
    assert main([name, "--help"]) == 0
    assert f"gan3d {name}" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gan3d {gan3d.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], "no such command 'trian'; did you mean 'train'? (see `gan3d --help`)"),
        (["xyz"], "no such command 'xyz'; there are quickstart, train"),
        (["train"], "Missing argument 'CONFIG' (see `gan3d train --help`)"),
        (["train", "e.yaml", "--rnu", "x"], "No such option '--rnu'"),
        (["--nonsense"], "No such option '--nonsense'"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(arguments, expected, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"gan3d: error: {expected}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (DataError("a.h5: truncated"), 1, "gan3d: error: a.h5: truncated\n"),
        (ConfigError("e.yaml:1: x"), 2, "gan3d: error: e.yaml:1: x\n"),
        (ConfigError("one\ntwo"), 2, "gan3d: error: one\ngan3d: error: two\n"),
        (
            ValueError("odd\nmore"),
            1,
            "gan3d: error: unexpected ValueError: odd (run with --debug for the traceback)\n",
        ),
        (
            PermissionError(13, "Permission denied", "/x"),
            1,
            "gan3d: error: /x: Permission denied\n",
        ),
    ],
)
def test_an_error_is_its_message_and_its_exit_code(error, code, expected, failing, capsys):
    failing(error)
    assert main(["doctor"]) == code
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("arguments", [["--debug", "doctor"], ["doctor", "--debug"]])
@pytest.mark.parametrize("error", [DataError("broken"), ValueError("broken"), OSError(5, "broken")])
def test_debug_shows_the_traceback_wherever_it_stands(arguments, error, failing, capsys):
    failing(error)
    assert main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("gan3d: error: ")
    assert lines[-1].endswith("broken")


def test_ranks_other_than_0_name_themselves(failing, capsys, monkeypatch):
    failing(DataError("broken"))
    for name, value in {"SIZE": 2, "LOCAL_RANK": 0, "LOCAL_SIZE": 1}.items():
        monkeypatch.setenv(f"HOROVOD_{name}", str(value))
    for rank, prefix in ((0, ""), (1, "[rank 1] ")):
        monkeypatch.setenv("HOROVOD_RANK", str(rank))
        assert main(["doctor"]) == 1
        assert capsys.readouterr().err == f"{prefix}gan3d: error: broken\n"


def test_ctrl_c_ends_with_one_line(failing, capsys):
    failing(KeyboardInterrupt())
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err.strip() == "gan3d: interrupted"


def test_a_closed_pipe_is_no_traceback():
    # More output than a pipe holds, and a reader that has gone.
    code = (
        "import sys, click\nfrom gan3d import cli\nimport gan3d.cli.doctor as doctor\n"
        "def write():\n    for _ in range(1000): click.echo('x' * 1000)\n"
        "doctor.command = click.Command('doctor', callback=write)\n"
        "sys.exit(cli.main(['doctor']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1


def test_the_installed_command_takes_ctrl_c(gan3d_program, tmp_path):
    # A FIFO without a writer: the command waits in `open` for ever.
    os.mkfifo(tmp_path / "e.yaml")
    process = subprocess.Popen(
        [gan3d_program, "train", "e.yaml"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    writer = os.open(tmp_path / "e.yaml", os.O_WRONLY)  # returns once the command reads
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    os.close(writer)
    assert process.stderr.read().strip() == "gan3d: interrupted"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_fits_a_terminal(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    below = {
        "data": ["info", "check", "convert", "split", "fetch"],
        "bench": ["data", "scaling", "validation"],
    }
    for words in ([name], *([name, each] for each in below.get(name, ()))):
        assert main([*words, "--help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80, max(lines, key=len)

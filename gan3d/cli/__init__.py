"""The `gan3d` command. Each subcommand is a module of this package with a `command` in it."""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from gan3d import __version__
from gan3d.cli.console import print_error
from gan3d.errors import Gan3dError, Preempted

COMMANDS = {
    "quickstart": "Train, generate, validate on the bundled Geant4 sample.",
    "train": "Train the networks of an experiment file.",
    "tune": "Search for better parameters of an experiment.",
    "generate": "Write showers from a trained run.",
    "validate": "Judge showers against Monte Carlo and write a report.",
    "export": "Write a trained generator as SavedModel, ONNX or TensorFlow Lite.",
    "data": "Look at shower files, check, convert, split and fetch them.",
    "simulate": "Write parametric showers, for tests and benchmarks of any size.",
    "jobs": "Write scripts for batch systems.",
    "bench": "Measure what this machine does.",
    "doctor": "Say what this node is, what is wrong and how to mend it.",
}
"""Subcommands and their one-line help; a module is imported only when its command runs."""

EXAMPLE = """\b
Examples:
  gan3d quickstart
  gan3d train configs/ecal25.yaml --set training.epochs=5
  horovodrun -np 2 gan3d train configs/ecal25.yaml
"""


class _OutputClosedError(Exception):
    """The reader of our output (`| head`) has gone."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM: the batch system's Ctrl-C."""


class LazyGroup(click.Group):
    """Subcommands that are imported when they are called."""

    def __init__(
        self, *arguments: Any, package: str, subcommands: Mapping[str, str], **options: Any
    ) -> None:
        """Take `subcommands`, names with one-line help, from the modules of `package`."""
        super().__init__(*arguments, **options)
        self._package = package
        self._subcommands = subcommands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a session's work."""
        return list(self._subcommands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of that name and take its `command`."""
        if cmd_name not in self._subcommands:
            return None
        command = importlib.import_module(f"{self._package}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command to one that does not exist."""
        names = list(self._subcommands)
        if args and args[0] not in names and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}"
            ctx.fail(f"no such command '{args[0]}'; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Keep a closed pipe from click, which would call unfinished work done (exit 0)."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _OutputClosedError from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._subcommands.items()))


@click.group(cls=LazyGroup, package=__name__, subcommands=COMMANDS, epilog=EXAMPLE)
@click.version_option(__version__, prog_name="gan3d", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks; also accepted after the command.")
def group(debug: bool) -> None:
    """Train the 3D calorimeter GAN, generate showers, and judge them by physics."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0 done, 1 failed, 2 wrong call, 75 training was told to make room (it can be resumed), 130
    interrupted by Ctrl-C, 143 by SIGTERM.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        given = [argument for argument in given if argument != "--debug"]
        with _sigterm_unwinds(given):
            code = _run(given, debug=debug)
        sys.stdout.flush()
    except (BrokenPipeError, _OutputClosedError):
        # Python flushes once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


@contextmanager
def _sigterm_unwinds(arguments: Sequence[str]) -> Iterator[None]:
    """Let SIGTERM end the commands that write files as Ctrl-C does: nothing stays half-written.

    Not so for training: it has its own way, and a rank that waits for another inside Horovod would
    not end at all.
    """
    unwinds = bool(set(arguments[:1]) & {"data", "simulate", "generate", "export", "bench"})
    main_thread = threading.current_thread() is threading.main_thread()
    if not unwinds or not main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def unwind(_signal: int, _frame: FrameType | None) -> None:
        raise _Terminated

    signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        code = group.main(arguments, prog_name="gan3d", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "gan3d"
        message = " ".join(error.format_message().split()).rstrip(".")
        print_error(f"{message} (see `{command} --help`)")
        return error.exit_code
    except click.ClickException as error:
        print_error(error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        click.echo("gan3d: interrupted", err=True)
        if isinstance(error.__cause__ or error, Preempted):
            return Preempted.exit_code
        terminated = isinstance(error.__cause__ or error, _Terminated)
        return 128 + (signal.SIGTERM if terminated else signal.SIGINT)
    except Gan3dError as error:
        _show_traceback(debug)
        print_error(str(error))
        return error.exit_code
    except (BrokenPipeError, _OutputClosedError):
        raise
    except OSError as error:
        _show_traceback(debug)
        where = f"{error.filename}: " if error.filename else ""
        print_error(f"{where}{error.strerror or error}")
        return 1
    except Exception as error:  # noqa: BLE001 - the boundary: a user gets a line, not a traceback
        _show_traceback(debug)
        first = (str(error).splitlines() or [""])[0]
        advice = "" if debug else " (run with --debug for the traceback)"
        print_error(f"unexpected {type(error).__name__}: {first}{advice}")
        return 1


def _show_traceback(debug: bool) -> None:
    if debug:
        traceback.print_exc()

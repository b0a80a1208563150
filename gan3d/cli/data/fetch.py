"""`gan3d data fetch`: public data sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table

from gan3d.cli.console import make_console
from gan3d.cli.progress import ProgressDisplay
from gan3d.data.zenodo import PUBLIC_DATA_SETS, ZENODO
from gan3d.errors import UsageError

if TYPE_CHECKING:
    from gan3d.data.zenodo import RemoteFile

EXAMPLE = """\b
Examples:
  gan3d data fetch --list
  gan3d data fetch lcd-electrons --list
  gan3d data fetch calochallenge-2 -o data/calochallenge-2
  gan3d data fetch calochallenge-3 -o data/calochallenge-3 --file '*_1.hdf5'
"""
_MEGABYTE = 1_000_000
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


@click.command(name="fetch", epilog=EXAMPLE)
@click.argument("name", required=False, metavar="[NAME]", type=click.Choice(list(PUBLIC_DATA_SETS)))
@click.option("-o", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Where to.")
@click.option("--list", "only_list", is_flag=True, help="List the data sets, or the files of NAME.")
@click.option(
    "--file",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only files that match, such as '*_1.hdf5'; may be repeated.",
)
@click.option(
    "--attempts",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Attempts in a row that bring nothing before giving up; the waits between them double, "
    "from 1 s.",
)
@click.option(
    "--timeout",
    "stall_s",
    type=click.FloatRange(min=0.0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="A connection that is silent for so long counts as cut.",
)
@click.option(
    "--base-url",
    envvar="GAN3D_ZENODO",
    default=ZENODO,
    show_default=True,
    metavar="URL",
    help="Zenodo or a mirror of it; also the environment variable GAN3D_ZENODO.",
)
def command(
    name: str | None,
    folder: Path | None,
    only_list: bool,
    patterns: tuple[str, ...],
    attempts: int,
    stall_s: float,
    base_url: str,
) -> None:
    """Fetch the public data set NAME from Zenodo into DIR.

    Files that are there with the right checksum are not fetched again, and a broken download goes
    on where it stopped: run the same command again. On a machine without internet it says what to
    fetch by hand, and then verifies that.
    """
    if only_list and name is None:
        make_console().print(_data_sets())
        return
    if name is None:
        raise UsageError("which data set? `gan3d data fetch --list` shows them")
    from gan3d.data.download import Patience
    from gan3d.data.fetching import choose, fetch, read_record

    data_set = PUBLIC_DATA_SETS[name]
    patience = Patience(attempts=attempts, stall_s=stall_s)
    if only_list:
        record = read_record(data_set, folder, base_url=base_url, patience=patience)
        make_console().print(_files(choose(record.files, patterns)))
        return
    if folder is None:
        raise UsageError("where to? name a folder with -o DIR")
    with ProgressDisplay(make_console()) as display:
        paths = fetch(
            data_set,
            folder,
            FetchProgress(display),
            patterns=patterns,
            base_url=base_url,
            patience=patience,
        )
        display.say(f"{folder}: {len(paths)} files of {name}, all verified")
        archives = [path.name for path in paths if path.name.endswith(_ARCHIVES)]
        if archives:
            display.say(f"to unpack, in {folder}: {', '.join(archives)}")


class FetchProgress:
    """Shows a download as a bar for the file under way and a line for each that is done."""

    def __init__(self, display: ProgressDisplay) -> None:
        """Show on `display`."""
        self._display = display
        self._file = ""
        self._shown = 0

    def verifying(self, file: RemoteFile) -> None:
        """Say what takes its time."""
        if file.size_bytes > 100 * _MEGABYTE:
            self._display.say(f"{file.name}: verifying {_megabytes(file)} MB that are there")

    def is_there(self, file: RemoteFile) -> None:
        """Say that there is nothing to do."""
        self._display.say(f"{file.name}: is there, its checksum is right")

    def differs(self, file: RemoteFile) -> None:
        """Say what will be replaced."""
        self._display.say(f"{file.name}: is there, but is not what the record states")

    def downloading(self, file: RemoteFile, done_bytes: int) -> None:
        """Move the bar, backwards too if a server begins anew."""
        if file.name != self._file:
            self._file, self._shown = file.name, 0
            self._display.begin(file.name, _megabytes(file), "MB")
        done = done_bytes // _MEGABYTE
        if done != self._shown:
            self._display.advance(done - self._shown)
            self._shown = done

    def is_fetched(self, file: RemoteFile) -> None:
        """Say that a file is whole."""
        self._display.say(f"{file.name}: fetched, {_megabytes(file)} MB, its checksum is right")


def _megabytes(file: RemoteFile) -> int:
    return math.ceil(file.size_bytes / _MEGABYTE)


def _data_sets() -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, caption_justify="left")
    table.add_column("name", no_wrap=True)
    table.add_column("record", no_wrap=True)
    table.add_column("what")
    for each in PUBLIC_DATA_SETS.values():
        table.add_row(each.name, str(each.record), each.what)
    table.caption = f"Records: {ZENODO}/records/NUMBER."
    return table


def _files(files: Sequence[RemoteFile]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, caption_justify="left")
    table.add_column("file", overflow="fold")
    table.add_column("MB", justify="right", no_wrap=True)
    table.add_column("checksum", no_wrap=True)
    for file in files:
        table.add_row(file.name, f"{file.size_bytes / _MEGABYTE:.1f}", file.checksum)
    return table

"""Options and tables that the subcommands of `gan3d data` share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gan3d.config.schema import Data

DEFAULT_THRESHOLD_GEV: float = Data.model_fields["threshold_gev"].default


class Shape(click.ParamType[Any]):
    """`X,Y,LAYERS`: three numbers of cells."""

    name = "x,y,layers"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int]:
        """Turn the text into three numbers."""
        parts = str(value).replace("x", ",").replace("×", ",").split(",")
        if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) for part in parts):
            self.fail(f"'{value}' is not X,Y,LAYERS, such as 25,25,25", param, ctx)
        x, y, layers = map(int, parts)
        return x, y, layers


def shape_option() -> Callable[[Any], Any]:
    """Return the option `--shape`."""
    return click.option(
        "--shape",
        type=Shape(),
        help="Cells along (x, y, layer), for Challenge files of an unknown grid: bins in (angle, "
        "radius, layer); files of another shape are refused.",
    )


def shard_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of how shards are written, which `ShardFormat` explains."""
    for option in reversed(
        [
            click.option(
                "-o",
                "folder",
                type=click.Path(path_type=Path),
                required=True,
                metavar="DIR",
                help="Folder to write to.",
            ),
            click.option(
                "--showers-per-file",
                type=click.IntRange(min=1),
                default=10_000,
                show_default=True,
                help="Showers of a shard; the last one may have fewer.",
            ),
            click.option(
                "--compression-level",
                type=click.IntRange(0, 9),
                default=4,
                show_default=True,
                help="Of gzip (HDF5) or zstd (Parquet).",
            ),
            click.option(
                "--chunk-showers",
                type=click.IntRange(min=1),
                default=100,
                show_default=True,
                help="Showers that are compressed together, and read together.",
            ),
            click.option(
                "--pdg",
                "pdg_id",
                type=int,
                default=11,
                show_default=True,
                help="Incident particle (PDG code) for lcd files made of files that do not say it.",
            ),
            shape_option(),
            click.option(
                "--workers",
                type=click.IntRange(min=1),
                help="Shards that are written at the same time; default: one per core.",
            ),
            click.option(
                "--force",
                is_flag=True,
                help="Remove shards of other showers that have the same name.",
            ),
        ]
    ):
        command = option(command)
    return command


def new_table(*columns: str, words: Sequence[str] = ()) -> Table:
    """Return a table whose rows fit 80 characters: a file's name and `columns`, right-aligned.

    Columns in `words` are text. To be printed with `print_table`.
    """
    # The padding and the box put two blanks between columns.
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, caption_justify="left")
    table.add_column("file", overflow="fold")
    for column in columns:
        table.add_column(column, justify="left" if column in words else "right", no_wrap=True)
    return table


def print_table(console: Console, table: Table) -> None:
    """Print `table`: folded to the width of a terminal, else as wide as it is, for other programs.

    A name that is folded cannot be found with grep.
    """
    if not console.is_terminal:
        console = Console(file=console.file, highlight=False, width=_WIDEST)
    console.print(table)


def in_natural_order(paths: Sequence[Path]) -> list[Path]:
    """Sort files as people count: `_1_2` comes before `_1_10`."""

    def key(path: Path) -> list[tuple[str, int]]:
        return [(text, int(digits or -1)) for text, digits in _NUMBERED.findall(str(path))]

    return sorted(paths, key=key)


def short_names(paths: Sequence[Path]) -> list[str]:
    """Name files without their folders unless two would then look alike."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


_WIDEST = 10_000
"""Characters of a line of a table, where nothing limits them."""
_NUMBERED = re.compile(r"([^0-9]*)([0-9]*)")
"""Text and the number after it."""

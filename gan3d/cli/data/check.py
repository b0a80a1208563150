"""`gan3d data check`: whether shower files are sound."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.table import Table

from gan3d.cli.console import make_console
from gan3d.cli.data.options import (
    DEFAULT_THRESHOLD_GEV,
    in_natural_order,
    new_table,
    print_table,
    shape_option,
    short_names,
)
from gan3d.cli.progress import ProgressDisplay
from gan3d.errors import DataError

if TYPE_CHECKING:
    from gan3d.data.checking import FileCheck

EXAMPLE = """\b
Examples:
  gan3d data check 'data/EleEscan_*.h5'
  gan3d data check 'data/*.parquet' --json
"""


@click.command(name="check", epilog=EXAMPLE)
@click.argument("files", nargs=-1, required=True)
@shape_option()
@click.option(
    "--threshold",
    "threshold_gev",
    type=click.FloatRange(min=0.0),
    default=DEFAULT_THRESHOLD_GEV,
    show_default=True,
    metavar="GEV",
    help="A shower without a cell of at least this energy (GeV) is empty.",
)
@click.option(
    "--factor",
    "fraction_factor",
    type=click.FloatRange(min=1.0, min_open=True),
    default=3.0,
    show_default=True,
    help="A sampling fraction (sum of cells / incident energy) this many times above or below the "
    "file's median is wrong, and so is a file's median against the other files'.",
)
@click.option(
    "--largest-fraction",
    type=click.FloatRange(min=0.0, min_open=True),
    default=1.5,
    show_default=True,
    help="A file whose median sampling fraction is above this has its energies in two units.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(
    files: tuple[str, ...],
    shape: tuple[int, int, int] | None,
    threshold_gev: float,
    fraction_factor: float,
    largest_fraction: float,
    as_json: bool,
) -> None:
    """Read FILES (names or quoted patterns) whole and say what is wrong with each.

    Looked for: files and chunks that cannot be read, files whose geometry differs from that of the
    others, incident energies that are not positive, cells with negative or infinite energy, showers
    without energy, sums of cells that do not go with the incident energy, and showers that occur
    twice, in one file or in two. All files are read to the end. Exit code 1 if any is not sound.

    Of files with several images of a shower, such as ECAL and HCAL, the cells of all are read: each
    must have as many showers, and none a cell with negative or infinite energy. Empty showers, sums
    and copies are those of the first, ECAL. What a file has beside that is named as not read.
    """
    from gan3d.data import expand_patterns
    from gan3d.data.checking import Criteria, check_files

    criteria = Criteria(shape, threshold_gev, fraction_factor, largest_fraction)
    paths = in_natural_order(expand_patterns(files))
    console = make_console()
    with ProgressDisplay(console, shown=not as_json) as display:
        seen = 0

        def progress(done: int, total: int) -> None:
            nonlocal seen
            if not seen:
                display.begin("checking", total, "showers")
            display.advance(done - seen)
            seen = done

        checks = check_files(paths, criteria, progress)
    if as_json:
        click.echo(json.dumps({str(each.path): each.figures() for each in checks}, indent=2))
    else:
        names = short_names(paths)
        print_table(console, _table(names, checks))
        for name, check in zip(names, checks, strict=True):
            for fault in check.faults:
                console.print(f"{name}: {fault.text}", soft_wrap=True, markup=False)
            for note in check.notes:
                console.print(f"note: {name}: {note}", soft_wrap=True, markup=False)
    wrong = [str(each.path) for each in checks if each.faults]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        of = f"{len(wrong)} of {len(checks)} file{'s' if len(checks) > 1 else ''}"
        raise DataError(f"not sound: {of}: {', '.join(wrong[:3])}{more}")


def _table(names: Sequence[str], checks: Sequence[FileCheck]) -> Table:
    table = new_table(
        "format", "showers", "cells", "ECAL/Ep (%)", "verdict", words=("format", "verdict")
    )
    for name, check in zip(names, checks, strict=True):
        fraction = check.sampling_fraction
        count = len(check.faults)
        table.add_row(
            name,
            check.layout or "?",
            str(check.showers) if check.layout else "?",
            "×".join(map(str, check.image_shape)) if check.image_shape else "?",
            "?" if fraction is None else f"{100 * fraction:.2f}",
            f"{count} fault{'s' if count > 1 else ''}" if count else "sound",
        )
    table.caption = "ECAL/Ep: sum of all cells / incident energy, median."
    return table

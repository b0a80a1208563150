"""`gan3d data info`: what shower files hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
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

if TYPE_CHECKING:
    from gan3d.data import Summary

_PARTICLE_NAMES = {11: "e-", -11: "e+", 22: "gamma", 111: "pi0", 211: "pi+", -211: "pi-"}

EXAMPLE = "Example:  gan3d data info 'data/EleEscan_*.h5'"


@click.command(name="info", epilog=EXAMPLE)
@click.argument("files", nargs=-1)
@shape_option()
@click.option(
    "--threshold",
    "threshold_gev",
    type=click.FloatRange(min=0.0),
    default=DEFAULT_THRESHOLD_GEV,
    show_default=True,
    metavar="GEV",
    help="A cell above this energy (GeV) counts as a hit.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    files: tuple[str, ...],
    shape: tuple[int, int, int] | None,
    threshold_gev: float,
    as_json: bool,
) -> None:
    """Read FILES (names or quoted patterns) whole, check them, and say what they hold.

    Without FILES, the sample that ships with gan3d. The first damaged file, or the first shower
    with a negative or infinite energy, ends it with exit code 1; `gan3d data check` finds them all.
    """
    from gan3d.data import combine, expand_patterns, open_shower_file, summarise
    from gan3d.samples import sample_files

    paths = in_natural_order(expand_patterns(files or [str(path) for path in sample_files()]))
    console = make_console()
    with ProgressDisplay(console, shown=not as_json) as display:
        total_showers = 0
        for path in paths:
            with open_shower_file(path, shape=shape, check=False) as file:
                total_showers += file.count
        display.begin("reading", total_showers, "showers")
        summaries = [
            summarise(path, hit_threshold_gev=threshold_gev, shape=shape, progress=display.advance)
            for path in paths
        ]
    total = combine(summaries)
    if as_json:
        figures = {
            "hit_threshold_gev": threshold_gev,
            "files": {
                str(path): each.figures() for path, each in zip(paths, summaries, strict=True)
            },
            "total": total.figures(),
        }
        click.echo(json.dumps(figures, indent=2))
        return
    rows = dict(zip(short_names(paths), summaries, strict=True))
    if len(rows) > 1:
        rows["total"] = total
    print_table(console, _physics_table(rows, threshold_gev))
    print_table(console, _storage_table(rows))
    if total.columns:
        named = ", ".join(
            name + ("" if all(name in each.columns for each in summaries) else " (not in all)")
            for name in total.columns
        )
        console.print(f"Columns, for model.conditions: {named}", highlight=False, markup=False)


def _physics_table(rows: Mapping[str, Summary], threshold_gev: float) -> Table:
    angles = any(summary.theta_range_rad for summary in rows.values())
    table = new_table(
        "primary",
        "showers",
        "cells",
        "Ep (GeV)",
        *(["θ (°)"] if angles else []),
        "ECAL/Ep (%)",
        "hits",
        words=("primary",),
    )
    for name, summary in rows.items():
        mean, width = summary.sampling_fraction
        table.add_row(
            name,
            "\n".join(_PARTICLE_NAMES.get(code, f"PDG {code}") for code in summary.particles)
            or "?",
            str(summary.showers),
            "\n".join("×".join(map(str, shape)) for shape in summary.image_shapes),
            "{:.3g}–{:.3g}".format(*summary.energy_range_gev),
            *([_degrees(summary)] if angles else []),
            f"{100 * mean:.2f} ± {100 * width:.2f}",
            f"{summary.mean_hits:.0f}",
            end_section=_is_last_file(name, rows),
        )
    table.caption = (
        "Ep: incident energy. ECAL: sum of all cells; mean ± half the central 68 % of showers. "
        f"hits: mean number of cells above {threshold_gev:g} GeV."
    )
    if angles:
        table.caption += " θ: polar angle; 90° is perpendicular to the layers."
    return table


def _degrees(summary: Summary) -> str:
    if summary.theta_range_rad is None:
        return ""
    low, high = map(math.degrees, summary.theta_range_rad)
    return f"{low:.3g}–{high:.3g}"


def _storage_table(rows: Mapping[str, Summary]) -> Table:
    table = new_table("cell E (GeV)", "lit (%)", "format", "storage", "MB", words=("format",))
    storage = table.columns[4]
    storage.justify, storage.no_wrap, storage.overflow = "left", False, "fold"
    for name, summary in rows.items():
        table.add_row(
            name,
            "{:.1e}–{:.1e}".format(*summary.cell_energy_gev),
            f"{100 * summary.lit_fraction:.2f}",
            "\n".join(summary.layouts),
            "\n".join(summary.storage),
            f"{summary.size_bytes / 1e6:.2f}",
            end_section=_is_last_file(name, rows),
        )
    table.caption = (
        "cell E: smallest energy above 0 and largest energy of any cell. "
        "lit: share of cells with energy."
    )
    return table


def _is_last_file(name: str, rows: Mapping[str, Summary]) -> bool:
    return len(rows) > 1 and name == list(rows)[-2]

"""`gan3d data info`: what shower files hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gan3d.config.schema import Data
from gan3d.data import Summary, combine, expand_patterns, summarise
from gan3d.samples import sample_files

_PARTICLE_NAMES = {11: "e-", -11: "e+", 22: "gamma", 111: "pi0", 211: "pi+", -211: "pi-"}
_DEFAULT_THRESHOLD_GEV = Data.model_fields["threshold_gev"].default


_EXAMPLE = "Example:  gan3d data info 'data/EleEscan_*.h5'"


@click.command(name="info", epilog=_EXAMPLE)
@click.argument("files", nargs=-1)
@click.option(
    "--threshold",
    "threshold_gev",
    type=click.FloatRange(min=0.0),
    default=_DEFAULT_THRESHOLD_GEV,
    show_default=True,
    metavar="GEV",
    help="A cell above this energy (GeV) counts as a hit.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(files: tuple[str, ...], threshold_gev: float, as_json: bool) -> None:
    """Read FILES (names or quoted patterns) whole, check them, and say what they hold.

    Without FILES, the sample that ships with gan3d. The first damaged file, or the first shower
    with a negative or infinite energy, ends it with exit code 1.
    """
    paths = expand_patterns(files or [str(path) for path in sample_files()])
    summaries = {path: summarise(path, hit_threshold_gev=threshold_gev) for path in paths}
    total = combine(list(summaries.values()))
    if as_json:
        figures = {
            "hit_threshold_gev": threshold_gev,
            "files": {str(path): summary.figures() for path, summary in summaries.items()},
            "total": total.figures(),
        }
        click.echo(json.dumps(figures, indent=2))
        return
    rows = {name: summaries[path] for name, path in _short_names(paths).items()}
    if len(rows) > 1:
        rows["total"] = total
    console = Console()
    console.print(_physics_table(rows, threshold_gev))
    console.print(_storage_table(rows))


def _physics_table(rows: Mapping[str, Summary], threshold_gev: float) -> Table:
    table = _table("primary", "showers", "cells", "Ep (GeV)", "ECAL/Ep (%)", "hits")
    for name, summary in rows.items():
        mean, width = summary.sampling_fraction
        low, high = summary.energy_range_gev
        table.add_row(
            name,
            "\n".join(_PARTICLE_NAMES.get(code, f"PDG {code}") for code in summary.particles),
            str(len(summary.energy_n)),
            "\n".join("×".join(map(str, shape)) for shape in summary.image_shapes),
            f"{low:.3g}–{high:.3g}",
            f"{100 * mean:.2f} ± {100 * width:.2f}",
            f"{summary.mean_hits:.0f}",
            end_section=_is_last_file(name, rows),
        )
    table.caption = (
        "Ep: incident energy. ECAL: sum of all cells; mean ± half the central 68 % of showers. "
        f"hits: mean number of cells above {threshold_gev:g} GeV."
    )
    return table


def _storage_table(rows: Mapping[str, Summary]) -> Table:
    table = _table("cell E (GeV)", "storage", "MB")
    for name, summary in rows.items():
        low, high = summary.cell_energy_gev
        table.add_row(
            name,
            f"{low:.1e}–{high:.1e}",
            "\n".join(summary.storage),
            f"{summary.size_bytes / 1e6:.2f}",
            end_section=_is_last_file(name, rows),
        )
    table.caption = "cell E: smallest energy above 0 and largest energy of any cell."
    return table


def _table(*columns: str) -> Table:
    # The padding and the box put two blanks between columns, so that a row fits 80 characters.
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, caption_justify="left")
    table.add_column("file", overflow="fold")
    for column in columns:
        words = column in ("primary", "storage")
        table.add_column(column, justify="left" if words else "right", no_wrap=True)
    return table


def _is_last_file(name: str, rows: Mapping[str, Summary]) -> bool:
    return len(rows) > 1 and name == list(rows)[-2]


def _short_names(paths: list[Path]) -> dict[str, Path]:
    """Name files without their folders unless two would then look alike."""
    names = {path.name: path for path in paths}
    return names if len(names) == len(paths) else {str(path): path for path in paths}

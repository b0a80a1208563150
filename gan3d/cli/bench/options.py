"""`gan3d bench options`: what options of the training do to the physics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gan3d.cli.console import make_console
from gan3d.errors import UsageError

EXAMPLE = """\b
Examples:
  gan3d bench options mine.yaml --steps 5000 --options response,average -o out
  gan3d bench options mine.yaml --minutes 60 --options all -o out --json
"""


@click.command(name="options", epilog=EXAMPLE)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one key.")
@click.option(
    "--options", "names", metavar="NAME,...", required=True,
    help="Which, beside the experiment itself; all: all that it does not have already.",
)  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(min=1), help="Of each run; to the nearest whole epoch."
)
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True),
    help="In place of --steps: as many as the experiment itself makes in this time here.",
)  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True,
    help="Short runs of each for its speed, in turn; the median ratio counts.",
)  # fmt: skip
@click.option(
    "--showers", type=click.IntRange(min=1), default=1000, show_default=True,
    help="Held-out showers that runs are judged with.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True,
    help="Folder of all runs; a repeated call goes on there.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    config: Path,
    overrides: tuple[str, ...],
    names: str,
    steps: int | None,
    minutes: float | None,
    seeds: int,
    rounds: int,
    showers: int,
    output: Path,
    as_json: bool,
) -> None:
    """Train CONFIG with each option and with none, over several seeds, and compare the metrics.

    All take equally many showers. The speed of each is measured apart, in short runs that take
    turns, and says which epochs are to be compared after the same time. The table has mean and
    spread (standard deviation) over the seeds, and in its last column better or worse where the
    difference is beyond that, else within (Welch's test, p below 0.05: of twenty differences by
    chance alone one is).

    Runs that are finished, or have failed, are not repeated: remove a folder to have it made anew.
    """
    if (steps is None) == (minutes is None):
        raise UsageError("give --steps or --minutes, and not both")
    from gan3d.bench.options import OPTIONS, compare_options, new_options
    from gan3d.config import load_experiment

    wanted = names.split(",")
    if wanted == ["all"]:
        wanted = new_options(config, overrides, load_experiment(config, overrides), list(OPTIONS))
    figures = compare_options(
        config,
        overrides,
        wanted,
        output,
        seeds=seeds,
        steps=steps,
        minutes=minutes,
        rounds=rounds,
        showers=showers,
        say=lambda line: click.echo(line, err=True),
    )
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        _print(make_console(), figures)


def _print(console: Console, figures: Mapping[str, Any]) -> None:
    """Print a table for each option."""
    seeds = len(figures["seeds"])
    console.print(
        f"{figures['experiment']['architecture']}: {figures['epochs']} epochs of "
        f"{figures['steps_per_epoch']} steps, {figures['showers_trained']} showers; {seeds} "
        f"seed{'s' if seeds > 1 else ''}, judged with {figures['showers']} held-out showers",
        highlight=False,
        soft_wrap=True,
    )
    for result in figures["results"]:
        for seed, message in result["failed"].items():
            said = f"{result['option']}, seed {seed}, failed: {message}"
            console.print(said, markup=False, highlight=False, soft_wrap=True)
        after = {
            name: result[f"after_the_same_{name}"]
            for name in ("showers", "time")
            if result["overrides"] and result[f"after_the_same_{name}"]
        }
        if len(after) == 2 and after["time"] == after["showers"]:
            after = {"showers and the same time": after["showers"]}
        for same, rows in after.items():
            console.print(_table(result, same, rows))


def _table(result: Mapping[str, Any], same: str, rows: Mapping[str, Any]) -> Table:
    ratio = result["showers_per_second_over_default"]
    speed = "" if ratio is None else f"; {ratio:.3g} times the default's showers/s"
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left",
        title=f"{result['option']} ({', '.join(result['overrides'])}){speed}: after the same "
        f"{same}",
    )  # fmt: skip
    table.add_column("metric", no_wrap=True)
    for name in ("default", result["option"]):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("spread", no_wrap=True)
    for name, found in rows.items():
        word = "within" if found["word"] == "within the spread" else found["word"]
        table.add_row(name, _text(found, "default_"), _text(found), word)
    return table


def _text(found: Mapping[str, Any], of: str = "") -> str:
    spread = found[f"{of}spread"]
    return f"{found[f'{of}mean']:.3g}" + ("" if spread is None else f" ± {spread:.2g}")

"""`gan3d bench step`: the training step on this node, and the settings that are fastest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gan3d.cli.bench import parse_numbers
from gan3d.cli.console import make_console
from gan3d.errors import UsageError

EXAMPLE = """\b
Examples:
  gan3d bench step configs/ecal25.yaml --sweep --minutes 10 -o mine.yaml
  gan3d bench step configs/ecal25.yaml --sweep --batch 8,16,32 --json
"""


@click.command(name="step", epilog=EXAMPLE)
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one key.")
@click.option("--sweep", is_flag=True, help="Try ranks, threads and batches on this node.")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True,
    help="Time to try in; a run more at most.",
)  # fmt: skip
@click.option(
    "--batch", "batches", metavar="N,...",
    help="Batches of a rank to try beside the experiment's.  [default: half and twice as many]",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write the fastest as a node file."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    config: Path | None,
    overrides: tuple[str, ...],
    sweep: bool,
    minutes: float,
    batches: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Find the fastest ranks and threads for CONFIG on this node, and what other batches give.

    Every try is a short real run of the experiment CONFIG (without: of the quickstart's), under
    horovodrun where it has several ranks. What `gan3d doctor` recommends is first; from the fastest
    so far other ranks, threads and operations side by side are tried, then other batches, then the
    faster half again while there is time. The node file goes
    with any experiment: `gan3d train CONFIG --node FILE`. It holds no batch, which changes the
    training: that is yours to choose.
    """
    if not sweep:
        raise UsageError("nothing to measure: --sweep tries what is worth a try on this node")
    from gan3d.bench import sweep as sweeping
    from gan3d.data import check_folder, make_folder
    from gan3d.samples import quickstart_experiment

    if output is not None:
        if output.exists():
            raise UsageError(f"-o {output}: is there already; name another file")
        check_folder(output.parent)
        # At once: what is measured for minutes must have a place to go to.
        make_folder(output.parent)
    tried: tuple[int, ...] = ()
    if batches is not None:
        tried = parse_numbers("--batch", batches, "showers of a step, such as 8,16")
    figures = sweeping.sweep(
        config or quickstart_experiment(),
        overrides,
        seconds=60.0 * minutes,
        batch_sizes=tried,
        say=lambda line: click.echo(line, err=True),
    )
    console = make_console()
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        _print(console, figures, sweeping.describe_batches(figures))
    # After the table: a disk that has become full must not take that away.
    if output is not None:
        sweeping.write_node(figures, output)
        if not as_json:
            console.print(f"{output}: the fastest", markup=False)


def _print(console: Console, figures: Mapping[str, Any], batches: str) -> None:
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left",
        title=f"Measured: {figures['experiment']['architecture']}, all ranks together; the best of "
        "each batch is 100 %",
    )  # fmt: skip
    for name in ("ranks", "intra-op", "inter-op", "batch", "showers/s", "runs", "of the best"):
        table.add_column(name, justify="right")
    table.add_column("")
    fastest = {each["batch_size"]: each["showers_per_second"] for each in figures["batches"]}
    for tried in figures["tried"]:
        table.add_row(
            str(tried["workers"]),
            str(tried["intra_op_threads"]),
            str(tried["inter_op_threads"]),
            str(tried["batch_size"]),
            f"{tried['showers_per_second']:.4g}",
            str(len(tried["showers_per_second_of_runs"])),
            f"{tried['showers_per_second'] / fastest[tried['batch_size']]:.1%}",
            "auto" if tried["recommended"] else "",
        )
    console.print(table)
    if batches:
        console.print(f"{batches}. A batch changes the training, its learning rate too.")
    for each in figures["failed"]:
        console.print(f"failed: {each['candidate']}: {each['error']}", markup=False)
    if figures["not_tried"]:
        console.print(f"There was no time for {figures['not_tried']} more: give it more --minutes.")

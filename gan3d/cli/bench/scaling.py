"""`gan3d bench scaling`: showers/s of 1, 2, ... ranks, and a projection to large machines."""

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
  gan3d bench scaling configs/ecal25.yaml --ranks 1,2 --also mwms
  gan3d bench scaling configs/ecal25.yaml --mode both --plot scaling.png
  gan3d bench scaling configs/ecal25.yaml --system my-cluster.yaml --json
"""

_PLOTS = (".png", ".pdf", ".svg")


@click.command(name="scaling", epilog=EXAMPLE)
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one key.")
@click.option(
    "--ranks", default="1,2", show_default=True, metavar="N,...",
    help="Numbers of ranks; 1 is always measured.",
)  # fmt: skip
@click.option(
    "--mode", type=click.Choice(["weak", "strong", "both"]), default="weak", show_default=True,
    help="weak: the batch of a rank stays; strong: that of one rank is divided.",
)  # fmt: skip
@click.option(
    "--also", type=click.Choice(["mwms"]),
    help="Measure tf.distribute.MultiWorkerMirroredStrategy with the same step beside it.",
)  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(min=2), default=4, show_default=True, help="Steps of an epoch.",
)  # fmt: skip
@click.option(
    "--epochs", type=click.IntRange(min=2), default=3, show_default=True,
    help="Epochs of a run; the first, which compiles, is not counted.",
)  # fmt: skip
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True,
    help="Runs of each kind, in turn; medians are printed.",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True,
    help="Threads of each rank.",
)  # fmt: skip
@click.option(
    "--pin/--no-pin", default=True, show_default=True,
    help="Keep each rank on as many cores as it has threads.",
)  # fmt: skip
@click.option(
    "--system", "systems", type=click.Path(path_type=Path), multiple=True,
    help="Machine to project to (YAML; may be repeated). Default: systems/*.yaml beside CONFIG.",
)  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the figures into this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    config: Path | None,
    overrides: tuple[str, ...],
    ranks: str,
    mode: str,
    also: str | None,
    steps: int,
    epochs: int,
    rounds: int,
    threads: int,
    pin: bool,
    systems: tuple[Path, ...],
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure showers/s of 1, 2, ... ranks of `gan3d train`, and project to large machines.

    Every measurement is a short real run of the experiment CONFIG (without: of the quickstart's),
    one rank as plain `gan3d train`, more under horovodrun, in a temporary folder. The efficiency is
    showers/s over N times those of one rank. The projection is a model (its terms and their
    sources: gan3d/bench/projection.py), fed with what was measured here and with what is published
    of the machine; tables say which is which.
    """
    from gan3d.bench.scaling import Settings, measure_scaling, systems_beside
    from gan3d.config.systems import load_system
    from gan3d.samples import quickstart_experiment

    if plot is not None and plot.suffix not in _PLOTS:
        raise UsageError(f"--plot {plot}: expected a file that ends in {', '.join(_PLOTS)}")
    if plot is not None and not plot.absolute().parent.is_dir():
        raise UsageError(f"--plot {plot}: there is no folder {plot.parent}")
    config = config or quickstart_experiment()
    figures = measure_scaling(
        config,
        overrides,
        Settings(
            ranks=parse_numbers("--ranks", ranks, "numbers of ranks, such as 1,2,4"),
            modes=("weak", "strong") if mode == "both" else (mode,),  # type: ignore[arg-type]
            mwms=also == "mwms",
            steps=steps,
            epochs=epochs,
            rounds=rounds,
            threads=threads,
            pin=pin,
        ),
        [load_system(path) for path in systems or systems_beside(config)],
        lambda line: click.echo(line, err=True),
    )
    if plot is not None:
        from gan3d.bench.scaling_plot import write_plot

        write_plot(figures, plot)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        _print(make_console(), figures)


def _print(console: Console, figures: Mapping[str, Any]) -> None:
    console.print(_measured_table(figures))
    here = figures["model_here"]
    if here is None:
        console.print("No projection: it needs weak scaling with more than one rank.")
        return
    link = figures["all_reduce"]
    console.print(
        f"All-reduce here, measured with {link['ranks']} ranks: latency {link['latency_us']:.3g} "
        f"us, bandwidth {link['bandwidth_gb_s']:.3g} GB/s. Spread of the computing time of a step: "
        f"{here['spread']:.2%}. With them the model gives here "
        + ", ".join(f"{p['efficiency']:.1%} for {p['ranks']} ranks" for p in here["projected"][1:])
        + ".",
        highlight=False,
    )
    for projection in figures["projections"]:
        console.print(_projection_table(projection))
        for point in projection["published"]:
            console.print(_published(point), highlight=False)


def _table(title: str, *columns: str, words: int = 1) -> Table:
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left"
    )
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < words else "right")
    return table


def _measured_table(figures: Mapping[str, Any]) -> Table:
    parts = ("compute", "all-reduce", "rank wait", "data wait")
    experiment = figures["experiment"]
    kept = "kept on its own cores" if experiment["pin"] else "not kept on cores"
    table = _table(
        f"Measured: {experiment['architecture']}, {experiment['threads']} thread(s) a rank, {kept}",
        "run", "ranks", "batch", "showers/s", "eff.\n(%)",
        "compute", "all-\nreduce", "rank\nwait", "data\nwait",
    )  # fmt: skip
    for line in figures["measured"]:
        shares = line.get("share_of_time", {})
        table.add_row(
            f"{line['trainer']} {line['mode'] if line['ranks'] > 1 else ''}",
            str(line["ranks"]),
            str(line["batch_size"]),
            f"{line['showers_per_second']:.4g}",
            f"{100 * line['efficiency']:.1f}",
            *(f"{100 * shares[part]:.1f}" if part in shares else "-" for part in parts),
        )
    table.caption = "compute to data wait: shares of the time (%), mean over ranks"
    table.caption_justify = "left"
    return table


def _projection_table(projection: Mapping[str, Any]) -> Table:
    parameters = projection["parameters"]
    spreads = [line["spread"] for line in projection["sensitivity"]]
    table = _table(
        f"Projected: {projection['system']} ({projection['network']}), "
        f"{projection['ranks_per_node']} rank(s) a node",
        "nodes", "ranks", "showers/s", *(f"spread\n{spread:.2%}" for spread in spreads), words=0,
    )  # fmt: skip
    for number, point in enumerate(projection["projected"]):
        table.add_row(
            str(point["nodes"]),
            str(point["ranks"]),
            f"{point['showers_per_second']:.4g}",
            *(f"{100 * line['efficiency'][number]:.1f}" for line in projection["sensitivity"]),
        )
    table.caption = (
        f"Efficiency (%) against one node, by the spread of computing times; showers/s for "
        f"{parameters['spread']:.2%} ({parameters['spread_source']}). A rank computes "
        f"{parameters['compute_seconds']:.3g} s a step, from: {parameters['compute_source']}."
    )
    table.caption_justify = "left"
    return table


def _published(point: Mapping[str, Any]) -> str:
    least = "above " if point["at_least"] else ""
    where = "" if point["same_machine"] else ", another machine"
    spread = point["spread_that_gives_it"]
    if spread is None:
        fits = "the model stays below that even without spread"
    else:
        fits = f"the model gives that for a spread of {spread:.2%}"
    return (
        f"Published: {least}{point['efficiency']:.1%} on {point['nodes']} nodes{where} "
        f"({point['source']}); projected {point['projected_efficiency']:.1%}; {fits}."
    )

"""`gan3d bench step`: the training step on this node, and the settings that are fastest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gan3d.cli.bench import check_threads, parse_numbers
from gan3d.cli.console import make_console
from gan3d.errors import UsageError

EXAMPLE = """\b
Examples:
  gan3d bench step --arch ecal25 --batch 8 --threads 2 --baseline
  gan3d bench step configs/ecal25-compact.yaml --baseline-arch ecal25 --json
  gan3d bench step --arch ecal25 --precision mixed_bfloat16
  gan3d bench step configs/ecal25.yaml --sweep --minutes 10 -o mine.yaml
  gan3d bench step configs/ecal25.yaml --sweep --batch 8,16,32 --json
"""

_XLA = {False: "", True: ", XLA", "elementwise": ", XLA for single cells"}
_OF_SWEEP = {"minutes": "--minutes", "output": "-o"}
_OF_MEASUREMENT = {
    "arch": "--arch",
    "threads": "--threads",
    "precision": "--precision",
    "xla": "--xla",
    "rounds": "--rounds",
    "baseline": "--baseline",
    "baseline_arch": "--baseline-arch",
}
"""Options that only one of the two takes, by their parameters' names."""


@click.command(name="step", epilog=EXAMPLE)
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one key.")
@click.option("--arch", help="Architecture.  [default: CONFIG's]")
@click.option(
    "--batch", "batches", metavar="N",
    help="Showers of a step.  [default: CONFIG's]  With --sweep N,...: batches of a rank to try "
    "beside CONFIG's.  [default: half and twice as many]",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads in an operation.  [default: cores]"
)
@click.option("--precision", metavar="POLICY", help="node.precision.  [default: CONFIG's]")
@click.option(
    "--xla", is_flag=False, flag_value="true", type=click.Choice(["true", "elementwise"]),
    help="node.xla; without a value: true.  [default: CONFIG's]",
)  # fmt: skip
@click.option(
    "--baseline", is_flag=True,
    help="Measure the usual Keras loop with the same architecture beside it.",
)  # fmt: skip
@click.option(
    "--baseline-arch", metavar="NAME", help="The Keras loop with this architecture, as published."
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=10, show_default=True,
    help="Measurements of each, in turn; medians are printed.",
)  # fmt: skip
@click.option("--sweep", is_flag=True, help="Try ranks, threads and batches on this node.")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True,
    help="--sweep: time to try in; a run more at most.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path),
    help="--sweep: write the fastest as a node file.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    config: Path | None,
    overrides: tuple[str, ...],
    arch: str | None,
    batches: str | None,
    threads: int | None,
    precision: str | None,
    xla: str | None,
    baseline: bool,
    baseline_arch: str | None,
    rounds: int,
    sweep: bool,
    minutes: float,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure the training step of CONFIG: showers/s, and where the time goes.

    One process, a batch of real showers in memory, and beside it, in the same run, the matrix
    products that this machine can do and, with --baseline, the usual Keras loop (predict, then
    train_on_batch four times). Without CONFIG: the published recipe on the bundled showers.

    With --sweep: find the fastest ranks and threads for CONFIG (without: the quickstart's
    experiment) on this node, and what other batches give. Every try is a short real run, under
    horovodrun where it has several ranks. What `gan3d doctor` recommends is first; from the fastest
    so far other ranks, threads and operations side by side are tried, then other batches, then the
    faster half again while there is time. The node file goes
    with any experiment: `gan3d train CONFIG --node FILE`. It holds no batch, which changes the
    training: that is yours to choose.
    """
    _refuse(ctx, _OF_MEASUREMENT if sweep else _OF_SWEEP, sweep=sweep)
    if sweep:
        _sweep(config, overrides, batches, minutes, output, as_json)
        return
    check_threads(threads)
    from gan3d.bench.step import Settings, find_experiment, measure_step
    from gan3d.models import check_architecture, check_networks

    given: dict[str, tuple[str, Any]] = {
        "--arch": ("model.architecture", arch),
        "--batch": ("training.batch_size", _one_number(batches)),
        "--threads": ("node.intra_op_threads", threads),
        "--precision": ("node.precision", precision),
        "--xla": ("node.xla", xla),
    }
    options = {
        option: f"{key}={value}" for option, (key, value) in given.items() if value is not None
    }
    experiment = find_experiment(config, overrides, options)
    check_networks(experiment)
    if baseline_arch is not None:
        check_architecture(baseline_arch)
    elif baseline:
        baseline_arch = experiment.model.architecture
    figures = measure_step(
        experiment,
        Settings(rounds=rounds, baseline=baseline_arch),
        lambda line: click.echo(line, err=True),
    )
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        _print_step(make_console(), figures)


def _refuse(ctx: click.Context, options: Mapping[str, str], *, sweep: bool) -> None:
    """Raise UsageError where one of `options` was given."""
    for parameter, option in options.items():
        if ctx.get_parameter_source(parameter) is ParameterSource.COMMANDLINE:
            why = "is not for --sweep, which runs the experiment" if sweep else "is for --sweep"
            raise UsageError(f"{option} {why}")


def _one_number(batch: str | None) -> int | None:
    if batch is None:
        return None
    numbers = parse_numbers("--batch", batch, "showers of a step, such as 8")
    if len(numbers) > 1:
        raise UsageError(f"--batch {batch}: several are for --sweep; give one")
    return numbers[0]


def _print_step(console: Console, figures: Mapping[str, Any]) -> None:
    """Print the figures in words."""
    machine, threads = figures["machine"], figures["threads"]
    share = figures["share_of_peak"]
    kinds = ", ".join(f"{kind} {part:.1%}" for kind, part in figures["share_of_operations"].items())
    lines = [
        f"{figures['architecture']}, batch {figures['batch_size']}, {figures['precision']}"
        f"{_XLA[figures['xla']]}, {threads['intra_op']} + {threads['inter_op']} "
        f"threads on {machine['cpu']}",
        f"{figures['showers_per_second']:.4g} showers/s, "
        f"{figures['showers_per_second_per_core']:.3g} per core (published: "
        f"{figures['published_showers_per_second_per_core']:.2g} per core of Stampede2)",
        f"{figures['gflops']:.4g} GFLOP/s ({figures['gflop_per_shower']:.4g} GFLOP per shower), "
        f"{share:.1%} of the {figures['peak_gflops']:.4g} of a matrix product; without products "
        f"with the zeros around images {figures['share_of_peak_without_zeros']:.1%}",
    ]
    if kinds:
        lines += [
            f"outside of convolutions: {figures['seconds_outside_convolutions']:.3g} s of "
            f"{figures['seconds_of_step']:.3g} s ({figures['share_outside_convolutions']:.1%})",
            f"operations: {kinds}",
        ]
    if theirs := figures["baseline"]:
        lines.append(
            f"{theirs['step_over_baseline']:.3g} times the Keras loop with "
            f"{theirs['architecture']}, batch {theirs['batch_size']}: "
            f"{theirs['showers_per_second']:.4g} showers/s"
        )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _sweep(
    config: Path | None,
    overrides: tuple[str, ...],
    batches: str | None,
    minutes: float,
    output: Path | None,
    as_json: bool,
) -> None:
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

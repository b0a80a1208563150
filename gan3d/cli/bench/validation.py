"""`gan3d bench validation`: how long a validation takes, and how often it cries wolf."""

from __future__ import annotations

import json
from typing import Any

import click

EXAMPLE = """\b
Examples:
  gan3d bench validation
  gan3d bench validation 'g_*.h5' --reference 'data/*.h5' --whole
  gan3d bench validation 'data/*.h5' --false-alarms 200 --showers 300
"""


@click.command(name="validation", epilog=EXAMPLE)
@click.argument("files", nargs=-1)
@click.option("--reference", multiple=True, metavar="GLOB", help="Default: the bundled sample.")
@click.option(
    "--showers", type=click.IntRange(min=20), default=10_000, show_default=True,
    help="Generated showers, and as many of the reference; fewer given ones are repeated.",
)  # fmt: skip
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True,
    help="Measurements; medians are printed.",
)  # fmt: skip
@click.option("--whole", is_flag=True, help="Correlations, classifiers and distances, too.")
@click.option("--all-cores", is_flag=True, help="Not on one core only.")
@click.option(
    "--false-alarms", "pairs", type=click.IntRange(min=1), metavar="PAIRS",
    help="Instead, judge so many random pairs of samples of FILES against each other.",
)  # fmt: skip
@click.option(
    "--energies", type=click.Choice(["alike", "same", "steep", "opposite"]),
    default="alike", show_default=True,
    help="With --false-alarms: how the two samples of a pair are spread over incident energy.",
)  # fmt: skip
def command(
    files: tuple[str, ...],
    reference: tuple[str, ...],
    showers: int,
    rounds: int,
    whole: bool,
    all_cores: bool,
    pairs: int | None,
    energies: Any,
) -> None:
    """Measure observables and metrics of FILES, without drawing, on one core.

    Default: the bundled Geant4 showers, held-out against training ones.

    With --false-alarms, both samples of each pair, of --showers each, are of FILES: the share of
    pairs whose p falls below a level should be that level.
    """
    from gan3d.bench.false_alarms import measure_false_alarms
    from gan3d.bench.validation import Settings, measure_validation
    from gan3d.samples import sample_files

    def say(line: str) -> None:
        click.echo(line, err=True)

    sample = sample_files()
    if energies != "alike" and pairs is None:
        raise click.UsageError("--energies is for --false-alarms")
    if pairs is not None:
        given = [*files] or [str(sample.heldout), str(sample.train)]
        alarms = measure_false_alarms(
            given, (showers, showers), pairs, say, whole=whole, energies=energies
        )
        click.echo(json.dumps(alarms, indent=2))
        return
    figures = measure_validation(
        [*files] or [str(sample.heldout)],
        [*reference] or [str(sample.train)],
        Settings(showers=showers, rounds=rounds, whole=whole, one_core=not all_cores),
        say,
    )
    click.echo(json.dumps(figures, indent=2))

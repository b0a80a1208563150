"""`gan3d bench validation`: how long a validation takes, and how much memory."""

from __future__ import annotations

import json

import click

EXAMPLE = """\b
Examples:
  gan3d bench validation
  gan3d bench validation 'g_*.h5' --reference 'data/*.h5' --whole
"""


@click.command(name="validation", epilog=EXAMPLE)
@click.argument("files", nargs=-1)
@click.option("--reference", multiple=True, metavar="GLOB", help="Default: the bundled sample.")
@click.option(
    "--showers", type=click.IntRange(min=100), default=10_000, show_default=True,
    help="Generated showers, and as many of the reference; fewer given ones are repeated.",
)  # fmt: skip
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True,
    help="Measurements; medians are printed.",
)  # fmt: skip
@click.option("--whole", is_flag=True, help="Correlations, classifiers and distances, too.")
@click.option("--all-cores", is_flag=True, help="Not on one core only.")
def command(
    files: tuple[str, ...],
    reference: tuple[str, ...],
    showers: int,
    rounds: int,
    whole: bool,
    all_cores: bool,
) -> None:
    """Measure observables and metrics of FILES, without drawing, on one core.

    Default: the bundled Geant4 showers, held-out against training ones.
    """
    from gan3d.bench.validation import Settings, measure_validation
    from gan3d.samples import sample_files

    sample = sample_files()
    figures = measure_validation(
        [*files] or [str(sample.heldout)],
        [*reference] or [str(sample.train)],
        Settings(showers=showers, rounds=rounds, whole=whole, one_core=not all_cores),
        lambda line: click.echo(line, err=True),
    )
    click.echo(json.dumps(figures, indent=2))

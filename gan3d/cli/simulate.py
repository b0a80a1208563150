"""`gan3d simulate`: parametric showers into files, for tests and benchmarks of any size."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from gan3d.cli.progress import ProgressDisplay

EXAMPLE = """\b
Examples:
  gan3d simulate -n 200000 -o /scratch/showers
  gan3d simulate -n 5000 --particle gamma --energy 50 --seed 7 -o photons
  gan3d simulate configs/simulation/clic-variable-angle.yaml -n 500 -o slanted
"""


class Range(click.ParamType[Any]):
    """`LOW:HIGH` or one number."""

    name = "low:high"

    def __init__(self, unit: str, example: str) -> None:
        """Quote `unit` and `example` in messages."""
        self._expected = f"a number or LOW:HIGH in {unit}, such as {example}"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Turn the text into (low, high); equal bounds are one number."""
        low, colon, high = str(value).partition(":")
        try:
            bounds = float(low), float(high if colon else low)
        except ValueError:
            self.fail(f"'{value}' is not {self._expected}", param, ctx)
        # Also false for NaN.
        if not 0 < bounds[0] <= bounds[1] < float("inf"):
            self.fail(f"'{value}' is no range above 0 from low to high", param, ctx)
        return bounds


@click.command(name="simulate", epilog=EXAMPLE)
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("-n", "count", type=click.IntRange(min=1), required=True, help="Number of showers.")
@click.option(
    "-o", "folder", type=click.Path(path_type=Path), required=True, help="Folder for the files."
)
@click.option(
    "--energy", type=Range("GeV", "10:100"), help="GeV; default: beam.energy_gev of the config."
)
@click.option("--particle", type=click.Choice(["e-", "e+", "gamma"]), help="Default: e-.")
@click.option(
    "--theta",
    type=Range("degrees", "60:120"),
    help="Variable polar angle, degrees; 90 is perpendicular to the layers.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option(
    "--to", "layout", type=click.Choice(["lcd", "parquet"]), default="lcd", show_default=True
)
@click.option("--showers-per-file", type=click.IntRange(min=1), default=10_000, show_default=True)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--force", is_flag=True, help="Replace files that hold other showers.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    config: Path | None,
    count: int,
    folder: Path,
    energy: tuple[float, float] | None,
    particle: str | None,
    theta: tuple[float, float] | None,
    seed: int,
    layout: str,
    showers_per_file: int,
    overrides: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Simulate showers by formulas (GFLASH), thousands a second.

    For tests and benchmarks of any size. No substitute for Monte Carlo: a network trained on these
    showers learns formulas.

    CONFIG describes the calorimeter and the beam; without it, they resemble the Geant4 sample that
    ships with gan3d. A shower depends on the seed and its number alone, so files that are already
    there are skipped when a call is repeated, and no run needs to be finished in one go.
    """
    from gan3d.config import load_simulation
    from gan3d.simulation import Dataset

    beam = {
        "--energy": ("energy_gev", energy),
        "--theta": ("theta_deg", theta),
        "--particle": ("particle", particle),
    }
    options = {
        option: f"beam.{key}={json.dumps(value)}"
        for option, (key, value) in beam.items()
        if value is not None
    }
    dataset = Dataset(
        load_simulation(config, overrides, options),
        seed=seed,
        count=count,
        folder=folder,
        layout=layout,
        showers_per_file=showers_per_file,
    )
    missing = dataset.missing(replace=force)
    showers = sum(file.stop - file.first for file in missing)
    began = time.monotonic()
    # Standard output is for the figures alone when they are JSON.
    with ProgressDisplay(Console(highlight=False, stderr=as_json)) as display:
        display.begin("simulating", showers, "showers")
        for file in missing:
            dataset.write(file, advance=display.advance)
        seconds = time.monotonic() - began
        rate = showers / seconds if showers else 0.0
        skipped = len(dataset.files) - len(missing)
        if as_json:
            figures = {
                "folder": str(folder),
                "files": [str(file.path) for file in dataset.files],
                "files_written": len(missing),
                "files_skipped": skipped,
                "showers": count,
                "showers_written": showers,
                "seconds": seconds,
                "showers_per_second": rate,
            }
            click.echo(json.dumps(figures, indent=2))
            return
        if skipped:
            display.say(f"{folder}: {skipped} of {len(dataset.files)} files are there already")
        if not missing:
            return
        display.say(
            f"{folder}: {showers} parametric showers in {_files(len(missing))}, seed {seed}, "
            f"{rate:.0f} showers/s with the writing"
        )


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"

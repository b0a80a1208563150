"""`gan3d quickstart`: the main job, on the bundled Geant4 sample."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console

from gan3d.cli.console import make_console
from gan3d.cli.generate import write_generated
from gan3d.cli.progress import ProgressDisplay
from gan3d.cli.reference import heldout_blocks, naming, run_facts
from gan3d.cli.sources import GENERATED, REFERENCE
from gan3d.cli.train import train
from gan3d.cli.validate import discriminated, write_named
from gan3d.cli.verdict_table import show_verdicts
from gan3d.config import load_experiment
from gan3d.errors import UsageError

EXAMPLE = """\b
Examples:
  gan3d quickstart
  gan3d quickstart --out /tmp/first-run
"""


@click.command(name="quickstart", epilog=EXAMPLE)
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("runs/quickstart"),
    show_default=True,
    help="The run's folder.",
)
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one key.")
def command(folder: Path, overrides: tuple[str, ...]) -> None:
    """Train on the bundled Geant4 showers, generate, validate and write a report.

    Takes at most 10 minutes on 2 cores.
    """
    from gan3d.data import stream_showers
    from gan3d.generation import load_run
    from gan3d.runtime import launched
    from gan3d.samples import quickstart_experiment
    from gan3d.validation import judge, summarise

    if launched().size > 1:
        raise UsageError("quickstart runs on one process; start `gan3d train` under a launcher")
    console = make_console()
    began = time.monotonic()
    experiment = load_experiment(quickstart_experiment(), overrides)

    _headline(console, "1/3  train on Geant4 showers")
    train(experiment, folder)

    _headline(console, "2/3  generate showers of the held-out incident energies")
    settings, geometry = experiment.validation, experiment.data.model_geometry
    blocks, source = heldout_blocks(experiment.data)
    reference = summarise(blocks, geometry, settings, label=REFERENCE)
    trained = load_run(folder)
    generated = folder / "generated.h5"
    with ProgressDisplay(console) as display:
        write_generated(
            trained,
            reference.observables.energy_n.astype("float32"),
            generated,
            display,
            seed=settings.seed,
        )

    _headline(console, "3/3  validate against held-out Geant4 showers")
    facts = {**run_facts(trained, settings), "Reference": source}
    _, showers = stream_showers([str(generated)])
    with naming(facts):
        ours = summarise(showers, geometry, settings, label=GENERATED)
        outputs, scores = discriminated(trained, ours, reference)
        judgement = judge(ours, reference, geometry, settings, scores=scores)
    title = "Quickstart: generated electrons against Geant4"
    runs = {GENERATED: trained}
    page = write_named([judgement], folder / "report", facts, runs, outputs, title=title)
    show_verdicts([judgement], page, console)
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    console.print(f"done in {minutes} min {seconds:02d} s")


def _headline(console: Console, text: str) -> None:
    console.print(f"\n{text}", style="bold")

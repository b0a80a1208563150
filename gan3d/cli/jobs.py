"""`gan3d jobs`: scripts for batch systems."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import click

from gan3d.config.batch import Launcher
from gan3d.errors import ConfigError

EXAMPLE = """\b
Examples:
  gan3d jobs render slurm --nodes 4 configs/ecal25.yaml --time 6:00:00 -o j.sh
  gan3d jobs render stampede2-skx --nodes 128 configs/ecal25.yaml \\
      --time 02:00:00 --account TG-X
  gan3d jobs render mine.yaml --nodes 2 configs/ecal25.yaml --time 01:00:00 \\
      --launcher mpirun
"""


@click.group(epilog=EXAMPLE)
def command() -> None:
    """Write scripts for batch systems."""


@command.command(epilog=EXAMPLE)
@click.argument("system")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--nodes", type=click.IntRange(min=1), required=True, help="Number of nodes.")
@click.option("--time", required=True, metavar="HH:MM:SS", help="Wall-clock time of one job.")
@click.option("--account", help="Account or project that is charged.")
@click.option("--partition", help="Partition or queue; default: the system's.")
@click.option("--launcher", type=click.Choice(get_args(Launcher)), help="Default: the system's.")
@click.option("--node", type=click.Path(path_type=Path), help="Node file; default: the system's.")
@click.option("--run", "folder", type=click.Path(path_type=Path), help="The run's folder.")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one key.")
@click.option(
    "--staging/--no-staging", "stage", default=True, help="Copy shower files where SYSTEM says."
)
@click.option(
    "-o", "output", type=click.Path(path_type=Path), help="File to write; default: print it."
)
def render(
    system: str,
    config: Path,
    nodes: int,
    time: str,
    account: str | None,
    partition: str | None,
    launcher: Launcher | None,
    node: Path | None,
    folder: Path | None,
    overrides: tuple[str, ...],
    stage: bool,
    output: Path | None,
) -> None:
    """Write the script of a batch job that trains CONFIG on SYSTEM.

    SYSTEM is a name in jobs/systems/, or a YAML file of your own. The script is to be submitted as
    it is: it copies the shower files, starts the ranks that the node file asks for, and before its
    time is over has a checkpoint written and goes back into the queue, until the training is
    finished. Paths are those that `gan3d train` would use here.
    """
    from gan3d.config import load_experiment, naming_places
    from gan3d.config.batch import load_batch_system
    from gan3d.jobs import Job, find_system
    from gan3d.jobs import render as write_script
    from gan3d.models import check_networks

    path = find_system(system)
    batch = load_batch_system(path)
    node = node or batch.node
    if node is None:
        raise ConfigError(
            f"{path}: node is null: name the machine's node file there, or give --node (for "
            "example one of configs/nodes/)"
        )
    experiment = load_experiment(config, overrides, node)
    with naming_places(config, overrides, node):
        check_networks(experiment)
    here = Path.cwd()
    job = Job(
        config=here / config,
        node=here / node,
        run=here / (folder or experiment.run.folder or Path("runs") / config.stem),
        nodes=nodes,
        time=time,
        working_folder=here,
        # Not resolved: a virtual environment's Python is a link to another.
        bin=Path(sys.executable).parent,
        account=account,
        partition=partition,
        launcher=launcher,
        overrides=overrides,
        stage=stage,
    )
    script = write_script(batch, job, experiment)
    if output is None:
        click.echo(script, nl=False)
        return
    output.write_text(script, encoding="utf-8")
    output.chmod(0o755)
    click.echo(f"{output}: {nodes} x {experiment.node.workers_per_node} ranks on {batch.name}")

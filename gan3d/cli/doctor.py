"""`gan3d doctor`: what this node is, what is installed, what is wrong and how to mend it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gan3d.cli.console import make_console
from gan3d.errors import DataError

if TYPE_CHECKING:
    from gan3d.runtime.doctor import Finding

EXAMPLE = """\b
Examples:
  gan3d doctor
  gan3d doctor --node configs/nodes/stampede2-skx.yaml
  gan3d doctor --json
"""

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@click.command(name="doctor", epilog=EXAMPLE)
@click.option(
    "--node", type=click.Path(path_type=Path), help="See also whether this node's file fits here."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def command(ctx: click.Context, node: Path | None, as_json: bool) -> None:
    """Look at this machine and installation.

    Exits 1 when something is found that prevents training, 0 otherwise. Takes some seconds:
    TensorFlow and Horovod are loaded in a process of their own.
    """
    from gan3d.config import load_experiment
    from gan3d.runtime.doctor import diagnose
    from gan3d.samples import quickstart_experiment

    if node is None:
        findings = [*diagnose(), _sample()]
    else:
        asked = load_experiment(quickstart_experiment(), (), node)
        findings = [*diagnose(asked.node, asked.horovod), _sample()]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    ctx.exit(int(any(finding.status == "problem" for finding in findings)))


def _print(findings: list[Finding]) -> None:
    console = make_console()
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("what", no_wrap=True)
    table.add_column("found", overflow="fold")
    for finding in findings:
        status = Text(finding.status, style=_STYLES[finding.status])
        table.add_row(status, finding.name, Text(finding.detail))
    console.print(table)
    remedies = [finding for finding in findings if finding.remedy]
    for finding in remedies:
        console.print(f"{finding.name}: to mend it", markup=False)
        # Unwrapped, so that it can be copied into a shell.
        console.print(f"  {finding.remedy}", markup=False, soft_wrap=True)
    if not remedies:
        console.print("Nothing to mend.")


def _sample() -> Finding:
    from gan3d.data import open_shower_file
    from gan3d.runtime.doctor import Finding
    from gan3d.samples import sample_files

    try:
        counts = []
        for path in sample_files():
            with open_shower_file(path) as file:
                counts.append(file.count)
    except DataError as error:
        return Finding("sample", "warning", str(error), "uv sync --reinstall-package gan3d")
    return Finding("sample", "ok", f"{counts[0]} training and {counts[1]} held-out Geant4 showers")

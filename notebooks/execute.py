"""Run notebooks from top to bottom, in place, and keep nothing of them but cells and outputs.

uv run python notebooks/execute.py                               # all of them
uv run python notebooks/execute.py notebooks/2_validation.ipynb

What tells of the machine or the hour (execution times, versions) is taken out, so that a notebook
changes only where its content does. It has kernel `python3` of the Python that runs this.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path) -> None:
    """Run the notebook `path` in a temporary folder and write it back with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=1800,
            coalesce_streams=True,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        ).execute(env={**os.environ, "TMPDIR": folder})
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
    nbformat.write(notebook, path)


if __name__ == "__main__":
    named = [Path(name) for name in sys.argv[1:]]
    for each in named or sorted(Path(__file__).parent.glob("*.ipynb")):
        began = time.monotonic()
        execute(each)
        seconds, megabytes = time.monotonic() - began, each.stat().st_size / 1e6
        print(f"{each.name}: {seconds:.0f} s, {megabytes:.2f} MB")

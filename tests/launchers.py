"""How ranks are started."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gan3d.runtime.distributed import horovod_has_mpi


def program(name: str) -> str:
    """A command installed beside this Python."""
    return str(Path(sys.executable).parent / name)


def mpi_lacks() -> str | None:
    """What keeps ranks from being started by mpirun; None: nothing."""
    if not shutil.which("mpirun"):
        return "there is no mpirun"
    return None if horovod_has_mpi() else "Horovod was built without MPI"


NEEDS_MPI = pytest.mark.skipif(mpi_lacks() is not None, reason=str(mpi_lacks()))
LAUNCHERS = ["horovodrun", pytest.param("mpirun", marks=NEEDS_MPI)]

TINY_GAN3D = [sys.executable, str(Path(__file__).with_name("labelled_gan3d.py"))]
"""The command, which knows the networks of the tests besides its own: those of tiny.TINY."""

HOROVODRUN = [sys.executable, str(Path(__file__).with_name("horovodrun.py"))]


def launch(ranks: int, launcher: str = "horovodrun") -> list[str]:
    """What comes before a command that `ranks` processes of this machine shall run together."""
    if launcher == "horovodrun":
        return [*HOROVODRUN, "--gloo", "-np", str(ranks)]
    rooted = ["--allow-run-as-root"] if os.getuid() == 0 else []
    # More ranks than cores may be asked for, and there is no other network than this machine's.
    return [
        "mpirun", "-np", str(ranks), "--oversubscribe", "--bind-to", "none",
        "--mca", "btl", "self,vader", *rooted,
    ]  # fmt: skip


Gan3d = Callable[..., subprocess.CompletedProcess[str]]


def runs(folder: Path, command: list[str]) -> Gan3d:
    """Run a command in `folder`: runs(folder, TINY_GAN3D)("train", "x.yaml", ranks=2)."""

    def run(
        *arguments: object,
        ranks: int | None = None,
        launcher: str = "horovodrun",
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        launched = launch(ranks, launcher) if ranks is not None else []
        return subprocess.run(
            [*launched, *command, *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "COLUMNS": "80", **(env or {})},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run

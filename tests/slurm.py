"""A Slurm of one node on this machine, as root, in folders of its own."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ctld_port}
SlurmdPort={d_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SwitchType=switch/none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# A job may be late by this (min), so that a slow machine has time to write its checkpoint.
OverTimeLimit=2
SchedulerParameters=sched_interval=5,bf_interval=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def slurm_lacks() -> str | None:
    """What keeps a Slurm from being started here; None: nothing."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "Slurm is started as root"
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurm-wlm munge"
    return None if (os.cpu_count() or 1) >= 2 else "two ranks want two CPUs"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Slurm:
    """Its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def run(self, *command: object, cwd: Path | None = None) -> str:
        """What a command says; AssertionError where it fails."""
        done = subprocess.run(
            list(map(str, command)),
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def logs(self) -> str:
        """The last lines of its daemons, for failures."""
        return "\n".join(
            f"{path.name}: " + "\n".join(path.read_text(errors="replace").splitlines()[-30:])
            for path in sorted(self.folder.glob("*.log"))
        )


@contextmanager
def slurm() -> Iterator[Slurm]:
    """A Slurm that takes jobs."""
    # Not pytest's folder: the name of a socket is 108 bytes at most.
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, ExitStack() as stack:
        folder = Path(name)
        for inner in ("state", "spool"):
            (folder / inner).mkdir()
        key = folder / "munge.key"
        key.touch(mode=0o400)
        key.write_bytes(os.urandom(128))
        host = socket.gethostname().partition(".")[0]
        (folder / "slurm.conf").write_text(
            CONFIG.format(
                folder=folder,
                host=host,
                cpus=os.cpu_count(),
                ctld_port=free_port(),
                d_port=free_port(),
            )
        )
        cluster = Slurm(folder)
        munge = [f"--{what}-file={folder}/munge.{what}" for what in ("key", "log", "pid", "seed")]
        for command in (
            ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge],
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D", "-N", host],
        ):
            stack.enter_context(_daemon(command, cluster, folder))
        deadline = time.monotonic() + 30
        while "State=IDLE" not in _answer(cluster, "scontrol", "show", "node", host):
            assert time.monotonic() < deadline, cluster.logs()
            time.sleep(0.5)
        try:
            yield cluster
        finally:
            # A job of a test that failed would go on without its Slurm.
            _answer(cluster, "scancel", "--user=root")
            deadline = time.monotonic() + 40
            while _answer(cluster, "squeue", "--noheader") and time.monotonic() < deadline:
                time.sleep(0.5)


@contextmanager
def _daemon(command: list[str], cluster: Slurm, folder: Path) -> Iterator[None]:
    with (folder / f"{command[0]}.out").open("wb") as out:
        process = subprocess.Popen(
            command, env=cluster.environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        if command[0] == "munged":
            deadline = time.monotonic() + 20
            while not (folder / "munge.socket").exists():
                assert process.poll() is None, (folder / "munged.out").read_text()
                assert time.monotonic() < deadline, "munged does not start"
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answer(cluster: Slurm, *command: str) -> str:
    """What a command says while Slurm starts."""
    done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True)
    return done.stdout

"""The processes of a block: started, watched, ended."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gan3d.config import Experiment
from gan3d.errors import UsageError
from gan3d.tuning.allocation import BlockPlan
from gan3d.tuning.link import GONE, ORPHANED, Connection, Server
from gan3d.tuning.worker import OUT_OF_MEMORY

_KILLED_SECONDS = 5.0
"""A process that was killed has so long (s) to be gone."""

_LAST_LINES = 2

_KILLED = r"\bSIGKILL\b|Exit code: (?:137|-9)\b|signal 9\b"
"""What launchers say of a rank that was killed: Slurm, horovodrun, Open MPI."""

_MEMORY = r"ResourceExhausted|std::bad_alloc|oom[-_]kill|OUT_OF_MEMORY"
"""What TensorFlow, C++ and Slurm say where memory is short."""

_NOISE = (
    r"\b[IW]\d{4} [\d:.]+|\b\d{4}-\d\d-\d\d [\d:.]+: [IW] "
    r"|All log messages before absl::|To enable the following instructions|rebuild TensorFlow with"
)
"""Lines of TensorFlow's log that tell of nothing that went wrong."""


@dataclass
class Block:
    """A group of ranks that trains one trial after the other."""

    plan: BlockPlan
    folder: Path
    """Where its log and its address are."""
    worker: Sequence[str]
    """The command of a rank; the address is added."""
    launcher: str
    process: subprocess.Popen[bytes] | None = None
    ranks: dict[int, Connection] = field(default_factory=dict)
    ready: set[int] = field(default_factory=set)
    began: float = 0.0
    """When it was started (time.monotonic)."""
    startup_seconds: float = 0.0
    """How long its processes took to be ready, since a trial was last told of it."""
    free_since: float = 0.0
    """Since when it could have worked, had it been given a trial (time.monotonic)."""
    settings: str = ""
    """What its processes were started for; trials with other settings need new ones."""
    failures: int = 0
    """How often in a row it has failed to start."""
    not_before: float = 0.0
    """When it may be started again (time.monotonic)."""
    given_up: bool = False
    """Whether it has failed to start too often."""
    kills: int = 0
    """Processes of this machine that had been killed for want of memory when its trial began."""
    tried: bool = False
    """Whether its processes have carried out an order before."""
    _log_start: int = 0

    @property
    def log(self) -> Path:
        """What its ranks print."""
        return self.folder / f"block-{self.plan.number + 1}.log"

    @property
    def is_up(self) -> bool:
        """Whether all its ranks wait for orders, or carry one out."""
        return len(self.ready) == self.plan.size

    def start(self, server: Server, experiment: Experiment | None) -> None:
        """Start the ranks; what they are to have before their first order is `experiment`'s."""
        address = self.folder / f"block-{self.plan.number + 1}.json"
        server.write_address(
            address,
            self.plan.number,
            part=self.plan.part,
            parts=self.plan.parts,
            experiment=None if experiment is None else experiment.model_dump(mode="json"),
        )
        self.ranks, self.ready, self.began = {}, set(), time.monotonic()
        self.settings = settings_of(experiment)
        self.kills, self.tried = memory_kills(), False
        command = launch_command(self.plan, self.launcher, [*self.worker, str(address.absolute())])
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def tell(self, kind: str, **content: Any) -> None:
        """Tell all ranks something."""
        for connection in self.ranks.values():
            connection.send(kind, **content)

    def wait(self, until: float) -> None:
        """Let ranks that were told to end by themselves do so until then (time.monotonic)."""
        if self.process is not None:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0.0, until - time.monotonic()))

    def kill(self, server: Server) -> None:
        """End all its processes, whatever they do; those of them that are yet to come, too."""
        server.revoke(self.plan.number)
        for connection in self.ranks.values():
            # Its connection is open, so the process is there, and it is this one.
            if connection.host == socket.gethostname():
                _kill(connection.pid)
            server.close(connection)
        self.ranks, self.ready = {}, set()
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            # One that waits for a disk that hangs ends when it can; it is not waited for.
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_KILLED_SECONDS)
            self.process = None

    def last_words(self, code: int | None = None) -> LastWords:
        """Why its process ended with `code`, as far as it is known."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            text = file.read().decode(errors="replace")
        return read_last_words(
            text, code, short=self.plan.is_local and memory_kills() > self.kills, log=self.log
        )


@dataclass(frozen=True)
class LastWords:
    """Why the processes of a block have ended."""

    reason: str
    memory: bool = False
    """Whether memory was short."""
    orphaned: bool = False
    """Whether they ended themselves, for they had heard nothing of this coordinator."""


def read_last_words(text: str, code: int | None, *, short: bool, log: Path) -> LastWords:
    """Why processes ended that have printed `text`; `code` is their launcher's, None: it goes on.

    `short`: whether the system has killed processes of this machine for want of memory meanwhile.
    """
    if code == ORPHANED or GONE in text:
        return LastWords("its connection to the coordinator broke", orphaned=True)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = list(dict.fromkeys(line for line in lines if "gan3d: error:" in line))
    spoken = [line for line in lines if not re.search(_NOISE, line)]
    said = " / ".join(told or spoken[-_LAST_LINES:])
    if re.search(_MEMORY, text):
        return LastWords(f"{OUT_OF_MEMORY}: {said}", memory=True)
    # 137: a launcher whose rank was killed; horovodrun says so in its output alone.
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL) or re.search(_KILLED, text):
        if short:
            return LastWords(f"{OUT_OF_MEMORY}: killed (SIGKILL) by the system", memory=True)
        return LastWords("killed (SIGKILL)")
    if code is not None and code < 0:
        return LastWords(f"ended by {signal.Signals(-code).name}{f': {said}' if said else ''}")
    ended = "a rank has ended" if code is None else f"ended with exit code {code}"
    return LastWords(f"{ended}: {said or 'it printed nothing'} (see {log})")


def memory_kills() -> int:
    """Processes of this machine that the system has killed so far for want of memory."""
    try:
        counts = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^oom_kill (\d+)$", counts, re.MULTILINE)
    return int(found[1]) if found is not None else 0


def settings_of(experiment: Experiment | None) -> str:
    """What is set before TensorFlow and Horovod start, and cannot be changed in a process."""
    if experiment is None:
        return ""
    return experiment.node.model_dump_json() + experiment.horovod.model_dump_json()


def choose_launcher(plan: BlockPlan, wanted: str, environ: Mapping[str, str] = os.environ) -> str:
    """What starts the ranks of a block: none, horovodrun, mpirun or srun.

    Raises UsageError where it is not installed.
    """
    launcher = wanted
    if wanted == "auto":
        launcher = "horovodrun"
        if plan.size == 1 and plan.is_local:
            return "none"
        if plan.size == 1 and "SLURM_JOB_ID" in environ:
            launcher = "srun"
    if _program(launcher) is None:
        raise UsageError(
            f"blocks of {plan.size} rank(s) on {', '.join(p.host.name for p in plan.places)} need "
            f"{launcher}, which is not installed (`gan3d doctor` says more); name another "
            "blocks.launcher"
        )
    return launcher


def launch_command(plan: BlockPlan, launcher: str, worker: Sequence[str]) -> list[str]:
    """The command that starts `worker` on all ranks of a block."""
    hosts = ",".join(f"{place.host.name}:{place.ranks}" for place in plan.places)
    program = _program(launcher) or launcher
    if launcher == "none":
        return list(worker)
    if launcher == "horovodrun":
        return [program, "--gloo", "-np", str(plan.size), "-H", hosts, *worker]
    if launcher == "mpirun":
        rooted = ["--allow-run-as-root"] if os.getuid() == 0 else []
        return [
            program, "-np", str(plan.size), "-H", hosts, "--bind-to", "none", *rooted, *worker,
        ]  # fmt: skip
    # Steps side by side, each on its own nodes; ranks take their cores themselves.
    names = ",".join(place.host.name for place in plan.places)
    return [
        program, "--overlap", "--cpu-bind=none", "--kill-on-bad-exit=1",
        f"--nodes={len(plan.places)}", f"--ntasks={plan.size}", f"--nodelist={names}",
        *worker,
    ]  # fmt: skip


def _program(name: str) -> str | None:
    """The program beside this Python, or else on the path."""
    if name == "none":
        return name
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)

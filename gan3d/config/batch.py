"""The typed schema of a machine's batch system, as `gan3d jobs render` takes it (jobs/systems/).

What becomes part of a directive (`#SBATCH ...`), where no shell's quoting holds, is one word
without blanks and quotes; all else is quoted when a script is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from gan3d.config.load import load_sections
from gan3d.config.schema import PositiveInt, Section

Launcher = Literal["horovodrun", "mpirun", "srun", "ibrun", "jsrun"]
"""What starts the ranks inside a job."""

BlockLauncher = Literal["horovodrun", "mpirun", "srun"]
"""What can start the ranks of a study's block beside others, as `gan3d tune` calls it."""

PLACEHOLDERS = ("nodes", "ranks", "ranks_per_node", "cpus_per_rank", "hosts")
"""What may stand in braces in the words of a launcher."""

WORD = r"^[A-Za-z0-9_.,:@%/+=&|*()\[\]-]+$"
Word = Annotated[str, StringConstraints(pattern=WORD)]
"""Part of a directive: no blanks, quotes, dollars, or ends of lines."""
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Folder = Annotated[
    str, StringConstraints(pattern=r"^(/|\$[A-Za-z_][A-Za-z0-9_]*(/|$))[A-Za-z0-9_.+/-]*$")
]


def parse_time(text: str) -> int:
    """Seconds of a wall-clock time HH:MM:SS. Raises ValueError for anything else, and for 0."""
    found = re.fullmatch(r"([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])", text)
    if not found:
        raise ValueError(f"expected HH:MM:SS, such as 02:00:00, got '{text}'")
    hours, minutes, seconds = map(int, found.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if not total:
        raise ValueError("a job of no time does nothing")
    return total


def _checked_time(text: str) -> str:
    parse_time(text)
    return text


Time = Annotated[str, AfterValidator(_checked_time)]


class Staging(Section):
    """Where shower files are copied before training."""

    folder: Folder
    """An absolute folder, or one under a variable that the site sets: $SCRATCH, /tmp."""
    shared: bool
    """true: all nodes see it, and one copy is made; false: every node has its own and copies."""


class BatchSystem(Section):
    """A machine as its batch system sees it."""

    name: str
    """Name of the machine, for the script's head."""
    template: Path
    """The script's Jinja2 template (jobs/templates/), relative to the file that names it."""
    node: Path | None = None
    """The machine's node file (configs/nodes/), relative to the file that names it: its
    node.workers_per_node is the number of ranks on a node, and `gan3d train` runs with it."""
    launcher: Launcher
    """What starts the ranks; a key of `launchers`."""
    launchers: dict[Launcher, list[str]] = Field(min_length=1)
    """The command of each launcher, word by word. {nodes}, {ranks}, {ranks_per_node},
    {cpus_per_rank} and {hosts} (name:ranks,name:ranks) are filled in."""
    blocks_launcher: BlockLauncher | None = None
    """What starts the blocks of a study (`gan3d tune`), each on some of the job's nodes, with its
    own words and not those of `launchers`: horovodrun wants ssh between the nodes, mpirun is Open
    MPI's. null: --launcher says."""
    per_node: list[str] | None = None
    """The command that runs one process on every node, for staging to node-local storage; the same
    words may stand in braces."""
    partition: Word | None = None
    """Partition (Slurm) or queue (PBS, LSF); null: the site's default."""
    constraint: Word | None = None
    """Slurm: features that the nodes must have."""
    account_required: bool = False
    """Whether jobs without --account are refused by the site."""
    directives: list[Word] = Field(default=[])
    """Further options of the batch system, one word each, such as --exclusive."""
    cpus_per_node: PositiveInt | None = None
    """CPUs as the batch system counts them (often hyper-threads), divided among the ranks as
    {cpus_per_rank}; null: not asked for, which is right where jobs have whole nodes."""
    cores_per_node: PositiveInt | None = None
    """Physical cores of a node that a job may use: ranks and threads of the node file must fit;
    null: cpus_per_node / threads_per_core, and where that is null, too, they are checked when the
    job runs."""
    threads_per_core: PositiveInt = 1
    """Hardware threads of a core that a job may use; 1 where hyper-threads are off, or are kept
    from the job (Slurm: --hint=nomultithread)."""
    numa_domains: PositiveInt | None = None
    """NUMA domains of a node, with equally many cores each: where `node.affinity` is cores, ranks
    fill them, and what does not divide stays free; null: not reckoned with before the job runs."""
    asks_for_gpus: bool = True
    """Whether jobs whose node file has `gpu: required` ask for a GPU for every rank (Slurm:
    --gpus-per-node, PBS: ngpus); false where nodes come with theirs, as by a constraint."""
    modules: list[Word] = Field(default=[])
    """Environment modules to load, in this order."""
    environment: dict[Variable, str] = Field(default={})
    """Environment variables of every rank."""
    bin: Path | None = None
    """Folder that holds `gan3d` and `horovodrun`; null: that of the gan3d which writes the
    script."""
    staging: Staging | None = None
    """Where shower files are copied before training; null: they are read where they are."""
    max_nodes: PositiveInt | None = None
    """Nodes that a job may have here; null: not known."""
    max_time: Time | None = None
    """Wall-clock time (HH:MM:SS) that a job may take here; null: not known."""
    warning_seconds: Annotated[int, Field(ge=10, le=65535)] = 300
    """Time (s) before the limit at which the ranks are told to write a checkpoint and end. A step,
    a checkpoint and the launcher's end must fit; 5 min are plenty for steps of seconds. 65535 is
    what Slurm can count to; it may send it up to 60 s earlier."""
    idle_attempts: PositiveInt = 3
    """After so many attempts in a row that did not do a step, a job does not go back into the queue
    again: its time is too short, and it would do so for ever. Not 1, as a job may also have been
    told to make room while it was starting."""

    @property
    def cores(self) -> int | None:
        """Physical cores of a node; None: not known."""
        if self.cores_per_node is None and self.cpus_per_node is not None:
            return self.cpus_per_node // self.threads_per_core
        return self.cores_per_node

    @model_validator(mode="after")
    def _cores_are_counted(self) -> Self:
        if self.cores and self.numa_domains and self.cores % self.numa_domains:
            raise ValueError(
                f"{self.cores} cores of a node are no multiple of numa_domains = "
                f"{self.numa_domains}"
            )
        cpus, cores, threads = self.cpus_per_node, self.cores_per_node, self.threads_per_core
        if cpus is None or (cores is None and cpus % threads == 0):
            return self
        if cores is None:
            raise ValueError(
                f"cpus_per_node = {cpus} is no multiple of threads_per_core = {threads}"
            )
        if cpus not in (cores, cores * threads):
            raise ValueError(
                f"cpus_per_node is {cpus}, neither the cores_per_node = {cores} nor their hardware "
                f"threads, {cores} x {threads}"
            )
        return self

    @model_validator(mode="after")
    def _launchers_known(self) -> Self:
        if self.launcher not in self.launchers:
            raise ValueError(
                f"launcher is {self.launcher}, but launchers has {', '.join(self.launchers)}"
            )
        for words in (*self.launchers.values(), self.per_node or ["-"]):
            if not words:
                raise ValueError("a launcher of no words")
            for word in words:
                for name in re.findall(r"\{([^}]*)\}", word):
                    if name not in PLACEHOLDERS:
                        raise ValueError(
                            f"{{{name}}} in '{word}' is none of {', '.join(PLACEHOLDERS)}"
                        )
        if self.staging and not self.staging.shared and self.per_node is None:
            raise ValueError(
                "staging.shared is false, so every node must copy: per_node has to say how a "
                "process is run on each"
            )
        return self


def load_batch_system(path: Path, overrides: Sequence[str] = ()) -> BatchSystem:
    """The batch system that the YAML file `path` describes.

    `extends` works as in experiments. Raises ConfigError as `load_experiment` does.
    """
    return load_sections(
        BatchSystem,
        path,
        overrides,
        example="warning_seconds=600",
        files=(("template",), ("node",), ("bin",)),
    )

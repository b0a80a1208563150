"""A job's script from a batch system, a node and an experiment, all of them checked before."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan3d.config import Experiment, Node
from gan3d.config.batch import WORD, BatchSystem, BlockLauncher, Launcher, parse_time
from gan3d.config.threads import Cores, choose_threads
from gan3d.errors import ConfigError, NodeError, UsageError
from gan3d.jobs.shell import Shell, folder, pattern, quoted, words

_STAGED = "<staged>"
"""Stands for the folder of the copies until it is known, which is in the job."""


@dataclass(frozen=True)
class Blocks:
    """How a study divides a job."""

    size: int
    """Ranks of a block."""
    count: int
    """Blocks side by side."""
    launcher: BlockLauncher
    """What starts their ranks."""
    stop_seconds: float
    """What they have for a step and a checkpoint when they are told to stop."""


@dataclass(frozen=True)
class Job:
    """What is to run, and with how much of the machine."""

    config: Path
    """The experiment's file, or the study's."""
    node: Path
    """The node's file."""
    run: Path
    """The run's folder, or the study's."""
    nodes: int
    """Nodes."""
    time: str
    """Wall-clock time, HH:MM:SS."""
    working_folder: Path
    """What relative paths are relative to."""
    bin: Path
    """Folder of `gan3d` and `horovodrun`, where the system names none."""
    account: str | None = None
    """What the time is charged to."""
    partition: str | None = None
    """Partition or queue; None: the system's."""
    launcher: Launcher | None = None
    """What starts the ranks; None: the system's."""
    overrides: tuple[str, ...] = ()
    """`--set` of `gan3d train`, or of `gan3d tune`."""
    stage: bool = True
    """Whether shower files are copied to the system's storage for them."""
    blocks: Blocks | None = None
    """Of a study; None: a training."""


def render(system: BatchSystem, job: Job, experiment: Experiment) -> str:
    """The script of `job`, which the batch system takes as it is.

    `experiment` is `job.config`, or what that study changes, with `job.node` upon it, loaded.
    Raises UsageError or ConfigError where something does not fit the system, and before anything
    is written.
    """
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    # A template may be a stranger's, as the file that names it: it writes text and runs nothing.
    environment = SandboxedEnvironment(
        loader=jinja2.FileSystemLoader(system.template.parent),
        undefined=jinja2.StrictUndefined,
        finalize=quoted,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["words"] = words
    try:
        template = environment.get_template(system.template.name)
        return template.render(_values(system, job, experiment))
    except jinja2.TemplateNotFound as error:
        raise ConfigError(f"{system.template.parent / str(error)}: no such template") from None
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(
            f"{system.template.parent / str(error.name)}:{error.lineno}: {error.message}"
        ) from error
    except (jinja2.UndefinedError, jinja2.exceptions.SecurityError) as error:
        raise ConfigError(f"{system.template}: {error.message}") from error


def _values(system: BatchSystem, job: Job, experiment: Experiment) -> dict[str, Any]:
    """What a template may print."""
    seconds = _check(system, job)
    per_node = experiment.node.workers_per_node
    if per_node is None:
        raise ConfigError(
            f"{job.node}: node.workers_per_node is null, but a job must know the number of "
            "ranks on a node beforehand: write what `gan3d doctor` recommends on a compute node, "
            "or give --set node.workers_per_node=N"
        )
    _check_threads(system, job, experiment.node, per_node)
    cpus = system.cpus_per_node
    numbers = {
        "nodes": job.nodes,
        "ranks": job.nodes * per_node,
        "ranks_per_node": per_node,
        "cpus_per_rank": cpus // per_node if cpus else None,
    }
    launcher, launch = _launch(system, job, numbers)
    staging = system.staging if job.stage else None
    staged = _staged(experiment) if staging else {}
    overrides = [*job.overrides, *(_staged_override(key, files) for key, files in staged.items())]
    return {
        **numbers,
        "system": system.name,
        # Directives are no shell: nothing but these characters is in them.
        "job_name": re.sub(r"[^A-Za-z0-9_.-]", "_", f"gan3d-{job.run.name}"),
        "time": job.time,
        "seconds": seconds,
        # LSF counts in minutes.
        "time_minutes": Shell(
            f"{math.ceil(seconds / 60) // 60}:{math.ceil(seconds / 60) % 60:02d}"
        ),
        "warning_seconds": system.warning_seconds,
        "idle_attempts": system.idle_attempts,
        "account": job.account,
        "partition": job.partition or system.partition,
        "constraint": system.constraint,
        "gpus_per_node": per_node
        if experiment.node.gpu == "required" and system.asks_for_gpus
        else 0,
        "directives": system.directives,
        "modules": system.modules,
        "environment": system.environment,
        "bin": system.bin or job.bin,
        "working_folder": job.working_folder,
        "run": job.run,
        "config": job.config,
        "node": job.node,
        "overrides": overrides,
        "blocks": job.blocks,
        "work": "training" if job.blocks is None else "study",
        "launcher": launcher,
        "needs_hosts": job.blocks is not None or any('"$hosts"' in word for word in launch),
        "launch": launch,
        "staging": staging,
        "staging_folder": folder(staging.folder) if staging else None,
        "staging_id": hashlib.sha256(str(job.run).encode()).hexdigest()[:12],
        "staged": [
            (number, each, pattern(each)) for files in staged.values() for number, each in files
        ],
        "stage_launch": _filled(system.per_node, numbers, system)
        if staging and not staging.shared and system.per_node
        else None,
    }


def _launch(
    system: BatchSystem, job: Job, numbers: Mapping[str, int | None]
) -> tuple[str | None, list[Shell]]:
    """What starts the ranks, and its words; a study's coordinator starts them itself."""
    if job.blocks is not None:
        return None, []
    launcher = job.launcher or system.launcher
    if launcher not in system.launchers:
        raise UsageError(
            f"--launcher {launcher}: {system.name} has {', '.join(system.launchers)}; describe it "
            "under launchers in the system's file"
        )
    return launcher, _filled(system.launchers[launcher], numbers, system)


def _check(system: BatchSystem, job: Job) -> int:
    """The job's time in seconds; raises UsageError where it does not fit the system."""
    try:
        seconds = parse_time(job.time)
    except ValueError as error:
        raise UsageError(f"--time: {error}") from None
    if seconds <= system.warning_seconds:
        raise UsageError(
            f"--time {job.time}: ranks are told to end {system.warning_seconds} s before the limit "
            f"(warning_seconds of {system.name}), which leaves no time to train"
        )
    if job.blocks is not None and job.blocks.stop_seconds >= system.warning_seconds:
        raise UsageError(
            f"{job.config}: blocks.stop_seconds is {job.blocks.stop_seconds:g}, but the job is "
            f"over {system.warning_seconds} s after the warning (warning_seconds of {system.name})"
        )
    if system.max_time is not None and seconds > parse_time(system.max_time):
        raise UsageError(
            f"--time {job.time}: jobs on {system.name} take {system.max_time} at most; the job "
            "goes on by itself after that"
        )
    if system.max_nodes is not None and job.nodes > system.max_nodes:
        raise UsageError(
            f"--nodes {job.nodes}: jobs on {system.name} have {system.max_nodes} nodes at most"
        )
    if system.account_required and job.account is None:
        raise UsageError(f"{system.name} charges an account for every job: give --account")
    for option, value in (("--account", job.account), ("--partition", job.partition)):
        if value is not None and not re.fullmatch(WORD, value):
            raise UsageError(f"{option} {value!r}: expected one word of letters, digits and signs")
    return seconds


def _check_threads(system: BatchSystem, job: Job, node: Node, per_node: int) -> None:
    """Raise ConfigError where a node of the system has fewer cores than the ranks want."""
    if system.cores is None:
        return
    share = _smallest_share(system, system.cores, job, node, per_node)
    if share == 0 and not node.oversubscribe:
        raise ConfigError(
            f"{job.node}: node.workers_per_node is {per_node}, more than the {system.cores} "
            f"core(s) of a node of {system.name}"
        )
    share = max(1, share)
    cores = Cores(share, share * system.threads_per_core)
    where = (
        f"on {system.name} ({system.cores} core(s) x {system.threads_per_core} / {per_node} "
        f"rank(s){f' in {system.numa_domains} NUMA domain(s)' if system.numa_domains else ''})"
    )
    try:
        choose_threads(node, cores, where)
    except NodeError as error:
        raise ConfigError(f"{job.node}: {error}") from None


def _smallest_share(system: BatchSystem, cores: int, job: Job, node: Node, per_node: int) -> int:
    """Cores of the rank that gets the fewest, as `gan3d.runtime` places them in the job."""
    domains, per_domain = system.numa_domains, node.workers_per_numa_domain
    if node.affinity == "none" or domains is None:
        return cores // per_node
    if per_domain is not None and per_node > per_domain * domains:
        raise ConfigError(
            f"{job.node}: node.workers_per_node is {per_node}, but workers_per_numa_domain x NUMA "
            f"domains = {per_domain} x {domains} = {per_domain * domains} on a node of "
            f"{system.name}; lower the first, or set null for the second"
        )
    if per_domain is None and per_node < domains:
        return domains // per_node * (cores // domains)
    return cores // domains // (per_domain or math.ceil(per_node / domains))


def _filled(
    command: Sequence[str], numbers: Mapping[str, int | None], system: BatchSystem
) -> list[Shell]:
    """The words of a launcher with what stands in braces filled in."""

    def fill(word: str) -> Shell:
        for name, number in numbers.items():
            if f"{{{name}}}" in word and number is None:
                raise ConfigError(
                    f"{system.name}: '{word}' of a launcher needs cpus_per_node in its file"
                )
            word = word.replace(f"{{{name}}}", str(number))
        # The hosts are known in the job alone.
        before, hosts, after = word.partition("{hosts}")
        if not hosts:
            return quoted(word)
        return Shell('"$hosts"'.join(quoted(part) if part else "" for part in (before, after)))

    return [fill(word) for word in command]


def _staged(experiment: Experiment) -> dict[str, list[tuple[int, str]]]:
    """The patterns of files to copy, by the key that names them, with the number of each.

    The number is the name of the folder for the copies: files of two folders may have one name.
    """
    data = experiment.data
    patterns = {"data.files": data.files, "data.validation_files": data.validation_files or []}
    staged: dict[str, list[tuple[int, str]]] = {}
    count = 0
    for key, files in patterns.items():
        for each in files:
            if "**" in each:
                raise UsageError(
                    f"{key}: {each}: ** cannot be copied to one folder; name the folders, or give "
                    "--no-staging"
                )
            staged.setdefault(key, []).append((count, each))
            count += 1
    return staged


def _staged_override(key: str, files: Sequence[tuple[int, str]]) -> Shell:
    """`--set` that names the copies, as a word of the shell in which $stage is their folder."""
    copies = [f"{_STAGED}/{number}/{Path(each).name}" for number, each in files]
    text = quoted(f"{key}={json.dumps(copies, ensure_ascii=False)}")
    # Inside single quotes, because of the brackets.
    return Shell(text.replace(_STAGED, "'\"$stage\"'"))

"""Which ranks and threads are fastest on this node, and what other batches give: short real runs.

Each candidate is run as a user would: `gan3d train`, under horovodrun where it has several ranks,
with `node.affinity: cores`. What `gan3d doctor` recommends is first. From the fastest so far, other
numbers of ranks are tried, then other threads, then other operations side by side, as long as that
finds something new: a large node has hundreds of candidates, of which there is time for a dozen.
Then come other batches with the fastest, for which a share of the time is kept; then the faster
half again and again, in turn, as machines are noisy. The fastest by the median, with the
experiment's batch, becomes a node file. A batch does not: it changes the training, its learning
rate too, and is only told.
"""

from __future__ import annotations

import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from gan3d.bench.processes import run_together
from gan3d.bench.scaling import (
    Case,
    Settings,
    count_showers,
    describe_machine,
    needed_showers,
    processes_of,
    read_run,
    run_overrides,
)
from gan3d.config import Experiment, Node, load_experiment
from gan3d.config.threads import Cores, choose_threads
from gan3d.data import temporary_folder, written_aside
from gan3d.errors import DataError, NodeError, TrainingError, UsageError
from gan3d.runtime import Topology, placed_cores, read_topology, recommend
from gan3d.runtime.node import LARGEST_IDLE_SHARE

Say = Callable[[str], None]

# So many of the fastest are tried with other batches: one alone may be so by chance.
_WAYS_WITH_OTHER_BATCHES = 2

# Of the time, as long as there are other batches.
_SHARE_FOR_OTHER_BATCHES = 0.25

# Other numbers of ranks that are tried from the fastest so far, as factors of its own, near first.
_FACTORS_OF_RANKS = (0.5, 2.0, 0.71, 1.41, 0.25, 4.0)

# What the first run has (s) however little time there is: without it nothing is known. Loading
# TensorFlow from a busy network file system takes minutes at worst.
_LONGEST_FIRST_RUN = 600.0

_STEPS, _EPOCHS = 4, 3


@dataclass(frozen=True)
class Candidate:
    """A way of using the node."""

    workers: int
    """Ranks on the node."""
    intra_op: int
    """`node.intra_op_threads` of each."""
    inter_op: int
    """`node.inter_op_threads` of each."""
    batch_size: int
    """`training.batch_size`, showers of a step on each rank."""

    def __str__(self) -> str:
        ranks = f"{self.workers} rank{'s' if self.workers > 1 else ''}"
        return (
            f"{ranks}, {self.intra_op} intra-op, {self.inter_op} inter-op, batch {self.batch_size}"
        )


@dataclass
class Tried:
    """A candidate and what it reached."""

    candidate: Candidate
    recommended: bool = False
    """Whether it is what `auto` does."""
    showers_per_second: list[float] = field(default_factory=list)
    """Of all ranks together, in each run."""
    failed: str = ""
    """Why it cannot be run; empty where it can."""

    @property
    def median(self) -> float:
        """Of all its runs, of which there is at least one."""
        return statistics.median(self.showers_per_second)

    def as_dict(self) -> dict[str, Any]:
        """For the figures (JSON)."""
        own = self.candidate
        return {
            "workers": own.workers,
            "intra_op_threads": own.intra_op,
            "inter_op_threads": own.inter_op,
            "batch_size": own.batch_size,
            "recommended": self.recommended,
            "showers_per_second": float(f"{self.median:.5g}"),
            "showers_per_second_of_runs": [float(f"{r:.5g}") for r in self.showers_per_second],
        }


def candidates(topology: Topology, batch_size: int) -> list[Candidate]:
    """Return what may be tried on a CPU node: what `auto` does, then what is near to it in ranks.

    Ranks with cores of their own, nearly all of the node's, and a GPU where there are some; threads
    for all of a rank's cores, for all but one, for half of them, and for their hyper-threads; one
    operation at a time, or two. Of each number of ranks the first has the threads that are derived
    for a rank's cores.
    """
    per_core = topology.hardware_threads // len(topology.cores)
    best, most = recommend(topology), len(topology.gpus) or topology.physical
    ways = [(best.workers, best.threads.intra_op, best.threads.inter_op)]
    for workers in _nearest_first(range(1, most + 1), best.workers):
        try:
            share = smallest_share(topology, workers)
        except NodeError:  # a domain has fewer cores than ranks
            continue
        if workers * share < (1.0 - LARGEST_IDLE_SHARE) * topology.physical:
            continue
        derived = choose_threads(Node(), Cores(share, share * per_core))
        ways.append((workers, derived.intra_op, derived.inter_op))
        threads = {share, share * per_core}
        if share >= 4:
            threads |= {share - 1, share // 2}
        for intra_op in sorted(threads, reverse=True):
            ways += [(workers, intra_op, inter_op) for inter_op in (1, 2) if inter_op <= share]
    return [Candidate(*way, batch_size) for way in dict.fromkeys(ways)]


def _nearest_first(numbers: Iterable[int], number: float) -> list[int]:
    return sorted(numbers, key=lambda each: abs(math.log(each / number)))


def directions(ways: Sequence[Candidate], best: Candidate) -> list[list[Candidate]]:
    """What of `ways` is tried from `best` on: other ranks, then other threads, then inter-op."""
    first: dict[int, Candidate] = {}
    for way in ways:
        first.setdefault(way.workers, way)
    wanted = [best.workers * factor for factor in _FACTORS_OF_RANKS]
    near = dict.fromkeys(_nearest_first(first, each)[0] for each in wanted)
    threads = [w for w in ways if (w.workers, w.inter_op) == (best.workers, best.inter_op)]
    inter_op = [w for w in ways if (w.workers, w.intra_op) == (best.workers, best.intra_op)]
    return [
        [first[workers] for workers in near if workers != best.workers],
        sorted(threads, key=lambda way: abs(math.log(way.intra_op / best.intra_op))),
        inter_op,
    ]


def smallest_share(topology: Topology, workers: int) -> int:
    """Cores of the rank that gets the fewest. Raises NodeError where ranks do not fit."""
    own = Node(affinity="cores")
    if topology.quota < len(topology.cores):
        # Time and not cores: nobody is put anywhere.
        return topology.physical // workers
    return min(placed_cores(own, topology, rank, workers).physical for rank in range(workers))


def sweep(
    config: Path,
    overrides: Sequence[str] = (),
    *,
    seconds: float,
    batch_sizes: Sequence[int] = (),
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Try what is worth a try for about so many seconds; the figures, as JSON.

    In them what was tried with the experiment's batch comes before other batches, and the fastest
    first. `batch_sizes`: the others, of a rank; none: half and twice the experiment's. Ranks and
    batches that the experiment has too few showers for are told and left out. What there was no
    time for is counted, and what fails is told. Raises DataError where the showers are enough for
    no candidate, TrainingError where nothing can be run.
    """
    experiment = load_experiment(config, overrides)
    batch_size = experiment.training.batch_size
    topology, total = read_topology(), count_showers(experiment)
    settings = Settings(steps=_STEPS, epochs=_EPOCHS, pin=False)

    def most_ranks(batch: int) -> int:
        """Ranks that the showers are enough for."""
        alone = Case("gan3d", "weak", 1, batch)
        return (total - 1) // needed_showers(alone, settings, experiment)

    def fits(candidate: Candidate) -> bool:
        return candidate.workers <= most_ranks(candidate.batch_size)

    ways = candidates(topology, batch_size)
    others = [batch for batch in dict.fromkeys(batch_sizes) if batch != batch_size]
    for batch, remedy in (
        (batch_size, "lower training.batch_size or name more data.files"),
        *((batch, "leave it out of --batch or name more data.files") for batch in others),
    ):
        if not most_ranks(batch):
            raise DataError(f"{_too_few(1, batch, settings, experiment, total)}; {remedy}")
    if not batch_sizes:
        others = [batch for batch in (batch_size // 2, 2 * batch_size) if batch]
    for batch in (batch_size, *others):
        short = [way.workers for way in ways if not fits(replace(way, batch_size=batch))]
        if short:
            why = _too_few(min(short), batch, settings, experiment, total)
            say(f"batch {batch} is not tried with {min(short)} ranks or more: {why}")
    fitting = [way for way in ways if fits(way)]
    if not fitting:
        why = _too_few(min(way.workers for way in ways), batch_size, settings, experiment, total)
        raise DataError(f"{why}; lower training.batch_size or name more data.files")
    with temporary_folder("gan3d-bench-step-") as temporary:

        def run(own: Candidate, limit: float) -> float:
            say(str(own))
            folder = temporary / "run"
            shutil.rmtree(folder, ignore_errors=True)  # of the one before, which may have failed
            folder.mkdir()
            node = (
                "node.workers_per_node=null",
                "node.workers_per_numa_domain=null",
                "node.affinity=cores",
                "node.memory_policy=preferred",
                f"node.intra_op_threads={own.intra_op}",
                f"node.inter_op_threads={own.inter_op}",
            )
            changes = run_overrides(_case(own), settings, experiment, total)
            all_changes = (*overrides, *changes, *node)
            processes = processes_of(_case(own), settings, config, all_changes, folder)
            run_together(processes, str(own), folder, limit)
            return float(read_run(folder, "gan3d")["showers_per_second"])

        tries, not_tried = measure(fitting, run, seconds, others, fits)
    for tried in tries:
        tried.recommended = replace(tried.candidate, batch_size=batch_size) == ways[0]
    failed = [t for t in tries if t.failed]
    ranked = sort_tries(tries, batch_size)
    if not ranked or ranked[0].candidate.batch_size != batch_size:
        raise TrainingError(failed[0].failed)
    return {
        "experiment": {
            "config": str(config),
            "architecture": experiment.model.architecture,
            "overrides": list(overrides),
        },
        "machine": describe_machine() | {"topology": topology.as_dict()},
        "batch_size": batch_size,
        "tried": [tried.as_dict() for tried in ranked],
        "failed": [{"candidate": str(t.candidate), "error": t.failed} for t in failed],
        "not_tried": not_tried,
        "recommended_over_best": _recommended_share(ranked),
        "batches": compare_batches(ranked),
    }


def sort_tries(tries: Sequence[Tried], batch_size: int) -> list[Tried]:
    """What was measured: with `batch_size` first, other batches by size; of each the fastest first.

    What has failed in one of its runs is left out.
    """
    measured = [tried for tried in tries if tried.showers_per_second and not tried.failed]

    def order(tried: Tried) -> tuple[bool, int, float]:
        batch = tried.candidate.batch_size
        return batch != batch_size, batch, -tried.median

    return sorted(measured, key=order)


def compare_batches(ranked: Sequence[Tried]) -> list[dict[str, Any]]:
    """Showers/s of the fastest with each batch, over those of the first in `ranked` (JSON)."""
    fastest: dict[int, Tried] = {}
    for tried in ranked:
        fastest.setdefault(tried.candidate.batch_size, tried)
    return [
        {
            "batch_size": batch,
            "showers_per_second": float(f"{tried.median:.5g}"),
            "over_own_batch": float(f"{tried.median / ranked[0].median:.4g}"),
        }
        for batch, tried in sorted(fastest.items())
    ]


def describe_batches(figures: Mapping[str, Any]) -> str:
    """What other batches would give, in words; empty where none was tried."""
    own = figures["batch_size"]
    others = ", ".join(
        f"{each['batch_size']} gives {each['over_own_batch'] - 1:+.1%}"
        for each in figures["batches"]
        if each["batch_size"] != own
    )
    if not others:
        return ""
    return f"Showers/s with other batches of a rank than the experiment's {own}: {others}"


def measure(
    ways: Sequence[Candidate],
    run: Callable[[Candidate, float], float],
    seconds: float,
    batch_sizes: Sequence[int] = (),
    fits: Callable[[Candidate], bool] = lambda _: True,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[Tried], int]:
    """Run the first of `ways`, what `directions` says from the fastest on, and other batches.

    Then all that matter in turn: the faster half (two at least), the first, and the other batches,
    as far as they `fits`. Returns what was tried, and how many there was no time for.

    No run begins that would end too late if it took as long as the longest so far; the first runs.
    `run` is told how long (s) it may take: what is left, and the longest so far on top. What fails,
    for want of memory perhaps, is not run again.
    """
    tries: dict[Candidate, Tried] = {}
    began, longest = clock(), 0.0

    def run_all(chosen: Iterable[Candidate], until: float) -> int:
        """Run what has not failed; how many there was no time for."""
        nonlocal longest
        waiting = [each for each in chosen if each not in tries or not tries[each].failed]
        for number, candidate in enumerate(waiting):
            start = clock()
            left = until - (start - began)
            # What has failed says nothing of how long a run takes.
            if tries and (left <= 0.0 or longest > left):
                return len(waiting) - number
            limit = left + longest if tries else max(seconds, _LONGEST_FIRST_RUN)
            tried = tries.setdefault(candidate, Tried(candidate))
            try:
                tried.showers_per_second.append(run(candidate, limit))
            except TrainingError as error:
                tried.failed = str(error)
            else:
                longest = max(longest, clock() - start)
        return 0

    def ranked() -> list[Candidate]:
        fine = [t for t in tries.values() if t.showers_per_second and not t.failed]
        fine = [t for t in fine if t.candidate.batch_size == ways[0].batch_size]
        return [tried.candidate for tried in sorted(fine, key=lambda tried: -tried.median)]

    until = seconds * (1.0 - _SHARE_FOR_OTHER_BATCHES) if batch_sizes else seconds
    missed = run_all(ways[:1], until)
    tried_before = 0
    while not missed and len(tries) > tried_before:
        tried_before = len(tries)
        for number in range(3):
            best = next(iter(ranked()), ways[0])
            missed = run_all([w for w in directions(ways, best)[number] if w not in tries], until)
            if missed:
                break
    others = [
        replace(way, batch_size=batch)
        for way in ranked()[:_WAYS_WITH_OTHER_BATCHES]
        for batch in batch_sizes
        if fits(replace(way, batch_size=batch))
    ]
    missed += run_all(others, seconds)
    fastest = ranked()
    again = fastest[: max(2, (len(fastest) + 1) // 2)]
    # What is recommended is compared with the best: it must have been measured as well.
    again += [way for way in fastest if way == ways[0] and way not in again]
    again += [other for other in others if other in tries]
    while any(not tries[each].failed for each in again) and not run_all(again, seconds):
        pass
    return list(tries.values()), missed


def write_node(figures: dict[str, Any], path: Path) -> None:
    """Write the fastest with the experiment's batch as a node file, and what was tried as comment.

    Raises UsageError where `path` is there already.
    """
    if path.exists():
        raise UsageError(f"{path}: is there already; name another file")
    best, machine = figures["tried"][0], figures["machine"]
    node = {
        "name": path.stem,
        "workers_per_node": best["workers"],
        "affinity": "cores",
        "memory_policy": "preferred",
        "intra_op_threads": best["intra_op_threads"],
        "inter_op_threads": best["inter_op_threads"],
    }
    lines = [
        f"# Measured by `gan3d bench step --sweep` with {figures['experiment']['architecture']} on",
        f"# {machine['cpu']}, {machine['cores']} core(s). Showers/s of all ranks, median of runs:",
        "#",
        "#  ranks  intra-op  inter-op  batch  showers/s  runs",
        *(
            f"#  {tried['workers']:5d}  {tried['intra_op_threads']:8d}  "
            f"{tried['inter_op_threads']:8d}  {tried['batch_size']:5d}  "
            f"{tried['showers_per_second']:9.4g}  {len(tried['showers_per_second_of_runs']):4d}"
            for tried in figures["tried"]
        ),
    ]
    if batches := describe_batches(figures):
        lines += [
            f"# {batches}.",
            "# A batch is the experiment's (training.batch_size) and not a node's: it changes the",
            "# training, its learning rate too.",
        ]
    if figures["not_tried"]:
        lines.append(f"# There was no time for {figures['not_tried']} more.")
    text = "\n".join(lines) + "\n" + yaml.safe_dump({"node": node}, sort_keys=False)
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _too_few(ranks: int, batch: int, settings: Settings, experiment: Experiment, total: int) -> str:
    needed = needed_showers(Case("gan3d", "weak", ranks, batch), settings, experiment)
    passes = experiment.horovod.backward_passes_per_step
    product = f"{settings.steps} steps x {ranks} rank(s) x batch {batch}"
    if passes > 1:
        product += f" x {passes} backward passes"
    return (
        f"{product} = {needed} showers, and one is held out, but the experiment's data.files have "
        f"{total}"
    )


def _case(candidate: Candidate) -> Case:
    return Case("gan3d", "weak", candidate.workers, candidate.batch_size)


def _recommended_share(ranked: Sequence[Tried]) -> float | None:
    """Showers/s of what `auto` does over those of the fastest with the same batch, the first."""
    best = ranked[0]
    for tried in ranked:
        if tried.recommended and tried.candidate.batch_size == best.candidate.batch_size:
            return float(f"{tried.median / best.median:.4g}")
    return None

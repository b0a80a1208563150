"""A model of data-parallel training on machines that are not at hand.

The mean time of a step on n nodes of r ranks each, P = n r ranks in all, is

    T(n) = C (1 + s sqrt(k) m(P)) + k A(n)

C: the mean time that a rank computes in a step. s: the standard deviation of that time over steps
and ranks, over its mean. k: the exchanges of a step. m(P): the expected maximum of P standard
normal draws (`expected_maximum`). At each exchange all ranks wait for the slowest; the k parts of a
step are taken to vary independently, so each by s sqrt(k) of its own length. Where a rank that is
slow stays so for a whole step, the term is s m(P): with four exchanges, as if s were half as large.

A(n), one exchange, is Horovod's negotiation and a ring all-reduce for each fused buffer, in the
alpha-beta model: a message of b bytes takes alpha + b / beta. A ring of P ranks passes 2 (P - 1)
messages of b / P bytes (Thakur, Rabenseifner & Gropp, IJHPCA 19, 2005, section 4; Patarasuk & Yuan,
JPDC 69, 2009, who show that no all-reduce moves fewer bytes):

    R(P, b) = 2 (P - 1) alpha + 2 (P - 1) / P  b / beta

On several nodes either one ring goes through all ranks, every message as slow as the slowest link
makes it, or rings inside the nodes and one between them follow each other; the faster counts. The
arithmetic of the reduction is left out: it is as nothing beside the messages.

Negotiation (Horovod 0.28, response_cache.cc and controller.cc): ranks agree once in a cycle on what
is ready, by an all-reduce of a few bits, ceil(log2 P) messages by recursive doubling (Thakur et
al.); and on average half a cycle goes by until then. (The Horovods of 2018 had no response cache:
rank 0 heard all ranks, which is linear in P.)

What the model leaves out: other jobs on the network and the file system, the reading of data, and
ranks that are always slower than others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config.systems import Link, System
from gan3d.errors import UsageError

# Beyond this many standard deviations the normal distribution holds nothing that would be seen.
_FARTHEST = 12.0
_POINTS = 4001

_LARGEST_SPREAD = 1.0

SPREAD_FACTORS = (0.0, 0.5, 1.0, 2.0)
"""Multiples of the spread that the projection is repeated for."""


@dataclass(frozen=True)
class Step:
    """What a rank does in a step."""

    compute_seconds: float
    """Mean time without exchanges and waiting (s)."""
    spread: float
    """Standard deviation of that time over steps and ranks, over its mean."""
    exchanges: int
    """All-reduces, at each of which all ranks wait for the slowest."""
    gradient_bytes: float
    """What a rank reduces in all of them together (bytes)."""
    fusion_bytes: float
    """HOROVOD_FUSION_THRESHOLD (bytes)."""
    cycle_seconds: float
    """HOROVOD_CYCLE_TIME (s)."""


@dataclass(frozen=True)
class Machine:
    """Nodes and what connects them."""

    ranks_per_node: int
    """Ranks on each node."""
    intra_node: Link
    """Between two ranks of a node."""
    inter_node: Link
    """Between two nodes; all ranks of a node share it."""

    def ranks(self, nodes: int) -> int:
        """Ranks on `nodes` nodes."""
        return nodes * self.ranks_per_node


def expected_maximum(draws: int) -> float:
    """Mean of the largest of `draws` independent standard normal numbers.

    The integral over x > 0 of 1 - F(x)^P - F(-x)^P, F being the normal distribution function, by
    the trapezoidal rule; exact to 1e-6. sqrt(2 ln P) is its limit for P to infinity.
    """
    above_x = _normal_tails()
    # log1p: 1 - above is 1 for the machine long before its P-th power is 1 for large P.
    integrand_x = -np.expm1(draws * np.log1p(-above_x)) - above_x**draws
    # Half of the first point; the last is 0.
    return float(integrand_x.sum() - integrand_x[0] / 2) * _FARTHEST / (_POINTS - 1)


@cache
def _normal_tails() -> NDArray[np.float64]:
    """F(-x) for x from 0 to `_FARTHEST`."""
    return np.array(
        [0.5 * math.erfc(x / math.sqrt(2.0)) for x in np.linspace(0.0, _FARTHEST, _POINTS)]
    )


def ring_seconds(size_bytes: float, ranks: int, link: Link) -> float:
    """R(P, b): a ring all-reduce of `size_bytes` over `ranks` ranks, all over the same `link`."""
    messages = 2 * (ranks - 1)
    return messages * link.latency_seconds + messages / ranks * size_bytes / link.bytes_per_second


def all_reduce_seconds(size_bytes: float, machine: Machine, nodes: int) -> float:
    """One buffer of `size_bytes` over all ranks of `nodes` nodes, flat or by nodes."""
    inside = ring_seconds(size_bytes, machine.ranks_per_node, machine.intra_node)
    if nodes == 1:
        return inside
    flat = ring_seconds(size_bytes, machine.ranks(nodes), _slowest_link(machine))
    return min(flat, inside + ring_seconds(size_bytes, nodes, machine.inter_node))


def _slowest_link(machine: Machine) -> Link:
    """What every message of a ring through all ranks of several nodes has to wait for."""
    inter, intra = machine.inter_node, machine.intra_node
    if machine.ranks_per_node == 1:
        return inter
    return inter.model_copy(
        update={
            "latency_us": max(inter.latency_us, intra.latency_us),
            "bandwidth_gb_s": min(inter.bandwidth_gb_s, intra.bandwidth_gb_s),
        }
    )


def negotiation_seconds(cycle_seconds: float, machine: Machine, nodes: int) -> float:
    """Until all ranks know that all have what is to be reduced; 0 for a single rank."""
    ranks = machine.ranks(nodes)
    if ranks == 1:
        return 0.0
    link = machine.inter_node if nodes > 1 else machine.intra_node
    return cycle_seconds / 2 + math.ceil(math.log2(ranks)) * link.latency_seconds


def exchange_seconds(step: Step, machine: Machine, nodes: int) -> float:
    """All k exchanges of a step, k A(n), fused buffer by fused buffer (s)."""
    each = step.gradient_bytes / step.exchanges
    buffers = max(1, math.ceil(each / step.fusion_bytes)) if step.fusion_bytes else 1
    reducing = buffers * all_reduce_seconds(each / buffers, machine, nodes)
    return step.exchanges * (negotiation_seconds(step.cycle_seconds, machine, nodes) + reducing)


def straggler_factor(step: Step, ranks: int) -> float:
    """1 + s sqrt(k) m(P): how much longer a step computes because all wait for the slowest."""
    return 1.0 + step.spread * math.sqrt(step.exchanges) * expected_maximum(ranks)


def step_seconds(step: Step, machine: Machine, nodes: int) -> float:
    """T(n): the mean time of a step on `nodes` nodes."""
    slowest = step.compute_seconds * straggler_factor(step, machine.ranks(nodes))
    return slowest + exchange_seconds(step, machine, nodes)


def efficiency(step: Step, machine: Machine, nodes: int) -> float:
    """T(1) / T(n): showers/s on `nodes` nodes over `nodes` times those of one node."""
    return step_seconds(step, machine, 1) / step_seconds(step, machine, nodes)


def calibrate(step: Step, machine: Machine, nodes: int, seconds: float) -> Step:
    """Return the step with the `compute_seconds` that makes it last `seconds` on `nodes` nodes.

    Raises UsageError where the exchanges alone would take longer.
    """
    left = seconds - exchange_seconds(step, machine, nodes)
    if left <= 0.0:
        raise UsageError(
            f"a step of {seconds:.3g} s on {nodes} nodes is shorter than its exchanges; check the "
            "system's throughput, latency_us and bandwidth_gb_s"
        )
    return replace(step, compute_seconds=left / straggler_factor(step, machine.ranks(nodes)))


def spread_for(wanted: float, step: Step, machine: Machine, nodes: int) -> float | None:
    """Return the spread at which the efficiency on `nodes` nodes is `wanted`, by bisection.

    None where it is not reached even without any spread.
    """
    low, high = 0.0, _LARGEST_SPREAD

    def short(spread: float) -> bool:
        return efficiency(replace(step, spread=spread), machine, nodes) < wanted

    if short(low):
        return None
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if short(middle) else (middle, high)
    return low


def project(system: System, step: Step) -> dict[str, Any]:
    """Project training to `system`, as JSON: the parameters, the curve, and what is published.

    `step` brings what was measured here: the spread, the exchanges and their bytes. Its time of
    computing is replaced by what the system's published throughput leaves for it.
    """
    machine = Machine(system.ranks_per_node, system.intra_node, system.inter_node)
    published = system.throughput
    if system.spread is not None:
        step = replace(step, spread=system.spread.value)
    seconds = published.batch_size * machine.ranks(published.nodes) / published.showers_per_second
    step = calibrate(step, machine, published.nodes, seconds)
    return {
        "system": system.name,
        "network": system.network,
        "ranks_per_node": system.ranks_per_node,
        "parameters": {
            "compute_seconds": _rounded(step.compute_seconds),
            "compute_source": f"published: {published.source}",
            "spread": _rounded(step.spread),
            "spread_source": system.spread.source if system.spread else "measured on this machine",
            "exchanges": step.exchanges,
            "gradient_mb": _rounded(step.gradient_bytes / 1e6),
            "inter_node": system.inter_node.model_dump(),
            "intra_node": system.intra_node.model_dump(),
        },
        "projected": curve(step, machine, system.nodes, published.batch_size),
        "sensitivity": [
            {
                "spread": _rounded(factor * step.spread),
                "efficiency": [
                    _rounded(efficiency(changed, machine, nodes)) for nodes in system.nodes
                ],
            }
            for factor in SPREAD_FACTORS
            for changed in [replace(step, spread=factor * step.spread)]
        ],
        "published": [
            {
                **point.model_dump(),
                "projected_efficiency": _rounded(efficiency(step, machine, point.nodes)),
                "spread_that_gives_it": _rounded(
                    spread_for(point.efficiency, step, machine, point.nodes)
                ),
            }
            for point in system.published
        ],
    }


def curve(
    step: Step, machine: Machine, nodes: Sequence[int], batch_size: int
) -> list[dict[str, Any]]:
    """What the model says for each number of nodes, `batch_size` showers on each rank, as JSON."""
    points = []
    for number in nodes:
        seconds, ranks = step_seconds(step, machine, number), machine.ranks(number)
        points.append(
            {
                "nodes": number,
                "ranks": ranks,
                "step_seconds": _rounded(seconds),
                "exchange_seconds": _rounded(exchange_seconds(step, machine, number)),
                "waiting_seconds": _rounded(
                    step.compute_seconds * (straggler_factor(step, ranks) - 1.0)
                ),
                "showers_per_second": _rounded(batch_size * ranks / seconds),
                "efficiency": _rounded(efficiency(step, machine, number)),
            }
        )
    return points


def _rounded(value: float | None) -> float | None:
    """Five digits: more would only look as if they meant something."""
    return None if value is None else float(f"{value:.5g}")

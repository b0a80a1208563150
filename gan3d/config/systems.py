"""The typed schema of a machine that training is projected to, as `gan3d bench scaling` takes it.

Every number comes with its source; one that is only assumed says so there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gan3d.config.load import load_sections
from gan3d.config.schema import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, Section

Source = Annotated[str, Field(min_length=1)]


class Link(Section):
    """A connection in the alpha-beta model: a message of b bytes takes latency + b / bandwidth."""

    latency_us: NonNegativeFloat
    """Time of an empty message, one way, from process to process (microseconds)."""
    bandwidth_gb_s: PositiveFloat
    """What long messages reach, in one direction (GB/s, 1e9 bytes)."""
    source: Source
    """Where both numbers come from."""

    @property
    def latency_seconds(self) -> float:
        """Latency in s."""
        return self.latency_us * 1e-6

    @property
    def bytes_per_second(self) -> float:
        """Bandwidth in bytes/s."""
        return self.bandwidth_gb_s * 1e9


class Throughput(Section):
    """How fast training ran on the machine: it tells how long a rank computes."""

    showers_per_second: PositiveFloat
    """Showers/s of all ranks together."""
    nodes: PositiveInt
    """Nodes that reached it."""
    batch_size: PositiveInt
    """Showers of a step on each rank."""
    source: Source
    """Where the numbers come from."""


class Spread(Section):
    """How much the computing time of a step varies."""

    value: NonNegativeFloat
    """Standard deviation over steps and ranks, over the mean."""
    source: Source
    """Where it comes from."""


class PublishedPoint(Section):
    """An efficiency that somebody has published."""

    nodes: PositiveInt
    """Nodes that it was reached with, relative to one node."""
    efficiency: Fraction
    """Showers/s over `nodes` times those of one node."""
    at_least: bool = False
    """Whether it was published as "above"."""
    same_machine: bool = True
    """False: on another machine, named in `source`."""
    source: Source
    """Who says so."""


class System(Section):
    """A machine, its network, and what is known of training on it."""

    name: str
    """Name of the machine and its nodes."""
    network: str
    """Name of the network between nodes."""
    ranks_per_node: PositiveInt
    """Ranks on each node."""
    intra_node: Link
    """Between ranks of a node, through its memory."""
    inter_node: Link
    """Between nodes; all ranks of a node share it."""
    throughput: Throughput
    """How fast training ran."""
    spread: Spread | None = None
    """How much steps vary; null: as measured where the projection is made."""
    nodes: list[PositiveInt] = Field(default=[1, 2, 4, 8, 16, 32, 64, 128, 256], min_length=1)
    """Numbers of nodes to project to."""
    published: list[PublishedPoint] = Field(default=[])
    """Efficiencies to compare with."""


def load_system(path: Path, overrides: Sequence[str] = ()) -> System:
    """The system that the YAML file `path` describes.

    `extends` works as in experiments. Raises ConfigError as `load_experiment` does.
    """
    return load_sections(System, path, overrides, example="ranks_per_node=2")

"""The division of showers into those to train on and others, as files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Split
from gan3d.data.conversion import Shard, ShardFormat, Sources, plan_shards
from gan3d.data.split import Part, divide

SIDES = ("train", "validation", "test")
"""Beginnings of the shards' names."""


def plan_split(
    sources: Sources, split: Split, folder: Path, form: ShardFormat, *, test: float = 0.0
) -> list[Shard]:
    """Return the shards of each side: training with these `sources` and this `split` sees the same.

    A fraction `test` of the showers (files, if `split` is by file), none of which training sees, is
    a side of its own: with the other two it must not exceed 1. Raises DataError if there is too
    little for a side that is asked for.
    """
    division = divide(sources.survey, split)
    sides = {"train": division.train}
    if split.validation:
        sides["validation"] = division.validation
    if test:
        wider = split.model_copy(update={"train": split.train + test})
        sides["test"] = _without(divide(sources.survey, wider).train, division.train)
    origin = split.model_dump_json()
    return [
        shard
        for side, part in sides.items()
        for shard in plan_shards(side, part, sources, folder, form, f"{side} of {origin} {test:g}")
    ]


def _without(wide: Part, narrow: Part) -> Part:
    """Return the showers of `wide` that are not in `narrow`, a division of the same files."""
    take, leave = wide.draw, narrow.draw
    if take is None or leave is None:
        return wide.without([int(file) for file in np.unique(narrow.file_b)])

    def draw(first: int, stop: int) -> NDArray[np.int64]:
        return np.setdiff1d(take(first, stop), leave(first, stop), assume_unique=True)

    part = replace(wide, draw=draw)
    count_b = np.array([len(part.rows(block)) for block in range(len(part.file_b))], np.int64)
    return replace(part, count_b=count_b).select(count_b > 0)

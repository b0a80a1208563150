"""What `convert` and `split` have in common: writing shards, and saying what came of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gan3d.cli.console import make_console
from gan3d.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from gan3d.data.conversion import Shard, ShardFormat, Sources


def write(
    shards: Sequence[Shard],
    sources: Sources,
    form: ShardFormat,
    *,
    names: Sequence[str],
    workers: int | None,
    force: bool,
) -> None:
    """Write `shards` with a progress bar, after a line for everything that will not stay exact."""
    from gan3d.data.conversion import write_shards

    with ProgressDisplay(make_console()) as display:
        for note in _notes(sources, form):
            display.say(f"note: {note}")
        begun = False
        seen = 0

        def progress(done: int, total: int) -> None:
            nonlocal begun, seen
            if not begun:
                display.begin("writing", total, "showers")
                begun = True
            display.advance(done - seen)
            seen = done

        written = write_shards(
            shards,
            sources,
            form,
            names=names,
            workers=workers or len(os.sched_getaffinity(0)),
            force=force,
            progress=progress,
        )
        folder = shards[0].path.parent
        showers = sum(map(len, shards))
        was_there = f", {written.kept} of them from before" if written.kept else ""
        files = f"{len(shards)} {form.layout} file{'s' if len(shards) > 1 else ''}"
        display.say(f"{folder}: {showers} showers in {files}{was_there}")


def _notes(sources: Sources, form: ShardFormat) -> list[str]:
    notes = []
    if sources.double:
        notes.append("energies in double precision become single (1 in 10^7)")
    if not sources.keeps_unit(form.layout):
        notes.append(
            "energies change between MeV and GeV and are rounded to single precision (1 in 10^7)"
        )
    if form.layout == "lcd" and not {"pdg", "theta"} & set(sources.columns):
        notes.append(
            f"the files do not say the incident particle; it is written as PDG code {form.pdg_id}"
        )
    if sources.further_images:
        first, path = _first_and_more(sources.further_images)
        notes.append(
            f"{path}: {first} is the cells of another image of the showers: left out, one image "
            "is written"
        )
    if sources.left_out:
        first, path = _first_and_more(sources.left_out)
        notes.append(f"{path}: {first} is neither cells nor a number a shower: left out")
    return notes


def _first_and_more(found: Mapping[str, str]) -> tuple[str, str]:
    """The first dataset of `found`, and how many more there are; and the file that has it."""
    name, path = next(iter(found.items()))
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"'{name}'{more}", path

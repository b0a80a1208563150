"""What `gan3d validate` is to judge: runs and shower files, as they are named on its command line.

`RUN`, `RUN@best` and `RUN@1200` are a run's folder and which of its checkpoints; anything else is a
pattern of shower files. `NAME=` before either says what it is called. Files without a name are one
sample together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gan3d.errors import UsageError
from gan3d.models.weights import WhichCheckpoint, parse_run

GENERATED = "Generated"
"""What the only sample is called that has no name."""
REFERENCE = "Geant4"
"""What a reference is called that has no name."""


@dataclass
class Source:
    """Where one sample of generated showers comes from."""

    label: str
    """What it is called."""
    run: Path | None = None
    """The folder of a run, which generates them."""
    checkpoint: WhichCheckpoint = "last"
    """Of the run."""
    patterns: list[str] = field(default_factory=list)
    """Of shower files, where it is no run."""


def parse_sources(arguments: Sequence[str]) -> list[Source]:
    """The samples that the arguments name, in their order.

    Raises UsageError for two samples with one name, or a checkpoint that cannot be.
    """
    sources: list[Source] = []
    for argument in arguments:
        label, what = split_label(argument)
        run, checkpoint = parse_run(what)
        if run is not None:
            name = run.resolve().name + ("" if checkpoint == "last" else f"@{checkpoint}")
            sources.append(Source(label or name, run, checkpoint))
            continue
        known = next(
            (s for s in sources if s.run is None and s.label == (label or GENERATED)), None
        )
        if known is None:
            sources.append(Source(label or GENERATED, patterns=[what]))
        else:
            known.patterns.append(what)
    if len(sources) == 1 and not split_label(arguments[0])[0]:
        sources[0].label = GENERATED
    labels = [each.label for each in sources]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UsageError(
            f"two samples are called {twice[0]}: give them names, such as first={arguments[0]}"
        )
    return sources


def split_label(argument: str) -> tuple[str | None, str]:
    """`NAME=WHAT` as its two parts; None: there is no name, or a file is called so."""
    found = re.fullmatch(r"([^/=*?\[]+)=(.+)", argument)
    if found is None or Path(argument).exists():
        return None, argument
    return found[1], found[2]

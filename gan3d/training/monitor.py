"""What training goes by while it runs: whether a number of the history still falls."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gan3d.config import EarlyStopping
from gan3d.errors import ConfigError

History = Sequence[Mapping[str, Any]]
"""A mapping for each epoch, the oldest first: the lines of history.jsonl."""

_JUDGEMENT = "validation."


class Measured(NamedTuple):
    """One epoch in which the monitored number was measured."""

    epoch: int
    value: float
    improved: bool
    """Whether it has fallen far enough below the best before."""


def measured(history: History, monitor: str, improvement: float, key: str) -> Iterator[Measured]:
    """The epochs that have the number `monitor`, and whether it has fallen; the first one has.

    To improve, it must fall below the best so far by more than the share `improvement` of that.
    Epochs that lack it, or in which it could not be computed, are left out.
    Raises ConfigError, with `key`, which names it in the experiment, where it is no number.
    """
    best: float | None = None
    for record in history:
        value = record.get(monitor)
        if value is None:
            continue
        if not isinstance(value, int | float):
            raise ConfigError(
                f"{key}: '{monitor}' is no number in history.jsonl but {value!r:.40}; "
                "name one that should fall"
            )
        # The fall is relative to the size of the best, which may be below 0.
        improved = best is None or value < best - improvement * abs(best)
        best = value if improved else best
        yield Measured(int(record["epoch"]), value, improved)


def check_monitored(history: History, key: str, monitor: str) -> None:
    """Raise ConfigError where epochs that should have the number `monitor` lack it.

    Numbers of the judgement are looked for in the epochs that have any of them, as not every epoch
    is judged. The message has `key` and the nearest name.
    """
    due = [
        record
        for record in history
        if not monitor.startswith(_JUDGEMENT) or any(name.startswith(_JUDGEMENT) for name in record)
    ]
    if due and not any(monitor in record for record in due):
        near = difflib.get_close_matches(monitor, due[-1], n=1, cutoff=0.0)
        raise ConfigError(
            f"{key}: '{monitor}' is not in history.jsonl after {len(history)} epoch(s); "
            f"did you mean '{near[0]}'?"
        )


def stop_reason(history: History, stopping: EarlyStopping) -> str:
    """Why training ends after these epochs, and how to go on; empty: it does not end.

    It ends when the last `patience` epochs in which `monitor` was measured are no improvement.
    Raises ConfigError where what is monitored is not there or no number.
    """
    key = "training.early_stopping.monitor"
    check_monitored(history, key, stopping.monitor)
    best: Measured | None = None
    waited = 0
    for each in measured(history, stopping.monitor, stopping.minimum_improvement, key):
        best, waited = (each, 0) if each.improved else (best, waited + 1)
    if best is None or waited < stopping.patience:
        return ""
    share = f"{100 * stopping.minimum_improvement:g} % " if stopping.minimum_improvement else ""
    return (
        f"stopped early after epoch {history[-1]['epoch']}: {stopping.monitor} has not fallen "
        f"{share}below the {best.value:.4g} of epoch {best.epoch} in {waited} measured epochs; to "
        "go on, --resume with a larger training.early_stopping.patience or with "
        "training.early_stopping=null"
    )

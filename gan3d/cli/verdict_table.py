"""Verdicts as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from gan3d.validation import Judgement

_WORD_STYLE = {
    "agrees": "green",
    "unclear": "dim",
    "close": "yellow",
    "differs": "red",
    "too alike": "magenta",
}


_MARKS = {"agrees": "=", "unclear": "?", "close": "~", "differs": "!", "too alike": "&"}
"""What the colours say, where there are none."""


def show_verdicts(judgements: Sequence[Judgement], page: Path, console: Console) -> None:
    """Print the table of metrics, what to beware of, and where the report is."""
    from gan3d.validation.report import headlines, remarks

    show_table = _show_one if len(judgements) == 1 else _show_several
    show_table(judgements, console)
    for name in judgements[0].further:
        console.print(f"{name}:", markup=False)
        show_table([each.further[name] for each in judgements], console)
    for remark in remarks(judgements):
        console.print(f"note: {remark}", markup=False)
    for line in headlines(judgements):
        console.print(line, markup=False)
    console.print(f"report: {page}", markup=False, soft_wrap=True)


def _show_one(judgements: Sequence[Judgement], console: Console) -> None:
    from gan3d.validation.report import show, show_beyond

    (judgement,) = judgements
    table = _table("value", "perfect", "beyond")
    table.add_column("verdict", no_wrap=True)
    for verdict in judgement.verdicts:
        kind, estimate = verdict.metric.kind, verdict.estimate
        table.add_row(
            verdict.name,
            show(kind, estimate.value, estimate.error),
            show(kind, estimate.noise),
            show_beyond(verdict),
            f"[{_WORD_STYLE[verdict.word]}]{verdict.word}[/]",
        )
    table.caption = (
        "perfect: what a perfect generator has on average in samples of these sizes; beyond: "
        "standard deviations beyond that. Verdicts: the report says how they are reached."
    )
    console.print(table)


def _show_several(judgements: Sequence[Judgement], console: Console) -> None:
    from statistics import median

    from gan3d.validation.report import agreement, show

    table = _table(*(each.label for each in judgements), "perfect")
    by_name = [{verdict.name: verdict for verdict in each.verdicts} for each in judgements]
    for name, first in by_name[0].items():
        if not all(name in verdicts for verdicts in by_name):
            continue
        kind = first.metric.kind
        values = [
            f"[{_WORD_STYLE[word]}]{show(kind, verdicts[name].value)} {_MARKS[word]}[/]"
            for verdicts in by_name
            for word in (verdicts[name].word,)
        ]
        noise = median(verdicts[name].estimate.noise for verdicts in by_name)
        table.add_row(name, *values, show(kind, noise))
    table.caption = (
        "perfect: what a perfect generator has on average in samples of these sizes (the median of "
        "those of the samples). Green, =: agrees with it; grey, ?: unclear; yellow, ~: close; "
        "red, !: differs; magenta, &: too alike."
    )
    console.print(table)
    for each in judgements:
        further = [*each.feature_verdicts, *each.bin_verdicts]
        console.print(
            f"{each.label}: of {len(further)} distances of distributions and metrics in bins "
            f"{agreement(further)}.",
            markup=False,
        )


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, caption_justify="left")
    table.add_column("metric", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=len(columns) <= 3)
    return table

"""The report of a study: one HTML page, with its figures as files beside it."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gan3d.data import make_folder
from gan3d.training.records import write_text
from gan3d.tuning import plots
from gan3d.tuning.importances import Importance, not_above_chance
from gan3d.tuning.results import Results
from gan3d.tuning.run import Checked
from gan3d.tuning.storage import number_of, outcome
from gan3d.validation.plots import save_figure


def write_study_report(checked: Checked, results: Results, folder: Path) -> Path:
    """Write `index.html`, which opens offline, and `figures/`; returns the page.

    Some trial has gone well. Raises DataError where `folder` cannot be written to.
    """
    make_folder(folder)
    make_folder(folder / "figures")
    shares = [results.importances(number) for number in range(len(results.names))]
    drawn = [
        _embedded(title, caption, draw, folder / "figures" / name)
        for name, title, caption, draw in _figures(results, shares)
    ]
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        files("gan3d.tuning").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    rows = _rows(results)
    page = template.render(
        style=_style(),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        study=checked.study,
        summary=results.summary(),
        times=results.times,
        names=results.names,
        space=checked.space.describe(),
        rows=rows,
        reasons=[row for row in rows if row["state"] in ("failed", "diverged")],
        keys=checked.space.keys,
        reruns=results.reruns,
        trials={trial.number: trial for trial in results.trials},
        number_of=number_of,
        figures=drawn,
        number=_number,
    )
    write_text(folder / "index.html", page)
    return folder / "index.html"


Drawing = tuple[str, str, str, Callable[[], Figure]]


def _figures(results: Results, shares: Sequence[dict[str, Importance]]) -> list[Drawing]:
    found: list[Drawing] = []
    several = len(results.names) > 1
    if several:
        found.append((
            "pareto_front", "Pareto front",
            "No trial is better than one of the front in all objectives, by one training each; "
            "some were trained again with fresh seeds: mean and standard error.",
            lambda: plots.pareto_front(results),
        ))  # fmt: skip
    for at, name in enumerate(results.names):
        found.append((
            f"history_{at + 1}" if at else "history",
            f"History of {name}" if several else "History",
            "Trials in the order in which they were proposed. Their own seed is the same for all, "
            "so that fresh seeds may lie above or below them together: mean and standard error.",
            partial(plots.history, results, at),
        ))  # fmt: skip
    if any(trial.intermediate_values for trial in results.trials):
        found.append((
            "learning_curves", "Epochs", "What trials reported while they were trained.",
            lambda: plots.learning_curves(results),
        ))  # fmt: skip
    for at, each in enumerate(shares):
        if not each:
            continue
        of = f" of {results.names[at]}" if several else ""
        found.append((
            f"importances_{at + 1}" if at else "importances", f"Importances{of}",
            "Share of the variance that a parameter explains by itself or together with others "
            "(functional ANOVA, Hutter et al. 2014); of parameters that all trials have. Chance: "
            "what one of ten reaches where values are shuffled among trials. "
            f"{not_above_chance(each)}",
            partial(plots.importances, each),
        ))  # fmt: skip
    found.append((
        "parallel_coordinates", "Parallel coordinates",
        "A line for each trial that has gone well, coloured by its objective; a parameter that a "
        "trial does not have leaves a gap.",
        lambda: plots.parallel_coordinates(results),
    ))  # fmt: skip
    return found


def _embedded(
    title: str, caption: str, draw: Callable[[], Figure], path: Path
) -> tuple[str, str, str]:
    _, png = save_figure(draw(), path)
    data = base64.b64encode(png.read_bytes()).decode("ascii")
    return title, caption, f"data:image/png;base64,{data}"


def _style() -> str:
    """The style of the validation's report."""
    page = files("gan3d.validation").joinpath("report.html.j2").read_text(encoding="utf-8")
    return page.partition("<style>")[2].partition("</style>")[0]


def _rows(results: Results) -> list[dict[str, Any]]:
    """The best first, then those that have none, in their order."""
    sign = -1.0 if results.checked.study.objective[0].maximized else 1.0
    several = len(results.names) > 1
    good = {each.number for each in (results.front if several else results.chosen)}

    def place(trial: Any) -> tuple[float, int]:
        done = outcome(trial) == "complete"
        return (sign * trial.values[0] if done else math.inf, trial.number)

    return [
        {
            "number": number_of(trial),
            "is_good": trial.number in good,
            "values": trial.values if outcome(trial) == "complete" else None,
            "spread": trial.user_attrs.get("spread", {}),
            "state": outcome(trial),
            "reason": trial.user_attrs.get("reason", ""),
            "seconds": trial.user_attrs.get("seconds"),
            "parameters": {
                key: value if isinstance(value, str) else _number(value)
                for key, value in results.checked.space.read(trial.params).items()
            },
            "default": bool(trial.user_attrs.get("default")),
        }
        for trial in sorted(results.trials, key=place)
    ]


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value)

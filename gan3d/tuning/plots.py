"""The figures of a study, in the style of the validation's."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from gan3d.tuning.importances import Importance
from gan3d.tuning.results import Results
from gan3d.tuning.storage import number_of, outcome
from gan3d.tuning.study import Parameter
from gan3d.validation.plots._style import (
    LOOKS,
    REFERENCE_COLOUR,
    REFERENCE_FILL,
    WIDE_INCHES,
    shorten,
    styled,
)

_LOOK, _SECOND = LOOKS[1], LOOKS[2]
_MAP = "viridis"
_LINES = {"pruned": ("--", "Pruned"), "diverged": (":", "Diverged"), "failed": ("-.", "Failed")}
_FACTOR_FOR_LOG = 20.0
"""Values that span more than this factor are drawn logarithmically."""


@styled
def history(results: Results, at: int = 0) -> Figure:
    """An objective of each trial, and the best so far; others are at the edge."""
    figure, axes = _axes(4.6)
    objective = results.checked.study.objective[at]
    done = sorted(results.done, key=number_of)
    numbers = np.array([number_of(trial) for trial in done])
    values = np.array([trial.values[at] for trial in done])
    better = np.maximum.accumulate if objective.maximized else np.minimum.accumulate
    last = max(number_of(trial) for trial in results.trials)
    axes.step([*numbers, last], [*(best := better(values)), best[-1]], where="post",
              color=_SECOND.colour, linewidth=1.8, label="Best so far")  # fmt: skip
    axes.plot(numbers, values, _LOOK.marker, color=_LOOK.colour, label="Trials")
    default = results.default
    if default is not None:
        axes.axhline(default.values[at], color=REFERENCE_COLOUR, linestyle=":", linewidth=1.4,
                     label="The experiment as it is")  # fmt: skip
    _scale(axes, values)
    axes.margins(y=0.12)  # the others are below
    for how, marker, label in (
        ("pruned", "v", "Pruned"), ("diverged", "^", "Diverged"), ("failed", "x", "Failed"),
    ):  # fmt: skip
        there = [number_of(trial) for trial in results.trials if outcome(trial) == how]
        if there:
            axes.plot(there, [0.03] * len(there), marker, color="#777777", label=label,
                      linestyle="none", transform=axes.get_xaxis_transform(),
                      clip_on=False)  # fmt: skip
    for again in results.reruns:
        axes.errorbar(number_of(results.of(again)), again.mean(at),
                      np.nan_to_num(again.error(at)), color=REFERENCE_COLOUR, marker="o",
                      markerfacecolor="white", capsize=4, linestyle="none", zorder=5,
                      label="Fresh seeds" if again is results.reruns[0] else None)  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("Trial")
    axes.set_ylabel(shorten(results.names[at], 40))
    figure.legend(loc="outside upper left", ncols=5, fontsize="small")
    return figure


@styled
def importances(shares: Mapping[str, Importance]) -> Figure:
    """The share of the variance that each parameter explains, and what chance would reach."""
    figure, axes = _axes(1.2 + 0.45 * len(shares))
    keys = list(shares)[::-1]
    axes.barh(range(len(keys)), [100 * shares[key].share for key in keys], color=_SECOND.colour,
              height=0.6, label="Trials")  # fmt: skip
    axes.barh(range(len(keys)), [100 * shares[key].chance for key in keys], color="none",
              edgecolor="#555555", hatch="////", linewidth=0.8, height=0.3,
              label="Chance")  # fmt: skip
    figure.legend(loc="outside upper left", ncols=2, fontsize="small")
    axes.set_yticks(range(len(keys)), [shorten(key, 45) for key in keys])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Share of the variance [%]")
    axes.set_xlim(left=0.0)
    return figure


@styled
def parallel_coordinates(results: Results) -> Figure:
    """A line for each trial that has gone well, through its parameters to its objective."""
    search = results.checked.study.search
    keys, done = results.checked.space.keys, results.done
    figure, axes = _axes(5.2)
    scales = [_Scale.of(search[key]) for key in keys]
    values = np.array([trial.values[0] for trial in done])
    logarithmic = _spans(values)
    shown = np.log10(values) if logarithmic else values
    norm = Normalize(shown.min(), shown.max() if shown.max() > shown.min() else shown.min() + 1.0)
    best_last = np.argsort(-values if not results.checked.study.objective[0].maximized else values)
    for index in best_last:
        parameters = results.checked.space.read(done[index].params)
        at = [
            scale(parameters[key]) if key in parameters else math.nan
            for key, scale in zip(keys, scales, strict=True)
        ]
        axes.plot([*range(len(keys)), len(keys)], [*at, float(norm(shown[index]))],
                  color=colormaps[_MAP](norm(shown[index])), linewidth=1.6, marker="o",
                  markersize=3.5, alpha=0.85)  # fmt: skip
    for number, scale in enumerate(scales):
        axes.axvline(number, color=REFERENCE_FILL, linewidth=1.0, zorder=0)
        for label, height in scale.labels:
            axes.text(number + 0.03, height, shorten(label, 16), fontsize=8.5, va="center",
                      color="#333333")  # fmt: skip
    names = [_below(key) for key in keys]
    axes.set_xticks(range(len(keys) + 1), [*names, _below(results.names[0])])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks([])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(-0.1, len(keys) + 0.1)
    axes.set_ylim(-0.06, 1.06)
    bar = figure.colorbar(ScalarMappable(norm, _MAP), ax=axes, pad=0.01)
    if logarithmic:
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{10**value:.3g}"))
    bar.set_label(shorten(results.names[0], 40))
    return figure


@styled
def pareto_front(results: Results) -> Figure:
    """The first two objectives of all trials, and those that no other is better than in all."""
    figure, axes = _axes(5.0)
    done, front = results.done, results.front
    axes.plot([t.values[0] for t in done], [t.values[1] for t in done], _LOOK.marker,
              color=REFERENCE_FILL, label="Trials")  # fmt: skip
    axes.plot([t.values[0] for t in front], [t.values[1] for t in front], color=_LOOK.colour,
              marker=_LOOK.marker, drawstyle="steps-post" if len(results.names) == 2 else "default",
              linestyle="-" if len(results.names) == 2 else "none",
              label="Pareto front")  # fmt: skip
    for trial in front:
        axes.annotate(str(number_of(trial)), (trial.values[0], trial.values[1]), xytext=(6, 6),
                      textcoords="offset points", fontsize=9)  # fmt: skip
    for again in results.reruns:
        bars = (np.nan_to_num(again.error(number)) for number in (1, 0))
        axes.errorbar(again.mean(0), again.mean(1), *bars, color=REFERENCE_COLOUR, marker="o",
                      markerfacecolor="white", capsize=4, linestyle="none", zorder=5,
                      label="Fresh seeds" if again is results.reruns[0] else None)  # fmt: skip
    axes.margins(y=0.1)  # for the numbers
    for axis, number in (("x", 0), ("y", 1)):
        if _spans(np.array([trial.values[number] for trial in done])):
            getattr(axes, f"set_{axis}scale")("log")
    axes.set_xlabel(shorten(results.names[0], 50))
    axes.set_ylabel(shorten(results.names[1], 40))
    figure.legend(loc="outside upper left", ncols=2, fontsize="small")
    return figure


@styled
def learning_curves(results: Results) -> Figure:
    """What trials reported after their epochs; those that were pruned end early."""
    figure, axes = _axes(4.6)
    best, reported = results.best, [t for t in results.trials if t.intermediate_values]
    others: dict[str, tuple[str, str]] = {}
    for trial in reported:
        how = outcome(trial)
        is_best = best is not None and trial.number == best.number
        line, label = _LINES.get(how, ("-", "Others"))
        colour = _LOOK.colour if is_best else _SECOND.colour if line == "-" else "#9aa0a8"
        if not is_best:
            others[label] = line, colour
        epochs = sorted(trial.intermediate_values)
        axes.plot(epochs, [trial.intermediate_values[epoch] for epoch in epochs], color=colour,
                  linewidth=2.2 if is_best else 1.1, linestyle=line,
                  zorder=4 if is_best else 2, marker="." if len(epochs) == 1 else None,
                  label=f"Best: trial {number_of(trial)}" if is_best else None)  # fmt: skip
    for label, (line, colour) in others.items():
        axes.plot([], [], line, color=colour, label=label)
    _scale(axes, np.array([v for t in reported for v in t.intermediate_values.values()]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Epoch" if not results.checked.study.trial.folds else "Folds")
    axes.set_ylabel(shorten(results.names[0], 40))
    figure.legend(loc="outside upper left", ncols=3, fontsize="small")
    return figure


class _Scale:
    """Where on an axis from 0 to 1 the values of a parameter are."""

    def __init__(self, parameter: Parameter) -> None:
        self._parameter = parameter
        if parameter.choice is not None:
            self._words = [_as_word(value) for value in parameter.choice]
            self.labels = [(word, self._of_choice(word)) for word in self._words]
        else:
            low, high = parameter.bounds
            self.labels = [(f"{low:g}", 0.0), (f"{high:g}", 1.0)]

    @classmethod
    def of(cls, parameter: Parameter) -> _Scale:
        return cls(parameter)

    def _of_choice(self, word: str) -> float:
        return self._words.index(word) / max(1, len(self._words) - 1)

    def __call__(self, value: Any) -> float:
        if self._parameter.choice is not None:
            return self._of_choice(_as_word(value))
        low, high = self._parameter.bounds
        if self._parameter.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low) if high > low else 0.5


def _as_word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _below(key: str) -> str:
    """A key in two lines: its section, and its name."""
    section, _, name = key.rpartition(".")
    return f"{shorten(name, 18)}\n{shorten(section, 18)}" if section else shorten(name, 18)


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDE_INCHES, height), layout="constrained")
    return figure, figure.add_subplot()


def _spans(values: np.ndarray[Any, Any]) -> bool:
    """Whether values are best seen on a logarithmic scale."""
    return (
        len(values) > 1
        and bool(values.min() > 0)
        and bool(values.max() > _FACTOR_FOR_LOG * values.min())
    )


def _scale(axes: Axes, values: np.ndarray[Any, Any]) -> None:
    if _spans(values):
        axes.set_yscale("log")

"""The figure of `gan3d bench scaling`: what was measured, what is projected, what is published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from gan3d.data import written_aside
from gan3d.validation.plots import style

# Of Okabe and Ito: told from one another by everybody.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#8a8d91"
_PARTS = {
    "compute": _BLUE,
    "all-reduce": _ORANGE,
    "rank wait": "#e69f00",
    "data wait": _GREEN,
}
_KINDS = {
    ("gan3d", "weak"): ("gan3d, weak", _BLUE, "o"),
    ("gan3d", "strong"): ("gan3d, strong", _GREEN, "s"),
    ("mwms", "weak"): ("MWMS, weak", _ORANGE, "^"),
}


def write_plot(figures: Mapping[str, Any], path: Path) -> None:
    """Draw what `measure_scaling` returned into a file; its ending says the format."""
    with style():
        figure = draw(figures)
        with written_aside(path) as aside:
            figure.savefig(aside, format=path.suffix.removeprefix(".") or "png", dpi=120)


def draw(figures: Mapping[str, Any]) -> Figure:
    """Four panels: showers/s and efficiency against ranks, the time split, the projections."""
    figure = Figure(figsize=(12.0, 9.0), layout="constrained")
    rates, efficiencies, split, projected = figure.subplots(2, 2).flat
    _draw_measured(rates, figures, "showers_per_second")
    alone = figures["measured"][0]
    ranks = sorted({line["ranks"] for line in figures["measured"]})
    rates.plot(ranks, [alone["showers_per_second"] * r for r in ranks], "--", color=_GREY,
               label="ideal")  # fmt: skip
    rates.set_ylabel("Showers/s")
    rates.set_ylim(bottom=0.0)
    rates.legend()
    _draw_measured(efficiencies, figures, "efficiency")
    efficiencies.axhline(1.0, linestyle="--", color=_GREY)
    efficiencies.set_ylabel("Efficiency")
    efficiencies.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axes in (rates, efficiencies):
        axes.set_title("Measured")
        axes.set_xlabel("Ranks")
        axes.set_xticks(ranks)
        axes.xaxis.set_minor_locator(NullLocator())
    _draw_split(split, figures)
    _draw_projections(projected, figures)
    return figure


def _draw_measured(axes: Axes, figures: Mapping[str, Any], what: str) -> None:
    alone = figures["measured"][0]
    for (trainer, mode), (label, colour, marker) in _KINDS.items():
        lines = [
            line
            for line in figures["measured"]
            if (line["trainer"], line["mode"]) == (trainer, mode) and line["ranks"] > 1
        ]
        if lines or (trainer, mode) == ("gan3d", "weak"):
            points = [alone, *lines]
            axes.plot(
                [point["ranks"] for point in points],
                [point[what] for point in points],
                color=colour,
                marker=marker,
                label=label,
            )


def _draw_split(axes: Axes, figures: Mapping[str, Any]) -> None:
    lines = [line for line in figures["measured"] if "share_of_time" in line]
    names = [f"{line['ranks']}\n{line['mode']}" if line["ranks"] > 1 else "1" for line in lines]
    bottom = [0.0] * len(lines)
    for part, colour in _PARTS.items():
        shares = [line["share_of_time"][part] for line in lines]
        axes.bar(names, shares, bottom=bottom, color=colour, label=part, width=0.6)
        bottom = [below + share for below, share in zip(bottom, shares, strict=True)]
    axes.set_title("Measured: where the time goes")
    axes.set_xlabel("Ranks")
    axes.set_ylabel("Share of the time")
    axes.set_xlim(-0.6, len(lines) + 0.9)  # room for the legend
    axes.set_ylim(0.0, 1.05)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="center right", fontsize="small")


def _draw_projections(axes: Axes, figures: Mapping[str, Any]) -> None:
    axes.set_title("Projected, and published")
    for projection, colour in zip(
        figures["projections"], (_BLUE, _ORANGE, _GREEN, _GREY), strict=False
    ):
        nodes = [point["nodes"] for point in projection["projected"]]
        axes.plot(
            nodes,
            [point["efficiency"] for point in projection["projected"]],
            color=colour,
            label=f"{projection['system']}, projected",
        )
        _, half, _, double = (line["efficiency"] for line in projection["sensitivity"])
        axes.fill_between(nodes, double, half, color=colour, alpha=0.18, linewidth=0)
        for point in projection["published"]:
            where = projection["system"] if point["same_machine"] else point["source"]
            axes.plot(
                point["nodes"],
                point["efficiency"],
                linestyle="none",
                marker="^" if point["at_least"] else "o",
                markersize=9,
                color=colour,
                markeredgecolor="black",
                label=f"{where}, published{', at least' if point['at_least'] else ''}",
            )
    if not figures["projections"]:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center")
        return
    axes.set_xscale("log", base=2)
    axes.set_xlabel("Nodes (bands: half and twice the measured spread)")
    axes.set_ylabel("Efficiency")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.legend(loc="lower left", fontsize="x-small")

"""Figures of a training: losses against epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gan3d.validation.plots._style import WIDE_INCHES, styled


def loss_names(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys of the rows that have `loss` as one of their dotted parts, in order of appearance."""
    return list(
        dict.fromkeys(
            key
            for row in history
            for key, value in row.items()
            if isinstance(value, int | float) and any("loss" in part for part in key.split("."))
        )
    )


@styled
def losses(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses against the epoch, a panel for each network (the first part of the key).

    Args:
        history: one mapping per epoch; `epoch` counts them, keys with `loss` are drawn.

    """
    names = loss_names(history)
    networks = list(dict.fromkeys(name.split(".")[0] for name in names))
    figure = Figure(figsize=(WIDE_INCHES, 4.6), layout="constrained")
    panels: Any = figure.subplots(1, len(networks), squeeze=False)[0]
    epoch = np.array([float(row.get("epoch", index)) for index, row in enumerate(history)])
    for network, axes in zip(networks, panels, strict=True):
        mine = [name for name in names if name.split(".")[0] == network]
        drawn = []
        for name in mine:
            values = np.array([float(row.get(name, np.nan)) for row in history])
            axes.plot(epoch, values, marker="o", markersize=3, linewidth=1.5, label=name)
            drawn.append(values)
        finite = np.concatenate(drawn)
        finite = finite[np.isfinite(finite)]
        if len(finite) and finite.min() > 0.0 and finite.max() > 20.0 * finite.min():
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("Epoch")
        axes.set_ylabel("Loss")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=1, fontsize="small")
    return figure

"""One function per figure; each returns a matplotlib Figure, ready for a notebook or a file."""

from __future__ import annotations

from gan3d.validation.plots._style import style
from gan3d.validation.plots.distributions import (
    cell_energy_spectrum,
    hits,
    layer_fractions,
    longitudinal_profile,
    longitudinal_profile_in_bins,
    moments,
    response_against_energy,
    response_histogram,
    shower_maximum,
    transverse_profile,
)
from gan3d.validation.plots.events import event_display, mean_projections, shower_projections
from gan3d.validation.plots.history import loss_names, losses

__all__ = [
    "cell_energy_spectrum",
    "event_display",
    "hits",
    "layer_fractions",
    "longitudinal_profile",
    "longitudinal_profile_in_bins",
    "loss_names",
    "losses",
    "mean_projections",
    "moments",
    "response_against_energy",
    "response_histogram",
    "shower_maximum",
    "shower_projections",
    "style",
    "transverse_profile",
]

"""One function per figure; each returns a matplotlib Figure, ready for a notebook or a file.

Where a figure takes generated samples it takes one, or up to six to be compared side by side.
"""

from __future__ import annotations

from gan3d.validation.plots._style import MOST_GENERATED, style
from gan3d.validation.plots.correlations import correlations
from gan3d.validation.plots.discrimination import (
    RocCurve,
    classifier_roc,
    discriminator_outputs,
)
from gan3d.validation.plots.energy import (
    cell_energy_spectrum,
    hits,
    resolution,
    response_against_energy,
    response_histogram,
)
from gan3d.validation.plots.events import event_display, mean_projections, shower_projections
from gan3d.validation.plots.history import loss_names, losses, metric_history, metric_names
from gan3d.validation.plots.layers import layers
from gan3d.validation.plots.profiles import (
    longitudinal_profile,
    longitudinal_profile_in_bins,
    occupancy,
    profiles_in_bins,
    transverse_profile,
)
from gan3d.validation.plots.saving import save_figure
from gan3d.validation.plots.scorecard import Score, ScoreRow, scorecard
from gan3d.validation.plots.selection import selection_curve
from gan3d.validation.plots.shapes import (
    angles,
    containment,
    higher_moments,
    image_shares,
    layer_fractions,
    moments,
    shower_maximum,
    shower_start,
)

__all__ = [
    "MOST_GENERATED",
    "RocCurve",
    "Score",
    "ScoreRow",
    "angles",
    "cell_energy_spectrum",
    "classifier_roc",
    "containment",
    "correlations",
    "discriminator_outputs",
    "event_display",
    "higher_moments",
    "hits",
    "image_shares",
    "layer_fractions",
    "layers",
    "longitudinal_profile",
    "longitudinal_profile_in_bins",
    "loss_names",
    "losses",
    "mean_projections",
    "metric_history",
    "metric_names",
    "moments",
    "occupancy",
    "profiles_in_bins",
    "resolution",
    "response_against_energy",
    "response_histogram",
    "save_figure",
    "scorecard",
    "selection_curve",
    "shower_maximum",
    "shower_projections",
    "shower_start",
    "style",
    "transverse_profile",
]

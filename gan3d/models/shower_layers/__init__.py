"""Layers that turn scores and modulations into showers, and showers into physics summaries.

Their weights are statistics of the training showers, `gan3d.models.shower_statistics`; none is
trainable. Registered, so that saved models load in safe mode.
"""

from gan3d.models.shower_layers.cells import CellEnergies, CorrelatedNoise
from gan3d.models.shower_layers.lateral import ExpectedCells, LateralModes, MovedLayers, Slant
from gan3d.models.shower_layers.summaries import (
    BatchSpread,
    CalibratedLayers,
    LogEnergy,
    ShowerSummaries,
)
from gan3d.models.shower_layers.variables import (
    ConditionTerms,
    Development,
    HitShift,
    ShowerVariables,
)

__all__ = [
    "BatchSpread",
    "CalibratedLayers",
    "CellEnergies",
    "ConditionTerms",
    "CorrelatedNoise",
    "Development",
    "ExpectedCells",
    "HitShift",
    "LateralModes",
    "LogEnergy",
    "MovedLayers",
    "ShowerSummaries",
    "ShowerVariables",
    "Slant",
]

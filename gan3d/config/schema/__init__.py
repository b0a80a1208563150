"""The typed schema of an experiment, a module for each section.

Every number that a user may want to change is a field here, with its unit, its default and the
reason for that default. Where a default is a published value, "3DGAN" names the 2018/2019
Stampede2 recipe of CERN openlab, SURFsara and Intel.
"""

from gan3d.config.schema.data import Data, Split
from gan3d.config.schema.experiment import Experiment, Run
from gan3d.config.schema.geometry import (
    CellSize,
    Coordinates,
    Geometry,
    ImageName,
    check_cell_size,
    check_image_names,
)
from gan3d.config.schema.model import ENERGY, KNOWN_CONDITIONS, Condition, Model
from gan3d.config.schema.node import Horovod, Node
from gan3d.config.schema.section import (
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
)
from gan3d.config.schema.training import (
    Decay,
    EarlyStopping,
    LossWeights,
    Optimizer,
    Training,
    WeightAverage,
)
from gan3d.config.schema.validation import Tolerances, Validation

__all__ = [
    "ENERGY",
    "KNOWN_CONDITIONS",
    "CellSize",
    "Condition",
    "Coordinates",
    "Data",
    "Decay",
    "EarlyStopping",
    "Experiment",
    "Fraction",
    "Geometry",
    "Horovod",
    "ImageName",
    "LossWeights",
    "Model",
    "Node",
    "NonNegativeFloat",
    "Optimizer",
    "PositiveFloat",
    "PositiveInt",
    "Run",
    "Section",
    "Split",
    "Tolerances",
    "Training",
    "Validation",
    "WeightAverage",
    "check_cell_size",
    "check_image_names",
]

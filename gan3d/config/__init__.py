"""The experiment and the simulation: their typed schemas, and their YAML files."""

from __future__ import annotations

from gan3d.config.cells import GEV, CellScale
from gan3d.config.images import FIRST_IMAGE, Images
from gan3d.config.load import dump_experiment, load_experiment, naming_places
from gan3d.config.schema import (
    Condition,
    Data,
    Decay,
    EarlyStopping,
    Experiment,
    Geometry,
    Horovod,
    LossWeights,
    Model,
    Node,
    Optimizer,
    Run,
    Section,
    Split,
    Training,
    Validation,
    WeightAverage,
)
from gan3d.config.simulation import Beam, Calorimeter, Simulation, load_simulation

__all__ = [
    "FIRST_IMAGE",
    "GEV",
    "Beam",
    "Calorimeter",
    "CellScale",
    "Condition",
    "Data",
    "Decay",
    "EarlyStopping",
    "Experiment",
    "Geometry",
    "Horovod",
    "Images",
    "LossWeights",
    "Model",
    "Node",
    "Optimizer",
    "Run",
    "Section",
    "Simulation",
    "Split",
    "Training",
    "Validation",
    "WeightAverage",
    "dump_experiment",
    "load_experiment",
    "load_simulation",
    "naming_places",
]

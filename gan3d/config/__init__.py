"""The experiment: its typed schema, and its YAML files."""

from __future__ import annotations

from gan3d.config.load import dump_experiment, load_experiment
from gan3d.config.schema import (
    Data,
    Experiment,
    Geometry,
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

__all__ = [
    "Data",
    "Experiment",
    "Geometry",
    "LossWeights",
    "Model",
    "Node",
    "Optimizer",
    "Run",
    "Section",
    "Split",
    "Training",
    "Validation",
    "WeightAverage",
    "dump_experiment",
    "load_experiment",
]

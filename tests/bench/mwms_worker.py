"""A worker of MultiWorkerMirroredStrategy on tiny networks: writes the generator's weights."""

import sys
from pathlib import Path

import numpy as np

from gan3d.bench import mwms
from gan3d.config import load_experiment
from gan3d.data import divide, read_part, survey_files
from gan3d.runtime import apply_node
from gan3d.training.response import measure_response

config, target = Path(sys.argv[1]), sys.argv[2]
experiment = load_experiment(config)
apply_node(experiment.node)

import tiny  # noqa: E402 - Keras only after the node

import gan3d.models  # noqa: E402

architecture = tiny.tiny_architecture.__wrapped__()
gan3d.models.architecture_of = lambda _: architecture

train = divide(survey_files(experiment.data), experiment.data.split).train
rank, size = mwms._place()
showers = read_part(train, experiment.data)
response = measure_response(train, experiment)
strategy, step = mwms._build(experiment, showers, response, mwms.StrategyRanks(rank, size))
history = mwms._train(experiment, showers, strategy, step, rank, size)
assert [record["steps"] for record in history] == [2, 2], history
np.savez(f"{target}-{rank}.npz", *[weight.numpy() for weight in step.generator.trainable_variables])

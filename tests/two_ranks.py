"""Two ranks at batch 2 beside one at batch 4 on the same showers, both by the command."""

import json

import h5py
import numpy as np
import pytest
from conftest import read_arrays


def assert_two_ranks_train_as_one(gan3d, folder, config, losses, arguments=()):
    """Train `config`, on 24 showers of train.h5 in their order, both ways, and compare.

    Rank 0 owns the first showers, rank 1 the others; one rank sees what the two saw together. No
    dropout, no batch norm and plain gradients are the experiment's business. `losses` are compared.
    """
    order = np.arange(24).reshape(2, 6, 2).transpose(1, 0, 2).ravel()
    with h5py.File(folder / "train.h5") as source, h5py.File(folder / "i.h5", "w") as file:
        for name, values in source.items():
            file[name] = values[:][order]
    train = ["train", config, *arguments, "--set", "validation.epoch_showers=0"]
    of_two = ["--run", "two", "--set", "training.batch_size=2"]
    of_one = ["--run", "one", "--set", "data.files=[i.h5]", "--set", "run.checkpoint_steps=1",
              "--set", "run.keep_checkpoints=null"]  # fmt: skip
    for result in (gan3d(*train, *of_two, ranks=2), gan3d(*train, *of_one)):
        assert result.returncode == 0, result.stdout + result.stderr
    checkpoints = {run: folder / run / "checkpoints" for run in ("one", "two")}
    start, one, two = (
        read_arrays(*each.glob("*.weights.h5"))
        for each in (
            checkpoints["one"] / "step-00000001",
            max(checkpoints["one"].glob("step-*")),
            max(checkpoints["two"].glob("step-*")),
        )
    )
    assert max(np.abs(one[name] - start[name]).max() for name in one) > 1e-3
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=2e-6, atol=2e-6, err_msg=name)
    two, one = (json.loads((folder / run / "history.jsonl").read_text()) for run in ("two", "one"))
    assert (two["ranks"], two["step"], one["step"]) == (2, 6, 6)
    for name in losses:
        assert two[name] == pytest.approx(one[name], rel=1e-4), name

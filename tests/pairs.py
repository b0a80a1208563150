"""Showers of two images, small ones, and an experiment on them."""

from pathlib import Path

import h5py
import numpy as np
import pytest

ECAL, HCAL = (6, 5, 5), (4, 4, 7)
CONFIG = """
data:
  files: [train.h5]
  validation_files: [heldout.h5]
  geometry: {shape: [6, 5, 5]}
  further_images: {HCAL: {shape: [4, 4, 7], cell_size_mm: [30, 30, 30]}}
model:
  architecture: convolutional
  generator_filters: [3, 2, 2]
  discriminator_filters: [2, 2, 2, 2]
  joint_features: 3
  kernel_mm: 15.3
training: {epochs: 2, batch_size: 4, warmup_epochs: 0, response_degree: 1}
node: {intra_op_threads: 1, inter_op_threads: 1, deterministic: true, oversubscribe: true}
"""


def write_pair(path: Path, count: int, seed: int, share=1.0) -> Path:
    """An LCD file of ECAL and HCAL; `share` scales what is in the HCAL."""
    rng = np.random.default_rng(seed)
    energy_n = rng.uniform(10, 100, count).astype(np.float32)
    leaked_n = share * rng.uniform(0.5, 1.5, count) * energy_n / 1000
    path.unlink(missing_ok=True)
    with h5py.File(path, "w") as file:
        for name, shape, parts_n in (("ECAL", ECAL, 1 - leaked_n), ("HCAL", HCAL, leaked_n)):
            cells = rng.dirichlet(np.full(int(np.prod(shape)), 0.3), count).reshape(count, *shape)
            cells[cells < 1e-3] = 0.0
            file[name] = (cells * (0.02 * energy_n * parts_n)[:, None, None, None]).astype("f4")
        target = np.zeros((count, 5), np.float32)
        target[:, 0], target[:, 1], target[:, 4] = 11, energy_n, energy_n
        file["target"] = target
    return path


@pytest.fixture
def pair_experiment(tmp_path):
    """The path of an experiment on 24 showers and 30 held-out ones."""
    write_pair(tmp_path / "train.h5", 24, seed=1)
    write_pair(tmp_path / "heldout.h5", 30, seed=2)
    path = tmp_path / "experiment.yaml"
    path.write_text(CONFIG)
    return path

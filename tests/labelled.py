"""Showers with labels that say which shower they belong to, and what trains on them."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from launchers import TINY_GAN3D, runs

SHAPE = (4, 4, 3)
CONDITIONS = "[energy, theta, {name: particle, values: [22, 11]}]"
CONFIG = f"""
data: {{files: [train.h5], validation_files: [heldout.h5], geometry: {{shape: [4, 4, 3]}}}}
model: {{architecture: tiny-labelled, conditions: {CONDITIONS}, dropout: 0.0}}
training: {{epochs: 2, batch_size: 4, warmup_epochs: 0, response_degree: 1}}
node: {{intra_op_threads: 1, inter_op_threads: 1, deterministic: true, oversubscribe: true}}
"""


def theta_of(energy_n):
    """The angle (rad) of the showers here, by which labels tell whose they are."""
    return (1.0 + np.asarray(energy_n, np.float32) / np.float32(100)).astype(np.float32)


def pdg_of(energy_n):
    """And their particle."""
    return np.where(np.asarray(energy_n).astype(int) % 2, 11, 22)


def write_labelled(path: Path, count: int, seed: int, **changes) -> Path:
    """An LCD file of variable angle, with particles; `changes` replace datasets (None: none)."""
    rng = np.random.default_rng(seed)
    energy_n = rng.uniform(10, 100, count).astype(np.float32)
    cells = rng.dirichlet(np.ones(int(np.prod(SHAPE))), count).reshape(count, *SHAPE)
    datasets = {
        "ECAL": (cells * 0.02 * energy_n[:, None, None, None]).astype(np.float32),
        "energy": energy_n[:, None],
        "theta": theta_of(energy_n)[:, None],
        "pdg": pdg_of(energy_n).astype(np.int32)[:, None],
        **changes,
    }
    path.unlink(missing_ok=True)  # HDF5 does not overwrite a file that a loader has open
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            if values is not None:
                file[name] = values
    return path


@pytest.fixture
def labelled_gan3d(tmp_path):
    """Run the command in a folder of the test's own: labelled_gan3d("train", "x.yaml", ranks=2)."""
    return runs(tmp_path, TINY_GAN3D)


@pytest.fixture
def labelled_architectures(monkeypatch):
    """Let this process know the architectures of the tests."""
    from gan3d.models import architectures

    there = [*architectures.__path__, str(Path(__file__).parent / "architectures")]
    monkeypatch.setattr(architectures, "__path__", there)

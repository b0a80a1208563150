import h5py
import numpy as np
import pytest


@pytest.fixture
def images():
    """A function that makes `count` distinct small images: shower n has n + 1 keV in one cell."""

    def make(count, shape=(3, 4, 5), first=0):
        cells = np.zeros((count, *shape), np.float32)
        cells[:, 1, 1, 1] = (np.arange(count) + first + 1) * 1e-6
        return cells

    return make


@pytest.fixture
def lcd_file(tmp_path, images):
    """A function that writes a small LCD file whose incident energies number the showers."""

    def write(name="showers.h5", count=6, *, first=0, shape=(3, 4, 5), nested=False, **storage):
        path = tmp_path / name
        target = np.zeros((count, 5), np.float32)
        target[:, 0] = 11
        target[:, 1] = target[:, 4] = np.arange(count) + first + 1
        with h5py.File(path, "w") as file:
            file.create_dataset("ECAL", data=images(count, shape, first), **storage)
            file.create_dataset("target", data=target[:, None] if nested else target)
        return path

    return write

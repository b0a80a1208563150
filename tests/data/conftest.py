import os
from contextlib import contextmanager

import h5py
import numpy as np
import pytest

from gan3d.data.sparse import join


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


# Sizes of cells that are easily lost: below 2^-125 the top byte of a float32 is 0, below 2^-126 it
# is subnormal, and 2^-133 has a byte of its own in the middle.
CELLS = np.float32([1.0, 3e-7, 2.0**-125, 2.0**-126, 2.0**-133, 1.4e-45, 8e-40, 3e38])


@pytest.fixture
def random_cells():
    """A function that draws cell energies (float32, of every size), most of them 0."""

    def draw(shape, seed=0):
        rng = np.random.default_rng(seed)
        cells = rng.choice(CELLS, shape) * (rng.random(shape, np.float32) < 0.2)
        return cells.astype(np.float32)

    return draw


@pytest.fixture
def everything():
    """A function that reads all that an open file gives, in its own unit, as one."""

    def read(file):
        return join(list(file.blocks(native=True)))

    return read


@pytest.fixture
def assert_same():
    """A function that holds two lists of showers against each other, bit for bit."""

    def check(one, other):
        assert one.image_shape == other.image_shape
        assert sorted(one.columns) == sorted(other.columns)
        arrays = ("offset_n1", "cell_h", "deposit_h", "energy_n")
        pairs = [(getattr(one, name), getattr(other, name)) for name in arrays]
        pairs += [(one.columns[name], other.columns[name]) for name in one.columns]
        for ours, theirs in pairs:
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            assert ours.tobytes() == theirs.tobytes()

    return check


@pytest.fixture
def as_ordinary_user():
    """A context in which file permissions bind, even where root runs the tests."""

    @contextmanager
    def context():
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(user)

    return context

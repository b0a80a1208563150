"""Fixtures that all rooms' tests share."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import hypothesis
import numpy as np
import pytest
from launchers import Gan3d, program, runs

# Set before any test imports TensorFlow: quiet, and the backend that the package runs on.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

# How long a test takes says nothing of the code, least of all beside others.
hypothesis.settings.register_profile("gan3d", deadline=None)
hypothesis.settings.load_profile("gan3d")

# A shell that starts the tests in the background leaves SIGINT ignored; some send it to themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tiny", "labelled", "pairs"]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Put all that starts ranks into two groups, before xdist looks at groups.

    What mostly waits says so, `distributed("waiting")`, and goes beside what computes.
    """
    marker = item.get_closest_marker("distributed")
    if marker:
        item.add_marker(pytest.mark.xdist_group(marker.args[0] if marker.args else "ranks"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what is fast first, then what needs TensorFlow, then what trains or starts ranks.

    With `-n 2` one process runs most of what starts ranks, one after the other, and the other the
    rest: ranks wait much, for each other and for what is to happen to them.
    """
    order = ("tensorflow", "slow", "distributed")
    among_several = "PYTEST_XDIST_WORKER" in os.environ

    def weight(item: pytest.Item) -> int:
        ranks = [1 + order.index(m.name) for m in item.iter_markers() if m.name in order]
        last = max(ranks, default=0)
        return -1 if among_several and last == len(order) else last

    items.sort(key=weight)


@pytest.fixture
def gan3d_program() -> str:
    """The installed command, for tests that send it signals."""
    return program("gan3d")


@pytest.fixture
def gan3d(tmp_path: Path) -> Gan3d:
    """Run `gan3d` in a folder of the test's own: gan3d("train", "x.yaml", ranks=2)."""
    return runs(tmp_path, [program("gan3d")])


@pytest.fixture(scope="session")
def sample_showers() -> tuple[np.ndarray, np.ndarray]:
    """ECAL (100, 25, 25, 25) and target (100, 5) of bundled Geant4 showers, in GeV."""
    from gan3d.samples import sample_files

    with h5py.File(sample_files().train) as file:
        return file["ECAL"][:100], file["target"][:100]


@pytest.fixture
def write_lcd(tmp_path: Path, sample_showers: tuple[np.ndarray, np.ndarray]) -> Callable[..., Path]:
    """Write chosen rows of the sample to an LCD file: write_lcd("a.h5", rows)."""

    def write(name: str, rows: Sequence[int]) -> Path:
        ecal, target = sample_showers
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            file.create_dataset("ECAL", data=ecal[list(rows)])
            file.create_dataset("target", data=target[list(rows)])
        return path

    return write


def read_arrays(*paths: Path) -> dict[str, np.ndarray]:
    """All data sets of HDF5 files, by file name and path."""
    arrays: dict[str, np.ndarray] = {}
    for path in paths:
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item, path=path: (
                    arrays.__setitem__(f"{path.name}/{name}", item[()])
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
    return arrays


@pytest.fixture
def checkpoint_arrays() -> Callable[[Path], dict[str, np.ndarray]]:
    """Every number of a run's newest checkpoint: weights, optimisers, averages, random states."""

    def read(run: Path) -> dict[str, np.ndarray]:
        newest = max((run / "checkpoints").glob("step-*"))
        return read_arrays(*sorted(newest.glob("*.h5")))

    return read

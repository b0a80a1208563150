"""Generated showers in many files; of a generator that is quick and says what it was asked for."""

import json
import threading
import time

import numpy as np
import pytest

from gan3d.data import Showers, open_shower_file, read_showers
from gan3d.errors import DataError, UsageError
from gan3d.generation import Dataset
from gan3d.generation.dataset import ahead
from gan3d.samples import sample_files


class Quick:
    """Showers whose cells tell their seed and number."""

    pdg_id = 22

    def __init__(self, digest="abc"):
        self.digest = digest

    def attributes(self, seed):
        return {"model": "quick", "weights_sha256": self.digest, "seed": seed, "units": "GeV"}

    def stream(self, energy_n, *, seed=0, batch_size=128, first=0, columns=None):
        for start in range(0, len(energy_n), batch_size):
            energy_b = energy_n[start : start + batch_size]
            number_b = first + start + np.arange(len(energy_b))
            images = np.zeros((len(energy_b), 3, 3, 2), np.float32)
            images[:, 1, 1, 0], images[:, 1, 1, 1] = 1 + number_b, 1 + seed
            yield Showers(images, energy_b)


@pytest.fixture
def dataset(tmp_path):
    def make(count=23, generator=None, seed=4, **changes):
        energy_n = np.random.default_rng(seed).uniform(10, 100, count).astype(np.float32)
        options = {"layout": "parquet", "showers_per_file": 5, **changes}
        return Dataset(generator or Quick(), energy_n, seed, tmp_path / "showers", **options)

    return make


def write_all(dataset, files=None, **options):
    for file in dataset.files if files is None else files:
        dataset.write(file, **options)


def numbers(dataset):
    return read_showers([f"{dataset.folder}/*"]).images_nxyz[:, 1, 1, 0] - 1


@pytest.mark.parametrize("layout", ["lcd", "parquet"])
def test_files_in_their_order_hold_all_showers_in_theirs(dataset, layout):
    made = dataset(layout=layout)
    write_all(made, batch_size=3)
    assert numbers(made).tolist() == list(range(23))
    showers = read_showers([f"{made.folder}/*"])
    assert np.array_equal(showers.energy_n, made.energy_n)
    if layout == "lcd":
        assert set(showers.columns["pdg"]) == {22}
    assert made.missing(made.files) == []


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_ranks_share_the_files_and_write_the_same(dataset, ranks):
    made = dataset()
    shares = [made.share(rank, ranks) for rank in range(ranks)]
    assert sorted(file.path for share in shares for file in share) == sorted(
        file.path for file in made.files
    )
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    for share in reversed(shares):
        write_all(made, share, batch_size=2)
    assert numbers(made).tolist() == list(range(23))


def test_what_is_missing_is_made_and_nothing_else(dataset):
    made = dataset()
    write_all(made)
    kept = {file.path: file.path.stat().st_mtime_ns for file in made.files}
    lost = made.files[2]
    lost.path.unlink()
    assert made.missing(made.files) == [lost]
    write_all(made, [lost])
    assert numbers(made).tolist() == list(range(23))
    for path, written in kept.items():
        assert path == lost.path or path.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "other", [{"seed": 5}, {"generator": Quick("other")}, {"count": 24}, {"showers_per_file": 4}]
)
def test_files_of_other_showers_are_refused_or_replaced(dataset, other):
    write_all(dataset())
    made = dataset(**other)
    with pytest.raises(UsageError, match="holds other showers; name another folder"):
        made.missing(made.files)
    write_all(made, made.missing(made.files, replace=True))
    assert made.missing(made.files) == []


def test_numbered_files_beyond_the_dataset_are_refused_or_removed(dataset):
    write_all(dataset())
    fewer = dataset(count=20)
    with pytest.raises(UsageError, match=r"showers_00005\.parquet: of an earlier call"):
        fewer.missing(fewer.files)
    assert fewer.missing(fewer.files, replace=True) == []
    assert len(list(fewer.folder.iterdir())) == 4
    assert numbers(fewer).tolist() == list(range(20))
    other = dataset(count=20, layout="lcd")
    with pytest.raises(UsageError, match=r"showers_00001\.parquet and 3 more: of an earlier call"):
        other.missing(other.files)


def test_numbered_files_of_others_are_never_removed(dataset):
    made = dataset()
    write_all(made)
    geant4 = made.folder / "showers_00017.h5"
    geant4.write_bytes(sample_files()[0].read_bytes())
    for force in (False, True):
        with pytest.raises(UsageError, match=r"showers_00017\.h5: was not made by generate"):
            made.missing(made.files, replace=force)
    assert geant4.exists()


def test_a_damaged_file_is_named(dataset):
    made = dataset()
    write_all(made)
    made.files[1].path.write_bytes(b"")
    with pytest.raises(DataError, match=made.files[1].path.name):
        made.missing(made.files)
    assert made.missing(made.files, replace=True) == [made.files[1]]


def test_a_generator_that_fails_leaves_no_file(dataset):
    class Failing(Quick):
        def stream(self, energy_n, **options):
            yield from super().stream(energy_n[:3], **options)
            raise ValueError("out of order")

    made = dataset(generator=Failing())
    with pytest.raises(ValueError, match="out of order"):
        made.write(made.files[0], batch_size=2)
    assert not made.files[0].path.exists()
    assert list(made.folder.parent.glob("**/*.aside*")) == []


def test_a_file_says_where_its_showers_come_from(dataset):
    made = dataset()
    write_all(made, made.files[1:2])
    with open_shower_file(made.files[1].path) as file:
        said = dict(file.attributes)
    assert json.loads(json.dumps(said)) == said
    assert (said["weights_sha256"], said["seed"], said["first_shower"]) == ("abc", 4, 5)


def test_a_few_batches_are_made_before_they_are_asked_for_and_no_more():
    made, written = [], threading.Event()

    def blocks():
        for number in range(6):
            made.append(number)
            yield number

    running = ahead(blocks())
    assert next(running) == 0
    deadline = time.monotonic() + 10
    while len(made) < 3 and time.monotonic() < deadline:
        written.wait(0.01)
    written.wait(0.1)
    assert made == [0, 1, 2]
    assert list(running) == [1, 2, 3, 4, 5]

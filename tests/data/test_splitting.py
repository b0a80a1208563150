import numpy as np
import pytest

from gan3d.config import Data, Split
from gan3d.data import divide, open_shower_file, survey_files, write_showers
from gan3d.data.conversion import ShardFormat, open_sources, write_shards
from gan3d.data.sparse import from_images
from gan3d.data.splitting import SIDES, plan_split

COUNTS = (1100, 30, 700, 200)


@pytest.fixture
def files(tmp_path):
    """Showers that are numbered through by their incident energies, in four files."""
    paths = []
    for number, count in enumerate(COUNTS):
        energy_n = 1 + sum(COUNTS[:number]) + np.arange(count, dtype=np.float32)
        showers = from_images(np.full((count, 1, 1, 2), 1e-3, np.float32), energy_n)
        paths.append(tmp_path / f"{number}.h5")
        write_showers(paths[-1], [showers], attributes={})
    return paths


def divided(files, folder, split, test=0.0):
    """The showers in the files of each side, by their numbers from 0."""
    form = ShardFormat("lcd", showers_per_file=400)
    sources = open_sources(files)
    shards = plan_split(sources, split, folder, form, test=test)
    write_shards(shards, sources, form, names=SIDES)
    found = {}
    for side in SIDES:
        paths = sorted(folder.glob(f"{side}-*"))
        energies = []
        for path in paths:
            with open_shower_file(path) as file:
                energies.append(file.energy_n)
        found[side] = np.concatenate([*energies, np.empty(0)]).astype(int) - 1
    return found


def trained_on(files, split):
    """What training does with the same files and split."""
    survey = survey_files(
        Data(files=[str(path) for path in files], split=split, geometry={"shape": (1, 1, 2)})
    )
    division = divide(survey, split)
    offsets = np.concatenate([[0], np.cumsum(COUNTS)])

    def numbers(part):
        blocks = range(len(part.file_b))
        return np.concatenate([offsets[part.file_b[b]] + part.rows(b) for b in blocks])

    return numbers(division.train), numbers(division.validation)


SPLITS = [
    Split(),
    Split(train=0.5, validation=0.25, seed=3),
    Split(by="file", train=0.5, validation=0.25, seed=1),
]


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_the_sides_are_those_of_training(files, tmp_path, split):
    sides = divided(files, tmp_path / "out", split)
    train, validation = trained_on(files, split)
    assert np.array_equal(sides["train"], train)
    assert np.array_equal(sides["validation"], validation)
    assert len(sides["test"]) == 0


@pytest.mark.parametrize("split", SPLITS[1:], ids=str)
def test_no_shower_of_the_test_side_is_seen_in_training(files, tmp_path, split):
    sides = divided(files, tmp_path / "out", split, test=0.25)
    assert np.array_equal(sides["train"], trained_on(files, split)[0])
    together = np.concatenate(list(sides.values()))
    assert len(np.unique(together)) == len(together)
    if split.by == "row":
        assert np.array_equal(np.sort(together), np.arange(sum(COUNTS)))
        assert len(sides["test"]) == pytest.approx(0.25 * sum(COUNTS), abs=len(COUNTS))
    else:
        assert len(sides["test"]) in COUNTS


def test_a_side_that_is_not_asked_for_is_not_written(files, tmp_path):
    sides = divided(files, tmp_path / "out", Split(train=1.0, validation=0.0))
    assert np.array_equal(sides["train"], np.arange(sum(COUNTS)))
    assert len(sides["validation"]) == 0

"""Files of simulated showers: names, repetition, refusal, and that each can be made alone."""

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest

from gan3d.config.simulation import load_simulation
from gan3d.data import open_shower_file
from gan3d.data.sparse import join
from gan3d.errors import DataError, UsageError
from gan3d.samples import sample_files
from gan3d.simulation import Dataset, ShowerSimulator

SMALL = ["calorimeter.shape=[7, 7, 25]", "beam.energy_gev=[1, 5]"]


@pytest.fixture
def dataset(tmp_path):
    simulation = load_simulation(None, SMALL)
    return Dataset(simulation, seed=4, count=25, folder=tmp_path / "new", showers_per_file=10)


def write_all(dataset, **options):
    missing = dataset.missing(**options)
    for file in missing:
        dataset.write(file)
    return missing


def read(path):
    with open_shower_file(path) as file:
        return join(list(file.blocks()))


def names(dataset):
    return [file.path.name for file in dataset.files]


def test_showers_go_into_files_in_order_with_the_rest_in_the_last(dataset):
    write_all(dataset)
    assert names(dataset) == ["EleEscan_1_1.h5", "EleEscan_1_2.h5", "EleEscan_1_3.h5"]
    parts = [read(file.path) for file in dataset.files]
    assert [len(part) for part in parts] == [10, 10, 5]
    expected = ShowerSimulator(dataset.simulation, 4).simulate(0, 25)
    showers = join(parts)
    np.testing.assert_array_equal(showers.cell_h, expected.cell_h)
    np.testing.assert_array_equal(showers.deposit_h, expected.deposit_h)
    np.testing.assert_array_equal(showers.energy_n, expected.energy_n)
    for name in ("pdg", "px", "py", "pz"):
        np.testing.assert_array_equal(showers.columns[name], expected.columns[name])


@pytest.mark.parametrize(
    ("overrides", "layout", "name"),
    [
        (["beam.particle=gamma"], "lcd", "GammaEscan_1_1.h5"),
        (["beam.particle=e+"], "lcd", "PosEscan_1_1.h5"),
        (["beam.theta_deg=[60, 120]"], "lcd", "EleMeasured3ThetaEscan_1_1.h5"),
        ([], "parquet", "EleEscan_1_1.parquet"),
    ],
)
def test_files_are_named_as_the_published_ones(dataset, overrides, layout, name):
    simulation = load_simulation(None, [*SMALL, *overrides])
    assert names(replace(dataset, simulation=simulation, layout=layout))[0] == name


@pytest.mark.parametrize("layout", ["lcd", "parquet"])
@pytest.mark.parametrize("theta", ["null", "[60, 120]"])
def test_every_layout_holds_the_same_showers_and_is_known_again(dataset, layout, theta):
    simulation = load_simulation(None, [*SMALL, f"beam.theta_deg={theta}"])
    dataset = replace(dataset, simulation=simulation, layout=layout, count=12)
    write_all(dataset)
    expected = ShowerSimulator(simulation, 4).simulate(0, 12)
    showers = join([read(file.path) for file in dataset.files])
    np.testing.assert_array_equal(showers.cell_h, expected.cell_h)
    np.testing.assert_array_equal(showers.deposit_h, expected.deposit_h)
    for name in ("theta", "mtheta", "eta", "ywindow") if theta != "null" else ("pz",):
        np.testing.assert_array_equal(showers.columns[name], expected.columns[name])
    assert dataset.missing() == []


def test_a_file_says_where_it_comes_from(dataset):
    write_all(dataset)
    with h5py.File(dataset.files[1].path) as file:
        attributes = dict(file.attrs)
    assert attributes["generator"].startswith("gan3d ")
    assert "no Monte Carlo" in attributes["model"]
    assert (attributes["seed"], attributes["first_shower"]) == (4, 10)
    assert '"sampling_fraction":0.0215' in attributes["simulation"]


def test_a_repeated_call_writes_only_what_is_missing_and_the_same(dataset):
    write_all(dataset)
    lost = dataset.files[1].path
    before = read(lost)
    lost.unlink()
    assert [file.path for file in write_all(dataset)] == [lost]
    np.testing.assert_array_equal(read(lost).deposit_h, before.deposit_h)
    assert write_all(dataset) == []


def test_a_file_can_be_made_alone(dataset, tmp_path):
    write_all(dataset)
    alone = replace(dataset, folder=tmp_path / "alone")
    alone.write(alone.files[2])
    assert [path.name for path in alone.folder.iterdir()] == ["EleEscan_1_3.h5"]
    one, other = read(dataset.files[2].path), read(alone.files[2].path)
    np.testing.assert_array_equal(one.deposit_h, other.deposit_h)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 5},
        {"count": 24},
        {"showers_per_file": 9},
        {"simulation": load_simulation(None, [*SMALL, "calorimeter.sampling_fraction=0.03"])},
        {"simulation": load_simulation(None, [*SMALL, "calorimeter.shape=[7, 7, 24]"])},
    ],
)
def test_other_showers_are_not_overwritten_unless_told_to(dataset, change):
    write_all(dataset)
    before = {file.path: file.path.read_bytes() for file in dataset.files}
    other = replace(dataset, **change)
    with pytest.raises(UsageError, match=r"holds other showers; name another folder, or .*--force"):
        other.missing()
    assert {path: path.read_bytes() for path in before} == before
    assert write_all(other, replace=True)
    assert other.missing() == []


def test_a_damaged_file_is_an_error_unless_it_may_be_replaced(dataset):
    write_all(dataset)
    damaged = dataset.files[0].path
    damaged.write_bytes(damaged.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"EleEscan_1_1\.h5"):
        dataset.missing()
    assert [file.path for file in write_all(dataset, replace=True)] == [damaged]


def test_an_interrupted_file_is_not_there(dataset):
    def interrupt(_):
        raise KeyboardInterrupt

    file = dataset.files[0]
    with pytest.raises(KeyboardInterrupt):
        dataset.write(file, advance=interrupt)
    assert not dataset.folder.exists()
    dataset.folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        dataset.write(file, advance=interrupt)
    assert list(dataset.folder.iterdir()) == []


def test_progress_counts_all_showers(dataset):
    counts = []
    for file in dataset.missing():
        dataset.write(file, advance=counts.append)
    assert sum(counts) == 25


def test_a_disk_that_is_too_small_is_refused_before_any_work(dataset, monkeypatch):
    usage = shutil.disk_usage(dataset.folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"25 showers take more than .* MB, there are 0.001 MB"):
        dataset.missing()
    assert not dataset.folder.exists()


def test_files_of_an_earlier_larger_call_are_refused_or_removed(dataset):
    write_all(dataset)
    fewer = replace(dataset, count=10)
    with pytest.raises(UsageError, match=r"EleEscan_1_2\.h5 and 1 more: of an earlier call"):
        fewer.missing()
    assert len(list(dataset.folder.iterdir())) == 3
    assert not fewer.missing(replace=True)
    assert [path.name for path in dataset.folder.iterdir()] == ["EleEscan_1_1.h5"]


def test_files_that_were_not_simulated_are_never_removed(dataset):
    write_all(dataset)
    geant4 = dataset.files[2].path
    geant4.write_bytes(sample_files()[0].read_bytes())
    for force in (False, True):
        with pytest.raises(UsageError, match=r"EleEscan_1_3\.h5: was not made by simulate"):
            replace(dataset, count=10).missing(replace=force)
    assert len(list(dataset.folder.iterdir())) == 3


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_with_the_name_of_a_file_is_refused_before_anything_is_removed(dataset, force):
    write_all(dataset)
    dataset.files[1].path.unlink()
    dataset.files[1].path.mkdir()
    with pytest.raises(DataError, match=r"EleEscan_1_2\.h5: is a folder with the name of a file"):
        replace(dataset, count=20).missing(replace=force)
    assert len(list(dataset.folder.iterdir())) == 3


def test_nothing_is_removed_where_there_is_too_little_space(dataset, monkeypatch):
    write_all(dataset)
    usage = shutil.disk_usage(dataset.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    with pytest.raises(DataError, match="on this disk"):
        replace(dataset, count=10, seed=5).missing(replace=True)
    assert len(list(dataset.folder.iterdir())) == 3


def test_the_estimate_of_the_space_is_below_what_is_taken(dataset):
    dataset = replace(dataset, count=300, showers_per_file=300, layout="parquet")
    file = dataset.files[0]
    estimate = dataset.least_bytes([file])
    dataset.write(file)
    assert 0.3 * file.path.stat().st_size < estimate < file.path.stat().st_size


@pytest.mark.parametrize("layout", ["lcd", "parquet"])
def test_files_of_two_images_are_known_again_and_others_are_not(tmp_path, layout):
    small = [SMALL[0], "beam.energy_gev=[60, 90]"]
    behind = "behind.HCAL={shape: [3, 3, 4], cell_size_mm: [30, 30, 30], radiation_length_mm: 26}"

    def simulated(override):
        return load_simulation(None, [*small, override])

    pair = Dataset(simulated(behind), seed=4, count=6, folder=tmp_path, layout=layout)
    write_all(pair)
    assert pair.missing() == []
    for changed in (f"{behind[:-1]}, spot_density: 9}}", behind.replace("HCAL", "TAIL")):
        with pytest.raises(UsageError, match="holds other showers"):
            replace(pair, simulation=simulated(changed)).missing()

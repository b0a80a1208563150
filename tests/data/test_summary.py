import h5py
import numpy as np
import pytest

from gan3d.data import Showers, combine, summarise, write_showers
from gan3d.data.summary import Sample


@pytest.fixture
def summary(tmp_path):
    """A function that summarises a file of images in which every cell has the same energy."""

    def make(name, cell_energies, incident, pdg_id=11):
        path = tmp_path / name
        cells = np.float32(cell_energies)[:, None, None, None] * np.ones((1, 2, 2, 2), np.float32)
        with h5py.File(path, "w") as file:
            file["ECAL"] = cells
            file["target"] = np.stack(
                [[pdg_id, energy, 0, 0, energy] for energy in incident]
            ).astype(np.float32)
        return summarise(path, hit_threshold_gev=1e-6)

    return make


def test_the_figures_of_a_file(summary):
    figures = summary("a.h5", [0.0, 1.0, 0.5, 1e-7], [10, 20, 40, 50]).figures()
    size = figures.pop("size_bytes")
    assert size > 4 * 4 * 8
    fraction = np.array([0, 8 / 20, 4 / 40, 8e-7 / 50])
    mean, width = figures.pop("sampling_fraction").values()
    assert mean == pytest.approx(fraction.mean())
    assert width == pytest.approx(np.diff(np.percentile(fraction, (15.865, 84.135)))[0] / 2)
    low, high = figures.pop("cell_energy_range_gev")
    assert low == pytest.approx(1e-7)
    assert high == 1.0
    assert figures == {
        "showers": 4,
        "image_shapes": [[2, 2, 2]],
        "particles": [11],
        "energy_range_gev": [10.0, 50.0],
        "theta_range_rad": None,
        "mean_hits": 4.0,  # two of four showers have all eight cells above the threshold
        "lit_fraction": 0.75,
        "columns": ["pdg", "px", "py", "pz"],
        "layouts": ["lcd"],
        "storage": ["uncompressed, contiguous"],
    }


def test_the_robust_width_is_the_standard_deviation_of_a_normal_distribution(summary):
    fraction = np.random.default_rng(0).normal(0.02, 0.001, 20_000)
    _, width = summary("a.h5", 50 * fraction / 8, np.full(20_000, 50.0)).sampling_fraction
    assert width == pytest.approx(0.001, rel=0.03)


def test_a_total_is_that_of_all_showers(summary):
    one, two = summary("a.h5", [0.0], [10], 22), summary("b.h5", [0.1, 0.2, 0.3], [20, 30, 40])
    total = combine([one, two])
    assert total.particles == (11, 22)
    assert total.energy_range_gev == (10.0, 40.0)
    assert total.mean_hits == 6.0
    assert total.lit_fraction == 0.75
    assert total.cell_energy_gev == pytest.approx((0.1, 0.3))
    assert total.size_bytes == one.size_bytes + two.size_bytes
    assert total.sampling_fraction[0] == pytest.approx((0 + 0.8 / 20 + 1.6 / 30 + 2.4 / 40) / 4)


def test_blocks_do_not_change_the_figures(summary, monkeypatch):
    arguments = ("a.h5", [0.0, 1.0, 0.5, 1e-7, 2.0], [10, 20, 40, 50, 60])
    whole = summary(*arguments).figures()
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", 1)
    assert summary(*arguments).figures() == whole


def test_empty_images_have_no_cell_energies(summary):
    assert summary("a.h5", [0.0, 0.0], [10, 20]).cell_energy_gev == (0.0, 0.0)


def test_a_sample_stands_for_more_showers_than_are_kept(summary, monkeypatch):
    monkeypatch.setattr(Sample, "LIMIT", 1000)
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", 32 * 100)
    fraction = np.random.default_rng(0).normal(0.02, 0.001, 20_000)
    files = [summary(name, 50 * fraction / 8, np.full(20_000, 50.0)) for name in ("a.h5", "b.h5")]
    total = combine(files)
    assert len(total.fraction.value_s) <= 1000
    assert total.fraction.stride == 64
    mean, width = total.sampling_fraction
    assert mean == pytest.approx(fraction.mean(), rel=1e-6)
    assert width == pytest.approx(0.001, rel=0.1)


def test_the_range_of_angles(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["ECAL"] = np.full((3, 2, 2, 2), 1e-3, np.float32)
        file["energy"] = np.full((3, 1), 10, np.float32)
        file["theta"] = np.float32([[1.5], [1.25], [2.0]])
    summary = summarise(path, hit_threshold_gev=1e-6)
    assert summary.theta_range_rad == (1.25, 2.0)
    assert combine([summary, summary]).theta_range_rad == (1.25, 2.0)


def test_progress_counts_showers(tmp_path, summary, monkeypatch):
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", 1)
    summary("a.h5", [0.1, 0.2, 0.3], [20, 30, 40])
    told = []
    summarise(tmp_path / "a.h5", hit_threshold_gev=1e-6, progress=told.append)
    assert told == [1, 1, 1]


@pytest.mark.parametrize("layout", ["lcd", "challenge", "parquet"])
def test_the_figures_of_every_format_are_in_gev(tmp_path, layout):
    images = np.full((3, 2, 2, 2), 0.25, np.float32)
    images[0, 0] = 0
    showers = Showers(images, np.float32([10, 20, 40]))
    write_showers(tmp_path / "a", [showers], layout=layout, attributes={})
    summary = summarise(tmp_path / "a", hit_threshold_gev=1e-6, shape=(2, 2, 2))
    assert summary.layouts == (layout,)
    assert summary.energy_range_gev == (10.0, 40.0)
    assert summary.cell_energy_gev == (0.25, 0.25)
    assert summary.lit_fraction == 20 / 24
    assert summary.sampling_fraction[0] == pytest.approx((0.1 + 0.1 + 0.05) / 3)
    assert summary.particles == ()

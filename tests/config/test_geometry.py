"""The grid of an experiment: its coordinates, and what a cell measures in them."""

import math

import pytest

from gan3d.config import Data, Experiment, Geometry, dump_experiment, load_experiment
from gan3d.errors import ConfigError

CYLINDER = {"coordinates": "cylindrical", "shape": (16, 9, 45), "cell_size_mm": (None, 4.65, 3.4)}


def test_a_cell_of_a_cylinder_is_a_part_of_the_turn():
    geometry = Geometry(**CYLINDER)
    assert geometry.pitch == pytest.approx((math.pi / 8, 4.65, 3.4))
    # Halfway out, where the radius is 20.925 mm.
    assert geometry.extent_mm == pytest.approx((20.925 * math.pi / 8, 4.65, 3.4))
    assert geometry.periodic == (True, False, False)
    plain = Geometry(cell_size_mm=(1.0, 2.0, 3.0))
    assert plain.pitch == plain.extent_mm == (1.0, 2.0, 3.0)
    assert plain.periodic == (False, False, False)


def test_a_cylinder_is_dumped_and_loaded(tmp_path):
    experiment = Experiment(data=Data(files=["/a.h5"], geometry=Geometry(**CYLINDER)))
    path = tmp_path / "dumped.yaml"
    path.write_text(dump_experiment(experiment), encoding="utf-8")
    assert load_experiment(path) == experiment


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "  geometry:\n    coordinates: cylindrical\n    cell_size_mm: [5, 4.65, 3.4]",
            "e.yaml:5: data.geometry: cell_size_mm: the cells of a cylinder divide the full turn",
        ),
        ("  geometry: {coordinates: cylindrical}", "e.yaml:3: data.geometry: cell_size_mm: "),
        ("  geometry: {cell_size_mm: [null, 5, 5]}", "cell_size_mm: null is for the angle of a"),
        (
            "  geometry: {coordinates: cylindrical, cell_size_mm: [null, 5, 5]}\n"
            "  grid: [24, 25, 25]",
            "e.yaml:4: data: grid: a cylinder is cropped or padded in its layers alone",
        ),
    ],
)
def test_what_is_no_cylinder_is_refused(tmp_path, lines, said):
    path = tmp_path / "e.yaml"
    path.write_text(f"data:\n  files: [a.h5]\n{lines}\n")
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    assert said in str(caught.value)


# Further images of the same showers.


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "  grid: [25, 25, 20]\n  further_images: {HCAL: {shape: [11, 11, 60]}}",
            "e.yaml:3: data: grid: crops or pads a single image",
        ),
        ("  further_images:\n    Ecal: {}", "e.yaml:4: data: further_images.Ecal: is the name of"),
        ("  further_images: {HCAL: {}, hcal: {}}", "further_images.HCAL: is the name of something"),
        (
            "  further_images: {HCAL: {coordinates: cylindrical, cell_size_mm: [null, 3, 3]}}",
            "further_images: a cylinder is a shower's only image",
        ),
    ],
)
def test_images_that_cannot_go_together_are_refused(tmp_path, lines, said):
    path = tmp_path / "e.yaml"
    path.write_text(f"data:\n  files: [a.h5]\n{lines}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    assert said in str(caught.value)


def test_a_weight_of_an_image_that_is_not_there_is_refused(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text(
        "data: {files: [a.h5], further_images: {HCAL: {shape: [11, 11, 60]}}}\n"
        "training: {loss_weights: {further_sums: {HCAP: 1.0}}}\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=r"further_sums: HCAP is none of data.further_images"):
        load_experiment(path)

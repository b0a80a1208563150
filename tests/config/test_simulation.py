"""Simulations in YAML: defaults, the files in configs/, and errors that lead to the line."""

from pathlib import Path

import pytest

import gan3d
from gan3d.config.simulation import Simulation, load_simulation
from gan3d.errors import ConfigError

CONFIGS = Path(gan3d.__file__).parent.parent / "configs" / "simulation"


def complaint(path=None, *overrides, **options):
    with pytest.raises(ConfigError) as caught:
        load_simulation(path, overrides, options)
    return str(caught.value)


def test_without_a_file_there_are_the_defaults():
    assert load_simulation() == Simulation()
    assert Simulation().image_shape == (25, 25, 25)


def test_a_variable_angle_takes_the_published_grid_unless_told_otherwise():
    assert load_simulation(None, ["beam.theta_deg=[60, 120]"]).image_shape == (51, 51, 25)
    overrides = ["beam.theta_deg=[60, 120]", "calorimeter.shape=[9, 9, 9]"]
    assert load_simulation(None, overrides).image_shape == (9, 9, 9)


def test_the_file_of_the_default_calorimeter_says_what_the_defaults_are():
    written = load_simulation(CONFIGS / "clic.yaml")
    assert written == load_simulation(None, ["calorimeter.shape=[25, 25, 25]"])


def test_the_file_of_the_variable_angle_extends_it():
    assert load_simulation(CONFIGS / "clic-variable-angle.yaml") == load_simulation(
        None, ["calorimeter.shape=[51, 51, 25]", "beam.theta_deg=[60, 120]"]
    )


def test_options_of_the_command_win_and_are_named_in_messages():
    overrides = ["beam.particle=gamma", "beam.energy_gev=[1, 2]"]
    loaded = load_simulation(None, overrides, {"--energy": "beam.energy_gev=[3, 4]"})
    assert (loaded.beam.particle, loaded.beam.energy_gev) == ("gamma", (3.0, 4.0))
    message = complaint(None, **{"--energy": "beam.energy_gev=[3, 5000]"})
    assert message == ("--energy: beam.energy_gev[1]: expected a number of at most 1000, got 5000")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "calorimeter:\n  cell_size: [1, 1, 1]",
            "s.yaml:2: calorimeter.cell_size: unknown key; "
            "did you mean 'calorimeter.cell_size_mm'?",
        ),
        (
            "beam:\n  particle: pi0",
            "s.yaml:2: beam.particle: expected one of 'e-', 'e+' or 'gamma', got 'pi0'",
        ),
        (
            "beam: {energy_gev: [50, 10]}",
            "s.yaml:1: beam: energy_gev: lower bound 50 is above 10",
        ),
        (
            "beam: {theta_deg: [120, 60]}",
            "s.yaml:1: beam: theta_deg: lower bound 120 is above 60",
        ),
        (
            "calorimeter: {sampling_fraction: 0}",
            "s.yaml:1: calorimeter.sampling_fraction: expected a number above 0, got 0",
        ),
        (
            "calorimeter:\n  radiation_length_mm: 1",
            "s.yaml:2: calorimeter: radiation_length_mm: a layer is 5.1 radiation lengths thick",
        ),
        (
            "calorimeter: {critical_energy_mev: 90}\nbeam:\n  energy_gev: [1, 10]",
            "s.yaml:3: beam.energy_gev: 1 GeV is too little for a shower: the parametrisation "
            "needs 20 critical energies, 1.8 GeV",
        ),
        (
            "data: {files: [a.h5]}",
            "s.yaml:1: data: unknown key; known here: calorimeter, behind, beam",
        ),
        ("25", "s.yaml:1: expected sections"),
    ],
)
def test_a_mistake_is_one_line_with_file_line_and_key(tmp_path, monkeypatch, lines, expected):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(lines)
    message = complaint(Path("s.yaml"))
    assert expected in message
    assert "\n" not in message


def test_an_override_that_is_none_is_told_how_to_write_one():
    assert complaint(None, "gamma") == (
        "--set gamma: expected KEY=VALUE, such as beam.particle=gamma"
    )


def test_a_cylinder_says_its_cells_and_lies_around_the_beam():
    written = load_simulation(CONFIGS / "challenge2.yaml")
    assert written.geometry.is_cylinder
    assert written.geometry.shape == (16, 9, 45)
    round_it = ["calorimeter.coordinates=cylindrical", "calorimeter.cell_size_mm=[null, 5, 5]"]
    assert "shape: a cylinder needs its cells" in complaint(None, *round_it)
    shape = "calorimeter.shape=[8, 5, 9]"
    assert "beam.theta_deg: the cells of a cylinder lie" in complaint(
        None, *round_it, shape, "beam.theta_deg=[60, 120]"
    )


def test_the_file_of_a_pair_has_a_grid_for_each_image():
    pair = load_simulation(CONFIGS / "ecal-hcal.yaml")
    assert pair.images.shapes == {"ECAL": (25, 25, 25), "HCAL": (11, 11, 60)}
    assert pair.geometries["HCAL"].cell_size_mm == (30.0, 30.0, 30.0)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["beam.theta_deg=[60, 120]", "behind.HCAL={shape: [3, 3, 3]}"], "beam.theta_deg: "),
        (["behind.HCAL={spot_density: 1}"], "behind.HCAL.shape: needs its cells along"),
        (["behind.ecal={shape: [3, 3, 3]}"], "behind.ecal: is the name of something else"),
        (
            ["behind.H={shape: [3, 3, 3], coordinates: cylindrical, cell_size_mm: [null, 3, 3]}"],
            "behind.H.coordinates: only cartesian",
        ),
    ],
)
def test_calorimeters_that_cannot_be_behind_each_other_are_refused(overrides, said):
    assert said in complaint(None, *overrides)

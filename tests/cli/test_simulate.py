"""`gan3d simulate`: what it writes and says, and how it refuses."""

import json

import pytest

from gan3d.cli import main
from gan3d.data import open_shower_file

SMALL = ("--set", "calorimeter.shape=[7, 7, 25]", "--energy", "1:5")


@pytest.fixture
def simulate(tmp_path, monkeypatch, capsys):
    """Run the command in a folder of the test's own; returns (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main(["simulate", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_showers_are_written_and_the_rate_is_said(simulate, tmp_path):
    code, out, _ = simulate("-n", 7, "-o", "out", *SMALL, "--showers-per-file", 4, "--seed", 3)
    assert code == 0
    assert "out: 7 parametric showers in 2 files, seed 3," in out
    assert "showers/s with the writing" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "EleEscan_1_1.h5",
        "EleEscan_1_2.h5",
    ]


def test_options_choose_particle_angle_and_layout(simulate, tmp_path):
    arguments = ("--particle", "gamma", "--theta", "80:100", "--to", "parquet")
    assert simulate("-n", 3, "-o", "out", *SMALL, *arguments)[0] == 0
    with open_shower_file(tmp_path / "out" / "GammaMeasured3ThetaEscan_1_1.parquet") as file:
        showers = file.read_sparse(0, 3)
    assert (showers.columns["pdg"] == 22).all()
    assert (abs(showers.columns["theta"] - 1.5708) < 0.1746).all()
    assert (showers.energy_n <= 5).all()


def test_a_config_describes_the_calorimeter(simulate, tmp_path):
    (tmp_path / "c.yaml").write_text("calorimeter:\n  shape: [5, 5, 8]\nbeam: {particle: e+}\n")
    assert simulate("c.yaml", "-n", 2, "-o", "out")[0] == 0
    with open_shower_file(tmp_path / "out" / "PosEscan_1_1.h5") as file:
        assert file.image_shape == (5, 5, 8)


def test_figures_as_json(simulate):
    call = ("-n", 7, "-o", "out", *SMALL, "--showers-per-file", 4, "--json")
    code, out, _ = simulate(*call)
    figures = json.loads(out)
    assert code == 0
    assert figures["showers"] == figures["showers_written"] == 7
    assert figures["files"] == ["out/EleEscan_1_1.h5", "out/EleEscan_1_2.h5"]
    assert figures["showers_per_second"] > 0
    again = json.loads(simulate(*call)[1])
    assert (again["files_skipped"], again["files_written"]) == (2, 0)
    assert again["showers_per_second"] == 0


def test_a_repeated_call_says_that_there_is_nothing_to_do(simulate):
    call = ("-n", 3, "-o", "out", *SMALL)
    simulate(*call)
    code, out, _ = simulate(*call)
    assert (code, out) == (0, "out: 1 of 1 files are there already\n")


def test_other_showers_need_force(simulate):
    simulate("-n", 3, "-o", "out", *SMALL)
    code, _, err = simulate("-n", 3, "-o", "out", *SMALL, "--seed", 1)
    assert code == 2
    assert "out/EleEscan_1_1.h5: is there and holds other showers" in err
    assert simulate("-n", 3, "-o", "out", *SMALL, "--seed", 1, "--force")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--energy", "10:x"), "'10:x' is not a number or LOW:HIGH in GeV, such as 10:100"),
        (("--energy", "50:10"), "'50:10' is no range above 0 from low to high"),
        (("--energy", "nan"), "'nan' is no range above 0"),
        (("--energy", "0.1"), "--energy: beam.energy_gev[0]: expected a number of at least 0.5"),
        (("--theta", "5"), "--theta: beam.theta_deg[0]: expected a number of at least 30"),
        (("--particle", "pi0"), "'pi0' is not one of"),
        (("--to", "root"), "'root' is not one of"),
        (("--set", "beam.energy=3"), "--set beam.energy: unknown key; did you mean"),
        (("--set", "beam.energy_gev"), "--set beam.energy_gev: expected KEY=VALUE"),
        (("none.yaml",), "none.yaml: no such file"),
    ],
)
def test_a_wrong_call_is_told_in_a_line_and_leaves_nothing(simulate, tmp_path, arguments, expected):
    code, out, err = simulate("-n", 3, "-o", "out", *arguments)
    assert code == 2
    assert expected in err
    assert err.startswith("gan3d: error: ")
    assert out == ""
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_told(simulate, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = simulate("-n", 3, "-o", "file/out", *SMALL)
    assert code == 1
    assert "file is not a folder" in err


def test_the_help_says_that_it_is_no_monte_carlo(simulate):
    code, out, _ = simulate("--help")
    assert code == 0
    assert "No substitute for Monte Carlo" in " ".join(out.split())
    assert "gan3d simulate -n" in out

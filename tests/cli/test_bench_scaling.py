import json
from pathlib import Path

import pytest

from gan3d.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"

FIGURES = {
    "experiment": {"architecture": "ecal25", "threads": 1, "pin": True},
    "measured": [
        {
            "trainer": "gan3d",
            "mode": "weak",
            "ranks": ranks,
            "batch_size": 8,
            "showers_per_second": 2.5 * ranks * efficiency,
            "efficiency": efficiency,
            "share_of_time": {
                "compute": 0.96,
                "all-reduce": 0.02,
                "rank wait": 0.015,
                "data wait": 0.005,
            },
        }
        for ranks, efficiency in ((1, 1.0), (2, 0.97))
    ]
    + [
        {
            "trainer": "mwms",
            "mode": "weak",
            "ranks": 2,
            "batch_size": 8,
            "showers_per_second": 4.5,
            "efficiency": 0.9,
        }
    ],
    "all_reduce": {"ranks": 2, "latency_us": 40.0, "bandwidth_gb_s": 1.5},
    "model_here": {
        "spread": 0.012,
        "projected": [{"ranks": 1, "efficiency": 1.0}, {"ranks": 2, "efficiency": 0.975}],
    },
}


@pytest.fixture
def measured(monkeypatch):
    """Let the benchmark find FIGURES, and say what it was asked for."""
    from gan3d.bench.projection import Step, project

    asked = {}

    def measure(config, overrides, settings, systems, say):
        asked.update(config=config, overrides=overrides, settings=settings, systems=systems)
        say("round 1 of 1")
        step = Step(3.0, 0.012, 4, 7.6e6, 2**27, 1e-3)
        return {**FIGURES, "projections": [project(system, step) for system in systems]}

    monkeypatch.setattr("gan3d.bench.scaling.measure_scaling", measure)
    return asked


def test_tables_say_what_is_measured_what_is_projected_and_what_is_published(measured, capsys):
    assert main(["bench", "scaling", str(CONFIGS / "ecal25.yaml"), "--also", "mwms"]) == 0
    out = capsys.readouterr()
    assert "round 1 of 1" in out.err
    assert max(len(line) for line in out.out.splitlines() if "Published" not in line) <= 80
    assert "…" not in out.out
    words = " ".join(out.out.split())
    assert "mwms weak 2 8 4.5 90.0 - - - -" in words
    assert "gan3d weak 2 8 4.85 97.0 96.0 2.0 1.5 0.5" in words
    assert "Measured: ecal25, 1 thread(s) a rank" in words
    assert "Projected: Stampede2 SKX (Omni-Path, 100 Gb/s), 4 rank(s) a node" in words
    assert "Projected: Piz Daint GPU" in words
    assert "Published: above 94.0% on 128 nodes (Vallecorsa" in words
    assert "the model gives that for a spread of 1." in words
    assert "97.5% for 2 ranks" in words
    assert measured["settings"].mwms


def test_figures_are_printed_as_json_and_drawn(measured, tmp_path, capsys):
    plot = tmp_path / "scaling.png"
    arguments = [str(CONFIGS / "ecal25.yaml"), "--json", "--plot", str(plot), "--set", "run.seed=1"]
    assert main(["bench", "scaling", *arguments, "--mode", "both", "--ranks", "2,4"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [each["system"] for each in figures["projections"]] == ["Piz Daint GPU", "Stampede2 SKX"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert measured["overrides"] == ("run.seed=1",)
    assert measured["settings"].modes == ("weak", "strong")
    assert measured["settings"].ranks == (2, 4)


def test_without_an_experiment_the_quickstart_is_measured_and_nothing_projected(measured, capsys):
    assert main(["bench", "scaling", "--json"]) == 0
    assert measured["config"].name == "quickstart.yaml"
    assert json.loads(capsys.readouterr().out)["projections"] == []


def test_other_systems_can_be_given(measured, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {CONFIGS / 'systems/stampede2.yaml'}\nname: mine\nnodes: [1, 3]\n")
    assert main(["bench", "scaling", "--system", str(path), "--json"]) == 0
    [projection] = json.loads(capsys.readouterr().out)["projections"]
    assert projection["system"] == "mine"
    assert [point["ranks"] for point in projection["projected"]] == [4, 12]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ranks", "two"], "--ranks two: expected numbers of ranks"),
        (["--ranks", "0,1"], "--ranks 0,1: expected numbers of ranks"),
        (["--plot", "a.txt"], "--plot a.txt: expected a file that ends in .png"),
        (["--plot", "nowhere/a.png"], "--plot nowhere/a.png: there is no folder nowhere"),
        (["--ranks", "1,9999"], "9999 ranks with 1 thread(s) each need 9999"),
        (["missing.yaml"], "missing.yaml: no such file"),
        (["--system", "missing.yaml"], "missing.yaml: no such file"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_runs(arguments, message, capsys):
    assert main(["bench", "scaling", *arguments]) == 2
    assert message in capsys.readouterr().err

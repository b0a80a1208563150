import json
import os

import numpy as np
import pytest
from click.testing import CliRunner

from gan3d.bench.false_alarms import two_samples
from gan3d.bench.validation import Settings, measure_validation
from gan3d.cli.bench.validation import command
from gan3d.errors import DataError
from gan3d.samples import sample_files
from gan3d.validation.resampling import same_energies

FILES = [str(sample_files().heldout)]


def test_it_measures_as_many_showers_as_asked_on_one_core():
    allowed = os.sched_getaffinity(0)
    seen = []
    figures = measure_validation(
        FILES,
        FILES,
        Settings(showers=900, rounds=1),
        lambda line: seen.append((line, os.sched_getaffinity(0))),
    )
    assert [len(cores) for _, cores in seen] == [1]
    assert os.sched_getaffinity(0) == allowed
    assert figures["showers"] == 900  # 700 are in the file
    assert figures["cores"] == 1
    seconds = figures["seconds"]
    parts = ("observables_of_generated", "observables_of_reference", "metrics")
    assert seconds["all_but_reading"] == pytest.approx(sum(seconds[p] for p in parts), abs=0.01)
    assert figures["peak_memory_mb"] > 50


def test_cores_are_given_back_after_an_error(tmp_path):
    allowed = os.sched_getaffinity(0)
    with pytest.raises(DataError):
        measure_validation([str(tmp_path / "no.h5")], FILES, Settings(), lambda line: None)
    assert os.sched_getaffinity(0) == allowed


def test_the_command_prints_json():
    result = CliRunner().invoke(command, ["--showers", "100", "--rounds", "2", "--whole"])
    figures = json.loads(result.stdout)
    assert len(figures["seconds_of_rounds"]) == 2
    assert figures["metrics_of_whole_showers"]


def test_pairs_of_one_monte_carlo_are_judged():
    result = CliRunner().invoke(command, [*FILES, "--false-alarms", "4", "--showers", "30"])
    figures = json.loads(result.stdout)
    assert figures["showers"] == [30, 30]
    shares = figures["share_with_p_below"]
    assert list(shares) == ["0.01", "0.03", "0.1", "0.3"]
    assert sorted(shares.values()) == list(shares.values())
    assert all(4 * share == round(4 * share) for share in shares.values())


def test_too_few_showers_for_two_samples_of_that_size():
    result = CliRunner().invoke(command, [*FILES, "--false-alarms", "1", "--showers", "400"])
    assert "700 showers are too few for samples of 400 and 400" in str(result.exception)


def test_pairs_at_the_same_energies():
    """Neighbours in energy go to different samples: none of them has more low energies."""
    arguments = ["--false-alarms", "3", "--showers", "40", "--energies", "same"]
    figures = json.loads(CliRunner().invoke(command, [*FILES, *arguments]).stdout)
    assert figures["energies"] == "same"
    assert figures["showers"] == [40, 40]
    drawn = []
    rng = np.random.default_rng(3)
    energy_n = rng.uniform(10.0, 100.0, 200)
    for _ in range(3):
        one, two = two_samples(energy_n, (40, 40), rng, "same")
        assert len({*one, *two}) == 80
        assert same_energies(energy_n[one], energy_n[two])
        drawn.append(frozenset(one))
    assert len(set(drawn)) == 3


def test_pairs_of_which_one_is_spread_otherwise_over_energy():
    energy_n = np.random.default_rng(3).uniform(10.0, 100.0, 1000)
    one, two = two_samples(energy_n, (100, 300), np.random.default_rng(4), "steep")
    assert (len({*one, *two}), len(one)) == (400, 100)
    assert np.median(energy_n[one]) < 30 < 45 < np.median(energy_n[two])
    one, two = two_samples(energy_n, (100, 300), np.random.default_rng(4), "opposite")
    assert (len({*one, *two}), len(one)) == (400, 100)
    assert np.median(energy_n[one]) < 30 < 65 < np.median(energy_n[two])


def test_kinds_of_energies_are_for_pairs():
    result = CliRunner().invoke(command, [*FILES, "--energies", "steep"])
    assert result.exit_code == 2
    assert "--energies is for --false-alarms" in result.stderr

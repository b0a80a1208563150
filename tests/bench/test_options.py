"""The comparison of options: what is run, what is not run again, and what the table says.

The runs are stand-ins that write what runs leave; the command itself is tried with real ones.
"""

import json

import pytest
from scipy import stats
from tiny import write_tiny

from gan3d.bench import options
from gan3d.bench.options import compare, compare_options, overrides_of
from gan3d.config import load_experiment
from gan3d.errors import TrainingError, UsageError

RATES = {"default": 100.0, "features": 50.0, "average": 100.0}
QUALITY = {"default": 0.30, "features": 0.10, "average": 0.299}


@pytest.fixture
def config(tmp_path):
    write_tiny(tmp_path / "train.h5", 60, seed=1)
    write_tiny(tmp_path / "heldout.h5", 10, seed=2)
    path = tmp_path / "e.yaml"
    path.write_text(
        "data: {files: [train.h5], validation_files: [heldout.h5],"
        " geometry: {shape: [4, 4, 3]}}\n"
        "training: {batch_size: 2}\n"
    )
    return path


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """Put a stand-in in place of real runs; the list of what was run."""
    done = []

    def run(processes, what, logs):
        (process,) = processes
        command = list(process.command)
        done.append((what, "--resume" in command))
        name = what.removeprefix("speed of ").partition(",")[0]
        folder = logs.parent / "rate" if what.startswith("speed") else None
        if folder is None:
            folder = type(logs)(command[command.index("--run") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        if name == "spectral-norm":
            raise TrainingError(f"{what}: refused")
        values = dict(each.split("=", 1) for each in command if "=" in each)
        seed = int(values.get("run.seed", 0))
        if (what, seed) == ("average, seed 2", 2) and not (folder / "config.yaml").exists():
            (folder / "config.yaml").write_text("{}")
            (folder / "status.json").write_text('{"status": "requeue", "message": "told"}')
            raise KeyboardInterrupt
        records = [
            {
                "epoch": epoch, "steps": 4, "seconds": 8 / RATES[name],
                "showers_per_second": RATES[name], "data_wait_seconds": 0.0,
                "compute_seconds": 1.0, "all_reduce_seconds": 0.0, "rank_wait_seconds": 0.0,
                "compute_spread": 0.0, "gradient_mb": 0.0, "exchanges": 0,
                "validation.hits.separation": QUALITY[name] / epoch + 0.001 * seed,
                "validation.empty": None,
            }
            for epoch in range(1, int(values["training.epochs"]) + 1)
        ]  # fmt: skip
        (folder / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
        (folder / "config.yaml").write_text("{}")
        (folder / "status.json").write_text('{"status": "finished", "message": ""}')

    monkeypatch.setattr(options, "run_together", run)
    return done


def call(config, folder, names=("features", "average"), **changes):
    settings = {"seeds": 3, "steps": 120, "rounds": 2, **changes}
    return compare_options(config, (), list(names), folder, **settings)


def found(figures, name):
    (result,) = [each for each in figures["results"] if each["option"] == name]
    return result


def test_runs_are_made_once_and_an_interrupted_call_goes_on(config, runs, tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        call(config, folder)
    before = list(runs)
    figures = call(config, folder)
    assert runs[len(before) :] == [
        ("average, seed 2", True),  # it had begun
        *((f"{name}, seed 3", False) for name in ("default", "features", "average")),
    ]
    trained = [what for what, _ in runs if not what.startswith("speed")]
    assert trained[:3] == ["default, seed 1", "features, seed 1", "average, seed 1"]
    speeds = [what for what, _ in runs if what.startswith("speed")]
    turn = ["speed of default", "speed of features", "speed of average"]
    assert speeds == turn * 2  # in turn
    assert (figures["epochs"], figures["steps_per_epoch"]) == (4, 30)
    assert figures["showers_trained"] == 4 * 30 * 2
    assert json.loads((folder / "options.json").read_text()) == figures
    count = len(runs)
    assert call(config, folder) == figures
    more = call(config, folder, ["features"], seeds=2)  # fewer may be asked for
    assert len(more["results"]) == 2
    assert len(runs) == count


def test_the_table_has_mean_spread_and_a_word(config, runs, tmp_path, monkeypatch):
    (tmp_path / "out" / "average-seed2").mkdir(parents=True)
    (tmp_path / "out" / "average-seed2" / "config.yaml").write_text("{}")
    figures = call(config, tmp_path / "out")
    features = found(figures, "features")
    assert features["showers_per_second_over_default"] == 0.5
    after = features["after_the_same_showers"]
    assert set(after) == {"hits.separation"}  # null is no number
    row = after["hits.separation"]
    assert row["mean"] == pytest.approx(0.10 / 4 + 0.002)
    assert row["default_mean"] == pytest.approx(0.30 / 4 + 0.002)
    assert row["spread"] == pytest.approx(0.001)
    assert row["word"] == "better"
    # At half the speed it has done two epochs when the default has done four.
    timed = features["after_the_same_time"]["hits.separation"]
    assert timed["mean"] == pytest.approx(0.10 / 2 + 0.002)
    assert timed["default_mean"] == pytest.approx(0.30 / 4 + 0.002)
    average = found(figures, "average")["after_the_same_showers"]["hits.separation"]
    assert average["word"] == "within the spread"


def test_an_option_that_is_refused_is_told_and_the_others_go_on(config, runs, tmp_path):
    figures = call(config, tmp_path / "out", ["spectral-norm", "features"], seeds=2)
    refused = found(figures, "spectral-norm")
    assert set(refused["failed"]) == {"1", "2"}
    assert "refused" in refused["failed"]["1"]
    assert refused["showers_per_second_over_default"] is None
    assert refused["after_the_same_showers"] == {}
    assert found(figures, "features")["after_the_same_showers"]
    count = len(runs)
    call(config, tmp_path / "out", ["spectral-norm", "features"], seeds=2)
    # Its speed is asked for again, its trainings are not.
    assert [what for what, _ in runs[count:]] == ["speed of spectral-norm"]


def test_what_cannot_be_compared_is_refused_before_any_run(config, runs, tmp_path):
    for names, expected in (
        (["respnse"], "--options respnse: there is no such option; known: response, layers"),
        (["average"], "--options average: the experiment has it already"),
    ):
        overrides = ["training.weight_average={decay: 0.99}"]
        with pytest.raises(UsageError, match=expected):
            compare_options(config, overrides, names, tmp_path / "out", seeds=1, steps=1)
    assert runs == []
    call(config, tmp_path / "out", ["features"], seeds=1)
    with pytest.raises(UsageError, match=r"has runs of 4 epochs of 30 steps .* now 2 of 30 are"):
        call(config, tmp_path / "out", ["features"], seeds=1, steps=60)


def test_minutes_are_as_many_steps_as_the_default_makes_in_them(config, runs, tmp_path):
    figures = call(config, tmp_path / "out", ["features"], seeds=1, steps=None, minutes=0.1)
    assert figures["epochs"] == 6 * 100 / 2 / 30  # 6 s of 100 showers/s, batches of 2


def test_every_option_can_be_had(config):
    plain = load_experiment(config)
    for name in options.OPTIONS:
        assert load_experiment(config, overrides_of(name, plain)) != plain, name
    rates = load_experiment(config, overrides_of("two-rates", plain)).training.optimizer
    assert rates.discriminator_learning_rate == pytest.approx(4 * rates.learning_rate)


def test_the_word_goes_by_welchs_test():
    ours, theirs = {1: 1.0, 2: 1.4, 3: 1.2}, {1: 1.1, 2: 2.1, 3: 1.6}
    (row,) = compare({"a": ours}, {"a": theirs}).values()
    expected = stats.ttest_ind([1.0, 1.4, 1.2], [1.1, 2.1, 1.6], equal_var=False).pvalue
    assert row["p"] == pytest.approx(expected, rel=1e-3)
    assert row["word"] == "within the spread"
    assert compare({"a": {1: 1.0}}, {"a": theirs})["a"]["word"] == "too few"
    worse = compare({"a": {1: 9.0, 2: 9.1}}, {"a": theirs})["a"]
    assert worse["word"] == "worse"
    assert compare({}, {"a": theirs}) == {}

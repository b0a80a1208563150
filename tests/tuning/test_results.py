"""What a study has found, from trials that are given."""

import csv
import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from gan3d.errors import RunError
from gan3d.tuning.objectives import Wanted, counted
from gan3d.tuning.report import write_study_report
from gan3d.tuning.results import Rerun, Results, load_results, read_results, write_tables
from gan3d.tuning.run import check_study, prepare_folder, trials_to_rerun
from gan3d.tuning.storage import TRIALS, open_study
from gan3d.tuning.study import Rerun as RerunSettings
from gan3d.tuning.study import Study, load_study

SEARCH = {
    "x": {"float": [1, 100], "log": True},
    "n": {"int": [1, 5]},
    "kind": {"choice": ["a", "b"]},
    "only": {"float": [0, 1], "when": {"kind": "b"}},
}


@pytest.fixture
def checked(write_study):
    return check_study(*load_study(write_study(objective={"function": "sphere"}, search=SEARCH)))


def trials_of(checked, count, value):
    """Random points with the value that `value` gives them; one failed and one pruned besides."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    for number in range(count + 2):
        trial = study.ask()
        values = checked.space.propose(trial)
        if number == count:
            trial.set_user_attr("reason", "out of memory (1 TB)")
            trial.set_user_attr("memory", True)
            study.tell(trial, state=TrialState.FAIL)
        elif number == count + 1:
            trial.report(3.0, 1)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value(values))
    return study.trials


def test_importances_name_the_parameter_that_matters(checked):
    trials = trials_of(checked, 40, lambda values: math.log(values["x"]) ** 2)
    shares = Results(checked, tuple(trials), ()).importances()
    # `only` is not in all trials.
    assert set(shares) == {"x", "n", "kind"}
    assert shares["x"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("count", [4, 12])
def test_where_nothing_makes_a_difference_no_parameter_matters(checked, count):
    trials = trials_of(checked, count, lambda values: 2.0)
    shares = Results(checked, tuple(trials), ()).importances()
    assert all(share == 0 for share in shares.values())


def test_the_best_is_the_best_mean_over_fresh_seeds(checked):
    trials = trials_of(checked, 5, lambda values: values["x"])
    order = sorted(trials[:5], key=lambda trial: trial.values[0])
    assert Results(checked, tuple(trials), ()).best == order[0]
    lucky = Rerun(order[0].number, (5.0, 9.0)), Rerun(order[1].number, (3.0, 4.0))
    results = Results(checked, tuple(trials), tuple(sorted(lucky, key=lambda each: each.mean)))
    assert results.best == order[1]
    assert results.reruns[0].spread == pytest.approx(0.5**0.5)


def test_the_experiment_as_it_is_is_run_again_beside_the_best(checked):
    trials = trials_of(checked, 5, lambda values: values["x"])
    ranked = sorted(trials[:5], key=lambda trial: trial.values[0])
    ranked[3].set_user_attr("default", True)

    def again(**rerun):
        study = checked.study.model_copy(update={"rerun": RerunSettings(**rerun)})
        return [trial.number for trial in trials_to_rerun(study, trials)]

    numbers = [trial.number for trial in ranked]
    assert again(best=2) == [*numbers[:2], numbers[3]]
    assert again(best=4) == numbers[:4]
    assert again(best=2, default=False) == numbers[:2]
    assert again(best=0) == []


POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@given(POINTS)
def test_no_trial_is_better_than_one_of_the_front_in_all(points):
    study = Study.model_validate(
        {
            "experiment": "e.yaml",
            "search": {"training.epochs": {"int": (1, 9)}},
            "objective": [
                "optimisation_metric",
                {"name": "showers_per_second", "direction": "maximize"},
            ],
        }
    )

    class Checked:
        pass

    Checked.study = study
    trials = []
    for number, (small, large) in enumerate(points):
        trial = create_trial(state=TrialState.COMPLETE, values=[float(small), float(large)])
        trial.number = number
        trials.append(trial)
    front = {trial.number for trial in Results(Checked, tuple(trials), ()).front}
    for number, (small, large) in enumerate(points):
        beaten = any(s <= small and r >= large and (s, r) != (small, large) for s, r in points)
        assert (number in front) == (not beaten)


def test_tables_and_report_are_written(checked, tmp_path):
    study = open_study(tmp_path, checked.study, TRIALS)
    for trial in trials_of(checked, 8, lambda values: values["x"]):
        study.add_trial(trial)
    results = write_tables(checked, tmp_path)
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"trial", "state", "sphere", "x", "n", "kind", "only"} < set(rows[0])
    assert [row["state"] for row in rows].count("complete") == 8
    assert all((row["only"] == "") == (row["kind"] == "a") for row in rows)
    assert rows[8]["reason"] == "out of memory (1 TB)"
    assert results.counts() == "10 trials: 8 done, 1 pruned, 1 failed (1 out of memory)"
    page = write_study_report(checked, results, tmp_path / "report").read_text()
    for title in ("History", "Importances", "Parallel coordinates", "out of memory (1 TB)"):
        assert title in page
    assert "http" not in page.replace("https://optuna.org", "")
    names = {path.stem for path in (tmp_path / "report" / "figures").iterdir()}
    assert {"history", "importances", "parallel_coordinates"} <= names


def test_a_study_is_known_from_its_folder(checked, tmp_path):
    folder = tmp_path / "study"
    with pytest.raises(RunError, match="no study here"):
        load_results(folder)
    prepare_folder(checked, folder)
    study = open_study(folder, checked.study, TRIALS)
    for trial in trials_of(checked, 6, lambda values: values["x"]):
        study.add_trial(trial)
    results = load_results(folder)
    assert results.summary() == read_results(checked, folder).summary()
    best = results.best_trials(2)
    assert [trial.values[0] for trial in best] == sorted(t.values[0] for t in results.done)[:2]
    assert results.parameters(best[0])["x"] == best[0].values[0]


def test_the_experiment_of_a_study_is_that_of_its_folder(tmp_path, write_study):
    base = tmp_path / "base.yaml"
    base.write_text("data: {files: [a.h5]}\n")
    (tmp_path / "a.h5").touch()
    search = {"training.batch_size": {"int": [4, 16]}}
    checked = check_study(
        *load_study(write_study(experiment="base.yaml", search=search, overrides={"run.seed": 7}))
    )
    prepare_folder(checked, tmp_path / "study")
    base.unlink()
    experiment = load_results(tmp_path / "study").checked.experiment
    assert experiment == checked.experiment
    assert experiment.run.seed == 7


HISTORY = [
    {"epoch": 1, "showers_per_second": 9.0, "validation.optimisation_metric": 0.5},
    {"epoch": 2, "showers_per_second": 7.0, "validation.optimisation_metric": 0.2},
    {"epoch": 3, "showers_per_second": 8.0, "validation.optimisation_metric": None},
    {"epoch": 4, "showers_per_second": 6.0, "validation.optimisation_metric": 0.3},
]


@pytest.mark.parametrize(
    ("names", "epoch", "numbers"),
    [
        (["optimisation_metric"], "best", {"epoch": 2, "optimisation_metric": 0.2}),
        (["optimisation_metric"], "last", {"epoch": 4, "optimisation_metric": 0.3}),
        (
            ["showers_per_second", "optimisation_metric"],
            "best",
            {"epoch": 2, "showers_per_second": 7.0, "optimisation_metric": 0.2},
        ),
    ],
)
def test_numbers_are_of_one_epoch(names, epoch, numbers):
    assert counted(HISTORY, Wanted(names, False, None, epoch)) == numbers


@pytest.mark.parametrize(("target", "epoch"), [(None, 2), (0.25, 4), (0.6, 1)])
def test_the_best_epoch_is_the_nearest_to_a_target(target, epoch):
    near = {**HISTORY[3], "validation.optimisation_metric": 0.27}
    history = [HISTORY[0], near, HISTORY[1]]
    wanted = Wanted(["optimisation_metric"], False, target, "best")
    assert counted(history, wanted)["epoch"] == epoch

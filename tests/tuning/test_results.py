"""What a study has found, from trials that are given."""

import csv
import math
import sqlite3
from contextlib import closing

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from gan3d.errors import DivergedError, RunError, TrainingError
from gan3d.tuning import report
from gan3d.tuning.claims import Claim
from gan3d.tuning.importances import not_above_chance
from gan3d.tuning.objectives import Wanted, counted
from gan3d.tuning.report import write_study_report
from gan3d.tuning.reruns import Rerun
from gan3d.tuning.results import Results, load_results, read_results, write_tables
from gan3d.tuning.run import (
    check_study,
    enqueue_reruns,
    open_queues,
    prepare_folder,
    trials_to_rerun,
)
from gan3d.tuning.storage import DATABASE, TRIALS, open_study, stored_trials
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
    assert shares["x"].share > 0.8
    assert sum(each.share for each in shares.values()) == pytest.approx(1)
    # Chance reaches much, but not that.
    assert shares["x"].is_above_chance
    assert all(each.chance > 0.1 for each in shares.values())
    assert "x" not in not_above_chance(shares).replace("chance: ", "").split(", ")


@pytest.mark.parametrize("count", [4, 12])
def test_where_nothing_makes_a_difference_no_parameter_matters(checked, count):
    trials = trials_of(checked, count, lambda values: 2.0)
    assert Results(checked, tuple(trials), ()).importances() == {}


def test_what_chance_reaches_is_called_so(checked):
    rng = np.random.default_rng(0)
    above = 0
    for _ in range(2):
        trials = trials_of(checked, 8, lambda values: rng.random())
        shares = Results(checked, tuple(trials), ()).importances()
        # Of so few trials large shares mean nothing.
        assert max(each.share for each in shares.values()) > 0.4
        above += sum(each.is_above_chance for each in shares.values())
    assert above <= 2  # of six


def test_the_best_is_the_best_mean_over_fresh_seeds(checked):
    trials = trials_of(checked, 5, lambda values: values["x"])
    order = sorted(trials[:5], key=lambda trial: trial.values[0])
    assert Results(checked, tuple(trials), ()).best == order[0]
    lucky = again(order[0], 5.0, 9.0), again(order[1], 3.0, 4.0)
    results = Results(checked, tuple(trials), lucky[::-1])
    assert results.best == order[1]
    assert results.reruns[0].spread() == pytest.approx(0.5**0.5)
    assert results.reruns[0].error() == pytest.approx(0.5)
    assert results.reruns[0].told() == "3.5 ± 0.5"
    assert again(order[0], 5.0).told() == "5"


def again(trial, *values):
    """A trial with fresh seeds 1, 2, ..."""
    return Rerun(trial.number, {seed: [value] for seed, value in enumerate(values, start=1)})


@pytest.mark.parametrize(
    ("best", "default", "told"),
    [
        # Seeds move both alike: seed by seed, the difference is seen.
        ((1.0, 3.0, 5.0), (1.5, 3.6, 5.4), "better than the experiment as it is (0.5 ± 0.058, the "
         "same 3 seeds)"),
        ((1.0, 3.0, 5.0), (5.4, 1.5, 3.6), "not better by more than chance than the experiment as "
         "it is (0.5 ±"),
        ((1.0,), (1.5,), None),
    ],
)  # fmt: skip
def test_what_is_better_by_chance_alone_is_called_so(checked, best, default, told):
    trials = trials_of(checked, 3, lambda values: values["x"])
    order = sorted(trials[:3], key=lambda trial: trial.values[0])
    order[2].set_user_attr("default", True)
    results = Results(checked, tuple(trials), (again(order[0], *best), again(order[2], *default)))
    lines = results.summary()
    assert not any("nan" in line for line in lines)
    compared = [line for line in lines if "better" in line]
    assert len(compared) == (told is not None)
    assert told is None or compared[0].startswith(told)
    # The other way round, nothing was found.
    results = Results(checked, tuple(trials), (again(order[2], *best), again(order[0], *default)))
    lines = results.summary()
    assert f"best: trial {order[2].number}, the experiment as it is" in lines[1]
    assert "nothing better was found than the experiment as it is" in lines
    alike = f"not to be told apart from it by these seeds: trials {order[0].number}"
    assert (alike in lines) == (told is not None and told.startswith("not"))


def test_the_experiment_as_it_is_is_run_again_beside_the_best(checked):
    trials = trials_of(checked, 5, lambda values: values["x"])
    ranked = sorted(trials[:5], key=lambda trial: trial.values[0])
    ranked[3].set_user_attr("default", True)

    def chosen(**rerun):
        study = checked.study.model_copy(update={"rerun": RerunSettings(**rerun)})
        return [trial.number for trial in trials_to_rerun(study, trials)]

    numbers = [trial.number for trial in ranked]
    assert chosen(best=2) == [*numbers[:2], numbers[3]]
    assert chosen(best=4) == numbers[:4]
    assert chosen(best=2, default=False) == numbers[:2]
    assert chosen(best=0) == []


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


def test_points_along_the_front_are_run_again_and_written(tmp_path, write_study):
    (tmp_path / "e.yaml").write_text("data: {files: [a.h5]}\n")
    (tmp_path / "a.h5").touch()
    checked = check_study(
        *load_study(
            write_study(
                experiment="e.yaml",
                search={"training.label_flip": {"float": [0.0, 0.2]}},
                objective=["optimisation_metric", "showers_per_second"],
                rerun={"best": 3, "seeds": 2},
                overrides={"training.epochs": 2},
                blocks={"size": 2},
            )
        )
    )
    folder = tmp_path / "study"
    prepare_folder(checked, folder)
    trials, reruns = open_queues(checked, folder, Claim(folder / "coordinators"))
    # Five on the front, 0.1 to 0.5; two behind it.
    for metric, rate in [(3, 30), (1, 10), (9, 20), (5, 50), (2, 20), (8, 40), (4, 40)]:
        trial, _ = trials.next(None)
        trials.tell(trial, "complete", [metric / 10, float(rate)], seconds=1.0)
    enqueue_reruns(checked, trials, reruns)
    while (asked := reruns.next(None)) is not None:
        trial, _ = asked
        own = trials.study.trials[trial.user_attrs["of"]].values
        shift = 0.01 * trial.user_attrs["seed"]
        reruns.tell(trial, "complete", [own[0] + shift, own[1] + shift], seconds=1.0)
    (folder / "best-0000.yaml").touch()  # of an earlier call
    results = write_tables(checked, folder)
    assert results.best is None
    assert [each.trial for each in results.reruns] == [1, 0, 3]
    assert results.reruns[0].of(1) == pytest.approx([10.01, 10.02])
    written = sorted(path.name for path in folder.glob("best*.yaml"))
    assert written == ["best-0000.yaml", "best-0001.yaml", "best-0003.yaml"]
    text = (folder / "best-0001.yaml").read_text()
    assert f"horovodrun -np 2 gan3d train {folder / 'best-0001.yaml'}" in text
    assert '# With the study\'s overrides: {"training.epochs": 2}' in text
    assert any("optimisation_metric 0.115 ± 0.005, showers_per_second 10.0" in line
               for line in results.summary())  # fmt: skip
    drawings = report._figures(results, [results.importances(1)] * 2)
    titles = [title for _, title, _, _ in drawings]
    assert {"History of showers_per_second", "Importances of showers_per_second"} < set(titles)
    for _, _, _, draw in drawings[:3]:
        draw()


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
    assert load_results(folder).trials == ()
    study = open_study(folder, checked.study, TRIALS)
    assert load_results(folder).trials == ()
    for trial in trials_of(checked, 6, lambda values: values["x"]):
        study.add_trial(trial)
    journal = (folder / "study.jsonl").read_bytes()
    results = load_results(folder)
    # Who looks writes nothing.
    assert (folder / "study.jsonl").read_bytes() == journal
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


def test_a_training_whose_showers_are_empty_has_diverged():
    empty = {"epoch": 1, "validation.optimisation_metric": None, "generated_empty": True}
    wanted = Wanted(["optimisation_metric"], False, None, "last")
    with pytest.raises(DivergedError, match="empty"):
        counted([empty], wanted)
    # There is no best epoch either whose showers could be judged afterwards.
    with pytest.raises(DivergedError, match="other than empty"):
        counted([empty], Wanted(["images.share.separation"], False, None, "best"))
    with pytest.raises(TrainingError, match="too few") as refused:
        counted([{**empty, "generated_empty": False}], wanted)
    assert not isinstance(refused.value, DivergedError)
    assert counted([HISTORY[0], empty], wanted)["epoch"] == 1


@pytest.mark.parametrize(("target", "epoch"), [(None, 2), (0.25, 4), (0.6, 1)])
def test_the_best_epoch_is_the_nearest_to_a_target(target, epoch):
    near = {**HISTORY[3], "validation.optimisation_metric": 0.27}
    history = [HISTORY[0], near, HISTORY[1]]
    wanted = Wanted(["optimisation_metric"], False, target, "best")
    assert counted(history, wanted)["epoch"] == epoch


def test_a_database_that_is_being_made_has_no_trials_and_is_not_written_to(write_study, tmp_path):
    settings = {"objective": {"function": "sphere"}, "search": SEARCH, "storage": "sqlite"}
    study = check_study(*load_study(write_study(**settings))).study
    folder = tmp_path / "study"
    folder.mkdir()
    with closing(sqlite3.connect(folder / DATABASE)) as half:
        half.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        half.commit()
    before = (folder / DATABASE).read_bytes()
    assert stored_trials(folder, study, TRIALS) == []
    assert (folder / DATABASE).read_bytes() == before
    (folder / DATABASE).unlink()
    open_study(folder, study, TRIALS).add_trial(create_trial(value=1.0))
    assert len(stored_trials(folder, study, TRIALS)) == 1

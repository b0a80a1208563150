"""What samplers and pruners are told of trials, and what they make of it."""

import pytest

from gan3d.tuning.claims import Claim
from gan3d.tuning.proposals import Proposals
from gan3d.tuning.results import read_results, write_tables
from gan3d.tuning.run import check_study, prepare_folder
from gan3d.tuning.space import Space
from gan3d.tuning.storage import TRIALS, open_study, outcome
from gan3d.tuning.study import Study

NO_PRUNER = {"name": "none"}


@pytest.fixture
def propose(tmp_path):
    """The trials of a new study: returns what is checked, its folder, and its Proposals."""

    def begin(**sections):
        given = {
            "objective": {"function": "sphere"},
            "search": {"a": {"float": (-5.0, 10.0)}},
            "pruner": NO_PRUNER,
            **sections,
        }
        checked = check_study(Study.model_validate(given), lambda where, what: f"{where}: {what}")
        folder = tmp_path / f"study-{len(list(tmp_path.iterdir()))}"
        prepare_folder(checked, folder)
        trials = open_study(folder, checked.study, TRIALS)
        claim = Claim(folder / "coordinators")
        return checked, folder, Proposals(trials, checked.space, folder, claim)

    return begin


def test_the_sampler_learns_where_trials_diverge_and_not_where_machines_fail(propose):
    # Above 4 nothing can be trained; below, it makes no difference.
    search = {"a": {"float": (0.0, 10.0)}, "b": {"float": (0.0, 1.0)}}
    beyond = {}
    for how in ("diverged", "failed"):
        _, _, queue = propose(search=search, sampler={"startup_trials": 6})
        points = []
        for _ in range(22):
            trial, values = queue.next(None)
            points.append(values["a"])
            if values["a"] > 4.0:
                queue.tell(trial, how, reason="epoch 1, step 3: generator.loss is nan")
            else:
                queue.tell(trial, "complete", [values["b"]])
        beyond[how] = sum(a > 4.0 for a in points[6:])
    assert beyond["diverged"] < beyond["failed"] / 2


def test_divergences_set_no_bar_for_other_trials(propose):
    _, _, queue = propose(pruner={"name": "median", "startup_trials": 2})
    for _ in range(6):
        trial, _ = queue.next(None)
        trial.report(0.1, 1)  # fast, but then it diverges
        queue.tell(trial, "diverged")
    for _ in range(3):
        trial, _ = queue.next(None)
        trial.report(1.0, 1)
        assert not trial.should_prune()
        queue.tell(trial, "complete", [1.0])


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii"])
def test_of_several_objectives_one_that_diverged_is_never_on_the_front(tmp_path, sampler):
    study = Study.model_validate(
        {
            "experiment": "e.yaml",
            "search": {"training.label_flip": {"float": (0.0, 0.2)}},
            "objective": ["optimisation_metric", "showers_per_second"],
            "sampler": {"name": sampler, "population": 4},
        }
    )
    space = Space(study, lambda where, what: what)
    trials = open_study(tmp_path, study, TRIALS)
    queue = Proposals(trials, space, tmp_path, Claim(tmp_path / "coordinators"))
    # Far more than those that go well: TPE takes some of them for its better ones.
    for number in range(14):
        trial, values = queue.next(None)
        if number == 5:
            queue.tell(trial, "complete", [values["training.label_flip"], float(number)])
        else:
            queue.tell(trial, "diverged")
    ended = [outcome(trial) for trial in queue.trials()]
    assert (ended.count("complete"), ended.count("diverged")) == (1, 13)
    assert all(outcome(trial) == "complete" for trial in trials.best_trials)


def test_one_that_diverged_is_seen_in_the_table_and_nowhere_among_the_good(propose):
    checked, folder, queue = propose()
    for number in range(6):
        trial, values = queue.next(None)
        if number < 2:
            queue.tell(trial, "diverged", reason="epoch 1: all showers are empty", seconds=3.0)
        else:
            queue.tell(trial, "complete", [values["a"] ** 2], seconds=3.0)
    results = write_tables(checked, folder)
    assert results.counts() == "6 trials: 4 done, 2 diverged"
    assert len(results.done) == 4
    assert results.best.number >= 2
    table = (folder / "trials.csv").read_text().splitlines()
    assert table[1].startswith("0,diverged,,")
    assert table[1].endswith("epoch 1: all showers are empty")
    assert read_results(checked, folder).importances()["a"].share == 1.0


def points_of(queue, count):
    """So many proposals, none of which has ended, as far as there are any."""
    asked = (queue.next(None) for _ in range(count))
    return [tuple(each[1].items()) for each in asked if each is not None]


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsgaii", "nsgaiii", "qmc"])
def test_points_that_are_asked_for_at_once_differ(propose, sampler):
    search = {"a": {"float": (0.0, 1.0)}, "kind": {"choice": ["x", "y"]}}
    _, _, queue = propose(search=search, sampler={"name": sampler})
    points = points_of(queue, 8)
    assert len(set(points)) == 8
    assert {dict(point)["kind"] for point in points} == {"x", "y"}


def test_quasi_random_points_have_all_categories_and_fill_the_space(propose):
    search = {
        "a": {"float": (0.0, 1.0)},
        "kind": {"choice": ["x", "y"]},
        "only": {"float": (0.0, 1.0), "when": {"kind": "y"}},
    }
    _, _, queue = propose(search=search, sampler={"name": "qmc"})
    kinds, numbers = [], []
    for _ in range(17):
        trial, values = queue.next(None)
        queue.tell(trial, "complete", [1.0])
        kinds.append(values["kind"])
        numbers.append(values["a"])
    assert set(kinds[1:]) == {"x", "y"}
    # 16 points of a Sobol sequence: one in each sixteenth; the first is before it.
    assert {int(16 * a) for a in numbers[1:]} == set(range(16))


SMALL = {
    "a": {"int": (1, 2)},
    "kind": {"choice": ["x", "y"]},
    "only": {"float": (0.1, 0.3), "step": 0.1, "when": {"kind": "y"}},
}


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "qmc"])
def test_all_points_of_a_finite_search_are_tried(propose, sampler):
    checked, _, queue = propose(search=SMALL, sampler={"name": sampler, "startup_trials": 4})
    assert len(checked.space.points(8)) == 8
    assert checked.space.points(7) is None
    found = set()
    while (asked := queue.next(None)) is not None:
        trial, values = asked
        found.add(
            tuple(f"{value:.3g}" if key == "only" else value for key, value in values.items())
        )
        queue.tell(trial, "complete", [float(values["a"])])
    assert queue.exhausted
    assert len(found) == len(queue.trials()) == 8


@pytest.mark.parametrize(("direction", "pruned"), [("minimize", 11.0), ("maximize", 9.0)])
def test_a_limit_ends_trials_that_are_worse(propose, direction, pruned):
    _, _, queue = propose(
        objective={"function": "sphere", "direction": direction},
        pruner={"name": "threshold", "limit": 10.0},
    )
    for value in (9.0, 11.0):
        trial, _ = queue.next(None)
        trial.report(value, 1)
        assert trial.should_prune() == (value == pruned)


def test_an_accident_is_tried_once_more_elsewhere(propose):
    _, _, queue = propose()
    first, values = queue.next(1)
    queue.try_again(first, "killed (SIGKILL)", block=0, seconds=3.0)
    assert not queue.has_work(1, block=0)
    assert queue.next(1, block=0) is None
    # Not a new trial: the same point, in the same folder.
    second, again = queue.next(1, block=1)
    assert again == values
    assert second.user_attrs["folder"] == first.user_attrs["folder"]
    assert second.user_attrs["retried"]
    # What it has taken counts for trial.max_minutes, however often it is interrupted.
    queue.put_back(second, seconds=4.0)
    second, _ = queue.next(1, block=0)
    assert (second.user_attrs["spent"], second.user_attrs["retried"]) == (7.0, True)
    queue.tell(second, "failed", reason="killed (SIGKILL)")
    assert [outcome(trial) for trial in queue.trials()] == ["failed"]

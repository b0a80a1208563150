"""What is left of a budget, and for what."""

import time

import pytest

from gan3d.tuning import claims
from gan3d.tuning.budget import Account
from gan3d.tuning.run import Checked, open_queues
from gan3d.tuning.space import Space
from gan3d.tuning.study import Study


@pytest.fixture
def account(tmp_path):
    """A study whose trials take half a node for 60 s: returns an account, and the trials."""
    claim = claims.Claim(tmp_path / "coordinators")

    def of(done, **budget):
        study = Study.model_validate(
            {
                "experiment": "e.yaml",
                "search": {"training.label_flip": {"float": (0.0, 0.2)}},
                "objective": {"name": "optimisation_metric", "direction": "minimize"},
                "sampler": {"name": "random"},
                "rerun": {"best": 2, "seeds": 2},
                "budget": {"trials": None, **budget},
            }
        )
        checked = Checked(study, Space(study, lambda where, what: what), None, None)
        queues = open_queues(checked, tmp_path, claim)
        for _ in range(done):
            trial, _ = queues[0].next(None)
            queues[0].tell(trial, "complete", [1.0], seconds=60.0, nodes=0.5)
        return Account(study, queues, claim, blocks=2), queues[0]

    return of


# Fresh seeds of two and of the experiment as it is: 6 times half a minute of a node.
@pytest.mark.parametrize(("done", "kept"), [(13, False), (14, True)])
def test_node_hours_leave_something_for_fresh_seeds(account, done, kept):
    spent, _ = account(done, node_hours=10.0 / 60)
    assert spent.over(0.0, []) == ""
    assert spent.kept(0.0, []) == ("budget.node_hours" if kept else "")


def test_those_that_are_running_count_to_their_ends(account):
    spent, _ = account(12, node_hours=10.0 / 60)
    assert spent.kept(0.0, [(30.0, 0.5)]) == ""
    assert spent.kept(0.0, [(30.0, 0.5), (0.0, 0.5)]) == "budget.node_hours"


def test_of_a_small_budget_half_is_searched_with(account):
    spent, trials = account(3, node_hours=4.0 / 60)
    assert spent.kept(0.0, []) == ""
    trial, _ = trials.next(None)
    trials.tell(trial, "complete", [1.0], seconds=60.0, nodes=0.5)
    assert spent.kept(0.0, []) == "budget.node_hours"


# Three rounds of a minute on two blocks.
@pytest.mark.parametrize(("minutes", "kept"), [(5.9, False), (6.1, True)])
def test_minutes_leave_something_where_nothing_else_ends_a_study(account, minutes, kept):
    spent, _ = account(5, minutes=10.0)
    assert spent.kept(60.0 * minutes, []) == ("budget.minutes" if kept else "")
    counted, _ = account(0, minutes=10.0, trials=50)
    assert counted.kept(60.0 * minutes, []) == ""
    assert counted.over(600.0, []) == "budget.minutes (10) are over"


def test_what_others_use_and_those_that_died_have_used_is_spent(account, tmp_path):
    spent, trials = account(0, node_hours=1.0)
    trial, _ = trials.next(None)
    trial.set_user_attr("nodes", 2.0)
    trial.set_user_attr("coordinator", "elsewhere")
    time.sleep(0.2)
    running = spent._spent([])
    assert 0.4 <= running <= 20.0
    # Its coordinator has died, some time after it was seen last.
    last = {"machine": claims.machine(), "pid": 1, "started": -2, "beats": 3, "time": time.time()}
    claims.write_json(tmp_path / "coordinators" / "elsewhere.json", last)
    assert trials.recover() == [trial.number]
    assert running <= spent._spent([]) <= running + 20.0
    again, _ = trials.next(None)
    assert again.user_attrs["folder"] == trial.user_attrs["folder"]

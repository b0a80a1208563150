"""The file of a study: what is wrong is said with file, line and key."""

from importlib.util import find_spec

import h5py
import pytest

from gan3d.config import Data
from gan3d.errors import ConfigError
from gan3d.models.weights import DISCRIMINATOR_WEIGHTS, GENERATOR_WEIGHTS, STATE
from gan3d.tuning.run import check_study
from gan3d.tuning.space import Space
from gan3d.tuning.study import load_study

GOOD = """
experiment: experiment.yaml
search:
  training.optimizer.learning_rate: {float: [1.0e-5, 1.0e-2], log: true}
"""


@pytest.fixture
def check(tmp_path):
    """Check a study whose search or other text is given."""
    (tmp_path / "experiment.yaml").write_text(
        "data: {files: [a.h5], split: {train: 0.5, validation: 0.5}}\n"
        "model: {architecture: ecal25-compact}\n"
    )

    def check_text(text, **settings):
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return check_study(*load_study(path), **settings)

    return check_text


def test_a_study_is_read_with_its_defaults(check):
    checked = check(GOOD)
    assert checked.study.objective[0].name == "optimisation_metric"
    assert not checked.study.objective[0].maximized
    assert checked.study.budget.trials == 50
    assert checked.space.keys == ["training.optimizer.learning_rate"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("  training.batchsize: {int: [4, 8]}", ":5: search.training.batchsize: unknown key of an "
         "experiment; did you mean 'training.batch_size'?"),
        ("  training.batch_size: {int: [0, 8]}", ":5: search.training.batch_size: 0: expected a "
         "number of at least 1"),
        ("  training.batch_size: {float: [4, 8.5]}", "search.training.batch_size: 8.5: expected a "
         "whole number"),
        ("  model.architecture: {choice: [ecal25, ecal26]}", ":5: search.model.architecture: "
         "\"ecal26\": no architecture 'ecal26'; did you mean 'ecal25'?"),
        ("  training.batch_size: {itn: [4, 8]}", "itn: unknown key; did you mean"),
        ("  training.batch_size: {int: [8, 4]}", "int: the lowest value 8 is above the highest 4"),
        ("  training.batch_size: {int: [4, 8], choice: [1]}", "expected one of float: [low, high]"),
        ("  model.dropout: {float: [0, 0.5], log: true}", "with log the lowest value must be"),
        ("  training.batch_size: {int: [4, 17], step: 4}", ":5: search.training.batch_size: step: "
         "from 4 in steps of 4 there is no 17; the last one is 16"),
        ("  model.dropout: {float: [0, 1]}", ":5: search.model.dropout: 1.0: expected a number "
         "below 1"),
        ("  validation.seed: {int: [0, 5]}", "validation is the same for all trials"),
        ("  run.seed: {int: [0, 5]}", "run is the same for all trials"),
        ("  data.files: {choice: [[a.h5], [b.h5]]}", "data.files is the same for all trials"),
        ("  training.optimizer: {choice: [{name: adam}]}",
         "is a section that holds training.optimizer.learning_rate"),
        ("  training.optimizer.rho: {float: [0.5, 0.9], when: {training.optimizer.nam: adam}}",
         "is no other key of the search; did you mean"),
        ("  model.dropout: {float: [0, 0.5], when: {training.optimizer.learning_rate: 1}}",
         "training.optimizer.learning_rate is no choice, which when needs"),
        ("trials: 5", ":5: trials: unknown key; did you mean 'trial'?"),
        ("objective: optimization_metric", "'optimization_metric' is no number of a trial; did you "
         "mean 'optimisation_metric'?"),
        ("objective: {function: branni}", "did you mean 'branin'?"),
        ("objective: coverage\noverrides: {validation.showers: 19}",
         ":5: objective[0].name: coverage, but validation.showers (19) are fewer than"),
        ("objective: coverage\noverrides: {validation.epoch_showers: 0}",
         "trial.epoch: best, but validation.epoch_showers is 0"),
        ("sampler: {name: cmaes}", ":5: sampler.name: expected one of"),
        ("objective: [optimisation_metric, showers_per_second]\npruner: {name: median}",
         ":6: pruner: trials of several objectives cannot be pruned"),
        ("objective: classifier.high_level.auc\npruner: {name: median}", "pruned"),
        ("overrides: {training.optimizer.learning_rate: 1}", ":5: overrides.training.optimizer.lear"
         "ning_rate: training.optimizer.learning_rate is in search, too"),
        ("overrides: {training.optimizer: {name: adam, learning_rate: 1}}", "is in search, too"),
        ("overrides: {training.epochz: 3}", "study.yaml:5: overrides.training.epochz: unknown key"),
        ("overrides: {training.epochs: 0}", "study.yaml:5: overrides.training.epochs: "),
        ("pruner: {name: threshold}", "limit: is for the pruner threshold, which needs it"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(check, line, message):
    with pytest.raises(ConfigError) as error:
        check(GOOD + line)
    assert message in str(error.value)


def test_several_objectives_are_not_pruned(check):
    study = check(GOOD + "objective: [optimisation_metric, showers_per_second]").study
    assert not study.prunes
    assert [each.maximized for each in study.objective] == [False, True]


def test_an_experiment_that_is_not_there_is_named_with_its_place(check, tmp_path):
    with pytest.raises(ConfigError, match=r"study.yaml:2: experiment: .*none.yaml: no such file"):
        check(GOOD.replace("experiment.yaml", "none.yaml"))


@pytest.mark.parametrize(
    ("name", "maximized", "target", "label"),
    [
        ("optimisation_metric", False, None, "optimisation_metric"),
        ("classifier.high_level.auc", False, 0.5, "|classifier.high_level.auc - 0.5|"),
        ("profile.longitudinal.chi2", False, 1.0, "|profile.longitudinal.chi2 - 1|"),
        ("frechet_physics_distance", False, None, "frechet_physics_distance"),
        ("copies.within", False, None, "copies.within"),
        ("coverage", True, None, "coverage"),
        ("generation.showers_per_second", True, None, "generation.showers_per_second"),
    ],
)
def test_an_objective_is_what_the_judgement_takes_for_good(check, name, maximized, target, label):
    (objective,) = check(GOOD + f"objective: {name}").study.objective
    assert (objective.maximized, objective.target, objective.label) == (maximized, target, label)
    assert objective.counts(0.2) == pytest.approx(0.2 if target is None else target - 0.2)
    # Who says it otherwise gets that.
    told = f"objective: {{name: {name}, direction: maximize}}"
    (objective,) = check(GOOD + told).study.objective
    assert (objective.maximized, objective.label) == (True, name)


@pytest.mark.parametrize("name", ["density", "nearest.other", "closest.other"])
def test_where_neither_is_best_a_direction_is_asked_for(check, name):
    with pytest.raises(ConfigError, match=rf":5: objective.*{name}: neither .* direction, or with"):
        check(GOOD + f"objective: {name}")
    (objective,) = check(GOOD + f"objective: {{name: {name}, target: 0.5}}").study.objective
    assert objective.counts(0.4) == pytest.approx(0.1)


PAIR = """
experiment: experiment.yaml
overrides: {data.geometry.shape: [6, 5, 5], data.further_images: {HCAL: {shape: [4, 4, 7]}},
  model: {architecture: convolutional, kernel_mm: 15.3}}
search:
"""


def test_in_epochs_numbers_of_the_first_of_several_images_have_its_name(check):
    text = PAIR + "  training.label_flip: {float: [0.0, 0.2]}\nobjective: "
    (own,) = check(f"{text}ECAL.optimisation_metric").study.objective
    assert own.label == "ECAL.optimisation_metric"
    # As without it: a chi2 is to be 1.
    assert check(f"{text}ECAL.occupancy.chi2").study.objective[0].target == 1.0
    with pytest.raises(ConfigError, match=r"'ECAL.images.share.separation' is no number"):
        check(f"{text}ECAL.images.share.separation")
    with pytest.raises(ConfigError, match=r"'ECAL.optimisation_metric' is no number"):
        check(f"{GOOD}objective: ECAL.optimisation_metric")


def test_what_has_a_key_by_the_name_of_an_image_is_searched(check):
    key = "training.loss_weights.further_sums."
    checked = check(f"{PAIR}  {key}HCAL: {{float: [0.1, 10], log: true}}")
    experiment = checked.space.experiment(checked.study, {f"{key}HCAL": 0.5})
    assert experiment.training.loss_weights.further_sums == {"HCAL": 0.5}
    with pytest.raises(ConfigError, match=r":6: search.*: HACL is none of data.further_images"):
        check(f"{PAIR}  {key}HACL: {{float: [0.1, 10]}}")


@pytest.fixture
def away(tmp_path, monkeypatch):
    """A run beside the study, `run`, seen from another working directory."""
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00000001"
    checkpoint.mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text("data: {files: [a.h5]}")
    files = '{"files": [], "validation_files": null, "skipped": []}'
    (tmp_path / "run" / "data.json").write_text(files)
    (checkpoint / STATE).write_text('{"epoch": 1, "step_in_epoch": 0}')
    for name in (GENERATOR_WEIGHTS, DISCRIMINATOR_WEIGHTS):
        with h5py.File(checkpoint / name, "w") as file:
            file.create_group("layers")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


@pytest.mark.parametrize(
    "line", ["training.init_from: run@1", "training: {init_from: run@1, epochs: 3}"]
)
def test_paths_under_overrides_are_relative_to_the_study(check, away, line):
    checked = check(f"{GOOD}overrides: {{{line}, data.files: [b.h5]}}")
    assert checked.experiment.training.init_from == str(away / "run@1")
    assert checked.experiment.data.files == [str(away / "b.h5")]


def test_runs_to_begin_with_are_searched_relative_to_the_study(check, away):
    checked = check(f"{GOOD}  training.init_from: {{choice: [null, run, run@1]}}")
    choice = [None, str(away / "run"), str(away / "run@1")]
    assert checked.study.search["training.init_from"].choice == choice
    assert checked.space.default(checked.experiment)[0]["training.init_from"] is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("overrides: {training.init_from: run@2}",
         r"study.yaml:5: overrides.training.init_from: .*/run: no checkpoint step-00000002"),
        ("overrides: {training: {init_from: none}}",
         r"study.yaml:5: overrides.training: training.init_from: .*/none: no such run"),
        ("  training.init_from: {choice: [run, none]}",
         r"""study.yaml:5: search.training.init_from: ".*/none": .*/none: no such run"""),
        ("  training: {choice: [{init_from: run}]}", "study.yaml:5: search.training: is a section"),
        ("trial: {folds: 2}\noverrides: {training.init_from: run}",
         r"study.yaml:5: trial.folds: excludes training.init_from: that run may have"),
        ("  training.init_from: {choice: [null, run]}\ntrial: {folds: 2}",
         r"study.yaml:6: trial.folds: excludes training.init_from"),
    ],
)  # fmt: skip
def test_runs_that_trials_cannot_begin_with_are_named_with_their_place(check, away, line, message):
    with pytest.raises(ConfigError, match=message):
        check(GOOD + line)


def test_the_run_that_an_experiment_names_is_looked_for_in_its_own_file(check, away):
    experiment = (away / "experiment.yaml").read_text()
    (away / "experiment.yaml").write_text(f"{experiment}training: {{init_from: none}}\n")
    with pytest.raises(ConfigError, match=r"experiment.yaml:3: training.init_from: .*no such run"):
        check(GOOD)
    # Results that are there do not need it.
    assert check(GOOD, starts=False)


MAY_DIFFER = {
    "energy_scale_gev", "cell_power", "cell_log_gev", "shuffle", "shuffle_window", "workers",
    "reader_niceness", "stall_seconds", "statistics_showers",
}  # fmt: skip
"""How showers are read and scaled: which they are, and what of them is an image, stays."""


@pytest.mark.parametrize("key", sorted(set(Data.model_fields) - MAY_DIFFER))
def test_all_trials_have_the_same_showers(check, key):
    with pytest.raises(ConfigError, match=f":5: search.*data.{key} is the same for all trials"):
        check(f"{GOOD}  data.{key}: {{choice: [null]}}")


def test_folds_want_showers_to_divide(check, tmp_path):
    (tmp_path / "experiment.yaml").write_text("data: {files: [a.h5], validation_files: [b.h5]}")
    with pytest.raises(ConfigError, match=r"trial.folds: the experiment names data.validation_fil"):
        check(GOOD + "trial: {folds: 3}")
    assert check(GOOD + "trial: {folds: 3}\noverrides: {data.validation_files: null}")


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed")
def test_a_sampler_that_is_not_installed_is_named(check):
    with pytest.raises(ConfigError, match="gp needs a package that is not installed"):
        check(GOOD + "sampler: {name: gp}")


CONDITIONAL = """
experiment: experiment.yaml
search:
  training.optimizer.rho: {float: [0.5, 0.9], when: {training.optimizer.name: rmsprop}}
  training.optimizer.beta_1: {float: [0.0, 0.9], when: {training.optimizer.name: [adam, nadam]}}
  training.optimizer.name: {choice: [adam, rmsprop, nadam, sgd]}
  training.early_stopping: {choice: [null, {patience: 3}]}
  training.batch_size: {int: [4, 16], step: 4}
"""


def test_conditional_parameters_are_proposed_where_they_hold(check):
    import optuna

    checked = check(CONDITIONAL)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen = set()
    for _ in range(40):
        trial = study.ask()
        values = checked.space.propose(trial)
        name = values["training.optimizer.name"]
        seen.add(name)
        assert ("training.optimizer.rho" in values) == (name == "rmsprop")
        assert ("training.optimizer.beta_1" in values) == (name in ("adam", "nadam"))
        assert values["training.batch_size"] % 4 == 0
        # What is stored gives the same point, and it is an experiment.
        assert checked.space.read(trial.params) == values
        experiment = checked.space.experiment(checked.study, values)
        assert experiment.training.optimizer.name == name
        stopping = values["training.early_stopping"]
        assert (experiment.training.early_stopping is None) == (stopping is None)
    assert seen == {"adam", "rmsprop", "nadam", "sgd"}


def test_conditions_that_go_round_in_circles_are_refused(write_study):
    choice = [1, 2]
    path = write_study(
        objective={"function": "sphere"},
        search={
            "a": {"choice": choice, "when": {"b": 1}},
            "b": {"choice": choice, "when": {"a": 1}},
        },
    )
    with pytest.raises(ConfigError, match=r"search\.a\.when: goes round in circles"):
        Space(*load_study(path))


def test_the_experiment_as_it_is_is_a_point_where_the_search_holds_it(check):
    checked = check(GOOD)
    params, why = checked.space.default(checked.experiment)
    assert (params, why) == ({"training.optimizer.learning_rate": 1e-3}, "")
    checked = check(GOOD + "  training.batch_size: {int: [16, 32]}")
    params, why = checked.space.default(checked.experiment)
    assert params is None
    assert "training.batch_size is 8 there" in why

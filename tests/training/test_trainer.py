"""A run's course: what it writes, when it stops, and what is then left."""

import dataclasses
import json
import os
import shutil
import signal
import sys

import numpy as np
import pytest
from tiny import begin, resume, write_tiny

from gan3d.config import load_experiment
from gan3d.data import check_unchanged
from gan3d.errors import (
    ConfigError,
    DataError,
    DivergedError,
    Interrupted,
    Preempted,
    RunError,
)
from gan3d.models.weights import checkpoint_folders
from gan3d.runtime import Signals, noted_signals
from gan3d.training.checkpoint import restore_checkpoint, save_checkpoint
from gan3d.training.records import check_run_folder, read_survey

pytestmark = pytest.mark.tensorflow

METRIC = "validation.optimisation_metric"


def checkpoints(trainer):
    return sorted(path.name for path in (trainer.folder / "checkpoints").iterdir())


def test_a_run_is_a_folder_that_says_all_of_itself(make_trainer, listen):
    trainer = make_trainer()
    begin(trainer, {"world_size": 1})
    listener = listen()
    trainer.train(listener)
    folder = trainer.folder
    assert load_experiment(folder / "config.yaml") == trainer.experiment
    assert json.loads((folder / "environment.json").read_text()) == {"world_size": 1}
    response = json.loads((folder / "response.json").read_text())
    assert response["showers"] == 20
    # ECAL/e = 0.02 * 100 GeV whatever the energy, in these showers.
    np.testing.assert_allclose(response["coefficients"], [0.0, 2.0], atol=1e-5)
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert history == listener.records
    assert [record["epoch"] for record in history] == [1, 2]
    assert history[-1]["step"] == 10
    assert checkpoints(trainer) == ["step-00000005", "step-00000010"]
    assert any((folder / "tensorboard").iterdir())
    written = [path for path in folder.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in written if "tensorboard" not in path.parts}
    assert kinds == {".yaml", ".json", ".jsonl", ".h5"}


def test_old_checkpoints_go_but_the_best_stays(make_trainer, listen):
    trainer = make_trainer(**{"training.epochs": 5, "run.keep_checkpoints": 2})
    begin(trainer)
    metrics = iter([0.9, 0.2, 0.5, 0.4, 0.3])
    trainer.train(listen(), lambda *_: {"optimisation_metric": next(metrics)})
    assert checkpoints(trainer) == ["step-00000010", "step-00000020", "step-00000025"]
    best = json.loads((trainer.folder / "best.json").read_text())
    assert best == {"epoch": 2, "step": 10, "validation.optimisation_metric": 0.2}


def test_all_checkpoints_stay_where_none_is_to_go(make_trainer, listen):
    trainer = make_trainer(**{"training.epochs": 6, "run.keep_checkpoints": "null"})
    begin(trainer)
    trainer.train(listen())
    assert checkpoints(trainer) == [f"step-{step:08d}" for step in range(5, 31, 5)]


def test_only_every_kth_epoch_and_the_last_are_judged(make_trainer, listen):
    trainer = make_trainer(
        **{
            "training.epochs": 5,
            "validation.every_epochs": 2,
            "run.keep_checkpoints": 1,
            "training.decay": "{kind: plateau, patience: 1, factor: 0.5}",
        }
    )
    begin(trainer)
    metrics = iter([0.2, 0.3, 0.4])
    listener = listen()
    trainer.train(listener, lambda *_: {"optimisation_metric": next(metrics)})
    assert [record.get(METRIC) for record in listener.records] == [None, 0.2, None, 0.3, 0.4]
    assert [METRIC in record for record in listener.records] == [False, True, False, True, True]
    assert trainer.history == listener.records
    # The plateau counts judged epochs: the second one, epoch 4, is no better than the first.
    rates = [record["learning_rate"] for record in listener.records]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-3, 5e-4])
    assert checkpoints(trainer) == ["step-00000010", "step-00000025"]
    again = make_trainer(
        **{
            "training.epochs": 7,
            "validation.every_epochs": 2,
            "training.decay": "{kind: plateau, patience: 1, factor: 0.5}",
        }
    )
    resume(again)
    rest = listen()
    again.train(rest, lambda *_: {"optimisation_metric": 0.1})
    assert [record.get(METRIC) for record in rest.records] == [0.1, 0.1]
    assert [r["learning_rate"] for r in rest.records] == pytest.approx([2.5e-4, 2.5e-4])


STOPPING = {"training.epochs": 9, "training.early_stopping": "{patience: 2}"}


def test_training_stops_early_and_goes_on_only_with_other_settings(make_trainer, listen):
    trainer = make_trainer(**STOPPING)
    begin(trainer)
    metrics = iter([0.5, 0.2, 0.3, 0.25])
    listener = listen()
    trainer.train(listener, lambda *_: {"optimisation_metric": next(metrics)})
    assert [record["epoch"] for record in listener.records] == [1, 2, 3, 4]
    assert trainer.stopped_early.startswith("stopped early after epoch 4")
    assert checkpoints(trainer)[-1] == "step-00000020"

    again, idle = make_trainer(**STOPPING), listen()
    resume(again)
    again.train(idle, pytest.fail)
    assert idle.steps == 0
    assert again.stopped_early == trainer.stopped_early

    patient = make_trainer(**STOPPING | {"training.early_stopping": "{patience: 3}"})
    resume(patient)
    rest = listen()
    patient.train(rest, lambda *_: {"optimisation_metric": 0.3})
    assert [record["epoch"] for record in rest.records] == [5]
    assert patient.stopped_early

    without = make_trainer(**{"training.epochs": 7})
    resume(without)
    rest = listen()
    without.train(rest, lambda *_: {"optimisation_metric": 0.3})
    assert [record["epoch"] for record in rest.records] == [6, 7]
    assert not without.stopped_early


def test_a_run_that_improves_or_comes_to_its_last_epoch_has_not_stopped_early(make_trainer, listen):
    trainer = make_trainer(**STOPPING | {"training.epochs": 4})
    begin(trainer)
    metrics = iter([0.5, 0.2, 0.3, 0.3])
    trainer.train(listen(), lambda *_: {"optimisation_metric": next(metrics)})
    assert not trainer.stopped_early
    assert trainer.position.epoch == 4


def test_the_best_epoch_is_one_whose_checkpoint_is_there(make_trainer, listen):
    changes = {"training.epochs": 3, "run.keep_checkpoints": 2}
    trainer = make_trainer(**changes)
    begin(trainer)
    metrics = iter([0.1, 0.3, 0.2])
    trainer.train(listen(), lambda *_: {"optimisation_metric": next(metrics)})
    best = trainer.folder / "best.json"
    assert json.loads(best.read_text())["step"] == 5
    # As `gan3d validate --select` does when it finds another one better.
    best.write_text(json.dumps({"epoch": 2, "step": 10, METRIC: 0.05}))
    again = make_trainer(**changes | {"training.epochs": 4})
    resume(again)
    again.train(listen(), lambda *_: {"optimisation_metric": 0.4})
    assert checkpoints(again) == ["step-00000010", "step-00000015", "step-00000020"]
    assert json.loads(best.read_text()) == {"epoch": 3, "step": 15, METRIC: 0.2}


def test_what_is_examined_are_showers_of_the_held_out_energies(make_trainer, listen):
    trainer = make_trainer(**{"training.epochs": 1})
    begin(trainer)
    seen = []
    trainer.train(listen(), lambda ours, theirs: seen.append((ours, theirs)) or {})
    ((ours, theirs),) = seen
    np.testing.assert_array_equal(ours.energy_n, theirs.energy_n)
    assert ours.images_nxyz.shape == theirs.images_nxyz.shape == (10, 4, 4, 3)
    assert not np.array_equal(ours.images_nxyz, theirs.images_nxyz)


def test_losses_that_are_not_finite_end_the_run_and_keep_the_last_good_checkpoint(
    make_trainer, listen
):
    trainer = make_trainer()
    begin(trainer)

    def poison(step):
        if step == 7:
            weight = trainer.step.generator.trainable_variables[0]
            weight.assign(weight.numpy() * np.nan)

    with pytest.raises(DivergedError, match=r"epoch 2, step 3: .* is nan; .*step-00000005 is good"):
        trainer.train(listen(poison))
    assert checkpoints(trainer) == ["step-00000005"]
    again = make_trainer()
    resume(again)
    again.train(listen())
    assert checkpoints(again) == ["step-00000005", "step-00000010"]


def test_weights_that_are_not_finite_are_never_saved(make_trainer, listen):
    trainer = make_trainer(**{"training.epochs": 1})
    begin(trainer)

    def poison(step):
        if step == 5:
            weight = trainer.step.discriminator.trainable_variables[0]
            weight.assign(weight.numpy() * np.inf)

    with pytest.raises(DivergedError, match="a weight is not finite"):
        trainer.train(listen(poison))
    assert not (trainer.folder / "checkpoints").exists()


def silence(trainer):
    """Let the generator make showers without energy; returns its weights of before."""
    before = [weight.numpy() for weight in trainer.step.generator.trainable_variables]
    for weight in trainer.step.generator.trainable_variables:
        weight.assign(np.full(weight.shape, -1e6 if "bias" in weight.path else 0.0))
    return before


def test_showers_that_stay_empty_end_the_run(make_trainer, listen):
    trainer = make_trainer(**{"model.batch_norm": "false", "training.empty_steps": 3})
    begin(trainer)
    with pytest.raises(DivergedError, match=r"epoch 2, step 4: .*all empty .* in 3 steps in a row"):
        trainer.train(listen(lambda step: silence(trainer) if step == 6 else None))
    assert checkpoints(trainer) == ["step-00000005"]


@pytest.mark.parametrize("limit", ["2", "null"])
def test_empty_showers_of_single_steps_are_counted_and_training_goes_on(
    make_trainer, listen, limit
):
    trainer = make_trainer(**{"model.batch_norm": "false", "training.empty_steps": limit})
    begin(trainer)
    before = []

    def blink(step):
        if step in (6, 8):
            before[:] = silence(trainer)
        elif step in (7, 9):
            for weight, value in zip(
                trainer.step.generator.trainable_variables, before, strict=True
            ):
                weight.assign(value)

    listener = listen(blink)
    trainer.train(listener)
    assert [record["empty_steps"] for record in listener.records] == [0, 2]


def test_an_epoch_whose_judged_showers_are_empty_is_not_judged(make_trainer, listen):
    trainer = make_trainer(**{"model.batch_norm": "false", "training.empty_steps": "null"})
    begin(trainer)
    listener = listen(lambda step: silence(trainer) if step == 9 else None)
    trainer.train(listener, lambda generated, heldout: {"optimisation_metric": 0.25})
    assert [record[METRIC] for record in listener.records] == [0.25, None]
    assert [record.get("generated_empty") for record in listener.records] == [None, True]
    best = json.loads((trainer.folder / "best.json").read_text())
    assert best == {"epoch": 1, "step": 5, METRIC: 0.25}


def test_ctrl_c_leaves_a_checkpoint_between_two_steps(make_trainer, listen):
    trainer = make_trainer()
    begin(trainer)
    stop = listen(lambda step: os.kill(os.getpid(), signal.SIGINT) if step == 7 else None)
    with noted_signals() as signals, pytest.raises(Interrupted):
        trainer.train(stop, signals=signals)
    assert stop.steps == 7
    state = json.loads((trainer.folder / "checkpoints/step-00000007/state.json").read_text())
    assert (state["epoch"], state["step_in_epoch"]) == (1, 2)
    again = make_trainer()
    resume(again)
    rest = listen()
    again.train(rest)
    assert rest.steps == 3
    assert [record["epoch"] for record in again.history] == [1, 2]


def test_the_time_limit_ends_the_run_at_the_end_of_an_epoch(make_trainer, listen):
    trainer = make_trainer(**{"training.epochs": 50, "run.max_minutes": 1e-9})
    begin(trainer)
    listener = listen()
    trainer.train(listener)
    assert len(listener.records) == 1
    assert checkpoints(trainer) == ["step-00000005"]


def test_what_a_killed_writer_left_does_not_disturb(make_trainer, listen):
    trainer = make_trainer(**{"training.epochs": 1})
    begin(trainer)
    left = trainer.folder / "checkpoints" / ".step-00000003.4711.partial"
    left.mkdir(parents=True)
    (left / "generator.weights.h5").write_bytes(b"half")
    trainer.train(listen())
    resume(make_trainer())
    assert checkpoints(trainer) == ["step-00000005"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_checkpoint_that_was_being_replaced_is_there(make_trainer, listen, when):
    trainer = make_trainer(**{"training.epochs": 1})
    begin(trainer)
    trainer.train(listen())
    folder = trainer.folder / "checkpoints"
    whole = folder / "step-00000005"
    replaced = folder / ".step-00000005.host.4711.replaced.partial"
    if when == "before":  # the new one has not got its name
        whole.rename(replaced)
        shutil.copytree(replaced, folder / ".step-00000005.host.4711.partial")
    else:
        shutil.copytree(whole, replaced)
    again = make_trainer(**{"training.epochs": 2})
    resume(again)
    assert again.position.global_step == 5
    assert checkpoints(trainer) == ["step-00000005"]


def test_a_copy_of_a_checkpoint_is_none(make_trainer, listen):
    trainer = make_trainer(**{"training.epochs": 1})
    begin(trainer)
    trainer.train(listen())
    (trainer.folder / "checkpoints" / "step-00000005-backup").mkdir()
    again = make_trainer(**{"training.epochs": 2})
    resume(again)
    assert again.position.global_step == 5


@pytest.mark.parametrize("damage", ["state.json", "variables.h5", "generator.weights.h5", "all"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_gone_on_from(
    make_trainer, listen, damage
):
    trainer = make_trainer(**{"training.epochs": 2})
    begin(trainer)
    trainer.train(listen())
    newest = trainer.folder / "checkpoints" / "step-00000010"
    for path in list(newest.iterdir()) if damage == "all" else [newest / damage]:
        path.unlink()
    again = make_trainer(**{"training.epochs": 3})
    resume(again)
    assert again.position.global_step == 5
    assert [record["epoch"] for record in again.history] == [1]
    assert "step-00000010" in again.notes[0]
    assert "going on from step-00000005" in again.notes[1]
    rest = listen()
    again.train(rest)
    assert rest.steps == 10
    assert checkpoints(again)[-3:] == ["step-00000005", "step-00000010", "step-00000015"]


def test_a_run_whose_checkpoints_are_gone_is_not_begun_anew(make_trainer, listen):
    trainer = make_trainer(**{"training.epochs": 1})
    begin(trainer)
    trainer.train(listen())
    check_run_folder(trainer.folder, resume=True)
    shutil.rmtree(trainer.folder / "checkpoints")
    with pytest.raises(RunError, match=r"checkpoints are gone; start a new run"):
        check_run_folder(trainer.folder, resume=True)
    (trainer.folder / "history.jsonl").unlink()  # killed before the first epoch was over
    check_run_folder(trainer.folder, resume=True)
    again = make_trainer()
    resume(again)
    assert again.position.global_step == 0


def test_the_last_commit_is_saved_by_whoever_has_it_unless_it_is_there(make_trainer, listen):
    trainer = make_trainer(**{"training.epochs": 2, "run.commit_steps": 2})
    begin(trainer)
    assert trainer.save_commit() is None  # nothing has been done yet
    found = []

    def look(step):
        if step == 8:
            found.append(trainer.save_commit())
            found.append(trainer.save_commit())

    trainer.train(listen(look))
    assert [path.name for path in found] == ["step-00000007"] * 2
    state = json.loads((found[0] / "state.json").read_text())
    assert (state["epoch"], state["step_in_epoch"]) == (1, 2)


def test_a_damaged_checkpoint_is_named(make_trainer, listen):
    trainer = make_trainer(**{"training.epochs": 1})
    begin(trainer)
    trainer.train(listen())
    path = trainer.folder / "checkpoints" / "step-00000005" / "variables.h5"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="step-00000005: the checkpoint cannot be read"):
        resume(make_trainer())


def test_an_architecture_for_another_grid_is_refused(make_trainer, monkeypatch, tiny_architecture):
    other = dataclasses.replace(tiny_architecture, image_shape=(9, 9, 9))
    monkeypatch.setattr("gan3d.training.trainer.architecture_of", lambda _: other)
    with pytest.raises(ConfigError, match=r"\(9, 9, 9\) cells.*\(4, 4, 3\)"):
        make_trainer()


def test_the_advice_after_a_failure_names_a_checkpoint_only_if_there_is_one(make_trainer, listen):
    trainer = make_trainer()
    begin(trainer)
    weight = trainer.step.generator.trainable_variables[0]
    weight.assign(weight.numpy() * np.nan)
    with pytest.raises(DivergedError, match=r"epoch 1, step 1: .* is nan; start anew"):
        trainer.train(listen())


def test_an_examination_that_fails_does_not_cost_the_epoch(make_trainer, listen):
    trainer = make_trainer()
    begin(trainer)

    def fail(*_):
        raise MemoryError

    with pytest.raises(MemoryError):
        trainer.train(listen(), fail)
    assert checkpoints(trainer) == ["step-00000005"]
    assert len((trainer.folder / "history.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_what_a_batch_system_sends_leaves_a_checkpoint_too(make_trainer, listen, number):
    trainer = make_trainer()
    begin(trainer)
    stop = listen(lambda step: os.kill(os.getpid(), number) if step == 2 else None)
    with noted_signals() as signals, pytest.raises(Preempted):
        trainer.train(stop, signals=signals)
    assert checkpoints(trainer) == ["step-00000002"]


def test_resume_records_what_changed_and_notices_other_showers(make_trainer, listen, tiny_files):
    trainer = make_trainer(**{"training.epochs": 1})
    begin(trainer, {"host": "a"})
    trainer.train(listen())
    again = make_trainer(**{"training.epochs": 2})
    resume(again, {"host": "b"})
    assert load_experiment(again.folder / "config.yaml").training.epochs == 2
    environment = json.loads((again.folder / "environment.json").read_text())
    assert environment == {"host": "b", "earlier": [{"host": "a"}]}
    tiny_files(train_seed=77)
    with pytest.raises(DataError, match="the run began with other training showers"):
        check_unchanged(read_survey(again.folder), again.experiment.data)


def test_incident_energies_outside_the_fitted_response_are_refused(make_trainer):
    make_trainer(**{"training.incident_energy_gev": "[20, 80]"})
    with pytest.raises(ConfigError, match="incident_energy_gev: 10 to 500 GeV, but the training"):
        make_trainer(**{"training.incident_energy_gev": "[10, 500]"})


@pytest.mark.parametrize("left", ["checkpoints", "history.jsonl", "best.json", "config.yaml"])
def test_a_folder_with_remains_of_a_run_is_not_taken_for_a_new_one(tmp_path, left):
    (tmp_path / left).mkdir()
    with pytest.raises(RunError, match=f"holds a run already .{left}"):
        check_run_folder(tmp_path, resume=False)


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_state_is_named(make_trainer, listen, content):
    trainer = make_trainer(**{"training.epochs": 1})
    begin(trainer)
    trainer.train(listen())
    state = trainer.folder / "checkpoints" / "step-00000005" / "state.json"
    state.write_text(content)
    with pytest.raises(RunError, match="step-00000005"):
        resume(make_trainer())


def test_an_epoch_ends_with_the_batches_there_are_where_a_file_is_skipped(
    make_trainer, listen, tmp_path, monkeypatch
):
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", 4 * 4 * 4 * 3 * 4)  # 4 showers
    write_tiny(tmp_path / "more.h5", 12, seed=5)
    trainer = make_trainer(
        **{
            "data.files": f"[{tmp_path}/train.h5, {tmp_path}/more.h5]",
            "data.on_bad_file": "skip",
            "data.statistics_showers": 20,
            "training.epochs": 3,
        }
    )
    begin(trainer)
    (tmp_path / "more.h5").unlink()
    listener = listen()
    trainer.train(listener)
    # 20 + 12 showers, of which 12 cannot be read; then the 20 alone, in batches of 4.
    assert [record["step"] for record in listener.records] == [5, 10, 15]
    assert [record["lost_showers"] for record in listener.records] == [12, 0, 0]
    assert [record["skipped_files"] for record in listener.records] == [1, 1, 1]
    assert ["disappeared" in reason for reason in listener.records[0]["newly_skipped"]] == [True]
    assert not listener.records[1]["newly_skipped"]
    record = listener.records[0]
    assert 0 <= record["data_wait_share"] <= 1
    assert record["peak_memory_mb"] > 10


@pytest.fixture
def damage_in_second_epoch(tmp_path, listen):
    """A listener that cuts the end off the one training file after two steps of five."""
    path = tmp_path / "train.h5"
    return listen(lambda step: step == 7 and path.write_bytes(path.read_bytes()[:-64]))


SMALL_WINDOW = {"data.on_bad_file": "skip", "data.shuffle_window": 1, "data.workers": 0}


def test_an_epoch_without_a_usable_file_names_what_is_wrong(
    make_trainer, monkeypatch, damage_in_second_epoch
):
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", 4 * 4 * 4 * 3 * 4)  # 4 showers
    trainer = make_trainer(**SMALL_WINDOW, **{"training.epochs": 3})
    begin(trainer)
    with pytest.raises(
        DataError, match=r"train\.h5: .*has changed.*; without bad files, .*0 showers"
    ):
        trainer.train(damage_in_second_epoch)
    # What was trained before that is kept, with its line of history.
    kept = [json.loads(line) for line in (trainer.folder / "history.jsonl").open()]
    assert [record["epoch"] for record in kept] == [1, 2]
    assert kept[1]["untrained_showers"] >= kept[1]["lost_showers"] > 0
    assert kept[1]["steps"] * 4 + kept[1]["untrained_showers"] == 20
    assert checkpoints(trainer)[-1] == f"step-{kept[1]['step']:08d}"


def test_the_last_epoch_needs_no_files_after_it(make_trainer, monkeypatch, damage_in_second_epoch):
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", 4 * 4 * 4 * 3 * 4)  # 4 showers
    trainer = make_trainer(**SMALL_WINDOW, **{"training.epochs": 2})
    begin(trainer)
    trainer.train(damage_in_second_epoch)
    assert [record["epoch"] for record in damage_in_second_epoch.records] == [1, 2]
    assert damage_in_second_epoch.records[1]["skipped_files"] == 1


class _CutOffError(BaseException):
    """Stands for a kill: nothing catches it."""


def cut_off_after(lines):
    """Trace that ends the process's work in checkpoint.py after so many of its lines."""
    done = 0

    def trace(frame, event, _):
        nonlocal done
        if not frame.f_code.co_filename.endswith("gan3d/training/checkpoint.py"):
            return None
        if event == "line":
            done += 1
            if done > lines:
                raise _CutOffError
        return trace

    return trace


def test_a_checkpoint_cut_off_at_any_point_leaves_a_run_that_can_be_resumed(
    make_trainer, listen, tmp_path
):
    trainer = make_trainer(**{"training.epochs": 1, "run.keep_checkpoints": 1})
    begin(trainer)
    trainer.train(listen())
    folder = trainer.folder / "checkpoints"
    old, new = trainer.position, dataclasses.replace(trainer.position, global_step=6)
    complete, lines = False, 0
    save_checkpoint(folder, trainer.step, old, keep=9)
    (first,) = checkpoint_folders(folder)
    shutil.copytree(first, tmp_path / "first")
    while not complete:
        if not first.exists():
            shutil.copytree(tmp_path / "first", first)
        for later in folder.glob("step-00000006"):
            shutil.rmtree(later)
        sys.settrace(cut_off_after(lines))
        try:
            save_checkpoint(folder, trainer.step, new, keep=1)
            complete = True
        except _CutOffError:
            lines += 1
        finally:
            sys.settrace(None)
        # What is there is whole: the old one, the new one or both.
        left = checkpoint_folders(folder)
        assert left, f"nothing is left after {lines} lines"
        for checkpoint in left:
            position = restore_checkpoint(checkpoint, trainer.step)
            assert position in (old, new)
    assert lines > 30, "hardly anything was cut off"
    assert checkpoints(trainer) == ["step-00000006"]


def test_an_epoch_of_which_nothing_can_be_read_begins_anew(
    make_trainer, listen, tmp_path, monkeypatch
):
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", 4 * 4 * 4 * 3 * 4)  # 4 showers
    write_tiny(tmp_path / "bad.h5", 13, seed=5)
    write_tiny(tmp_path / "good.h5", 4, seed=6)
    trainer = make_trainer(
        **{
            "data.files": f"[{tmp_path}/bad.h5, {tmp_path}/good.h5]",
            "data.on_bad_file": "skip",
            "data.shuffle": "false",
        }
    )
    begin(trainer)
    (tmp_path / "bad.h5").unlink()
    listener = listen()
    trainer.train(listener)
    # The last of 17 showers sits out: the three good ones before it are no batch of four.
    assert [record["step"] for record in listener.records] == [1, 2]
    assert [record["lost_showers"] for record in listener.records] == [13, 0]
    assert [len(record["newly_skipped"]) for record in listener.records] == [1, 0]


@pytest.mark.parametrize("stop", [3, 7])
def test_a_run_that_skipped_files_is_resumed_where_it_stood(
    make_trainer, listen, tmp_path, monkeypatch, stop
):
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", 4 * 4 * 4 * 3 * 4)  # 4 showers
    bad = tmp_path / "more.h5"
    changes = {
        "data.files": f"[{tmp_path}/train.h5, {bad}]",
        "data.on_bad_file": "skip",
        "training.epochs": 3,
    }

    def trainer_of(folder):
        write_tiny(bad, 12, seed=5)
        trainer = make_trainer(folder, **changes)
        bad.unlink()
        return trainer

    uninterrupted, listener = trainer_of("whole"), listen()
    begin(uninterrupted)
    uninterrupted.train(listener)
    # Five batches of four in each epoch: of the file that is there.
    interrupted = trainer_of("parts")
    begin(interrupted)
    stopping = listen(lambda step: os.kill(os.getpid(), signal.SIGINT) if step == stop else None)
    with noted_signals() as signals, pytest.raises(Interrupted):
        interrupted.train(stopping, signals=signals)
    rest, again = listen(), trainer_of("parts")
    resume(again)
    again.train(rest)
    assert stopping.steps + rest.steps == listener.steps == 15
    names = ["step", "skipped_files", *(name for name in listener.records[0] if "loss" in name)]
    for record, expected in zip(again.history, listener.records, strict=True):
        assert [record[name] for name in names] == pytest.approx([expected[n] for n in names])


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_what_is_lost_is_counted_over_the_whole_epoch_wherever_it_is_resumed(
    make_trainer, listen, tmp_path, monkeypatch, stop
):
    monkeypatch.setattr("gan3d.data.shower_file._BLOCK_BYTES", 4 * 4 * 4 * 3 * 4)  # 4 showers
    write_tiny(tmp_path / "more.h5", 12, seed=5)
    settings = {
        "data.files": f"[{tmp_path}/train.h5, {tmp_path}/more.h5]",
        "data.on_bad_file": "skip",
        "data.shuffle_window": 4,
        "data.statistics_showers": 20,
        "training.epochs": 1,
    }
    trainer, again = make_trainer(**settings), make_trainer(**settings)
    begin(trainer)
    (tmp_path / "more.h5").unlink()
    signals = Signals()

    def preempt(step):
        signals.preempted = step == stop

    with pytest.raises(Preempted):
        trainer.train(listen(preempt), signals=signals)
    resume(again)
    rest = listen()
    again.train(rest)
    (record,) = rest.records
    # Of 32 showers, 12 cannot be read and 20 make five batches.
    assert (record["steps"], record["lost_showers"]) == (5, 12)
    assert record["untrained_showers"] == 12
    assert len(record["newly_skipped"]) == 1

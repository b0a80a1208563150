"""`gan3d train --dry-run`: everything checked, nothing started."""

import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import describe

from gan3d.cli import main
from gan3d.cli.dry_run import draw_curve
from gan3d.config import Experiment, dump_experiment, load_experiment
from gan3d.config.threads import Cores
from gan3d.runtime import read_topology
from gan3d.training.records import CONFIG, DATA, HISTORY, RESPONSE, write_json, write_text
from gan3d.training.schedule import LearningRateSchedule
from gan3d.training.session import find

EXPERIMENT = """
data: {files: [train.h5], validation_files: [heldout.h5]}
model: {architecture: ecal25}
training: {epochs: 10, batch_size: 4, warmup_epochs: 2}
node: {intra_op_threads: 1}
"""


@pytest.fixture
def experiment(tmp_path, write_lcd):
    write_lcd("train.h5", range(50))
    write_lcd("heldout.h5", range(50, 60))
    path = tmp_path / "experiment.yaml"
    path.write_text(EXPERIMENT)
    return path


@pytest.fixture
def begun(experiment, tmp_path):
    """A run of `experiment` in the folder `begun`, as it lies there after three epochs."""
    folder = tmp_path / "begun"
    folder.mkdir()
    loaded = load_experiment(experiment)
    found = find(loaded, folder, 1, resume=False)
    write_text(folder / CONFIG, dump_experiment(loaded))
    write_json(folder / DATA, found.files.as_dict())
    write_json(folder / RESPONSE, asdict(found.response))
    write_text(folder / HISTORY, "".join(json.dumps({"epoch": n}) + "\n" for n in (1, 2, 3)))
    (folder / "checkpoints" / "step-00000036").mkdir(parents=True)
    return folder


@pytest.fixture
def plan(experiment, tmp_path, monkeypatch, capsys):
    """Run it here and return what it says: values by the names of their rows, and the rest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        code = main(["train", str(experiment), "--dry-run", *arguments])
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        assert all(line == line.rstrip() for line in out.splitlines())
        table, *others = out.split("\n\n")
        rows: dict[str, str] = {}
        name = ""
        for line in table.splitlines():
            if line.startswith(("skipped: ", "note: ")):
                others.append(line)
                continue
            assert len(line) <= 80
            name = line[:15].strip() or name
            rows[name] = f"{rows.get(name, '')} {line[15:].strip()}".strip()
        return rows, "\n".join(others)

    return run


def listing(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_it_says_what_would_run(plan):
    rows, _ = plan("--ranks", "3")
    assert rows["run"] == "runs/experiment, new"
    assert rows["architecture"] == "ecal25"
    # Published: 872 948 and 73 450 parameters; the shapes of its images are in the architecture.
    assert rows["generator"].startswith("872948 parameters, ")
    assert re.search(r"images 7x7x8x8, .*25x25x25x1$", rows["generator"])
    assert rows["discriminator"].startswith("73450 parameters, ")
    assert "images 25x25x25x1, 25x25x25x32" in rows["discriminator"]
    assert re.fullmatch(r"19\.\d GFLOP per shower", rows["step"])
    assert rows["files"] == "1 for training, 1 held out"
    assert rows["showers"] == "50 for training, 10 held out"
    assert rows["ranks"] == "3, each with batches of 4 showers: 12 showers a step"
    assert rows["epochs"] == "10 of 4 steps; 2 showers sit out each one, others every time"
    assert "1 intra-op" in rows["node"]
    assert rows["learning rate"] == "0.001 x 3 (linear) = 0.003 after 2 epochs of warm-up, " + (
        "then constant"
    )


def test_networks_for_the_grid_are_derived_and_told(plan):
    derived = ["model.architecture=convolutional", "data.geometry.cell_size_mm=[5.1, 10, 5.1]"]
    rows, _ = plan(*(word for each in derived for word in ("--set", each)))
    assert re.search(r"kernels 5x3x5, .*; images 7x7x7x8, .*25x25x25x1$", rows["generator"])
    assert "kernels 5x3x5, 5x3x5, 5x3x5, 5x3x5; images 25x25x25x1" in rows["discriminator"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ["model.architecture=convolutional", "data.grid=[25, 3, 25]"],
            r"data\.geometry\.shape: .*25 x 3 x 25",
        ),
        (
            ["data.geometry={coordinates: cylindrical, cell_size_mm: [null, 5, 5]}"],
            r"experiment\.yaml:\d+: model\.architecture: ecal25 does not go round",
        ),
    ],
)
def test_grids_that_networks_cannot_have_are_refused(
    experiment, tmp_path, monkeypatch, capsys, changes, said
):
    monkeypatch.chdir(tmp_path)
    arguments = [word for each in changes for word in ("--set", each)]
    assert main(["train", str(experiment), "--dry-run", *arguments]) == 2
    assert re.search(said, capsys.readouterr().err)


def test_it_writes_nothing(plan, tmp_path):
    before = listing(tmp_path)
    plan("--run", "a/b")
    assert listing(tmp_path) == before


def test_more_ranks_than_this_machine_has_cores_can_be_planned_for(plan):
    rows, _ = plan("--ranks", "49", "--set", "training.batch_size=1")
    assert rows["epochs"].startswith("10 of 1 step; 1 shower sits out")
    assert "0.001 x 49 (linear) = 0.049" in rows["learning rate"]


def test_backward_passes_count_in_the_batch_and_in_the_learning_rate(plan):
    rows, _ = plan("--ranks", "2", "--set", "horovod.backward_passes_per_step=3")
    assert rows["ranks"].endswith("batches of 4 showers x 3 backward passes: 24 showers a step")
    assert rows["epochs"].startswith("10 of 2 steps; 2 showers")
    assert "0.001 x 6 (linear) = 0.006" in rows["learning rate"]


def test_in_the_order_of_the_files_the_same_showers_sit_out(plan):
    rows, _ = plan("--set", "data.shuffle=false", "--set", "training.batch_size=7")
    assert rows["epochs"] == "10 of 7 steps; 1 shower sits out each one, always the last ones"


def test_where_no_shower_sits_out_nothing_is_said_of_it(plan):
    assert plan("--set", "training.batch_size=5")[0]["epochs"] == "10 of 10 steps"


def test_the_settings_of_horovod_are_named_as_in_the_configuration(plan):
    settings = ["--set", "horovod.cycle_time_ms=2.5", "--set", "horovod.compression=fp16"]
    rows, _ = plan("--ranks", "2", *settings)
    assert "op average, compression fp16, cycle_time_ms 2.5" in rows["horovod"]
    assert plan(*settings)[0]["horovod"] == "not used by a single rank"


@pytest.mark.parametrize(
    ("decay", "said"),
    [
        ("{kind: step, epochs: [4, 6.5], factor: 0.2}", "x 0.2 at epochs 4 and 6.5"),
        ("{kind: cosine, final_share: 0.1}", "half a cosine to 0.0004 at epoch 10"),
        (
            "{kind: plateau, factor: 0.5, patience: 1, monitor: m, least_share: 0.1}",
            "x 0.5 after 1 epoch without improvement of m, not below 0.0004",
        ),
    ],
)
def test_the_decay_is_put_in_words(plan, decay, said):
    rows, others = plan("--ranks", "4", "--set", f"training.decay={decay}")
    assert rows["learning rate"].endswith(f"of warm-up, then {said}")
    assert ("depend on the run" in others) == ("plateau" in decay)
    assert "┤" in others


@pytest.mark.parametrize("decay", ["{}", "{kind: plateau, monitor: m}"])
def test_a_rate_that_stays_is_not_drawn(plan, decay):
    rows, others = plan("--set", f"training.decay={decay}")
    assert rows["learning rate"].startswith("0.001, then ")
    assert "┤" not in others


def test_a_file_that_is_skipped_is_named(plan, tmp_path):
    (tmp_path / "broken.h5").write_text("no HDF5")
    files = ["--set", "data.files=[train.h5, broken.h5]", "--set", "data.on_bad_file=skip"]
    rows, others = plan(*files)
    assert rows["files"] == "1 for training, 1 held out, 1 skipped"
    assert f"skipped: {tmp_path / 'broken.h5'}: " in others


def test_a_category_that_no_training_shower_has_is_named(plan, tmp_path):
    with h5py.File(tmp_path / "train.h5", "r+") as file:
        file["module"] = np.arange(50)[:, None] % 2
    with h5py.File(tmp_path / "heldout.h5", "r+") as file:
        file["module"] = np.full((10, 1), 2)
    module = "{name: module, kind: categories, values: [0, 1, 2]}"
    _, others = plan("--set", f"model.conditions=[energy, {module}]", "--set",
                     "model.architecture=ecal25-compact")  # fmt: skip
    assert "note: model.conditions: no training shower has module 2 (column module): the" in others


def test_a_run_to_be_resumed_is_found_and_left_as_it_is(plan, begun):
    before = listing(begun)
    rows, _ = plan("--run", "begun", "--resume", "--ranks", "2")
    assert rows["run"] == "begun, resumed after step 36"
    assert listing(begun) == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--set", "model.architecture=ecal26"), 2, "did you mean"),
        (("--run", "begun"), 1, "begun: holds a run already"),
        (("--run", "nothing", "--resume"), 1, "nothing: no run to resume here"),
        (("--run", "begun", "--resume", "--set", "data.cell_power=0.5"), 2, "data.cell_power"),
        (("--set", "data.files=[nothing.h5]"), 1, "nothing.h5"),
        (("--set", "training.batch_size=51"), 1, "there are only 50 showers"),
        (("--set", "data.grid=[20, 20, 20]"), 2, "the networks would see (20, 20, 20)"),
        (
            ("--set", "training.decay={kind: plateau}", "--set", "validation.epoch_showers=0"),
            2,
            "validation.epoch_showers is 0",
        ),
        (
            ("--set", "training.early_stopping={}", "--set", "validation.epoch_showers=0"),
            2,
            "training.early_stopping.monitor: validation.optimisation_metric, but",
        ),
        (
            ("--set", "training.early_stopping={monitor: validation.optimization_metric}"),
            2,
            "did you mean 'validation.optimisation_metric'?",
        ),
        (
            ("--set", "training.early_stopping={}", "--set", "validation.minimum_showers=5000"),
            2,
            "no bin of validation.energy_bins_gev holds validation.minimum_showers (5000)",
        ),
        (
            ("--set", "validation.angle_bins_deg=[[60, 90], [90, 120]]"),
            2,
            "--set validation.angle_bins_deg: bins of angle, but the files of the held-out showers "
            "say no angle (column theta)",
        ),
    ],
)
def test_errors_are_those_of_training(
    experiment, begun, tmp_path, monkeypatch, capsys, arguments, code, message
):
    def no_training(*_):
        pytest.fail("training has begun")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gan3d.runtime.run_ranks", no_training)
    planned = main(["train", str(experiment), "--dry-run", *arguments]), *capsys.readouterr()
    assert planned[:2] == (code, "")
    assert message in planned[2]
    assert planned[2].count("\n") == 1
    trained = main(["train", str(experiment), *arguments]), *capsys.readouterr()
    assert trained == planned


@pytest.mark.parametrize(
    ("setting", "code", "message"),
    [
        ("node.intra_op_threads=4000", 1, "node.intra_op_threads is 4000"),
        ("training.incident_energy_gev=[1, 2000]", 2, "1 to 2000 GeV, but the training"),
    ],
    ids=["node", "networks"],
)
def test_an_error_of_the_node_or_of_the_networks_is_that_of_training(
    gan3d, experiment, setting, code, message
):
    """They are found in a process that has not loaded TensorFlow before, or by what it builds."""
    planned = gan3d("train", experiment, "--dry-run", "--set", setting)
    assert (planned.returncode, planned.stdout) == (code, "")
    assert message in planned.stderr
    assert planned.stderr.count("\n") == 1
    trained = gan3d("train", experiment, "--set", setting)
    assert (trained.returncode, trained.stderr) == (code, planned.stderr)


@pytest.mark.parametrize(
    ("with_mpi", "ranks", "message"),
    [(False, "2", "built with MPI"), (True, "3", "a power of two of ranks, there are 3")],
)
def test_adasum_is_planned_only_where_it_can_run(
    experiment, monkeypatch, capsys, with_mpi, ranks, message
):
    monkeypatch.setattr("gan3d.runtime.distributed.horovod_has_mpi", lambda: with_mpi)
    arguments = ["train", str(experiment), "--dry-run", "--set", "horovod.op=adasum"]
    assert main([*arguments, "--ranks", ranks]) == 1
    assert message in capsys.readouterr().err


def test_too_many_ranks_for_the_showers_are_an_error(gan3d, experiment):
    done = gan3d("train", experiment, "--dry-run", "--ranks", "13")
    assert (done.returncode, done.stdout) == (1, "")
    assert "batch_size is 4 on each of 13 ranks but there are only 50 showers" in done.stderr


def test_a_number_of_ranks_is_for_the_dry_run_alone(gan3d, experiment):
    done = gan3d("train", experiment, "--ranks", "2")
    assert done.returncode == 2
    assert "horovodrun -np N" in done.stderr


def test_threads_are_looked_at_for_as_many_ranks_as_the_node_is_to_have(gan3d, experiment):
    topology = read_topology()
    threads = f"node.intra_op_threads={topology.hardware_threads}"
    workers = f"node.workers_per_node={topology.physical}"
    assert gan3d("train", experiment, "--dry-run", "--set", threads).returncode == 0
    done = gan3d("train", experiment, "--dry-run", "--set", threads, "--set", workers)
    if topology.physical > 1:
        assert done.returncode == 1, done.stdout
        assert "node.intra_op_threads is" in done.stderr


def test_horovod_is_not_started(experiment, tmp_path):
    arguments = ["train", str(experiment), "--dry-run", "--ranks", "2"]
    code = (
        "import sys; from gan3d.cli import main\n"
        f"code = main({arguments!r})\n"
        "print(code, sorted({'tensorflow', 'keras', 'horovod'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("\n0 ['keras', 'tensorflow']\n")


DOTS = [(row, side) for side in (0, 1) for row in (0, 1, 2)] + [(3, 0), (3, 1)]
"""(row, side) of each bit of a braille character, as Unicode numbers its dots."""


def dots(lines):
    """Heights of the dots of each column of a chart, from the bottom."""
    drawn = [line[15:].ljust(60) for line in lines if line[14] in "┤│"]
    heights: list[set[int]] = [set() for _ in range(120)]
    for row, line in enumerate(drawn):
        for at, character in enumerate(line):
            bits = 0 if character == " " else ord(character) - 0x2800
            for bit, (inside, side) in enumerate(DOTS):
                if bits >> bit & 1:
                    heights[2 * at + side].add(4 * len(drawn) - 1 - 4 * row - inside)
    return heights, 4 * len(drawn) - 1


@given(
    ranks=st.integers(1, 1000),
    epochs=st.integers(1, 300),
    warmup=st.floats(0, 20),
    decay=st.sampled_from(
        [{}, {"kind": "cosine", "final_share": 0.1}, {"kind": "step", "epochs": [5.5, 11.0]}]
    ),
)
def test_the_curve_goes_through_the_learning_rates(ranks, epochs, warmup, decay):
    training = {"epochs": epochs, "warmup_epochs": warmup, "decay": decay}
    rate = LearningRateSchedule.of(
        Experiment.model_validate({"data": {"files": ["a.h5"]}, "training": training}), ranks
    )
    lines = draw_curve(rate, epochs)
    heights, highest = dots(lines)
    rates = [rate(epochs * column / 119) for column in range(120)]
    assert float(lines[0].split()[0]) == pytest.approx(max(rates), rel=1e-3)
    for at, (drawn, value) in enumerate(zip(heights, rates, strict=True)):
        exact = value / max(rates) * highest
        # Where it is steep, dots reach towards the column before, and no further.
        before = rates[max(at - 1, 0)] / max(rates) * highest
        assert min(abs(dot - exact) for dot in drawn) <= 0.5 + 1e-6
        assert min(exact, before) - 0.51 <= min(drawn) <= max(drawn) <= max(exact, before) + 0.51
        assert drawn == set(range(min(drawn), max(drawn) + 1))


@pytest.mark.parametrize("epochs", [1, 2, 7, 13, 25, 60, 99, 100, 1000, 4321])
def test_the_axis_names_epochs_under_their_ticks_from_first_to_last(epochs):
    axis, names = draw_curve(lambda _: 1.0, epochs)[-2:]
    named = list(re.finditer(r"\d+", names))
    assert names.split()[0] == "epoch"
    assert (named[0].group(), named[-1].group()) == ("0", str(epochs))
    assert len(names) <= 80
    ticks = [at for at, character in enumerate(axis) if character == "┬"]
    for tick, name in zip(ticks, named, strict=True):
        assert name.start() <= tick < name.end()
        # One of the character's two dots is the epoch's.
        assert 0 <= round(119 * int(name.group()) / epochs) - 2 * (tick - 15) <= 1


def test_a_step_keeps_the_rate_of_its_beginning(plan):
    # One step per epoch and a warm-up of two: the rates 1, 2 and 3 thousandths, then 3 to the end.
    _, chart = plan("--ranks", "3", "--set", "training.batch_size=16")
    heights, highest = dots(chart.splitlines()[:13])
    assert heights[5] == {round(highest / 3)}
    assert heights[18] == {round(highest * 2 / 3)}
    assert heights[30] == heights[119] == {highest}


def test_the_example_of_the_command_works(gan3d):
    config = Path(__file__).parents[2] / "configs" / "ecal25.yaml"
    done = gan3d("train", config, "--dry-run", "--ranks", "128")
    assert (done.returncode, done.stderr) == (0, "")
    assert "25 of 1 step; 576 showers sit out each one" in done.stdout


def test_a_batch_that_memory_does_not_hold_is_refused(experiment, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gan3d.runtime.memory_bytes", lambda: 1_000_000)
    code = main(["train", str(experiment), "--dry-run"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert re.search(r"training\.batch_size: .* a rank has .* GiB here", err)


def test_a_rank_that_its_launcher_has_bound_does_not_refuse_the_others(plan, monkeypatch):
    for name, value in {"RANK": 0, "SIZE": 2, "LOCAL_RANK": 0, "LOCAL_SIZE": 2}.items():
        monkeypatch.setenv(f"HOROVOD_{name}", str(value))
    monkeypatch.setattr("gan3d.runtime.node.is_bound", lambda: True)
    monkeypatch.setattr("gan3d.runtime.node.usable_cores", lambda _: Cores(1, 1))
    monkeypatch.setattr("gan3d.runtime.read_topology", lambda: describe([1]))
    rows, _ = plan("--set", "node.workers_per_node=2")
    assert "1 core here for each of 2 ranks" in rows["node"]


def test_cores_without_a_rank_are_warned_of(plan, monkeypatch):
    monkeypatch.setattr("gan3d.runtime.read_topology", lambda: describe([16] * 8))
    settings = "node.workers_per_node=8", "node.affinity=cores"
    arguments = [word for setting in settings for word in ("--set", setting)]
    assert "no rank" not in plan(*arguments)[0]["node"]
    rows, _ = plan(*arguments, "--set", "node.workers_per_numa_domain=2")
    assert "warning: 64 of 128 cores (50%) have no rank" in rows["node"]

"""Experiment files: composition, overrides, and errors that lead to the line."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan3d.config import (
    Data,
    Experiment,
    Node,
    Run,
    Training,
    dump_experiment,
    load_experiment,
    naming_places,
)
from gan3d.errors import ConfigError

MINIMAL = "data:\n  files: [a.h5]\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a YAML file below the current folder and return its relative path."""
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def complaint(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, overrides)
    return str(caught.value)


def test_a_minimal_file_takes_all_defaults(write, tmp_path):
    experiment = load_experiment(write("e.yaml", MINIMAL))
    assert experiment == Experiment(data=Data(files=[str(tmp_path / "a.h5")]))


def test_later_files_win_maps_merge_and_lists_replace(write):
    write("a.yaml", MINIMAL + "training: {epochs: 3, batch_size: 4, optimizer: {name: adam}}\n")
    write("b.yaml", "training: {epochs: 5}\nvalidation: {energy_bins_gev: [[1, 2]]}\n")
    path = write("e.yaml", "extends: [a.yaml, b.yaml]\ntraining: {optimizer: {rho: 0.5}}\n")
    experiment = load_experiment(path)
    training = experiment.training
    assert (training.epochs, training.batch_size) == (5, 4)
    assert (training.optimizer.name, training.optimizer.rho) == ("adam", 0.5)
    assert experiment.validation.energy_bins_gev == [(1.0, 2.0)]


def test_the_extending_file_wins_wherever_extends_stands_in_it(write):
    write("a.yaml", MINIMAL + "training: {epochs: 3}\n")
    path = write("e.yaml", "training: {epochs: 9}\nextends: a.yaml\n")
    assert load_experiment(path).training.epochs == 9


def test_null_replaces_a_section_of_the_extended_file(write):
    write("a.yaml", MINIMAL + "training: {weight_average: {decay: 0.5}}\n")
    path = write("e.yaml", "extends: a.yaml\ntraining: {weight_average: null}\n")
    assert load_experiment(path).training.weight_average is None


def test_a_file_that_is_reached_twice_is_no_cycle(write):
    write("base.yaml", MINIMAL)
    write("a.yaml", "extends: base.yaml\n")
    write("b.yaml", "extends: base.yaml\n")
    load_experiment(write("e.yaml", "extends: [a.yaml, b.yaml]\n"))


def test_shower_files_are_relative_to_the_file_that_names_them(write, tmp_path):
    write("shared/base.yaml", "data: {files: [x.h5, /abs/*.h5], validation_files: [../v.h5]}\n")
    path = write("runs/e.yaml", "extends: ../shared/base.yaml\n")
    data = load_experiment(path).data
    assert data.files == [str(tmp_path / "shared" / "x.h5"), "/abs/*.h5"]
    assert data.validation_files == [str(tmp_path / "v.h5")]
    data = load_experiment(path, ["data.files=[y.h5]"]).data
    assert data.files == [str(tmp_path / "y.h5")]


def test_the_run_to_begin_from_is_relative_to_the_file_that_names_it(write, tmp_path):
    path = write("a/e.yaml", MINIMAL + "training: {init_from: ../runs/first@best}\n")
    assert load_experiment(path).training.init_from == str(tmp_path / "runs" / "first@best")
    overridden = load_experiment(path, ["training.init_from=runs/second@1200"])
    assert overridden.training.init_from == str(tmp_path / "runs" / "second@1200")


def test_overrides_win_over_files_and_later_ones_over_earlier(write):
    path = write("e.yaml", MINIMAL + "training: {epochs: 3}\n")
    overrides = ["training.epochs=4", "training.epochs=5", "training.weight_average.decay=0.5"]
    training = load_experiment(path, overrides).training
    assert training.epochs == 5
    assert training.weight_average.decay == 0.5
    assert load_experiment(path, ["node.kmp_affinity=granularity=fine"]).node.kmp_affinity == (
        "granularity=fine"
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e-6", 1e-6), ("1E-06", 1e-6), ("1", 1.0), (".5", 0.5), ("+2.", 2.0), ("010", 10.0)],
)
def test_numbers_are_read_as_people_write_them(write, text, number):
    path = write("e.yaml", MINIMAL + f"  threshold_gev: {text}\n")
    assert load_experiment(path).data.threshold_gev == number


def test_a_count_may_be_written_in_scientific_notation(write):
    path = write("e.yaml", MINIMAL + "run: {keep_checkpoints: 1e8}\n")
    assert load_experiment(path).run.keep_checkpoints == 100_000_000


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "training: {epoch: 3}",
            "e.yaml:3: training.epoch: unknown key; did you mean 'training.epochs'?",
        ),
        ("trainin:\n  epochs: 3", "e.yaml:3: trainin: unknown key; did you mean 'training'?"),
        (
            "training:\n  optimizer:\n    lerning_rate: 1",
            "e.yaml:5: training.optimizer.lerning_rate: unknown key; "
            "did you mean 'training.optimizer.learning_rate'?",
        ),
        ("batch_size: 3", "e.yaml:3: batch_size: unknown key; did you mean 'training.batch_size'?"),
        (
            "model: {zzz: 3}",
            "e.yaml:3: model.zzz: unknown key; "
            "known here: architecture, conditions, dropout, batch_norm, "
            "synchronized_batch_norm, leaky_slope",
        ),
        (
            "training:\n  epochs: ten",
            "e.yaml:4: training.epochs: expected a whole number, got 'ten'",
        ),
        (
            "training:\n  epochs: true",
            "e.yaml:4: training.epochs: expected a whole number, got true",
        ),
        (
            "training:\n  epochs: 2.5",
            "e.yaml:4: training.epochs: expected a whole number, got 2.5",
        ),
        (
            "training:\n  epochs: '5'",
            "e.yaml:4: training.epochs: expected a whole number, got '5'",
        ),
        (
            "training: {epochs: 0}",
            "e.yaml:3: training.epochs: expected a number of at least 1, got 0",
        ),
        (
            "model: {dropout: 1}",
            "e.yaml:3: model.dropout: expected a number below 1, got 1",
        ),
        (
            "model: {leaky_slope: .nan}",
            "e.yaml:3: model.leaky_slope: expected a finite number, got nan",
        ),
        (
            "model: {batch_norm: yes}",
            "e.yaml:3: model.batch_norm: expected true or false, got 'yes'",
        ),
        ("model: {architecture: 25}", "e.yaml:3: model.architecture: expected text, got 25"),
        ("model: [1]", "e.yaml:3: model: expected a section (keys with values), got a list of 1"),
        ("model:", "e.yaml:3: model: expected a section (keys with values), got nothing (null)"),
        (
            "training: {optimizer: {name: adm}}",
            "e.yaml:3: training.optimizer.name: expected one of 'rmsprop', 'adam', 'sgd', 'nadam' "
            "or 'adamw', got 'adm'; did you mean 'adam'?",
        ),
        (
            "validation:\n  energy_bins_gev:\n    - [1, 2]\n    - [3]",
            "e.yaml:6: validation.energy_bins_gev[1]: more than 1 value(s) expected",
        ),
        (
            "validation:\n  energy_bins_gev:\n    - [1, 2]\n    - [4, 3]",
            "e.yaml:4: validation: energy_bins_gev: lower bound 4 is not below 3",
        ),
        ("data: {}", "e.yaml:3: data: this key is here twice (first on line 1)"),
        ("run: {<<: {}}", "e.yaml:3: '<<' is not supported; name a file under 'extends'"),
        ("run: !!python/object:os.system {}", "e.yaml:3: the YAML tag"),
        ("run: !!set {a}", "e.yaml:3: the YAML tag"),
        ("run: &a {folder: *a}", "e.yaml:3: this alias stands for a value that contains it"),
        ("run: {folder: *.h5}", "quote a text that starts with '*'"),
        ("run: [", "e.yaml:4: not valid YAML"),
        ("run: {1: 2", "e.yaml:4: not valid YAML"),
        ("run: {? [a] : 2}", "e.yaml:3: a key must be a single word"),
        ("run: {folder: '\\ud800'}\x01", "e.yaml: not valid YAML"),
        ("run: {seed: !!int x}", "e.yaml:3: 'x' is not of YAML type int"),
    ],
)
def test_a_mistake_is_one_line_with_file_line_key_and_advice(write, lines, expected):
    message = complaint(write("e.yaml", MINIMAL + lines + "\n"))
    assert expected in message
    assert "\n" not in message


def test_what_is_missing_is_told(write):
    assert complaint(write("e.yaml", "")) == "e.yaml:1: data: this key is required"
    path = write("e.yaml", "model: {}\ndata: {shuffle: true}\n")
    assert complaint(path) == "e.yaml:2: data.files: this key is required"
    assert "expected at least 1 value" in complaint(write("e.yaml", "data: {files: []}"))
    assert "e.yaml:1: expected sections" in complaint(write("e.yaml", "just words"))


def test_impossible_combinations_point_at_a_key(write):
    path = write("e.yaml", MINIMAL + "  split:\n    seed: 1\n    train: 0.95\n")
    expected = "e.yaml:5: data.split: train + validation = 1.05, must not exceed 1"
    assert complaint(path) == expected
    path = write("e.yaml", MINIMAL + "  split:\n    validation: 0\n")
    assert complaint(path).startswith("e.yaml:4: data.split.validation is 0 and there are no")
    path = write("e.yaml", MINIMAL + "model: {synchronized_batch_norm: true}\nnode:\n  xla: true\n")
    assert "node.xla and model.synchronized_batch_norm exclude each other" in complaint(path)


def test_every_mistake_has_its_line(write):
    path = write("e.yaml", MINIMAL + "training:\n  epochs: x\n  batch_size: -1\nnod: {}\n")
    places = [line.split(": ")[0] for line in complaint(path).splitlines()]
    assert places == ["e.yaml:4", "e.yaml:5", "e.yaml:6"]


def test_a_mistake_in_an_extended_file_points_there(write):
    write("models/small.yaml", "model:\n  dropuot: 0.1\n")
    path = write("e.yaml", "extends: models/small.yaml\n" + MINIMAL)
    expected = "models/small.yaml:2: model.dropuot: unknown key; did you mean 'model.dropout'?"
    assert complaint(path) == expected


def test_a_mistake_in_an_override_names_it(write):
    path = write("e.yaml", MINIMAL)
    assert complaint(path, "training.epoch=3") == (
        "--set training.epoch: unknown key; did you mean 'training.epochs'?"
    )
    assert complaint(path, "training.epochs=ten") == (
        "--set training.epochs: expected a whole number, got 'ten'"
    )
    assert complaint(path, "training={epoch: 3}").startswith(
        "--set training: training.epoch: unknown key"
    )
    assert complaint(path, "data.files=*.h5").startswith("--set data.files: not valid YAML")
    for text in ("training.epochs", "=3", "training..epochs=3"):
        assert complaint(path, text).startswith(f"--set {text}: expected KEY=VALUE")


def test_impossible_combinations_in_an_override_name_their_key_once(write):
    path = write("e.yaml", MINIMAL + "  further_images: {HCAL: {shape: [4, 4, 7]}}\n")
    bins = "--set validation.energy_bins_gev: lower bound 4 is not below 3"
    log = "excludes cell_power (0.5): "
    sums = "HCAL2 is none of data.further_images (HCAL)"
    for overrides, expected in (
        (["validation.energy_bins_gev=[[4, 3]]"], bins),
        (["data.cell_power=0.5", "data.cell_log_gev=1"], f"--set data.cell_log_gev: {log}"),
        (["data={cell_power: 0.5, cell_log_gev: 1}"], f"--set data: data.cell_log_gev: {log}"),
        (
            ["training.loss_weights.further_sums={HCAL2: 1}"],
            f"--set training.loss_weights.further_sums: {sums}",
        ),
        (
            ["training.loss_weights.further_sums.HCAL2=1"],
            f"--set training.loss_weights.further_sums.HCAL2: {sums}",
        ),
        (
            ["model.conditions=[energy, {name: particle, values: [11, 11]}]"],
            "--set model.conditions: model.conditions[1].values: particle has a category twice",
        ),
    ):
        assert complaint(path, *overrides).startswith(expected)


def test_what_is_found_wrong_later_gets_the_place_of_its_key(write):
    write("a.yaml", MINIMAL)
    path = write("e.yaml", "extends: a.yaml\ntraining:\n  epochs: 3\n")

    def told(message, *overrides):
        with pytest.raises(ConfigError) as caught, naming_places(path, overrides):
            raise ConfigError(message)
        return str(caught.value)

    assert told("training.epochs: too few") == "e.yaml:3: training.epochs: too few"
    assert told("data.files: gone") == "a.yaml:2: data.files: gone"
    assert told("training.epochs: few", "training.epochs=2") == "--set training.epochs: few"
    # Of a key that nobody has written, the section's; of no key, nothing.
    for overrides in ((), ("training.epochs=2",), ("training.epochs=2", "node.xla=true")):
        found = told("training.batch_size: big", *overrides)
        assert found == "e.yaml:2: training.batch_size: big"
    assert told("node.precision: no", "node.xla=true") == "e.yaml:1: node.precision: no"
    assert told("node.precision: no", "node={xla: true}") == "--set node: node.precision: no"
    assert told("other.yaml: gone") == "other.yaml: gone"
    assert told("training.other.epochs: gone") == "training.other.epochs: gone"


def test_a_key_in_a_section_under_a_name_of_its_own_gets_its_place(write):
    images = "  further_images:\n    HCAL:\n      shape: [4, 4, 7]\n"
    path = write("e.yaml", MINIMAL + images)
    key = "data.further_images.HCAL.shape"

    def told(*overrides):
        with pytest.raises(ConfigError) as caught, naming_places(path, overrides):
            raise ConfigError(f"{key}: few")
        return str(caught.value)

    assert told() == f"e.yaml:5: {key}: few"
    assert told(f"{key}=[1, 4, 7]") == f"--set {key}: few"


def test_files_that_cannot_be_read(write, tmp_path):
    assert complaint(Path("none.yaml")) == "none.yaml: no such file"
    path = write("e.yaml", "model: {}\nextends: none.yaml\n")
    assert complaint(path) == "e.yaml:2: extends: none.yaml: no such file"
    assert complaint(tmp_path).endswith("cannot be read: Is a directory")
    Path("binary.yaml").write_bytes(b"\x89HDF\xff\xfe")
    assert complaint(Path("binary.yaml")) == "binary.yaml: not a YAML file (not UTF-8 text)"
    assert "e.yaml:1: extends: expected a file name" in complaint(write("e.yaml", "extends: {}"))
    assert "e.yaml:1: extends: expected a file name" in complaint(write("e.yaml", "extends: [1]"))


def test_cycles_are_found(write):
    write("a.yaml", "extends: b.yaml\n")
    write("b.yaml", "model: {}\nextends: ./a.yaml\n")
    assert complaint(Path("a.yaml")).startswith("b.yaml:2: extends: a.yaml extends itself")


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])) | st.sampled_from(
    [
        "1e-6",
        "12",
        "null",
        "true",
        "",
        " ",
        "~",
        "- a",
        "a: b",
        "#",
        "*a",
        "<<",
        "0x1F",
        ".inf",
        "=",
        "?",
    ]
)
FLOATS = st.floats(min_value=1e-300, max_value=1e300)


@given(
    name=TEXTS,
    files=st.lists(
        st.from_regex(r"/[a-zA-Z0-9_*é -]+\.h5", fullmatch=True), min_size=1, max_size=3
    ),
    rate=FLOATS,
    scale=FLOATS,
    energies=st.none() | st.tuples(st.floats(1e-9, 1.0), st.floats(2.0, 1e9)),
    seed=st.integers(0, 2**31 - 1),
    folder=st.none() | st.from_regex(r"[a-z0-9]+(/[a-z0-9]+)*", fullmatch=True).map(Path),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_dumped_loads_back_equal(
    tmp_path, name, files, rate, scale, energies, seed, folder
):
    experiment = Experiment(
        data=Data(files=files, energy_scale_gev=scale),
        training=Training(optimizer={"learning_rate": rate}, incident_energy_gev=energies),
        node=Node(name=name),
        run=Run(seed=seed, folder=folder),
    )
    path = tmp_path / "dumped.yaml"
    path.write_text(dump_experiment(experiment), encoding="utf-8")
    assert load_experiment(path) == experiment


def test_a_dump_has_every_key_in_the_order_of_the_schema():
    text = dump_experiment(Experiment(data=Data(files=["/a.h5"])))
    sections = [line[:-1] for line in text.splitlines() if not line.startswith((" ", "-"))]
    assert sections == list(Experiment.model_fields)
    assert "max_minutes: null" in text

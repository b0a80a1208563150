"""What cannot be exported or loaded is said in one line, and nothing is left half-written."""

import os
from dataclasses import replace

import pytest

from gan3d.errors import DataError, NodeError, RunError, UsageError
from gan3d.export import FORMATS, SUFFIXES, export_run, load_exported, targets, writing

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    return path


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", FORMATS)
def test_a_model_that_does_not_agree_gets_no_name(kind, run, folder, monkeypatch):
    monkeypatch.setattr(writing, "TOLERATED", -1.0)
    path = folder / f"m{SUFFIXES[kind]}"
    with pytest.raises(RunError, match=rf"{path.name}: not written: .* differ from the run's own"):
        export_run(run, path, kind)
    assert listed(folder) == []


def test_cells_in_other_places_are_not_the_runs_own(run, folder, monkeypatch):
    """The energies of showers say nothing of where their cells are."""

    def exchanged(*given):
        model = open_model(*given)
        return replace(model, call=lambda inputs: model.call(inputs).swapaxes(1, 2))

    open_model = writing.open_model
    monkeypatch.setattr(writing, "open_model", exchanged)
    with pytest.raises(RunError, match=r"m\.onnx: not written: .*, their cells by [0-9.]+ of"):
        export_run(run, folder / "m.onnx", "onnx")
    assert listed(folder) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_an_interruption_leaves_nothing(kind, run, folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "open_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_run(run, folder / f"m{SUFFIXES[kind]}", kind)
    assert listed(folder) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_what_a_killed_export_left_is_removed_and_other_files_stay(kind, run, folder):
    name = f"m{SUFFIXES[kind]}"
    left = folder / f".{name}.0a1b2c3d"
    left.mkdir() if kind == "savedmodel" else left.write_bytes(b"half")
    (folder / "other").write_bytes(b"")
    export_run(run, folder / name, kind)
    assert listed(folder) == [name, "other"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_model_that_is_there_is_not_overwritten(kind, run, folder):
    path = folder / f"m{SUFFIXES[kind]}"
    path.write_text("mine")
    with pytest.raises(UsageError, match="is already there; remove it or name another"):
        export_run(run, path, kind)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("m.bin", UsageError, r"m\.bin: name an onnx model \*\.onnx"),
        ("none/m.onnx", UsageError, "its folder does not exist"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name, error, said, run, folder):
    with pytest.raises(error, match=said):
        export_run(run, folder / name, "onnx")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_named(run, folder):
    folder.chmod(0o500)
    with pytest.raises(DataError, match="cannot be written to"):
        export_run(run, folder / "m.onnx", "onnx")


@pytest.mark.parametrize(("missing", "kind"), [("tf2onnx", "onnx"), ("onnxruntime", "onnx")])
def test_what_is_not_installed_is_named_with_what_to_install(
    missing, kind, run, folder, monkeypatch
):
    monkeypatch.setattr(targets, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(NodeError, match=rf"onnx needs {missing}, not installed .*gan3d\[export\]"):
        export_run(run, folder / "m.onnx", kind)
    assert listed(folder) == []


def test_a_run_that_does_not_say_what_it_saw_is_not_exported(run, folder):
    run = replace(run, path=folder)
    with pytest.raises(RunError, match=r"data\.json: cannot be read"):
        export_run(run, folder / "m.onnx", "onnx")


def test_what_is_no_model_of_ours_is_said_to_be_none(run, folder):
    import onnx
    import tensorflow as tf

    with pytest.raises(RunError, match="there is no such model"):
        load_exported(folder / "none.onnx")
    with pytest.raises(RunError, match=r"neither \*\.onnx, nor \*\.tflite, nor a SavedModel"):
        load_exported(folder)
    for name in ("damaged.onnx", "damaged.tflite"):
        (folder / name).write_bytes(b"\x20\x00\x00\x00TFL3 damaged")
        with pytest.raises(RunError, match=rf"{name}: cannot be loaded"):
            load_exported(folder / name)
    damaged = folder / "damaged"
    damaged.mkdir()
    (damaged / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(RunError, match="damaged: cannot be loaded"):
        load_exported(damaged)
    export_run(run, folder / "ours.onnx", "onnx")
    model = onnx.load(str(folder / "ours.onnx"))
    for props in ({}, {"model": "not JSON"}, {"model": '"somebody\'s"'}):
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, props)
        onnx.save(model, str(folder / "theirs.onnx"))
        with pytest.raises(RunError, match=r"theirs\.onnx: (has no metadata|not a model that)"):
            load_exported(folder / "theirs.onnx")
    module = tf.Module()
    module.f = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec((None,))])
    tf.saved_model.save(module, str(folder / "theirs"), signatures=module.f)
    with pytest.raises(RunError, match="theirs: has no metadata"):
        load_exported(folder / "theirs")

"""XLA for operations on single cells, as a real run has it."""

import json

import pytest
from labelled import CONFIG, write_labelled

pytestmark = pytest.mark.slow


def test_single_cells_by_xla_are_the_same_training(tmp_path, labelled_gan3d, monkeypatch):
    for name, seed in (("train", 1), ("heldout", 2)):
        write_labelled(tmp_path / f"{name}.h5", 40, seed)
    (tmp_path / "experiment.yaml").write_text(CONFIG)
    dumped = tmp_path / "compiled"
    monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_to={dumped}")
    losses = {}
    for xla in ("false", "elementwise"):
        done = labelled_gan3d(
            "train", "experiment.yaml", "--run", xla, "--set", f"node.xla={xla}",
            "--set", "training.optimizer.epsilon=0.01",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "XLA" not in done.stdout + done.stderr
        records = [json.loads(line) for line in (tmp_path / xla / "history.jsonl").open()]
        losses[xla] = [record["generator.loss"] for record in records]
        assert any(dumped.glob("*cluster*")) == (xla == "elementwise")
    assert losses["elementwise"] == pytest.approx(losses["false"], rel=1e-4)

    # A run generates as it was trained, or as it is told.
    for run, more in (("elementwise", []), ("false", ["--xla"])):
        dumped = tmp_path / f"generated-{run}"
        monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_to={dumped}")
        done = labelled_gan3d("generate", run, "-n", "8", *more, "-o", f"{run}.h5")
        assert done.returncode == 0, done.stdout + done.stderr
        assert any(dumped.glob("*cluster*"))

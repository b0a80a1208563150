"""Ranks that are killed and come back under horovodrun's elastic launcher."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from launchers import HOROVODRUN
from processes import find_rank
from tiny import TINY, write_tiny

pytestmark = pytest.mark.distributed("waiting")

SHOWERS, BATCH, COMMIT = 96, 4, 3
EPOCHS = 20
STEP_SECONDS = 0.2
"""Until two ranks are there again: what is left for one alone would take a minute and a half."""

CONFIG = f"""{TINY}
training: {{epochs: {EPOCHS}, batch_size: {BATCH}, warmup_epochs: 2, response_degree: 1}}
node: {{intra_op_threads: 1, inter_op_threads: 1}}
validation: {{epoch_showers: 4}}
run: {{commit_steps: {COMMIT}, watchdog_seconds: 240}}
"""


@pytest.fixture
def elastic_job(tmp_path):
    """Two ranks on two "hosts" that are both this machine; ends with the test."""
    write_tiny(tmp_path / "train.h5", SHOWERS, seed=1)
    write_tiny(tmp_path / "heldout.h5", 4, seed=2)
    (tmp_path / "experiment.yaml").write_text(CONFIG)
    hosts = tmp_path / "hosts.sh"
    hosts.write_text("#!/bin/sh\necho localhost:1\necho 127.0.0.1:1\n")
    hosts.chmod(0o755)
    job = subprocess.Popen(
        [
            *HOROVODRUN, "--gloo", "--network-interface", "lo",
            "-np", "2", "--min-np", "1", "--max-np", "2", "--host-discovery-script", hosts,
            # A host that lost a worker is let in again after so many seconds.
            "--blacklist-cooldown-range", "2", "4",
            sys.executable, Path(__file__).with_name("noting_rank.py"), str(STEP_SECONDS),
            "train", "experiment.yaml", "--run", "run",
        ],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "COLUMNS": "80"},
        start_new_session=True,
    )  # fmt: skip
    yield job
    if job.poll() is None:
        os.killpg(job.pid, signal.SIGKILL)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_is_killed_is_gone_on_without_and_taken_in_again(elastic_job, tmp_path, victim):
    lines = []
    killed_at = None
    assert elastic_job.stdout is not None
    for line in elastic_job.stdout:
        lines.append(line)
        if killed_at is None and re.search(rf"epoch +2/{EPOCHS} ", line):
            os.kill(find_rank(tmp_path, victim), signal.SIGKILL)
            killed_at = len(lines)
        if killed_at is not None and re.search("training from .* 2 rank", line):
            (tmp_path / "hurry").touch()
    output = "".join(lines)
    assert elastic_job.wait(60) == 0, output
    assert killed_at is not None

    # "training from epoch 3, step 2: ... 1 rank"
    begun = [
        (int(epoch), int(step), int(ranks))
        for epoch, step, ranks in re.findall(
            r"training from epoch (\d+), step (\d+): .* (\d+) rank", output
        )
    ]
    assert [ranks for _, _, ranks in begun] == [1, 2], output
    # Not further back than the last commit: the end of epoch 1, or COMMIT steps.
    epoch, step, _ = begun[0]
    assert (epoch, step) >= (2, 12 - COMMIT), output

    records = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").open()]
    assert [record["epoch"] for record in records] == list(range(1, EPOCHS + 1))
    assert [records[0]["ranks"], records[-1]["ranks"]] == [2, 2]
    # Two ranks take 12 steps of 2 x 4 for the 96 showers. However the ranks changed, the showers
    # of every epoch were gone through once: what was repeated is no part of it.
    steps = [record["step"] for record in records]
    assert all(record["steps"] == 12 for record in records if record["epoch"] > begun[1][0])
    changed = [record for record in records if record["steps"] != 12]
    assert changed
    for record in changed:
        assert 12 < record["steps"] <= 24
    assert steps == [sum(r["steps"] for r in records[: n + 1]) for n in range(len(records))]
    # Of the showers of each epoch none is left out, and what comes twice is within the bound; steps
    # that were lost have the numbers of those that were done in their place.
    seen = [json.loads(line) for path in tmp_path.glob("seen-*") for line in path.open()]
    repeated = []
    for begin, end in zip([0, *steps], steps, strict=False):
        showers = [energy for step, energies in seen if begin <= step < end for energy in energies]
        repeated.append(len(showers) - len(set(showers)))
        # What does not fill a batch of both ranks when an epoch is shared out anew sits out.
        assert len(set(showers)) > SHOWERS - 2 * BATCH, output
    assert max(repeated) <= COMMIT * BATCH * 2
    assert sum(count > 0 for count in repeated) <= len(changed)
    # The rate follows the number of ranks: back to twice the base at the end of the warm-up.
    assert records[-1]["learning_rate"] == pytest.approx(2 * 1e-3)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "finished"
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert [e["world_size"] for e in environment["earlier"]] == [2, 1]
    assert environment["world_size"] == 2

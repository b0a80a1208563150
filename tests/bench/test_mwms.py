"""MultiWorkerMirroredStrategy does what it is compared for: it averages gradients over workers."""

import json
from pathlib import Path

import numpy as np
import pytest

from gan3d.bench.mwms import StrategyRanks, worker_processes
from gan3d.bench.processes import Process, run_together

WORKER = Path(__file__).with_name("mwms_worker.py")
CONFIG = """\
data: {files: [train.h5], validation_files: [heldout.h5], geometry: {shape: [4, 4, 3]}}
model: {batch_norm: false, dropout: 0.0}
training:
  epochs: 2
  batch_size: %d
  warmup_epochs: 0
  response_degree: 1
  optimizer: {name: sgd, learning_rate: 1.0e-4} # its steps are as long as the gradients
node: {intra_op_threads: 1, inter_op_threads: 1}
"""


def test_workers_know_of_one_another_on_ports_of_their_own():
    processes = worker_processes(Path("a.yaml"), ["run.seed=3"], Path("run"), 3)
    configs = [json.loads(process.environment["TF_CONFIG"]) for process in processes]
    assert [config["task"]["index"] for config in configs] == [0, 1, 2]
    assert len(set(configs[0]["cluster"]["worker"])) == 3
    assert all(config["cluster"] == configs[0]["cluster"] for config in configs)
    assert processes[0].command[-3:] == ["a.yaml", "run", "run.seed=3"]


def test_gradients_are_divided_by_the_workers_as_the_optimiser_adds_them_up():
    means, seconds = StrategyRanks(1, 4).average([np.array([8.0]), np.array([2.0])], "a name")
    assert [mean.tolist() for mean in means] == [[2.0], [0.5]]
    assert seconds == 0.0


@pytest.mark.distributed
def test_two_workers_compute_what_one_computes_on_both_batches(tmp_path, tiny_files):
    tiny_files()  # 20 showers: two steps of 2 x 4 or of 1 x 8
    for workers, batch in ((1, 8), (2, 4)):
        config = tmp_path / f"{workers}.yaml"
        config.write_text(CONFIG % batch)
        target = tmp_path / f"weights-of-{workers}"
        run_together(
            [
                Process(
                    [worker.command[0], str(WORKER), str(config), str(target)],
                    {**worker.environment, "PYTHONPATH": str(WORKER.parents[1])},
                )
                for worker in worker_processes(config, (), tmp_path, workers)
            ],
            f"{workers} workers",
            tmp_path,
        )
    alone = np.load(tmp_path / "weights-of-1-0.npz")
    first, second = (np.load(tmp_path / f"weights-of-2-{rank}.npz") for rank in (0, 1))
    for name in alone.files:
        assert (first[name] == second[name]).all()
        np.testing.assert_allclose(first[name], alone[name], rtol=2e-3, atol=2e-5)

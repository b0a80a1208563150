"""`gan3d doctor`: a table that fits a terminal, figures as JSON, an exit code."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from machines import describe

from gan3d.cli import main
from gan3d.config import Horovod, Node, load_experiment
from gan3d.config.threads import Cores
from gan3d.runtime import doctor
from gan3d.runtime.doctor import Finding
from gan3d.samples import quickstart_experiment


@pytest.fixture
def found(monkeypatch):
    """Make `diagnose` return what is given."""
    return lambda *findings: monkeypatch.setattr(doctor, "diagnose", lambda *_: list(findings))


OK = Finding("memory", "ok", "24 GiB")
WARNING = Finding("Horovod", "warning", "not installed " + "x" * 90, "uv sync " + "y" * 90)
PROBLEM = Finding("TensorFlow", "problem", "loading crashes (SIGILL)", "use another node")


@pytest.mark.parametrize(
    ("findings", "code"), [((OK,), 0), ((OK, WARNING), 0), ((OK, WARNING, PROBLEM), 1)]
)
def test_only_a_problem_fails(found, findings, code, capsys):
    found(*findings)
    assert main(["doctor"]) == code
    out = capsys.readouterr().out
    assert all(finding.name in out for finding in findings)
    assert ("Nothing to mend" in out) == (len(findings) == 1)


def test_the_table_fits_80_columns_and_remedies_stay_on_one_line(found, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found(OK, WARNING)
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert f"  {WARNING.remedy}" in lines
    assert all(len(line) <= 80 for line in lines if line != f"  {WARNING.remedy}")


def test_json_holds_the_findings_and_the_sample(found, capsys):
    found(OK, PROBLEM)
    assert main(["doctor", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert [finding["name"] for finding in findings] == ["memory", "TensorFlow", "sample"]
    assert findings[1] == {
        "name": "TensorFlow",
        "status": "problem",
        "detail": "loading crashes (SIGILL)",
        "remedy": "use another node",
    }
    assert findings[2]["status"] == "ok"


NODES = Path(__file__).parents[2] / "configs" / "nodes"


@pytest.mark.parametrize(
    ("horovod", "node", "changes", "expected"),
    [
        ({"controllers": ["Gloo"], "nccl": False}, "auto", {}, [("node auto", "ok")]),
        # What Horovod lacks is told also where the node is another.
        (
            None, "stampede2-skx", {},
            [("node stampede2-skx", "problem"), ("node stampede2-skx: MPI", "problem")],
        ),
        (
            {"controllers": ["MPI"], "nccl": False}, "piz-daint-gpu", {},
            [("node piz-daint-gpu", "problem"), ("node piz-daint-gpu: NCCL", "problem")],
        ),
        (
            {"controllers": ["Gloo"], "nccl": False}, "laptop", {"op": "adasum"},
            [("node laptop", "ok"), ("node laptop: MPI", "problem")],
        ),
    ],
)  # fmt: skip
def test_a_node_file_is_held_against_the_node(horovod, node, changes, expected):
    asked = load_experiment(quickstart_experiment(), (), NODES / f"{node}.yaml")
    settings = asked.horovod.model_copy(update=changes)
    found = doctor._asked(asked.node, settings, describe([2]), None, horovod)
    assert [(finding.name, finding.status) for finding in found] == expected


def test_a_gpu_node_wants_nccl():
    asked = load_experiment(quickstart_experiment(), (), NODES / "gpu.yaml")
    with_gpu = replace(describe([12], 2), gpus=("Tesla P100-PCIE-16GB",))
    for nccl, expected in ((True, ["ok"]), (False, ["ok", "warning"])):
        built = {"controllers": ["MPI"], "nccl": nccl}
        found = doctor._asked(asked.node, asked.horovod, with_gpu, None, built)
        assert [finding.status for finding in found] == expected


@pytest.mark.parametrize(("capability", "expected"), [([7, 0], "float16"), ([9, 0], "bfloat16")])
def test_the_precision_of_a_gpu_is_told(capability, expected):
    asked = load_experiment(quickstart_experiment(), (), NODES / "gpu.yaml")
    with_gpu = replace(describe([12], 2), gpus=("one",))
    tensorflow = {
        "gpus": [{"name": "GPU:0", "device_name": "V1", "compute_capability": capability}]
    }
    found = doctor._asked(asked.node, asked.horovod, with_gpu, tensorflow, None)
    assert found[0].detail.endswith(f", mixed_{expected}")
    told = doctor._gpu(tensorflow, with_gpu).detail
    assert told == f"1 seen by TensorFlow: V1, compute capability {capability[0]}.{capability[1]}"


def test_gpus_that_cuda_does_not_show_are_told():
    node = describe([12])
    seen = {"gpus": [{"name": "GPU:0", "device_name": "V1", "compute_capability": [8, 0]}]}
    hidden = replace(node, hidden_gpus=2, visible_devices="-1")
    found = doctor._gpu({"gpus": []}, hidden)
    assert (found.status, found.remedy) == ("warning", "unset CUDA_VISIBLE_DEVICES")
    assert found.detail == "CUDA_VISIBLE_DEVICES=-1 hides the 2 of this node"
    some = replace(node, gpus=("one",), hidden_gpus=3, visible_devices="2")
    assert doctor._gpu(seen, some).detail.endswith("; CUDA_VISIBLE_DEVICES=2 hides the others")
    split = replace(node, gpus=("one, MIG instance",), hidden_gpus=6, mig=True)
    assert "; 7 MIG instances here, of which CUDA shows one" in doctor._gpu(seen, split).detail


def test_a_rank_is_told_whether_its_launcher_has_bound_it(monkeypatch):
    assert "bound" not in doctor._cores().detail
    for name, value in {"RANK": 1, "SIZE": 2, "LOCAL_RANK": 1, "LOCAL_SIZE": 2}.items():
        monkeypatch.setenv(f"HOROVOD_{name}", str(value))
    for bound, said in ((True, "bound to them"), (False, "not bound: ranks share what is here")):
        monkeypatch.setattr(doctor, "is_bound", lambda bound=bound: bound)
        assert doctor._cores().detail.endswith(f"; rank 1 of 2 by horovodrun, {said}")


@pytest.fixture
def bound_rank(monkeypatch):
    """One of two ranks, bound by its launcher to one of the node's cores."""
    for name, value in {"RANK": 1, "SIZE": 2, "LOCAL_RANK": 1, "LOCAL_SIZE": 2}.items():
        monkeypatch.setenv(f"HOROVOD_{name}", str(value))
    for module in ("doctor", "node"):
        monkeypatch.setattr(f"gan3d.runtime.{module}.is_bound", lambda: True)
    monkeypatch.setattr("gan3d.runtime.node.usable_cores", lambda _: Cores(1, 1))
    return describe([1])


def test_a_bound_rank_judges_a_node_file_by_its_own_cores(bound_rank):
    horovod = {"controllers": ["Gloo"], "nccl": False}
    node = Node(name="two", workers_per_node=2, affinity="cores")
    (found,) = doctor._asked(node, Horovod(), bound_rank, None, horovod)
    assert (found.status, found.detail[:17]) == ("ok", "2 ranks of 1 core")


def test_a_bound_rank_recommends_nothing_for_the_node(bound_rank):
    detail = doctor._recommended(bound_rank).detail
    assert detail.startswith("nothing for the node")
    assert "outside of the launcher" in detail


@pytest.mark.parametrize(
    ("domains", "said"),
    [
        ([24, 24], "workers_per_node: 4, workers_per_numa_domain: 2;"),
        ([16] * 8, "workers_per_node: 8, workers_per_numa_domain: 1;"),
        ([12, 24], "workers_per_node: 3, workers_per_numa_domain: null;"),
    ],
)
def test_the_recommendation_names_what_goes_into_a_node_file(domains, said):
    assert said in doctor._recommended(describe(domains, 2)).detail


def test_a_node_file_that_leaves_cores_idle_is_warned_of():
    node = Node(affinity="cores", workers_per_node=8, workers_per_numa_domain=2)
    horovod = {"controllers": ["Gloo"], "nccl": False}
    (found,) = doctor._asked(node, Horovod(), describe([16] * 8, 2), None, horovod)
    assert found.status == "warning"
    assert "64 of 128 cores (50%) have no rank: 8 rank(s), 8 NUMA domain(s)" in found.detail
    spread = node.model_copy(update={"workers_per_numa_domain": None})
    (found,) = doctor._asked(spread, Horovod(), describe([16] * 8, 2), None, horovod)
    assert found.status == "ok"

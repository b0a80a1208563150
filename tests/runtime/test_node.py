"""Threads and environment of the node section; TensorFlow starts quietly with them."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from machines import describe

from gan3d.config import Node
from gan3d.config.threads import Cores, choose_threads
from gan3d.errors import NodeError
from gan3d.runtime.launch import Launch
from gan3d.runtime.node import check_workers, choose_precision, plan, rank_words
from gan3d.runtime.quiet import _without_lines, _without_modules


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        (None, "float32"),
        ((6, 0), "float32"),  # P100
        ((7, 0), "mixed_float16"),  # V100
        ((7, 5), "mixed_float16"),  # T4
        ((8, 0), "mixed_bfloat16"),  # A100
        ((9, 0), "mixed_bfloat16"),  # H100
    ],
)
def test_auto_is_the_sixteen_bits_that_a_gpu_has_tensor_cores_for(capability, expected):
    assert choose_precision(Node(precision="auto"), capability) == expected
    for asked in ("float32", "mixed_float16", "mixed_bfloat16"):
        assert choose_precision(Node(precision=asked), capability) == asked


def test_ranks_that_a_launcher_has_bound_see_only_cores_of_their_own():
    node, own = Node(workers_per_node=2), describe([1])
    check_workers(node, own, 2, bound=True)
    with pytest.raises(NodeError, match=r"workers_per_node is 2, but there are 1 core\(s\) here"):
        check_workers(node, own, 2)


def test_more_ranks_than_cores_are_refused_unless_they_are_to_take_turns():
    two = describe([2])
    check_workers(Node(), two, 2)
    check_workers(Node(), two, 3, bound=True)
    check_workers(Node(oversubscribe=True, workers_per_node=3), two, 3)
    with pytest.raises(NodeError, match=r"3 ranks on this node, but there are 2 core"):
        check_workers(Node(), two, 3)
    granted = replace(describe([4]), quota=2.5)
    said = r"2 core\(s\), as the control group grants 2\.5 of 4 for them; start at most 2, or"
    with pytest.raises(NodeError, match=said):
        check_workers(Node(), granted, 3)


@pytest.mark.parametrize("gpu", ["auto", "required"])
def test_more_ranks_than_gpus_are_refused_with_what_helps(gpu):
    one = replace(describe([8]), gpus=("A100",))
    said = rf"gpu is {gpu}, a GPU for each of 2 rank\(s\), but this node has 1; start fewer"
    with pytest.raises(NodeError, match=said + r" \(node.workers_per_node: 1\), or set .* none"):
        plan(Node(gpu=gpu), one, 2)
    check_workers(Node(gpu=gpu), one, 1)
    check_workers(Node(gpu="none"), one, 2)
    check_workers(Node(gpu="auto"), describe([8]), 2)
    check_workers(Node(gpu="auto", workers_per_node=2), one, 1)  # one alone


def test_memory_of_a_domain_that_is_not_there_is_refused():
    two = describe([4, 4])
    for policy in ("bind", "preferred"):
        check_workers(Node(memory_policy=policy, memory_domain=1), two, 1)
        with pytest.raises(NodeError, match="memory_domain is 7, but the NUMA domains here are 0,"):
            check_workers(Node(memory_policy=policy, memory_domain=7), two, 1)


def test_the_cores_of_a_bound_rank_say_who_bound_it(monkeypatch):
    launch = Launch("srun", 1, 2, 1, 2)
    for bound in (True, False):
        monkeypatch.setattr("gan3d.runtime.node.is_bound", lambda bound=bound: bound)
        with pytest.raises(NodeError, match=r"1 hardware thread\(s\) here") as refused:
            choose_threads(Node(intra_op_threads=2), Cores(1, 1), rank_words(launch))
        told = "srun has bound this rank to CPU(s) " in str(refused.value)
        assert told == ("--bind-to none or --cpu-bind=none" in str(refused.value)) == bound


def test_float16_on_a_processor_is_refused():
    with_gpu = replace(describe([2]), gpus=("Tesla V100-SXM2-16GB",))
    check_workers(Node(precision="mixed_float16"), with_gpu, 1)
    for node, topology in (
        (Node(precision="mixed_float16"), describe([2])),
        (Node(precision="mixed_float16", gpu="none"), with_gpu),
    ):
        with pytest.raises(NodeError, match="set mixed_bfloat16 or auto, or take a GPU"):
            check_workers(node, topology, 1)


def test_only_noise_is_taken_from_stderr(capfd):
    import re

    with _without_lines(re.compile(rb"noise")):
        os.write(2, b"some noise\na real error\nunfinished")
    os.write(2, b" afterwards\n")
    assert capfd.readouterr().err == "a real error\nunfinished afterwards\n"


def test_what_is_written_before_a_crash_comes_out():
    code = (
        "import os, re\nfrom gan3d.runtime.quiet import _without_lines\n"
        "with _without_lines(re.compile(b'noise')):\n"
        "    os.write(2, b'noise\\nthe reason\\n')\n    os.abort()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode < 0
    assert done.stderr == "the reason\n"


def test_tensorflow_brings_nothing_along_that_ranks_do_not_need():
    code = """
import gc, sys
from gan3d.runtime.quiet import import_tensorflow
import_tensorflow()
assert "keras" in sys.modules
# What has been imported stays, and is not looked through again by the collector, which goes on.
assert gc.isenabled() and gc.get_freeze_count() > 100_000
print(*({"IPython", "matplotlib", "sklearn"} & set(sys.modules)))
import IPython, matplotlib.pyplot, sklearn.base
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_what_is_loaded_is_kept_from_nobody():
    with _without_modules(["json", "this"]):
        import json  # noqa: F401 - loaded before

        with pytest.raises(ImportError):
            import this  # noqa: F401
    assert "this" not in sys.modules


@pytest.mark.tensorflow
def test_a_node_is_applied_quietly_and_recorded(monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    code = """
import json, os
from gan3d.config import Horovod, Node
from gan3d.errors import NodeError
from gan3d.runtime import SingleProcess, apply_node, connect, describe_environment
node = Node(name="test", intra_op_threads=1, inter_op_threads=1, kmp_blocktime=1, onednn=False,
            precision="mixed_bfloat16", deterministic=True)
applied = apply_node(node)
assert apply_node(node) is applied
try:
    apply_node(Node())
except NodeError as error:
    refused = str(error)
communicator = connect(Horovod())
assert isinstance(communicator, SingleProcess)
import tensorflow as tf, keras, sys
assert "horovod" not in sys.modules
tf.constant(1.0) + 1.0
print(json.dumps({
    "intra": tf.config.threading.get_intra_op_parallelism_threads(),
    "inter": tf.config.threading.get_inter_op_parallelism_threads(),
    "backend": keras.backend.backend(),
    "policy": keras.config.dtype_policy().name,
    "onednn": os.environ["TF_ENABLE_ONEDNN_OPTS"],
    "refused": refused,
    "environment": describe_environment(communicator, Horovod(compression="fp16")),
}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    environment = found.pop("environment")
    assert environment["node"].pop("topology")["cores"] >= 1
    assert environment["node"].pop("cpus") == sorted(os.sched_getaffinity(0))
    refused = found.pop("refused")
    assert found == {
        "intra": 1,
        "inter": 1,
        "backend": "tensorflow",
        "policy": "mixed_bfloat16",
        "onednn": "0",
    }
    assert "only once in a process" in refused
    assert environment["node"] == {
        "name": "test",
        "threads": {"intra_op": 1, "inter_op": 1, "omp": 1},
        "environment": {
            "OMP_NUM_THREADS": "1",
            "KMP_BLOCKTIME": "1",
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "KERAS_BACKEND": "tensorflow",
        },
        "gpu": None,
        "precision": "mixed_bfloat16",
        "affinity": "none",
        "memory_policy": "none",
        "memory_domains": [],
        "deterministic": True,
    }
    assert environment["world_size"] == 1
    assert environment["horovod"]["compression"] == "fp16"
    assert environment["horovod"]["op"] == "average"
    assert environment["versions"]["tensorflow"].startswith("2.")

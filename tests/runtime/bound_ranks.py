"""Run by every rank under a launcher: what the node section asked for is what took effect."""

import os
import sys
from pathlib import Path

from gan3d.config import Horovod, Node
from gan3d.runtime import apply_node, connect
from gan3d.runtime.launch import read_launch
from gan3d.runtime.memory_policy import memory_policy
from gan3d.runtime.topology import read_topology

before, topology = os.sched_getaffinity(0), read_topology()
node = Node(
    affinity="cores", memory_policy="bind", inter_op_threads=1, onednn=False, kmp_blocktime=1,
    precision="mixed_bfloat16",
)  # fmt: skip
applied = apply_node(node)
launch = read_launch()
share = len(topology.cores) // launch.size

# One core after the other, each with all its hardware threads, and no core twice.
mine = topology.cores[launch.rank * share : (launch.rank + 1) * share]
wanted = {cpu for core in mine for cpu in core.cpus}
assert os.sched_getaffinity(0) == wanted != before, (os.sched_getaffinity(0), wanted, before)
assert memory_policy() == ("bind", {core.domain for core in mine}), memory_policy()

import keras  # noqa: E402 - after apply_node, as in the package
import tensorflow as tf  # noqa: E402 - after apply_node, as in the package

assert keras.layers.Dense(1).compute_dtype == "bfloat16"
tf.linalg.matmul(tf.ones([64, 64]), tf.ones([64, 64]))
assert tf.config.threading.get_intra_op_parallelism_threads() == applied.threads.intra_op
assert tf.config.threading.get_inter_op_parallelism_threads() == 1
assert os.environ["OMP_NUM_THREADS"] == str(applied.threads.omp)
assert applied.threads.intra_op in (share, share - 1)
assert os.environ["KMP_BLOCKTIME"] == "1"
assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
communicator = connect(Horovod())
# TensorFlow's threads, Horovod's and the interpreter's: all are where the rank is.
for thread in Path("/proc/self/task").iterdir():
    assert os.sched_getaffinity(int(thread.name)) == wanted
said = applied.as_dict()
assert said["affinity"] == "cores"
assert said["cpus"] == sorted(wanted)
assert said["memory_policy"] == "bind"
communicator.barrier()
communicator.shutdown()
Path(sys.argv[1], f"{launch.rank}").touch()

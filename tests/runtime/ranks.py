"""Run by every rank under horovodrun: exchanges of the communicator with known answers."""

import sys
import time
from pathlib import Path

import numpy as np

from gan3d.config import Horovod, Node
from gan3d.runtime import apply_node, connect

apply_node(Node(intra_op_threads=1))
communicator = connect(Horovod(fusion_threshold_mb=1, cycle_time_ms=2.5))
import tensorflow as tf  # noqa: E402 - after apply_node, as in the package

rank, size = communicator.rank, communicator.size
assert size == 2
assert communicator.local_size == 2
assert communicator.local_rank == rank


@tf.function
def averaged(scale):
    first, seconds = communicator.average(
        [scale * (rank + 1.0) * tf.ones([3]), tf.fill([2, 2], 10.0 * rank)], "first"
    )
    # A second group in the same function must not be mixed up with the first.
    second, more = communicator.average([scale * [float(rank)]], "second")
    return [*first, *second, seconds, more]


averaged(tf.constant(1.0))  # both ranks have traced it, and are here together
for scale in (1.0, 2.0):
    if rank == 1:
        time.sleep(4.0)
    ones, tens, ranks, seconds, more = averaged(tf.constant(scale))
    # Who comes first waits for the other, once; who comes last does not.
    assert float(seconds) > 2.0 if rank == 0 else 0.0 < float(seconds) < 2.0, float(seconds)
    assert 0.0 < float(more) < 2.0, float(more)
    np.testing.assert_array_equal(ones, scale * np.full(3, 1.5, np.float32))
    np.testing.assert_array_equal(tens, np.full((2, 2), 5.0))
    np.testing.assert_array_equal(ranks, [scale * 0.5])

variables = [
    tf.Variable(tf.fill([2], float(rank))),
    tf.Variable(7 + rank, dtype=tf.int64),
    tf.Variable(rank == 0),
]
communicator.broadcast(variables)
assert [v.numpy().tolist() for v in variables] == [[0.0, 0.0], 7, True]

# One part in 1e15 survives: the exchange is in float64.
np.testing.assert_array_equal(communicator.sum(np.array([1.0, 1e-15 * rank])), [2.0, 1e-15])
np.testing.assert_array_equal(
    communicator.gather(np.full((1 + rank, 2), float(rank))), [[0, 0], [1, 1], [1, 1]]
)
np.testing.assert_array_equal(communicator.minimum(np.array([rank, 1.0 - rank])), [0.0, 0.0])

# The mean over ranks of x is y; every rank's loss rank * y then gives x the gradient mean(rank).
x = tf.Variable([1.0 + rank])


@tf.function
def through_the_mean():
    with tf.GradientTape() as tape:
        y = communicator.mean(x, "mean")
        loss = rank * y
    return y, tape.gradient(loss, x)


y, gradient = through_the_mean()
np.testing.assert_array_equal([y[0], gradient[0]], [1.5, 0.5])
communicator.barrier()
communicator.shutdown()
Path(sys.argv[1], f"{rank}").touch()

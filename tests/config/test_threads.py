"""Threads of a rank, chosen and checked."""

import pytest

from gan3d.config import Node
from gan3d.config.threads import Cores, Threads, choose_threads
from gan3d.errors import NodeError

SKX_WORKER = Cores(physical=12, logical=24)


@pytest.mark.parametrize(
    ("node", "cores", "expected"),
    [
        (Node(), Cores(1, 1), Threads(intra_op=1, inter_op=1, omp=1)),
        (Node(), Cores(2, 4), Threads(intra_op=2, inter_op=1, omp=2)),
        # Stampede2's published setting: 11 and 2, and OpenMP threads within the 12 cores.
        (Node(), SKX_WORKER, Threads(intra_op=11, inter_op=2, omp=6)),
        (
            Node(intra_op_threads=11, inter_op_threads=2, omp_num_threads=6),
            SKX_WORKER,
            Threads(intra_op=11, inter_op=2, omp=6),
        ),
        (Node(intra_op_threads=3), SKX_WORKER, Threads(intra_op=3, inter_op=2, omp=3)),
    ],
)
def test_threads_fill_the_cores_of_a_rank_unless_they_are_given(node, cores, expected):
    assert choose_threads(node, cores) == expected


@pytest.mark.parametrize("key", ["intra_op_threads", "inter_op_threads", "omp_num_threads"])
def test_more_threads_than_a_rank_has_are_refused(key):
    with pytest.raises(NodeError, match=f"node.{key} is 25, but a rank has 24"):
        choose_threads(
            Node(**{key: 25, "intra_op_threads": 25 if "intra" in key else 1}), SKX_WORKER
        )


def test_more_openmp_threads_than_cores_are_refused_with_the_arithmetic():
    with pytest.raises(NodeError, match=r"= 2 x 7 = 14, but a rank has 12 core\(s\)"):
        choose_threads(Node(inter_op_threads=2, omp_num_threads=7), SKX_WORKER)

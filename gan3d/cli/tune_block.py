"""A rank of a block of `gan3d tune`: `python -m gan3d.cli.tune_block ADDRESS`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gan3d.cli.console import print_error
from gan3d.cli.train import train
from gan3d.errors import Gan3dError

if TYPE_CHECKING:
    from gan3d.tuning.worker import Ears, Order

WORKER = (sys.executable, "-m", "gan3d.cli.tune_block")
"""The command of a rank."""


def train_order(order: Order, ears: Ears) -> Mapping[str, float]:
    """Train as `gan3d train` does; then judge what only a whole judgement has, on rank 0."""
    from gan3d.training.session import forget_networks

    assert order.experiment is not None
    forget_networks()
    # Where run.max_minutes end it, what it has reached counts, as for all trials.
    train(
        order.experiment,
        order.folder,
        resume=order.resume,
        communicator=ears.communicator,
        told_to_stop=ears.told_to_stop,
        heard=ears.heard,
    )
    if ears.communicator.rank > 0:
        return {}
    from gan3d.training.records import read_history
    from gan3d.tuning.objectives import counted, judged_only

    metrics = counted(read_history(order.folder), order.wanted)
    further = judged_only(order.wanted)
    if further:
        from gan3d.cli.tune_judge import judge_run

        metrics |= judge_run(order.folder, further, checkpoint=order.wanted.epoch)
    return metrics


def main() -> int:
    """Serve the coordinator; an error is one line, as of the command."""
    from gan3d.tuning.worker import serve

    try:
        return serve(Path(sys.argv[1]), train_order)
    except Gan3dError as error:
        print_error(str(error))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

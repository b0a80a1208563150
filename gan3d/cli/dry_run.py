"""`gan3d train --dry-run`: what would run, after everything that can be checked has been."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan3d.cli.console import make_console
from gan3d.cli.train import check_judged
from gan3d.config import Experiment, Horovod, Model

if TYPE_CHECKING:
    from gan3d.models import Architecture
    from gan3d.runtime import Launch
    from gan3d.training.schedule import LearningRateSchedule
    from gan3d.training.session import Found

_WIDTH, _HEIGHT = 60, 13
"""Characters of the curve. Of braille's 2 x 4 dots each, so that half the peak is a row's middle
where the height is odd."""
_MARGIN = 15
"""Characters before values and before the curve."""


def dry_run(experiment: Experiment, folder: Path, *, ranks: int, resume: bool) -> None:
    """Check the experiment, its data and this node as `gan3d train` does, and print what would run.

    Nothing is written, and networks are built only to be counted, and to see what they would take
    from another run (`training.init_from`). Raises the errors that training would raise before its
    first step.
    """
    from gan3d.data import count_steps, divide
    from gan3d.models import architecture_of, check_networks
    from gan3d.runtime import launched, memory_bytes
    from gan3d.runtime.quiet import import_tensorflow
    from gan3d.training.checks import check_energies, check_memory, unseen_categories
    from gan3d.training.schedule import LearningRateSchedule
    from gan3d.training.session import find, rank_batch

    check_networks(experiment)
    found = find(experiment, folder, ranks, resume=resume)
    check_judged(experiment, found)
    node = _node(experiment, launched())
    horovod = _horovod(experiment.horovod, ranks)
    check_energies(experiment.training, found.response)
    import_tensorflow()
    architecture = architecture_of(experiment)

    generator = architecture.build_generator(experiment.model)
    discriminator = architecture.build_discriminator(experiment.model)
    networks = [generator, discriminator]
    check_memory(
        generator, discriminator, experiment.training, memory_bytes() // launched().local_size
    )
    division = divide(found.files, experiment.data.split)
    batch = rank_batch(experiment)
    steps = count_steps(division.train, batch_size=batch, size=ranks)
    schedule = LearningRateSchedule.of(experiment, ranks)
    epochs = experiment.training.epochs
    rows = {
        "run": f"{folder}, {_resumed(folder) if resume else 'new'}",
        "architecture": experiment.model.architecture,
        **_conditions(experiment.model),
        **_images(experiment),
        **_networks(experiment, networks),
        **_start(networks, architecture, found),
        "files": _files(found),
        "showers": f"{len(division.train)} for training, {len(division.validation)} held out",
        "ranks": f"{ranks}, each with {_batches(experiment)}: {ranks * batch} showers a step",
        "epochs": _epochs(experiment, steps, len(division.train) - steps * ranks * batch),
        "node": node,
        "horovod": horovod,
        "learning rate": _learning_rate(experiment, schedule),
    }

    console = make_console()
    width = min(console.width, 80)
    lines = unseen_categories(found.files, experiment.model.labels)
    if found.start is not None:
        lines += found.start.knows_heldout(found.files, experiment.data.split)
    lines += [f"skipped: {skipped.reason}" for skipped in found.files.skipped]
    for name, value in rows.items():
        lines += _wrapped(f"{name:<{_MARGIN}}", value, width)
    lines.append("")
    # A flat line would say nothing that the row above has not said.
    if schedule.scale != 1.0 or schedule.decay.kind in ("step", "cosine"):
        # A step keeps the rate of its beginning, the last one begins before the last epoch ends.
        last = epochs * steps - 1
        lines += [*draw_curve(lambda at: schedule(min(int(at * steps), last) / steps), epochs), ""]
        if schedule.decay.kind == "plateau":
            lines.append(
                "A plateau's reductions depend on the run; the curve is drawn without them."
            )
    lines.append("Nothing was started and nothing written.")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _wrapped(title: str, value: str, width: int) -> list[str]:
    """Lines of a value beside its title; no path is broken, so that it can be copied."""
    return textwrap.wrap(
        value,
        width,
        initial_indent=title,
        subsequent_indent=" " * len(title),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _resumed(folder: Path) -> str:
    from gan3d.models.weights import CHECKPOINTS, checkpoint_folders, checkpoint_step

    checkpoints = checkpoint_folders(folder / CHECKPOINTS)
    if not checkpoints:
        return "begun anew, as it has no checkpoint"
    return f"resumed after step {checkpoint_step(checkpoints[-1])}"


def _conditions(model: Model) -> dict[str, str]:
    """A line of what the networks are told beside the energy, if there is something."""
    if not model.labels:
        return {}
    said = ["energy"]
    for label in model.labels:
        what = label.unit or "a number"
        if label.kind == "categories":
            what = f"one of {', '.join(map(str, label.values))}"
        said.append(f"{label.name} (column {label.column}: {what})")
    return {"conditions": "; ".join(said)}


def _images(experiment: Experiment) -> dict[str, str]:
    """A line of the images of a shower, if there are several."""
    images = experiment.data.images
    if images.single:
        return {}
    said = [f"{name} of {'x'.join(map(str, shape))} cells" for name, shape in images.shapes.items()]
    return {"images": ", ".join(said)}


def _networks(experiment: Experiment, networks: Sequence[Any]) -> dict[str, str]:
    """Lines of the networks' sizes, and of the shapes that images take in them, in order."""
    from gan3d.models.arithmetic import describe_network, step_flops

    updates = experiment.training.generator_updates
    flops = step_flops(networks[0], networks[1], updates)
    images = experiment.data.images
    names = () if images.single else tuple(images.shapes)
    described = {network.name: describe_network(network, names) for network in networks}
    return {**described, "step": f"{flops / 1e9:.3g} GFLOP per shower"}


def _start(networks: Sequence[Any], architecture: Architecture, found: Found) -> dict[str, str]:
    """A line of what would be taken from another run, if one is to be begun with."""
    if found.start is None:
        return {}
    from gan3d.training.transfer import take_weights

    text = str(take_weights(found.start, *networks))
    if architecture.adapt is not None:
        text += "; then statistics of the training showers are put in"
    return {"init_from": text}


def _files(found: Found) -> str:
    files = found.files
    text = f"{len(files.files)} for training"
    if files.validation_files is not None:
        text += f", {len(files.validation_files)} held out"
    if files.skipped:
        text += f", {len(files.skipped)} skipped"
    return text


def _batches(experiment: Experiment) -> str:
    passes = experiment.horovod.backward_passes_per_step
    text = f"batches of {experiment.training.batch_size} showers"
    return f"{text} x {passes} backward passes" if passes > 1 else text


def _epochs(experiment: Experiment, steps: int, left: int) -> str:
    text = f"{experiment.training.epochs} of {_count(steps, 'step')}"
    if left:
        which = "others every time" if experiment.data.shuffle else "always the last ones"
        text += f"; {_count(left, 'shower')} sit{'s' if left == 1 else ''} out each one, {which}"
    stopping = experiment.training.early_stopping
    if stopping is not None:
        text += (
            f"; fewer if {stopping.monitor} does not fall in "
            f"{_count(stopping.patience, 'measured epoch')}"
        )
    if experiment.run.max_minutes is not None:
        text += f"; no new one begins after {experiment.run.max_minutes:g} minutes"
    return text


def _node(experiment: Experiment, launch: Launch) -> str:
    from gan3d.config.threads import choose_threads
    from gan3d.runtime import (
        check_workers,
        idle_cores,
        is_bound_rank,
        plan,
        rank_cores,
        rank_words,
        read_topology,
    )

    topology, workers = read_topology(), experiment.node.workers_per_node
    check_workers(experiment.node, topology, launch.local_size, bound=is_bound_rank(launch))
    if launch.launcher is None and workers is not None:
        # Alone a rank has all cores; what the node file is for is that many ranks.
        plan(experiment.node, topology, workers)
    cores = rank_cores(experiment.node, topology, launch)
    threads = choose_threads(experiment.node, cores, rank_words(launch))
    # Alone without a number of ranks it has all cores, and bound it sees its own.
    alone = launch.launcher is None
    ranks = workers or 1 if alone else launch.local_size
    idle = None if is_bound_rank(launch) else idle_cores(experiment.node, topology, ranks)
    who = f"each of {launch.local_size} ranks" if launch.local_size > 1 else "one rank alone"
    return (
        f"{experiment.node.name}; {_count(cores.physical, 'core')} here for {who}: "
        f"{threads.intra_op} intra-op and {threads.inter_op} inter-op threads"
        f"{f'; warning: {idle}' if idle else ''}"
    )


def _horovod(settings: Horovod, ranks: int) -> str:
    from gan3d.runtime.distributed import check_adasum, horovod_has_mpi, horovod_lacks

    if ranks == 1:
        return "not used by a single rank"
    if settings.op == "adasum":
        check_adasum(ranks, with_mpi=horovod_has_mpi())
    named = settings.model_dump(exclude={"backward_passes_per_step", "needs"}, exclude_none=True)
    text = ", ".join(
        f"{name} {f'{value:g}' if isinstance(value, float) else value}"
        for name, value in named.items()
    )
    lacks = horovod_lacks()
    return f"{text}; here no ranks can be started: {lacks}" if lacks else text


def _learning_rate(experiment: Experiment, schedule: LearningRateSchedule) -> str:
    training = experiment.training
    text = f"{schedule.base:g}"
    if schedule.scale != 1.0:
        text += f" x {schedule.scale:.4g} ({training.learning_rate_scaling}) = {schedule.peak:.4g}"
        if schedule.warmup_epochs:
            text += f" after {schedule.warmup_epochs:g} epochs of warm-up"
    own = training.optimizer.discriminator_learning_rate
    if own is not None:
        text += f" (the discriminator's {own / training.optimizer.learning_rate:.4g} times that)"
    return f"{text}, then {_decay(schedule)}"


def _decay(schedule: LearningRateSchedule) -> str:
    decay = schedule.decay
    if decay.kind == "step":
        epochs = " and ".join(f"{epoch:g}" for epoch in decay.epochs)
        return f"x {decay.factor:g} at epoch{'s' if len(decay.epochs) > 1 else ''} {epochs}"
    if decay.kind == "cosine":
        final = decay.final_share * schedule.peak
        return f"half a cosine to {final:.4g} at epoch {schedule.epochs}"
    if decay.kind == "plateau":
        return (
            f"x {decay.factor:g} after {_count(decay.patience, 'epoch')} without improvement of "
            f"{decay.monitor}, not below {decay.least_share * schedule.peak:.4g}"
        )
    return "constant"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def draw_curve(rate: Callable[[float], float], epochs: int) -> list[str]:
    """Lines of a chart of `rate`, above 0 at epoch 0, from epoch 0 to `epochs`, as a line of dots.

    The lowest dots stand for 0 and the highest for the largest rate, the first ones for epoch 0 and
    the last ones for `epochs`.
    """
    columns, rows = 2 * _WIDTH, 4 * _HEIGHT
    rates = [rate(epochs * column / (columns - 1)) for column in range(columns)]
    top = max(rates)
    heights = [round(value / top * (rows - 1)) for value in rates]
    cells = [[0] * _WIDTH for _ in range(_HEIGHT)]
    for column, height in enumerate(heights):
        before = heights[max(column - 1, 0)]
        # Where it is steep, from next to the dot before, so that the line does not break.
        start = before + (height > before) - (height < before)
        for dot in range(min(start, height), max(start, height) + 1):
            row, inside = divmod(rows - 1 - dot, 4)
            cells[row][column // 2] |= _DOTS[inside][column % 2]
    labels = {0: f"{top:.4g}", _HEIGHT // 2: f"{top / 2:.4g}", _HEIGHT - 1: "0"}
    lines = [
        f"{labels.get(row, ''):>{_MARGIN - 2}} {'┤' if row in labels else '│'}"
        + "".join(chr(_EMPTY + dots) if dots else " " for dots in line).rstrip()
        for row, line in enumerate(cells)
    ]
    return lines + _epoch_axis(epochs)


_EMPTY = 0x2800
# Unicode adds these numbers for the dots of a braille character, from the top left.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def _epoch_axis(epochs: int) -> list[str]:
    """A line with ticks at round epochs and at the last one, and a line of their names."""
    step = next(
        factor * 10**power
        for power in range(len(str(epochs)))
        for factor in (1, 2, 5)
        if factor * 10**power * 6 >= epochs
    )
    axis, names = ["─"] * _WIDTH, [" "] * (_MARGIN + _WIDTH + len(str(epochs)))
    names[_MARGIN - 7 : _MARGIN - 2] = "epoch"
    # None so near the last one that its name would run into that.
    for epoch in [*range(0, epochs - step // 2, step), epochs]:
        column = round(epoch / epochs * (2 * _WIDTH - 1)) // 2
        axis[column] = "┬"
        begin = _MARGIN + column - (len(str(epoch)) - 1) // 2
        names[begin : begin + len(str(epoch))] = str(epoch)
    return [" " * (_MARGIN - 1) + "└" + "".join(axis), "".join(names).rstrip()]

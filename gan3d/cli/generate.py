"""`gan3d generate`: showers from a trained run into a file."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import click

from gan3d.cli.console import make_console
from gan3d.cli.progress import ProgressDisplay
from gan3d.cli.sample_checks import not_learnt
from gan3d.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gan3d.export import ExportedModel
    from gan3d.generation import Dataset, Told, TrainedRun
    from gan3d.runtime import Launch

_FILE_SUFFIXES = (".hdf5", ".hdf", ".pq", ".root", ".npz", ".npy", ".csv")
"""Names of files that are not written, rather than of folders."""

EXAMPLE = """\b
Examples:
  gan3d generate runs/quickstart -n 10000 --energy 10:100 -o showers.h5
  gan3d generate runs/quickstart -n 500 --energy 50 --seed 7 -o 50GeV.h5
  gan3d generate runs/angle -n 500 --condition theta=1.2:1.9 -o tilted.h5
  gan3d generate runs/angle -n 1000 --like 'data/*.h5' -o same.h5
  gan3d generate generator.onnx -n 10000 --energy 10:100 -o showers.h5
  horovodrun -np 4 gan3d generate RUN -n 1000000 --to parquet -o showers
"""


class EnergyRange(click.ParamType[Any]):
    """`LOW:HIGH` or one energy, in GeV."""

    name = "low:high"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Turn the text into (low, high); equal bounds are one energy."""
        low, colon, high = str(value).partition(":")
        try:
            return float(low), float(high if colon else low)
        except ValueError:
            self.fail(f"'{value}' is no energy or LOW:HIGH in GeV, such as 10:100", param, ctx)


class ConditionValue(click.ParamType[Any]):
    """`NAME=VALUE` or `NAME=LOW:HIGH`."""

    name = "name=value"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[float, float]]:
        """Turn the text into (name, (low, high)); equal bounds are one value."""
        name, equals, text = str(value).partition("=")
        low, colon, high = text.partition(":")
        try:
            if not name or not equals:
                raise ValueError
            return name, (float(low), float(high if colon else low))
        except ValueError:
            self.fail(f"'{value}' is no NAME=VALUE or NAME=LOW:HIGH, such as theta=1.2", param, ctx)


class CheckpointChoice(click.ParamType[Any]):
    """`last`, `best` or the number of a step."""

    name = "last|best|step"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        """Turn a number into an int and leave the two words."""
        text = str(value)
        if text in ("last", "best"):
            return text
        if text.isdecimal():
            return int(text)
        return self.fail(f"'{text}' is neither last, best nor the number of a step", param, ctx)


@click.command(name="generate", epilog=EXAMPLE)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-n", "count", type=click.IntRange(min=1), required=True, help="Number of showers.")
@click.option("--energy", type=EnergyRange(), help="GeV; default: the range trained on.")
@click.option(
    "--condition",
    "conditions",
    type=ConditionValue(),
    multiple=True,
    help="What else the network is told, in the files' units (theta in rad, particle as PDG code): "
    "a value, or LOW:HIGH. Default: the range, or the categories, trained on.",
)
@click.option(
    "--like",
    metavar="GLOB",
    multiple=True,
    help="Shower files that energies and conditions are taken from, in their order; over again "
    "where they hold fewer showers.",
)
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write (.h5, .parquet), or a folder for many.",
)
@click.option(
    "--to", "layout", type=click.Choice(["lcd", "parquet"]),
    help="Layout of the files in a folder.  [default: lcd]",
)  # fmt: skip
@click.option(
    "--showers-per-file", type=click.IntRange(min=1), help="In a folder.  [default: 10000]"
)
@click.option("--force", is_flag=True, help="Replace files in the folder that hold other showers.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=128, show_default=True)
@click.option("--checkpoint", type=CheckpointChoice(), default="last", show_default=True)
@click.option(
    "--xla",
    is_flag=True,
    help="With node.xla elementwise, which takes seconds to compile: faster for some ten thousand "
    "showers of a compact network and more.  [default: as the run was trained]",
)
def command(
    run: Path,
    count: int,
    energy: tuple[float, float] | None,
    conditions: tuple[tuple[str, tuple[float, float]], ...],
    like: tuple[str, ...],
    output: Path,
    layout: str | None,
    showers_per_file: int | None,
    force: bool,
    seed: int,
    batch_size: int,
    checkpoint: Literal["last", "best"] | int,
    xla: bool,
) -> None:
    """Generate showers with the trained network in the folder RUN.

    RUN may also be a model that `gan3d export` has written. From the same latents, which it has
    where they are its input, it gives the same showers as the run.

    Writes the LCD schema (ECAL and target, GeV) or Parquet shards, with the seed and the model's
    identity as attributes, and what the network was told of each shower as columns. The PDG code
    in a target is that of the training files; 0 where they do not say it, or hold several. Where it
    makes several images of a shower, such as ECAL and HCAL, files have all of them. A shower
    depends on the seed and its number alone, to float rounding: not on the batch size, the files,
    or the number of ranks.

    With a folder, showers come in numbered files. Files that are already there are skipped when a
    call is repeated, so no call needs to be finished in one go; the ranks of a launcher
    (horovodrun, srun, mpirun) take turns.
    """
    from gan3d.data.planned import SUFFIXES
    from gan3d.generation import SHOWERS_PER_FILE, Dataset
    from gan3d.runtime import launched

    launch = launched()
    single = next((name for name, suffix in SUFFIXES.items() if output.suffix == suffix), None)
    if single is not None:
        if layout or showers_per_file or force:
            raise UsageError(
                f"{output}: --to, --showers-per-file and --force are for a folder of files"
            )
        if launch.size > 1:
            raise UsageError(f"{output}: {launch.size} ranks cannot write one file; name a folder")
        if not output.parent.is_dir():
            raise UsageError(f"{output}: its folder does not exist; make it first")
    elif output.is_file():
        raise UsageError(f"{output}: is a file, but not named .h5 or .parquet")
    elif output.suffix in _FILE_SUFFIXES and not output.exists():
        raise UsageError(f"{output}: name a file .h5 or .parquet, or a folder for many")
    if like and (energy or conditions):
        raise UsageError("--like gives energies and conditions; leave --energy and --condition out")
    if any(name == "energy" for name, _ in conditions):
        raise UsageError("--condition energy: has an option of its own, --energy")
    names = [name for name, _ in conditions]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"--condition {name}: is given {names.count(name)} times; give one value, or a "
                "range LOW:HIGH"
            )

    def draw(told: Told | ExportedModel) -> _Drawn:
        if like:
            return _taken_from(like, told, count)
        energy_n = told.draw_energies(count, energy, seed)
        return _Drawn(energy_n, told.draw_labels(count, dict(conditions), seed))

    # What is wrong with them is said before TensorFlow is loaded, where a run says what it takes.
    told = _told(run, checkpoint)
    drawn = draw(told) if told else None
    trained = _load(run, checkpoint, xla=xla)
    at_once = count if single else min(count, showers_per_file or SHOWERS_PER_FILE)
    check_batch(trained, min(batch_size, at_once))
    energy_n, columns, notes = drawn or draw(cast("ExportedModel", trained))
    with ProgressDisplay(make_console()) as display:
        for note in (*notes, *_beyond(trained, energy_n, columns)):
            display.say(note)
        if single is not None:
            write_generated(
                trained,
                energy_n,
                output,
                display,
                seed=seed,
                batch_size=batch_size,
                layout=single,
                columns=columns,
            )
            return
        dataset = Dataset(
            trained,
            energy_n,
            seed,
            output,
            layout or "lcd",
            showers_per_file or SHOWERS_PER_FILE,
            columns=columns,
            geometries=trained.geometries,
        )
        _write_share(dataset, launch, display, batch_size=batch_size, replace=force)


class _Drawn(NamedTuple):
    """What showers are to be generated with."""

    energy_n: NDArray[np.float32]
    """Incident energies, GeV."""
    columns: dict[str, NDArray[Any]]
    """Labels, (N,) each."""
    notes: tuple[str, ...] = ()
    """What is to be said of them."""


def _taken_from(patterns: tuple[str, ...], told: Told | ExportedModel, count: int) -> _Drawn:
    """Energies (GeV) and labels of the first `count` showers of files; over again if fewer."""
    import numpy as np

    from gan3d.data import check_labels, expand_patterns, open_shower_file, pick_columns

    labels = told.labels
    energies, parts, read = [], [], 0
    for path in expand_patterns(patterns):
        if read >= count:
            break
        with open_shower_file(path) as file:
            columns = file.read_columns(0, file.count)
            check_labels(columns, labels, path)
            energies.append(file.energy_n)
            parts.append(pick_columns(columns, labels))
            read += file.count
    energy_n = np.resize(np.concatenate(energies), count)
    names = [label.column for label in labels]
    columns = {
        name: np.resize(np.concatenate([part[name] for part in parts]), count) for name in names
    }
    if read >= count:
        return _Drawn(energy_n, columns)
    note = (
        f"note: {', '.join(patterns)}: {read} showers; their energies and conditions are taken "
        f"over again for {count}"
    )
    return _Drawn(energy_n, columns, (note,))


def _beyond(
    trained: TrainedRun | ExportedModel,
    energy_n: NDArray[np.float32],
    columns: dict[str, NDArray[Any]],
) -> Iterator[str]:
    """Notes of conditions outside of what the network was trained with."""
    low, high = trained.energy_range_gev
    if energy_n.min() < low or energy_n.max() > high:
        yield f"note: the network was trained with {low:.4g} to {high:.4g} GeV only"
    for label in trained.labels:
        low, high = trained.label_ranges.get(label.column, (-float("inf"), float("inf")))
        values_n = columns[label.column]
        if label.kind == "number" and (values_n.min() < low or values_n.max() > high):
            unit = f" {label.unit}" if label.unit else ""
            yield (
                f"note: the network was trained with {label.name} of {low:.4g} to "
                f"{high:.4g}{unit} only"
            )
    yield from (f"note: the network {each}" for each in not_learnt(trained, columns))


def _write_share(
    dataset: Dataset, launch: Launch, display: ProgressDisplay, *, batch_size: int, replace: bool
) -> None:
    """Write those files of a folder that this rank is to write and that are not there yet."""
    mine = dataset.share(launch.rank, launch.size)
    missing = dataset.missing(mine, replace=replace)
    who = f"rank {launch.rank}: " if launch.size > 1 else ""
    if len(missing) < len(mine):
        there = len(mine) - len(missing)
        display.say(f"{who}{dataset.folder}: {there} of {len(mine)} files are there already")
    if not missing:
        return
    showers = sum(map(len, missing))
    display.begin("generating", showers, "showers")
    began = time.monotonic()
    for file in missing:
        dataset.write(file, batch_size=batch_size, advance=display.advance)
    milliseconds = 1000 * (time.monotonic() - began) / showers
    files = "1 file" if len(missing) == 1 else f"{len(missing)} files"
    display.say(
        f"{who}{dataset.folder}: {showers} showers in {files}, seed {dataset.seed}, "
        f"{milliseconds:.1f} ms each with the writing"
    )


def _told(path: Path, checkpoint: Literal["last", "best"] | int) -> Told | None:
    """What the networks of a run are told; None: it is an exported model, which has to be loaded.

    Raises RunError where there is neither.
    """
    from gan3d.export import is_exported
    from gan3d.generation import find_checkpoint, read_told

    if is_exported(path):
        return None
    find_checkpoint(path, checkpoint)
    return read_told(path)


def _load(
    path: Path, checkpoint: Literal["last", "best"] | int, *, xla: bool
) -> TrainedRun | ExportedModel:
    from gan3d.config import Node, load_experiment
    from gan3d.export import is_exported, load_exported
    from gan3d.generation import load_run
    from gan3d.runtime import apply_node, quietly, usable_cores

    if not is_exported(path):
        xla = xla or load_experiment(path / "config.yaml").node.xla == "elementwise"
        apply_node(Node(xla="elementwise") if xla else Node())
        return load_run(path, checkpoint)
    if xla:
        raise UsageError(f"{path}: --xla is for runs, not for exported models; leave it out")
    if checkpoint != "last":
        raise UsageError(f"{path}: an exported model has one checkpoint; leave --checkpoint out")
    if path.suffix != ".onnx":
        apply_node(Node())  # TensorFlow runs it
    with quietly():
        return load_exported(path, threads=usable_cores().physical)


def check_batch(trained: TrainedRun | ExportedModel, batch_size: int) -> None:
    """Raise UsageError where a batch cannot fit into the memory of this process."""
    from gan3d.generation import TrainedRun
    from gan3d.runtime import launched, memory_bytes

    if isinstance(trained, TrainedRun):
        from gan3d.models.arithmetic import forward_bytes

        shower = forward_bytes(trained.generator)
    else:  # what other runtimes take in between is not known
        cells = sum(math.prod(each.shape) for each in trained.metadata.geometries.values())
        shower = 4 * (trained.metadata.latent_dim + 2 * cells)
    needed, available = batch_size * shower, memory_bytes() // launched().local_size
    if needed > available:
        raise UsageError(
            f"a batch of {batch_size} takes at least {needed / 2**30:.3g} GiB, there are "
            f"{available / 2**30:.3g} GiB here: at most {available // shower} can fit "
            "(--batch-size)"
        )


def write_generated(
    trained: TrainedRun | ExportedModel,
    energy_n: NDArray[np.float32],
    output: Path,
    display: ProgressDisplay,
    *,
    seed: int,
    batch_size: int = 128,
    layout: str = "lcd",
    columns: dict[str, NDArray[Any]] | None = None,
) -> None:
    """Write a shower for each incident energy (GeV) to `output`, and say how long it took.

    `columns` are the labels that the network is conditioned on, too.
    """
    from gan3d.generation import write_while_generating

    display.begin("generating", len(energy_n), "showers")
    began = time.monotonic()
    write_while_generating(
        output,
        trained.stream(energy_n, seed=seed, batch_size=batch_size, columns=columns),
        display.advance,
        layout=layout,
        attributes=trained.attributes(seed),
        pdg_id=trained.pdg_id,
        geometries=trained.geometries,
    )
    milliseconds = 1000 * (time.monotonic() - began) / len(energy_n)
    display.say(
        f"{output}: {len(energy_n)} showers by {trained.identity}, seed {seed}, "
        f"{milliseconds:.1f} ms each with the writing"
    )

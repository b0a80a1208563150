"""A run that begins with the weights of another one: `training.init_from`.

Layers are matched one by one, so the other run may have another geometry, other conditions or
another architecture: a layer whose trainable variables all have the same shapes is taken, the rest
begins as it was drawn. (A bias that fits is nothing without the kernel that it was trained with,
nor a batch normalisation without the layer whose outputs it normalises.
Statistics of other showers, which are not trained, say nothing of it.) A layer is known by its
name, and one that was given none by its place among those of its kind, as Keras numbers names anew
in every process. Layers of the first of several images are those of a run on it alone. Of weights
with rows for categories (particles), those of a
category are taken, wherever it stands in either list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from gan3d.config import FIRST_IMAGE, Experiment, Split, load_experiment
from gan3d.data import Survey
from gan3d.data.survey import FileEntry
from gan3d.errors import ConfigError, RunError, UsageError
from gan3d.models import architecture_of
from gan3d.models.shower_conditions import weights_of_categories
from gan3d.models.weights import (
    AVERAGE_WEIGHTS,
    DISCRIMINATOR_WEIGHTS,
    epochs_done,
    find_checkpoint,
    generation_weights,
    parse_run,
)
from gan3d.training.records import read_survey

if TYPE_CHECKING:
    import keras

KEY = "training.init_from"

# Where weight files have what `model.spectral_norm` keeps of a kernel.
_SPECTRUM = "spectrum/vars"

# Where these differ, numbers mean something else to a network.
_MEANINGS = (
    ("data", "energy_scale_gev"),
    ("data", "cell_power"),
    ("data", "cell_log_gev"),
    ("model", "conditions"),
    ("model", "spectral_norm"),
)


class _Slot(NamedTuple):
    """A variable's place in a network, whatever the process that built it."""

    layer: str
    """The layer's name, or its kind and number where it was given none."""
    kind: str
    """The layer's class, in Keras's spelling (`conv3d`), with a bounded spectrum or without."""
    place: str
    """Number of the variable in its layer, after those of layers inside it."""
    of: int
    """How many variables the layer has: with another number, the same place is another thing."""

    @property
    def owner(self) -> tuple[str, str, str]:
        """The (innermost) layer that the variable is of; a spectrum is its kernel's layer's."""
        inner = self.place.rpartition("/")[0]
        return self.layer, self.kind, "" if inner == _SPECTRUM else inner


_Values = Mapping[_Slot, NDArray[Any]]


@dataclass(frozen=True)
class Start:
    """The weights that a run is to begin with, in memory: the other run is not needed again."""

    run: Path
    """The other run's folder."""
    checkpoint: str
    """Name of its checkpoint."""
    epochs: int
    """Epochs done there."""
    architecture: str
    """What it trained."""
    averaged: bool
    """Whether the generator's are the moving average."""
    generator: _Values
    discriminator: _Values
    differences: tuple[str, ...]
    """Keys with other values there, by which its weights mean something else."""
    rearranged: Mapping[_Slot, str]
    """Weights whose rows were brought into the order of this run's categories, and of which."""
    files: Survey
    """The shower files that it has."""
    split: Split
    """How they were divided, where no others were held out."""

    def knows_heldout(self, files: Survey, split: Split) -> list[str]:
        """What to know where `files`, divided by `split`, hold out what it was trained on."""
        theirs, ours = ([_identity(each) for each in named.files] for named in (self.files, files))
        held = files.validation_files
        shared = [each for each in held or files.files if _identity(each) in theirs]
        both_divided = held is None and self.files.validation_files is None
        if not shared or (both_divided and ours == theirs and split == self.split):
            return []
        return [
            f"note: {KEY}: {_from_here(self.run)} was trained on {_names(shared)}, of which this "
            "run holds showers out: it has learnt from them, and they flatter it. Divide as it "
            "did (the same data.files and data.split), or hold out others"
        ]


def _identity(file: FileEntry) -> tuple[int, int, float]:
    """What is the same of a file under another name, and of no other one."""
    return file.showers, file.size_bytes, file.energy_sum_gev


def _names(files: Sequence[FileEntry]) -> str:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{files[0].path.name}{more}"


def find_start(experiment: Experiment) -> Start | None:
    """Read what `training.init_from` names; None: it names nothing.

    Of the generator the weights that the other run generates with: where it keeps a moving average,
    that is the better generator, and the weights of the last step are that with noise. Optimisers
    and counters are left: they belong to the other run's showers, rates and ranks. Raises
    ConfigError where there is no run, no such checkpoint, or one that cannot be read.
    """
    named = experiment.training.init_from
    if named is None:
        return None
    try:
        run, which = parse_run(named)
        if run is None:
            raise RunError(
                f"{named}: no such run; name the folder of one (RUN, RUN@best, RUN@STEP)"
            )
        checkpoint = find_checkpoint(run, which)
        other = load_experiment(run / "config.yaml")
        generator = generation_weights(checkpoint)
        of_generator = _in_order(_read(generator), other, experiment)
        of_discriminator = _in_order(_read(checkpoint / DISCRIMINATOR_WEIGHTS), other, experiment)
        return Start(
            run=run,
            checkpoint=checkpoint.name,
            epochs=epochs_done(checkpoint)[0],
            architecture=other.model.architecture,
            averaged=generator.name == AVERAGE_WEIGHTS,
            generator=of_generator.values,
            discriminator=of_discriminator.values,
            differences=tuple(
                f"{section}.{key}"
                for section, key in _MEANINGS
                if getattr(getattr(other, section), key)
                != getattr(getattr(experiment, section), key)
            ),
            rearranged={**of_generator.rearranged, **of_discriminator.rearranged},
            files=read_survey(run),
            split=other.data.split,
        )
    except (RunError, UsageError) as error:
        raise ConfigError(f"{KEY}: {str(error).partition(chr(10))[0]}") from error


def _from_here(path: Path) -> Path:
    """A path as one would type it: relative where it is in the working directory."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


class _Ordered(NamedTuple):
    """Weights with rows for categories in the order of another run's list."""

    values: _Values
    rearranged: Mapping[_Slot, str]
    """Which are, and of which condition, in words."""


def _in_order(values: _Values, other: Experiment, own: Experiment) -> _Ordered:
    """`values`, with rows for each category of `own`, in its order.

    A category that the other run did not know has NaN there: `_take` leaves that row as it was
    drawn. Where it knew none, the weights are left out.
    """
    theirs = {label.name: label.values for label in other.model.labels}
    found, rearranged = dict(values), {}
    for label in own.model.labels:
        known, wanted = theirs.get(label.name, []), label.values
        if known == wanted or not known:
            continue
        unknown = [str(value) for value in wanted if value not in known]
        said = f"{label.name}: {', '.join(unknown)} as drawn" if unknown else label.name
        for slot, rearrange in _with_categories(values, label.name, other, own):
            weights = found.pop(slot)
            rows = rearrange(weights, known, wanted) if len(unknown) < len(wanted) else None
            if rows is not None:
                found[slot], rearranged[slot] = rows, said
    return _Ordered(found, rearranged)


_Rearrange = Callable[[NDArray[Any], list[int], list[int]], NDArray[Any] | None]


def _with_categories(
    values: _Values, name: str, other: Experiment, own: Experiment
) -> Iterator[tuple[_Slot, _Rearrange]]:
    """Weights with rows for the categories of the condition `name`, and what sorts them."""
    numbers = [
        [each.name for each in x.model.labels if each.kind == "number"] for x in (other, own)
    ]
    made_of_terms = set(architecture_of(other).condition_weights)
    made_of_terms &= set(architecture_of(own).condition_weights)
    for slot in values:
        if slot.layer == f"embedding_{name}":
            yield slot, _sort_embedding
        elif f"{slot.layer}/{slot.place}" in made_of_terms and numbers[0] == numbers[1]:
            yield slot, partial(weights_of_categories, len(numbers[0]))


def _sort_embedding(
    table: NDArray[Any], known: Sequence[int], wanted: Sequence[int]
) -> NDArray[Any] | None:
    """A row of `table` for each category; None where it has not one for each that is known."""
    if len(table) != len(known):
        return None
    rows = np.full((len(wanted), *table.shape[1:]), np.nan, table.dtype)
    for place, value in enumerate(wanted):
        if value in known:
            rows[place] = table[known.index(value)]
    return rows


class Fresh(NamedTuple):
    """A variable that is not taken from the other run."""

    name: str
    shape: tuple[int, ...]
    there: tuple[int, ...] | None
    """The shape that it has in the other run; None: there is nothing like it."""


@dataclass(frozen=True)
class Part:
    """What became of one network's variables."""

    taken: Mapping[_Slot, str]
    """Those with the other run's values, with their names."""
    fresh: Sequence[Fresh]
    """Those with values of their own."""
    unused: Sequence[str]
    """What the other run's network has beyond these: layer and place."""
    measured: Sequence[str] = ()
    """Those that had been taken, but now hold statistics of the training showers."""

    def rearranged(self, start: Start) -> dict[str, str]:
        """Of those that are taken, whose rows were brought into another order, and of what."""
        return {
            name: start.rearranged[slot]
            for slot, name in self.taken.items()
            if slot in start.rearranged
        }


@dataclass(frozen=True)
class Transfer:
    """What a run began with."""

    start: Start
    generator: Part
    discriminator: Part

    def note_measured(self, generator: keras.Model, discriminator: keras.Model) -> Transfer:
        """Look again, after statistics of the training showers have been put into the networks."""
        return replace(
            self,
            generator=_look_again(self.generator, generator, self.start.generator),
            discriminator=_look_again(self.discriminator, discriminator, self.start.discriminator),
        )

    def as_dict(self) -> dict[str, Any]:
        """For `init.json`: all variables by name."""
        start = self.start
        parts = {"generator": self.generator, "discriminator": self.discriminator}
        return {
            "run": str(start.run),
            "checkpoint": start.checkpoint,
            "epochs": start.epochs,
            "architecture": start.architecture,
            "generator_weights": "moving average" if start.averaged else "last",
            "other_values_there": list(start.differences),
            **{
                network: {
                    "taken": list(part.taken.values()),
                    "rows_by_category": part.rearranged(start),
                    "measured": list(part.measured),
                    "fresh": [each._asdict() for each in part.fresh],
                    "unused": list(part.unused),
                }
                for network, part in parts.items()
            },
        }

    def __str__(self) -> str:
        """One line: where from, how many were taken, which were not and why."""
        start, parts = self.start, (self.generator, self.discriminator)
        taken = sum(len(part.taken) for part in parts)
        measured = sum(len(part.measured) for part in parts)
        fresh = [
            f"{network} {each.name} ({_in_words(each.shape)}, {_compared(each)})"
            for network, part in zip(("generator", "discriminator"), parts, strict=True)
            for each in part.fresh
        ]
        text = (
            f"{_from_here(start.run)}, {start.checkpoint} ({start.epochs} "
            f"epoch{'' if start.epochs == 1 else 's'} done"
            f"{', moving average of the generator' if start.averaged else ''}): "
            f"{taken} of {taken + measured + len(fresh)} variables taken"
        )
        rearranged = [
            f"{network} {name} ({what})"
            for network, part in zip(("generator", "discriminator"), parts, strict=True)
            for name, what in part.rearranged(start).items()
        ]
        if rearranged:
            text += f"; rows by category: {', '.join(rearranged)}"
        if measured:
            text += f"; measured on the training showers: {measured}"
        text += f"; fresh: {', '.join(fresh) or 'none'}"
        if start.differences:
            text += f"; note: other values of {', '.join(start.differences)} there"
        return text


def take_weights(start: Start, generator: keras.Model, discriminator: keras.Model) -> Transfer:
    """Give the networks those weights of `start` that fit; the others stay as they are.

    Raises ConfigError where none fits.
    """
    transfer = Transfer(
        start,
        _take(generator, start.generator),
        _take(discriminator, start.discriminator),
    )
    if not transfer.generator.taken and not transfer.discriminator.taken:
        raise ConfigError(
            f"{KEY}: {start.run}: no layer of its networks ({start.architecture}) has the name and "
            "the shapes of one here; nothing would be taken"
        )
    return transfer


def _take(network: keras.Model, values: _Values) -> Part:
    """Give `network` those of `values` that fit, by way of a weight file of its own."""
    taken: dict[_Slot, str] = {}
    fresh: list[Fresh] = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "own.weights.h5"
        network.save_weights(path)
        with h5py.File(path, "r+") as file:
            order = {layer.name: number for number, layer in enumerate(network.layers)}
            own = sorted(_slots(file), key=lambda each: order[each[1]])  # as a reader expects it
            theirs = {slot: value.shape for slot, value in values.items()}
            unlike = {slot for slot, _, data in own if theirs.get(slot) != data.shape}
            differing = {
                slot.owner
                for slot, named, _ in own
                if slot in unlike and _is_trainable(network, named, slot)
            }
            owners = {(named, slot.owner) for slot, named, _ in own}
            begin_anew = {named for named, owner in owners if owner in differing}
            for norm, sources in _normalised(network):
                if sources & begin_anew:
                    begin_anew.add(norm)
                    differing |= {owner for named, owner in owners if named == norm}
            for slot, named, dataset in own:
                name = _variable_name(network, named, slot)
                if slot in unlike or slot.owner in differing:
                    fresh.append(Fresh(name, dataset.shape, theirs.get(slot)))
                else:
                    drawn = np.isnan(values[slot])
                    dataset[()] = np.where(drawn, dataset[()], values[slot])
                    taken[slot] = name
        network.load_weights(path)
    known = {slot for slot, _, _ in own}
    return Part(taken, fresh, [f"{s.layer}/{s.place}" for s in values if s not in known])


def _normalised(network: keras.Model) -> Iterator[tuple[str, set[str]]]:
    """Every batch normalisation, in order, with the layers whose outputs it normalises.

    Those that have weights: its mean and scale are of what these gave.
    """
    import keras

    def with_weights(layer: Any) -> set[str]:
        found: set[str] = set()
        for tensor in keras.tree.flatten(layer.input):
            # Keras has no public way from a tensor to the layer that made it.
            source = tensor._keras_history.operation
            if isinstance(source, keras.layers.InputLayer):
                continue
            found |= {source.name} if getattr(source, "weights", ()) else with_weights(source)
        return found

    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            yield layer.name, with_weights(layer)


def _look_again(part: Part, network: keras.Model, values: _Values) -> Part:
    """`part`, with what no longer has the other run's values as measured."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "own.weights.h5"
        network.save_weights(path)
        now = _read(path)
    same = {
        slot for slot in part.taken if np.all((now[slot] == values[slot]) | np.isnan(values[slot]))
    }
    return replace(
        part,
        taken={slot: name for slot, name in part.taken.items() if slot in same},
        measured=[name for slot, name in part.taken.items() if slot not in same],
    )


def _read(path: Path) -> dict[_Slot, NDArray[Any]]:
    """The variables in a weight file. Raises RunError where it cannot be read."""
    try:
        with h5py.File(path, "r") as file:
            return {slot: np.asarray(dataset[()]) for slot, _, dataset in _slots(file)}
    except (OSError, KeyError) as error:
        raise RunError(f"{path}: no weights that can be read ({error})") from error


def _slots(file: h5py.File) -> Iterator[tuple[_Slot, str, h5py.Dataset]]:
    """All variables in a weight file of Keras, with their layers' names in that process."""
    for group, layer in file["layers"].items():
        named = str(layer["vars"].attrs.get("name", group))
        kind = re.sub(r"_\d+$", "", group)
        # Groups are counted in the network, names that Keras makes in the process.
        given = re.fullmatch(rf"{re.escape(kind)}(_\d+)?", named) is None
        for place, dataset in _datasets(layer).items():
            # What is trained of a layer of `model.spectral_norm` is a kernel like any other.
            plain = re.sub(r"^spectral_(plain_)?", "", kind)
            # Where there are several images, layers of the first are called after it.
            name = (named if given else group).removeprefix(f"{FIRST_IMAGE}_")
            slot = _Slot(name, plain, place, len(dataset.parent))
            yield slot, named, dataset


def _datasets(layer: h5py.Group) -> dict[str, h5py.Dataset]:
    found: dict[str, h5py.Dataset] = {}

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[path.removeprefix("vars/")] = item

    layer.visititems(visit)
    return found


def _variable_name(network: keras.Model, named: str, slot: _Slot) -> str:
    """`conv_1/kernel`; with a number where the layer has layers inside it."""
    variable = _variable(network, named, slot)
    layer = named if named == f"{FIRST_IMAGE}_{slot.layer}" else slot.layer
    return f"{layer}/{slot.place if variable is None else variable.name}"


def _is_trainable(network: keras.Model, named: str, slot: _Slot) -> bool:
    """Whether it is; also where that is not known, as in a layer inside a layer."""
    variable = _variable(network, named, slot)
    if variable is None:
        return slot.place.rpartition("/")[0] != _SPECTRUM
    return bool(variable.trainable)


def _variable(network: keras.Model, named: str, slot: _Slot) -> Any:
    """The variable; None: it is one of a layer inside the layer."""
    weights = network.get_layer(named).weights
    own = slot.place.isdecimal() and len(weights) == slot.of
    return weights[int(slot.place)] if own else None


def _compared(fresh: Fresh) -> str:
    if fresh.there is None:
        return "not there"
    if fresh.there == fresh.shape:
        return "with its layer"
    return f"there {_in_words(fresh.there)}"


def _in_words(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a number"

"""A trained run, loaded to generate showers from.

Importing this module does not import Keras; loading a run does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Condition, Experiment, Geometry, load_experiment
from gan3d.data import (
    Showers,
    Survey,
    find_fault,
    geometry_attributes,
    network_labels,
    pick_columns,
)
from gan3d.data.showers import UNKNOWN_PARTICLE
from gan3d.errors import RunError, UsageError
from gan3d.models import architecture_of, told_labels
from gan3d.models.sampling import sample_images
from gan3d.models.weights import (
    DISCRIMINATOR_WEIGHTS,
    WhichCheckpoint,
    find_checkpoint,
    generation_weights,
    read_json,
)

if TYPE_CHECKING:
    import keras

DEFAULT_BATCH = 128
_SHOWN = 60
"""Characters of what was given that an error shows."""
_FILES = "data.json"

Given = float | int | tuple[float, float] | Sequence[float] | NDArray[Any]
"""A condition of showers: the same number for all, a range as a tuple (low, high), or one number
for each as a list or an array."""

Columns = Mapping[str, NDArray[Any]]
"""Labels of showers by their column, (N,) each, in the units of the files."""

Outputs = dict[str, NDArray[np.float64]]
"""A discriminator's outputs by name."""


class _Ranges(Protocol):
    """What a network is told of a shower, and what of it it was trained on."""

    @property
    def labels(self) -> list[Condition]: ...
    @property
    def energy_range_gev(self) -> tuple[float, float]: ...
    @property
    def label_ranges(self) -> Mapping[str, tuple[float, float]]: ...
    @property
    def seen_categories(self) -> Mapping[str, tuple[int, ...]]: ...


class Draws:
    """What draws energies and labels for a network, wherever it runs: all draw the same."""

    def draw_energies(
        self: _Ranges, n: int, energy: float | tuple[float, float] | None, seed: int
    ) -> NDArray[np.float32]:
        """Incident energies (n,) in GeV, uniform in the range `energy` (default: as trained)."""
        return draw_energies(n, self.energy_range_gev if energy is None else energy, seed)

    def draw_labels(
        self: _Ranges, n: int, conditions: Mapping[str, Given], seed: int
    ) -> dict[str, Any]:
        """Columns of the labels of n showers, (n,) each, as `generate` takes `conditions`."""
        return draw_labels(
            n, self.labels, self.label_ranges, conditions, seed, self.seen_categories
        )


@dataclass(frozen=True)
class Told(Draws):
    """What the networks of a run are told of a shower, known without loading them."""

    labels: list[Condition]
    """What they are conditioned on beside the incident energy."""
    energy_range_gev: tuple[float, float]
    """Incident energies (GeV) of the training showers."""
    label_ranges: Mapping[str, tuple[float, float]]
    """Smallest and largest value of each label of the training showers' files, by its column."""
    pdg_id: int = UNKNOWN_PARTICLE
    """The particle that all training showers are of; 0: their files do not say, or it is several.
    """
    seen_categories: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Values of each label with categories that the training showers' files have, by its column;
    without those of which a run of before does not say them."""


def read_told(path: Path) -> Told:
    """Read what the run in folder `path` is told. Raises RunError where it does not say."""
    experiment = load_experiment(path / "config.yaml")
    labels = told_labels(architecture_of(experiment), experiment.model)
    try:
        low, high = read_json(path / "response.json")["energy_range_gev"]
        energies = float(low), float(high)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path / 'response.json'}: no response of a run ({error!r})") from error
    files = _read_files(path) if labels or (path / _FILES).exists() else Survey(())
    ranges = _label_ranges(path, files, labels)
    return Told(labels, energies, ranges, files.pdg_id, files.categories)


@dataclass(frozen=True)
class TrainedRun(Draws):
    """The generator of a run and what is needed to use it."""

    path: Path
    """The run's folder."""
    experiment: Experiment
    """What ran."""
    checkpoint: Path
    """The checkpoint that the weights come from."""
    generator: keras.Model
    """The network: [latent, scaled energy] -> images in GeV."""
    weights_sha256: str
    """Digest of the weight file: the model's identity."""
    energy_range_gev: tuple[float, float]
    """Incident energies (GeV) of the training showers."""
    label_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Smallest and largest value of each label (`labels`) of the training showers' files, by its
    column."""
    pdg_id: int = UNKNOWN_PARTICLE
    """The particle that all training showers are of; 0: their files do not say, or it is several.
    """
    seen_categories: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Values of each label with categories that the training showers' files have, by its column;
    without those of which a run of before does not say them."""

    @property
    def labels(self) -> list[Condition]:
        """What the networks are conditioned on beside the incident energy."""
        return told_labels(architecture_of(self.experiment), self.experiment.model)

    @property
    def geometries(self) -> dict[str, Geometry] | None:
        """Where it makes several images of a shower, the grids of all, by their names."""
        data = self.experiment.data
        return data.geometries if data.further_images else None

    def images(self, showers: Showers) -> dict[str, Showers]:
        """Each image of showers of this run, by its name, such as ECAL and HCAL.

        `generate` and `stream` give several images as one list of cells, (N, cells of all, 1, 1).
        """
        parts = self.experiment.data.images.split(showers.images_nxyz)
        return {name: replace(showers, images_nxyz=each) for name, each in parts.items()}

    @property
    def judged_labels(self) -> list[Condition]:
        """Those of `labels` that the discriminator sees, too."""
        seen = self.labels and architecture_of(self.experiment).discriminator_sees_labels
        return self.labels if seen else []

    @property
    def identity(self) -> str:
        """What generated a shower: architecture, checkpoint and the start of the digest."""
        name = self.experiment.model.architecture
        return f"{name}/{self.checkpoint.name}/{self.weights_sha256[:16]}"

    def attributes(self, seed: int) -> dict[str, str | int]:
        """What a file of this run's showers, made with `seed`, says of its origin."""
        return {
            "generator": f"gan3d {version('gan3d')}",
            "model": self.identity,
            "weights_sha256": self.weights_sha256,
            "seed": seed,
            "units": "GeV",
            **geometry_attributes(self.experiment.data.model_geometry),
        }

    def generate(
        self,
        n: int | None = None,
        *,
        energy: float | tuple[float, float] | None = None,
        energy_n: NDArray[np.floating[Any]] | None = None,
        seed: int = 0,
        batch_size: int = DEFAULT_BATCH,
        **conditions: Given,
    ) -> Showers:
        """Generate showers, all in memory.

        Either `n` showers with incident energies (GeV) uniform in the range `energy`, a tuple (low,
        high), or all with the one energy given, or, by default, uniform in the range of the
        training showers; or one shower for each of `energy_n` (GeV), (N,). `conditions` are those
        of `labels`, by name: a number, a tuple (low, high) to draw from uniformly, or one number
        for each shower, a list or an array (N,), in the units of the files
        (rad, PDG codes); by default they are drawn from the range of the training showers,
        categories from those that these have. They become columns of the showers. The same seed
        gives the same showers, whatever `batch_size`, to float rounding. Images are
        (N, x, y, layer) in GeV. Raises UsageError for energies that are not positive and finite,
        for n < 1, for conditions that the networks do not have, and for what is none of these.
        """
        if seed < 0:
            raise UsageError(f"generate: seed {seed}; give 0 or more")
        if (n is None) == (energy_n is None):
            raise UsageError("generate: give the number of showers n, or energy_n, not both")
        if energy_n is None:
            assert n is not None
            energy_n = self.draw_energies(n, energy, seed)
        elif energy is not None:
            raise UsageError("generate: give energy, for all showers, or energy_n, not both")
        energy_n = check_energies(energy_n, batch_size)
        columns = self.draw_labels(len(energy_n), conditions, seed)
        blocks = list(self.stream(energy_n, seed=seed, batch_size=batch_size, columns=columns))
        return Showers(
            images_nxyz=np.concatenate([block.images_nxyz for block in blocks]),
            energy_n=np.concatenate([block.energy_n for block in blocks]),
            columns=columns,
        )

    def discriminate(self, showers: Showers, batch_size: int = DEFAULT_BATCH) -> Outputs:
        """What the run's discriminator says of showers, (N,) each.

        `generation` is the probability of being Monte Carlo, `auxiliary` the estimated incident
        energy (GeV). Where the discriminator sees labels, they are those of the showers' columns.
        Raises RunError where the checkpoint's discriminator does not load, DataError where a label
        is missing.
        """
        architecture = architecture_of(self.experiment)
        data = self.experiment.data
        images_nxyzc = data.cell_scale.seen(showers.images_nxyz)[..., None]
        energy_n1 = (showers.energy_n / data.energy_scale_gev).astype(np.float32)[:, None]
        labels_nc = None
        if self.judged_labels:
            labels_nc = network_labels(showers.columns, self.judged_labels)
        inputs = architecture.judged(images_nxyzc, energy_n1, labels_nc)
        outputs = self._discriminator.predict(inputs, batch_size=batch_size, verbose=0)
        return {
            "generation": np.asarray(outputs["generation"], np.float64)[:, 0],
            "auxiliary": np.asarray(outputs["auxiliary"], np.float64)[:, 0] * data.energy_scale_gev,
        }

    @cached_property
    def _discriminator(self) -> keras.Model:
        # Kept: TensorFlow would trace its graph anew for every call, and warn of that.
        found = architecture_of(self.experiment).build_discriminator(self.experiment.model)
        weights = self.checkpoint / DISCRIMINATOR_WEIGHTS
        try:
            found.load_weights(weights)
        except (OSError, ValueError) as error:
            raise RunError(f"{weights}: does not load ({error})") from error
        return found

    def stream(
        self,
        energy_n: NDArray[np.floating[Any]],
        *,
        seed: int = 0,
        batch_size: int = DEFAULT_BATCH,
        first: int = 0,
        columns: Columns | None = None,
    ) -> Iterator[Showers]:
        """Generate a shower for each incident energy (GeV), batch by batch.

        They are the showers `first`, `first + 1`, ... of the seed. `columns` hold what the networks
        are conditioned on beside the energy, `labels`; they are the showers' columns, too. Raises
        UsageError where one is missing.
        """
        energies = check_energies(energy_n, batch_size)
        own = check_columns(columns or {}, self.labels, len(energies))
        architecture = architecture_of(self.experiment)
        done = 0
        for images_nxyz in sample_images(
            self.generator,
            energies,
            self.experiment.data,
            latent_dim=architecture.latent_dim,
            seed=seed,
            batch_size=batch_size,
            first=first,
            labels_nc=network_labels(own, self.labels) if self.labels else None,
        ):
            last = done + len(images_nxyz)
            labels = {name: values_n[done:last] for name, values_n in own.items()}
            yield Showers(images_nxyz, energies[done:last], labels)
            done = last


def draw_energies(n: int, energy: float | tuple[float, float], seed: int) -> NDArray[np.float32]:
    """Incident energies (n,) in GeV, uniform in the range `energy`, or all the one given.

    Raises UsageError for energies that are not positive and finite or for n < 1.
    """
    if n < 1:
        raise UsageError(f"generate: {n} showers; ask for at least 1")
    low, high = _low_and_high(energy, "energy", "energy_n has one for each shower")
    if not (0 < low <= high < np.inf):
        raise UsageError(
            f"generate: incident energies {low:g} to {high:g} GeV; give a positive, rising range"
        )
    # A stream of its own, apart from the latents', which are keyed by (seed, shower).
    draws = np.random.default_rng([seed, 0x656E65726779]).uniform(low, high, n)
    return draws.astype(np.float32)


def draw_labels(
    n: int,
    labels: Sequence[Condition],
    ranges: Mapping[str, tuple[float, float]],
    conditions: Mapping[str, Given],
    seed: int,
    seen: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
) -> dict[str, NDArray[Any]]:
    """Columns (n,) of `labels`, from `conditions` by name, or within `ranges` (by column).

    Of labels with categories, values that were `seen` in training (by column) are drawn; where that
    is not known, any.
    Raises UsageError for conditions that are none of the labels, and for values that cannot be.
    """
    unknown = sorted(set(conditions) - {label.name for label in labels})
    if unknown:
        names = ", ".join(["energy", *(label.name for label in labels)])
        raise UsageError(
            f"generate: the networks are not conditioned on {unknown[0]}, but on {names}"
        )
    columns: dict[str, NDArray[Any]] = {}
    for label in labels:
        given = conditions.get(label.name)
        # Streams of their own, apart from the energies' and the latents'.
        rng = np.random.default_rng([seed, *label.name.encode()])
        values_n: NDArray[Any]
        if given is None and label.kind == "categories":
            known = seen.get(label.column, label.values)
            values_n = rng.choice([value for value in label.values if value in known], n)
        elif given is None and label.column not in ranges:
            raise UsageError(
                f"generate: the run does not say what {label.name} its showers had; give it"
            )
        elif isinstance(given, list) or (isinstance(given, np.ndarray) and given.ndim):
            values_n = _numbers(given, label.name)
        else:
            low, high = _bounds(ranges[label.column] if given is None else given, label)
            values_n = rng.uniform(low, high, n) if low < high else np.full(n, low)
        columns[label.column] = values_n
    return check_columns(columns, labels, n)


def _low_and_high(given: Any, name: str, for_each: str) -> tuple[float, float]:
    """The bounds of a range, a tuple; those of a number are equal.

    A list or an array of two is none: it may be meant for two showers. Raises UsageError for it,
    saying what it is `for_each` shower, and for anything else.
    """
    bounds = given if isinstance(given, tuple) else (given, given)
    bounds = tuple(
        each.item() if isinstance(each, np.generic | np.ndarray) and each.ndim == 0 else each
        for each in bounds
    )
    if len(bounds) != 2 or not all(isinstance(each, int | float) for each in bounds):
        raise UsageError(
            f"generate: {name} is {_shown(given)}; give a number for all showers, or a range as a "
            f"tuple (low, high); {for_each}"
        )
    low, high = bounds
    return float(low), float(high)


def _numbers(given: Any, name: str) -> NDArray[Any]:
    """A list or an array of numbers as an array. Raises UsageError where it holds anything else."""
    try:
        values_n = np.asarray(given)
    except ValueError as error:  # lists of several lengths
        raise UsageError(f"generate: {name}: {_shown(given)} is no list of numbers") from error
    if values_n.dtype.kind not in "iuf":
        raise UsageError(f"generate: {name}: {_shown(given)} is no list of numbers")
    return values_n


def _shown(given: Any) -> str:
    if isinstance(given, np.ndarray):
        return f"an array of shape {given.shape}"
    return repr(given) if len(repr(given)) <= _SHOWN else f"{repr(given)[:_SHOWN]}..."


def _bounds(given: Any, label: Condition) -> tuple[float, float]:
    low, high = _low_and_high(given, label.name, "a list or an array has one for each shower")
    if not low <= high:  # nor is NaN
        raise UsageError(f"generate: {label.name} from {low:g} to {high:g}; give a rising range")
    if label.kind == "categories" and low != high:
        raise UsageError(f"generate: {label.name} is one of {label.values}, and has no range")
    return low, high


def check_columns(columns: Columns, labels: Sequence[Condition], n: int) -> dict[str, NDArray[Any]]:
    """The columns of `labels`, (n,) each, as they are written. Raises UsageError for wrong ones."""
    for label in labels:
        if label.column not in columns:
            raise UsageError(
                f"generate: {label.name} is missing; the networks are conditioned on it"
            )
        values_n = np.asarray(columns[label.column])
        if values_n.shape != (n,):
            raise UsageError(
                f"generate: {label.name} of shape {values_n.shape} for {n} showers; give one each "
                "(a range is a tuple)"
            )
        fault = find_fault(values_n, label)
        if fault is not None:
            raise UsageError(f"generate: {fault}")
    return pick_columns(columns, labels)


def check_energies(energy_n: NDArray[np.floating[Any]], batch_size: int) -> NDArray[np.float32]:
    """Incident energies (N,) in GeV as float32. Raises UsageError if one cannot be generated."""
    energies = _numbers(energy_n, "energies").astype(np.float32, copy=False)
    if energies.ndim != 1 or len(energies) == 0:
        raise UsageError(f"generate: energies of shape {energies.shape}; give a list of numbers")
    wrong = np.flatnonzero(~(np.isfinite(energies) & (energies > 0)))
    if len(wrong):
        raise UsageError(
            f"generate: energy of shower {wrong[0]} is {energies[wrong[0]]} GeV; "
            f"energies are positive"
        )
    if batch_size < 1:
        raise UsageError(f"generate: batch size {batch_size}; give at least 1")
    return energies


def load_run(path: str | Path, checkpoint: WhichCheckpoint = "last") -> TrainedRun:
    """Load the generator of the run in folder `path`.

    `checkpoint` is the newest ("last"), the one with the smallest optimisation metric ("best"), or
    the number of a global step. Only data is read: YAML, JSON and HDF5 weights.
    Raises RunError where the folder holds no run or no such checkpoint.
    """
    path = Path(path)
    chosen = find_checkpoint(path, checkpoint)
    experiment = load_experiment(path / "config.yaml")
    weights = generation_weights(chosen)
    told = read_told(path)
    try:
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        generator = architecture_of(experiment).build_generator(experiment.model)
        generator.load_weights(weights)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: {weights.name} in {chosen.name} does not load ({error})"
        ) from error
    return TrainedRun(
        path=path,
        experiment=experiment,
        checkpoint=chosen,
        generator=generator,
        weights_sha256=digest,
        energy_range_gev=told.energy_range_gev,
        label_ranges=told.label_ranges,
        pdg_id=told.pdg_id,
        seen_categories=told.seen_categories,
    )


def _read_files(path: Path) -> Survey:
    """The files that a run was trained on. Raises RunError where it does not say them."""
    try:
        return Survey.from_dict(read_json(path / _FILES))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path / _FILES}: not the files that a run was trained on ({error!r})"
        ) from error


def _label_ranges(
    path: Path, files: Survey, labels: Sequence[Condition]
) -> dict[str, tuple[float, float]]:
    """Ranges of the labels in all `files` that the run in `path` was trained on, by their column.

    Raises RunError where they do not say them.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for entry in files.files:
        for column, low, high in entry.labels:
            lowest, highest = ranges.get(column, (low, high))
            ranges[column] = min(lowest, low), max(highest, high)
    missing = [label.column for label in labels if label.column not in ranges]
    if missing:
        raise RunError(
            f"{path / _FILES}: does not say the range of {missing[0]} that the run was "
            "trained on, which its networks are told"
        )
    return ranges

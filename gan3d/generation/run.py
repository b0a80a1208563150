"""A trained run, loaded to generate showers from.

Importing this module does not import Keras; loading a run does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Experiment, load_experiment
from gan3d.data import Showers
from gan3d.errors import RunError, UsageError
from gan3d.models import get_architecture
from gan3d.models.sampling import sample_images
from gan3d.models.weights import (
    CHECKPOINTS,
    DISCRIMINATOR_WEIGHTS,
    checkpoint_folders,
    checkpoint_name,
    generation_weights,
    read_json,
)

if TYPE_CHECKING:
    import keras

DEFAULT_BATCH = 128

Outputs = dict[str, NDArray[np.float64]]
"""A discriminator's outputs by name."""


@dataclass(frozen=True)
class TrainedRun:
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
        }

    def generate(
        self,
        n: int | None = None,
        *,
        energy: float | tuple[float, float] | None = None,
        energy_n: NDArray[np.floating[Any]] | None = None,
        seed: int = 0,
        batch_size: int = DEFAULT_BATCH,
    ) -> Showers:
        """Generate showers, all in memory.

        Either `n` showers with incident energies (GeV) uniform in the range `energy`, or all with
        the one energy given, or, by default, uniform in the range of the training showers; or one
        shower for each of `energy_n` (GeV). The same seed gives the same showers, whatever
        `batch_size`, to float rounding. Images are (N, x, y, layer) in GeV.
        Raises UsageError for energies that are not positive and finite or for n < 1.
        """
        if seed < 0:
            raise UsageError(f"generate: seed {seed}; give 0 or more")
        if (n is None) == (energy_n is None):
            raise UsageError("generate: give the number of showers n, or energy_n, not both")
        if energy_n is None:
            assert n is not None
            energy_n = self.draw_energies(n, energy, seed)
        blocks = list(self.stream(energy_n, seed=seed, batch_size=batch_size))
        return Showers(
            images_nxyz=np.concatenate([block.images_nxyz for block in blocks]),
            energy_n=np.concatenate([block.energy_n for block in blocks]),
        )

    def discriminate(self, showers: Showers, batch_size: int = DEFAULT_BATCH) -> Outputs:
        """What the run's discriminator says of showers, (N,) each.

        `generation` is the probability of being Monte Carlo, `auxiliary` the estimated incident
        energy (GeV). Raises RunError where the checkpoint's discriminator does not load.
        """
        architecture = get_architecture(self.experiment.model.architecture)
        data = self.experiment.data
        discriminator = architecture.build_discriminator(self.experiment.model)
        weights = self.checkpoint / DISCRIMINATOR_WEIGHTS
        try:
            discriminator.load_weights(weights)
        except (OSError, ValueError) as error:
            raise RunError(f"{weights}: does not load ({error})") from error
        images_nxyzc = np.power(showers.images_nxyz, np.float32(data.cell_power))[..., None]
        energy_n1 = (showers.energy_n / data.energy_scale_gev).astype(np.float32)[:, None]
        inputs = (
            [images_nxyzc, energy_n1] if architecture.discriminator_sees_energy else images_nxyzc
        )
        outputs = discriminator.predict(inputs, batch_size=batch_size, verbose=0)
        return {
            "generation": np.asarray(outputs["generation"], np.float64)[:, 0],
            "auxiliary": np.asarray(outputs["auxiliary"], np.float64)[:, 0] * data.energy_scale_gev,
        }

    def draw_energies(
        self, n: int, energy: float | tuple[float, float] | None, seed: int
    ) -> NDArray[np.float32]:
        """Incident energies (n,) in GeV, uniform in the range `energy` (default: as trained)."""
        return draw_energies(n, self.energy_range_gev if energy is None else energy, seed)

    def stream(
        self,
        energy_n: NDArray[np.floating[Any]],
        *,
        seed: int = 0,
        batch_size: int = DEFAULT_BATCH,
        first: int = 0,
    ) -> Iterator[Showers]:
        """Generate a shower for each incident energy (GeV), batch by batch.

        They are the showers `first`, `first + 1`, ... of the seed.
        """
        energies = check_energies(energy_n, batch_size)
        architecture = get_architecture(self.experiment.model.architecture)
        done = 0
        for images_nxyz in sample_images(
            self.generator,
            energies,
            self.experiment.data,
            latent_dim=architecture.latent_dim,
            seed=seed,
            batch_size=batch_size,
            first=first,
        ):
            last = done + len(images_nxyz)
            yield Showers(images_nxyz=images_nxyz, energy_n=energies[done:last])
            done = last


def draw_energies(n: int, energy: float | tuple[float, float], seed: int) -> NDArray[np.float32]:
    """Incident energies (n,) in GeV, uniform in the range `energy`, or all the one given.

    Raises UsageError for energies that are not positive and finite or for n < 1.
    """
    if n < 1:
        raise UsageError(f"generate: {n} showers; ask for at least 1")
    low, high = (energy, energy) if isinstance(energy, (int, float)) else energy
    if not (0 < low <= high < np.inf):
        raise UsageError(
            f"generate: incident energies {low:g} to {high:g} GeV; give a positive, rising range"
        )
    # A stream of its own, apart from the latents', which are keyed by (seed, shower).
    draws = np.random.default_rng([seed, 0x656E65726779]).uniform(low, high, n)
    return draws.astype(np.float32)


def check_energies(energy_n: NDArray[np.floating[Any]], batch_size: int) -> NDArray[np.float32]:
    """Incident energies (N,) in GeV as float32. Raises UsageError if one cannot be generated."""
    energies = np.asarray(energy_n, np.float32)
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


def load_run(path: str | Path, checkpoint: Literal["last", "best"] | int = "last") -> TrainedRun:
    """Load the generator of the run in folder `path`.

    `checkpoint` is the newest ("last"), the one with the smallest optimisation metric ("best"), or
    the number of a global step. Only data is read: YAML, JSON and HDF5 weights.
    Raises RunError where the folder holds no run or no such checkpoint.
    """
    path = Path(path)
    chosen = find_checkpoint(path, checkpoint)
    experiment = load_experiment(path / "config.yaml")
    weights = generation_weights(chosen)
    try:
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        low, high = read_json(path / "response.json")["energy_range_gev"]
        generator = get_architecture(experiment.model.architecture).build_generator(
            experiment.model
        )
        generator.load_weights(weights)
    except (OSError, KeyError, ValueError) as error:
        raise RunError(
            f"{path}: {weights.name} in {chosen.name} does not load ({error})"
        ) from error
    return TrainedRun(
        path=path,
        experiment=experiment,
        checkpoint=chosen,
        generator=generator,
        weights_sha256=digest,
        energy_range_gev=(float(low), float(high)),
    )


def find_checkpoint(path: Path, checkpoint: Literal["last", "best"] | int = "last") -> Path:
    """The folder of a run's checkpoint, as `load_run` chooses it; loads nothing."""
    if not (path / "config.yaml").is_file():
        raise RunError(f"{path}: not a run's folder (no config.yaml); name one that `train` made")
    if checkpoint not in ("last", "best") and not isinstance(checkpoint, int):
        raise UsageError(f"checkpoint '{checkpoint}': 'last', 'best' or the number of a step")
    folders = checkpoint_folders(path / CHECKPOINTS)
    if not folders:
        raise RunError(f"{path}: no checkpoint yet; train at least one epoch")
    if checkpoint == "last":
        return folders[-1]
    if checkpoint == "best":
        best = path / "best.json"
        if not best.is_file():
            raise RunError(f"{path}: no best.json; no epoch of this run has been judged")
        checkpoint = int(read_json(best)["step"])
    wanted = path / CHECKPOINTS / checkpoint_name(checkpoint)
    if wanted not in folders:
        names = ", ".join(folder.name for folder in folders)
        raise RunError(f"{path}: no checkpoint {wanted.name} (there are: {names})")
    return wanted

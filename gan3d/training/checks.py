"""What must fit together before training; for the trainer, and for the dry run before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gan3d.config import Condition, Data, Training, Validation
from gan3d.data import Part, Showers, Survey, open_for
from gan3d.errors import ConfigError
from gan3d.models.presets import check_shape
from gan3d.training.response import Response

if TYPE_CHECKING:
    import keras

    from gan3d.models import Architecture

# How far beyond the training showers' energies generated ones may go, as a share of the range.
_ENERGY_MARGIN = 0.05

STEP_LAYERS = 2.5
"""What a step takes, over all layers' outputs for its showers: by the peak memory of the process, a
shower more in a batch took 1.9 times as much in `ecal25-mkl16`, 2.6 in `ecal25` and 6 in
`ecal25-compact` (`gan3d bench step --batch N` under `/usr/bin/time -v`). Between them, for a batch
that is refused too early costs less than a process that the kernel kills."""

ENOUGH_SHOWERS = 200
"""Of one kind, for what is measured on the training showers. Electrons' energy in a layer varies by
a third to its whole (`gan3d validate`, fluctuations), so that means of 200 are right to a few per
cent, less than what a training leaves."""


def check_grid(architecture: Architecture, data: Data) -> None:
    """Raise ConfigError where the networks make images of another grid than they would see."""
    check_shape(architecture.name, architecture.image_shape, data.images.shape)


def check_energies(training: Training, response: Response) -> None:
    """Raise ConfigError where incident energies are asked for at which `response` is not known."""
    asked = training.incident_energy_gev
    low, high = response.energy_range_gev
    # Uniform energies of n showers end about a range / n before the ends of their range.
    margin = _ENERGY_MARGIN * (high - low)
    if asked is not None and not low - margin <= asked[0] < asked[1] <= high + margin:
        raise ConfigError(
            f"training.incident_energy_gev: {asked[0]:g} to {asked[1]:g} GeV, but the training "
            f"showers, to which the response is fitted, have {low:.4g} to {high:.4g} GeV"
        )


def check_angle_bins(settings: Validation, heldout: Part, data: Data) -> None:
    """Raise ConfigError where bins of angle are asked for and no held-out shower has an angle.

    Training would not mind; the report of the trained run would.
    """
    if not settings.angle_bins_deg:
        return
    files = [heldout.files[number] for number in np.unique(heldout.file_b)]
    for entry in files:
        with open_for(entry.path, data) as file:
            theta_n = file.read_columns(0, file.count).get("theta", np.nan)
        if not np.isnan(theta_n).all():
            return
    if files:
        raise ConfigError(
            "validation.angle_bins_deg: bins of angle, but the files of the held-out showers say "
            f"no angle (column theta): {files[0].path}; remove the bins, or take other files"
        )


def check_memory(
    generator: keras.Model, discriminator: keras.Model, training: Training, available: int
) -> None:
    """Raise ConfigError where a batch cannot fit into the `available` bytes of a rank."""
    from gan3d.models.arithmetic import activation_bytes

    shower = STEP_LAYERS * sum(map(activation_bytes, (generator, discriminator)))
    needed, most = shower * training.batch_size, int(available / shower)
    if needed > available:
        advice = (
            f"at most {most} can fit; more in a step with horovod.backward_passes_per_step"
            if most
            else "not one can fit: fewer cells (data.grid), or another model.architecture"
        )
        raise ConfigError(
            f"training.batch_size: {training.batch_size} showers take about "
            f"{needed / 2**30:.3g} GiB, a rank has {available / 2**30:.3g} GiB here: {advice}"
        )


def check_heldout(data: Data, validation: Validation, available: int) -> None:
    """Raise ConfigError where an epoch's held-out showers do not fit into the `available` bytes.

    With them are as many generated ones.
    """
    shower = 2 * 4 * math.prod(data.images.shape)
    if validation.epoch_showers * shower > available:
        raise ConfigError(
            f"validation.epoch_showers: {validation.epoch_showers} held-out showers of "
            f"{shower / 8:,.0f} cells, and as many generated ones, take "
            f"{validation.epoch_showers * shower / 2**30:.3g} GiB of the {available / 2**30:.3g} "
            f"GiB here; at most {available // shower} can be, or fewer cells (data.grid)"
        )


def unseen_categories(files: Survey, labels: Sequence[Condition]) -> list[str]:
    """What to know where a category is declared that no shower of the training `files` has."""
    notes = []
    for label in labels:
        seen = files.categories.get(label.column, label.values)
        unseen = [str(value) for value in label.values if value not in seen]
        if label.kind == "categories" and unseen:
            notes.append(
                f"note: model.conditions: no training shower has {label.name} {', '.join(unseen)} "
                f"(column {label.column}): the networks learn nothing of it, and showers of it are "
                "generated only where they are asked for"
            )
    return notes


def too_few(showers: Showers, labels: Sequence[Condition]) -> list[str]:
    """What to know where statistics of `showers` are of too few, of all or of a category."""
    kinds = {"": len(showers)} | {
        f" of {label.name} {value}": int(np.sum(showers.columns[label.column] == value))
        for label in labels
        if label.kind == "categories"
        for value in label.values
    }
    return [
        f"note: what this architecture measures before training has only {count} showers{kind}; "
        f"below {ENOUGH_SHOWERS} its means are noisy, and generated showers keep that"
        for kind, count in kinds.items()
        if 0 < count < ENOUGH_SHOWERS  # of none there is another note
    ]

"""The losses of the discriminator's outputs: of the 3DGAN's three, and of what others have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from gan3d.config import LossWeights
from gan3d.models import Output

LEAST_SHARE = 0.1
"""Per cent of a sum are at least of this share of what showers of that energy have on average: an
electron or photon never has less, but a charged hadron may cross the ECAL and leave next to
nothing, and its per cent would outweigh all other showers'."""


def loss_names(outputs: Sequence[Output]) -> tuple[str, ...]:
    """What `discriminator_losses` tells of `outputs`, in this order."""
    return (*(output.name for output in outputs), "loss", "ecal_gev")


def discriminator_losses(
    outputs: Sequence[Output],
    said: Mapping[str, Any],
    targets: Mapping[str, Any],
    weights: LossWeights,
    units: Mapping[str, float] = MappingProxyType({}),
    least: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Mean losses of a batch, each unweighted, and `loss`, their weighted sum: `loss_names`.

    With them goes `ecal_gev`, the mean ECAL sum (GeV), which is 0 where showers are empty.

    `said` is what the discriminator says, by the names of `outputs`, `targets` what it should say,
    (B, K) each: `generation` 1 for Monte Carlo and 0 for generated, `auxiliary` the scaled incident
    energies, `ecal` the expected ECAL sums (GeV), and so on.
    Published: binary cross-entropy for `generation`, mean absolute percentage error for the others
    (Vallecorsa et al., ISC 2018: 8 * BCE + 0.2 * MAPE(Ep) + 0.1 * MAPE(ECAL)), and mean absolute
    error for the angle (`gan3d.models.architectures.angle51`). Errors of outputs in `units` are in
    these; per cent of outputs in `least`, (B, 1), are of no less than that.
    """
    # In float32 also of an architecture that computes its outputs in 16 bits.
    said = {output.name: ops.cast(said[output.name], "float32") for output in outputs}
    losses = {
        output.name: _error(output, targets, said, units.get(output.name), least.get(output.name))
        for output in outputs
    }
    losses["loss"] = sum(_weight(output, weights) * losses[output.name] for output in outputs)
    losses["ecal_gev"] = ops.mean(said["ecal"])
    return losses


def _error(
    output: Output,
    targets: Mapping[str, Any],
    said: Mapping[str, Any],
    unit: float | None,
    least_b1: Any | None,
) -> Any:
    target_bk, said_bk = targets[output.name], said[output.name]
    if least_b1 is not None and output.loss == "mean_absolute_percentage_error":
        return 100.0 * ops.mean(
            ops.abs((target_bk - said_bk) / ops.maximum(ops.abs(target_bk), least_b1))
        )
    if unit is not None:
        target_bk, said_bk = target_bk / unit, said_bk / unit
    return ops.mean(getattr(keras.losses, output.loss)(target_bk, said_bk))


def _weight(output: Output, weights: LossWeights) -> float:
    if output.image is not None:
        return weights.further_sums.get(output.image, weights.ecal)
    return float(getattr(weights, output.name))

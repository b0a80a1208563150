"""The losses of the 3DGAN, of the discriminator's three outputs."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from gan3d.config import LossWeights

OUTPUTS = ("generation", "auxiliary", "ecal")
NAMES = (*OUTPUTS, "loss", "ecal_gev")


def discriminator_losses(
    outputs: dict[str, Any], labels_b1: Any, energy_b1: Any, ecal_b1: Any, weights: LossWeights
) -> dict[str, Any]:
    """Mean losses of a batch, each unweighted, and `loss`, their weighted sum: `NAMES`.

    With them goes `ecal_gev`, the mean ECAL sum (GeV), which is 0 where showers are empty.

    `outputs` are the discriminator's, `labels_b1` is 1 for Monte Carlo and 0 for generated,
    `energy_b1` the scaled incident energies and `ecal_b1` the expected ECAL sums (GeV).
    Binary cross-entropy for `generation`, mean absolute percentage error for the others
    (Vallecorsa et al., ISC 2018: 8 * BCE + 0.2 * MAPE(Ep) + 0.1 * MAPE(ECAL)).
    """
    # In float32 also of an architecture that computes its outputs in 16 bits.
    outputs = {name: ops.cast(outputs[name], "float32") for name in OUTPUTS}
    losses = {
        "generation": ops.mean(keras.losses.binary_crossentropy(labels_b1, outputs["generation"])),
        "auxiliary": ops.mean(
            keras.losses.mean_absolute_percentage_error(energy_b1, outputs["auxiliary"])
        ),
        "ecal": ops.mean(keras.losses.mean_absolute_percentage_error(ecal_b1, outputs["ecal"])),
    }
    losses["loss"] = sum(getattr(weights, name) * losses[name] for name in OUTPUTS)
    losses["ecal_gev"] = ops.mean(outputs["ecal"])
    return losses

"""`angle51`: the variable-angle 3DGAN, images of 51 x 51 x 25 cells.

Published (G. R. Khattak et al., "Fast simulation of a high granularity calorimeter by generative
adversarial networks", Eur. Phys. J. C 82 (2022) 386, and the public code of that work): the latent
vector [Ep/100, angle, 254 normal draws], cell energies to the power 0.85, the five outputs of the
discriminator with their losses and weights (3 binary cross-entropy, 0.1 MAPE of the energy, 25 MAE
of the angle, 0.1 MAPE of the ECAL sum, 0.1 MAPE of the counts in 8 bins of cell energy), RMSprop at
0.001, 60 epochs; and that generated showers take the conditions and the targets of the Monte Carlo
batch. From the public code: the sizes of the layers as they are here, the edges of the bins, batch
normalisation with epsilon 1e-6, ReLU in the generator, and an empty bin of Monte Carlo counted as
1, which keeps its percentage error finite.

Chosen here: where public versions of the code differ, the generator with six convolutions between
seed and image whose kernels and zeros come to 51 x 51 x 25 exactly. The networks are told the true
angle `theta`, and the target of the angle is what the Monte Carlo image shows; the public code
gives the angle measured from the image (`mtheta`) for both by default, which a fast simulation does
not know beforehand: `model.conditions: [energy, {name: mtheta, unit: rad}]` is that. A shower
without energy shows pi/2, not 100 rad. The counts have no gradient, as published: their loss tells,
and it weighs in `loss`, but nothing is learnt from it.

1 365 047 and 87 402 parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gan3d.config import CellScale, Model
from gan3d.models.presets import PRESET_GRIDS
from gan3d.models.registry import AUXILIARY, GENERATION, Architecture, Output, Wanted, ecal_of

if TYPE_CHECKING:
    import keras

LATENT_DIM = 254
"""Normal draws; with the energy and the angle they are the published 256."""
IMAGE_SHAPE = PRESET_GRIDS["angle51"]


def design(wanted: Wanted) -> Architecture:
    """The preset, for cells of the scale and the size that are wanted."""
    pitch, scale = wanted.geometry.pitch, wanted.cell_scale

    def build_generator(settings: Model) -> keras.Model:
        from gan3d.models.angle51_networks import build_generator as build

        return build(settings)

    def build_discriminator(settings: Model) -> keras.Model:
        from gan3d.models.angle51_networks import build_discriminator as build

        return build(settings, cell_scale=scale, cell_size=pitch)

    def angle(images_bxyzc: Any) -> Any:
        from gan3d.models.angle_layers import measure_angle

        return measure_angle(_gev(images_bxyzc, scale), pitch)

    def bins(images_bxyzc: Any) -> Any:
        from keras import ops

        from gan3d.models.angle_layers import count_in_bins

        return ops.maximum(count_in_bins(_gev(images_bxyzc, scale)), 1.0)

    return Architecture(
        name="angle51",
        latent_dim=LATENT_DIM,
        image_shape=IMAGE_SHAPE,
        build_generator=build_generator,
        build_discriminator=build_discriminator,
        outputs=(
            GENERATION,
            AUXILIARY,
            Output("angle", "mean_absolute_error", angle),
            ecal_of(scale),
            Output("bins", "mean_absolute_percentage_error", bins),
        ),
        labels=("number",),
    )


def _gev(images_bxyzc: Any, scale: CellScale) -> Any:
    from keras import ops

    return scale.gev(images_bxyzc[..., 0], ops)

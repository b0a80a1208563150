"""`ecal25-compact`: a 3D convolutional GAN for laptops, with the physics that is known built in.

A GAN that starts from noise needs hours to find the mean shower, let alone its fluctuations. Here
that part is measured: before training, `adapt` puts statistics of the training showers into
non-trainable weights (`gan3d.models.shower_statistics`), and the untrained generator already draws
showers with the measured response, resolution, profiles, numbers of hits and cell spectra. Coarse
to fine, as in CaloFlow (Krause and Shih 2021): shower variables from a Gaussian copula (Sklar
1959), the cells' shares of the layer energies, the cells' energies. Adversarial training then
finds what those statistics leave out, the correlations between cells:

* 3D convolutions of the noise correlate neighbouring cells, normalised so that no cell's spectrum
  changes (cell-level noise as in StyleGAN, Karras et al. 2019);
* lateral modes change the shower's width and core from shower to shower, at constant mean;
* the number of hits and its spread adapt to the correlation of the cells.

Layer energies are out of its reach, and none of these moves the mean energy of a cell but for the
sharing of its layer's energy: an unrestricted generator, trained with small batches for a few
thousand steps, lost more of the measured means than it gained in correlations.

The discriminator sees the incident energy and has two views of a shower: strided 3D convolutions of
ln(1 + cell energy), and physics summaries standardised given the incident energy, with their spread
over the batch against mode collapse (Karras et al. 2018). Its channels grow where the resolution is
low. A step costs 0.2 GFLOP per shower, one of `ecal25` 19.3.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from gan3d.config import Model
from gan3d.models.layers import EcalSum
from gan3d.models.registry import Architecture
from gan3d.models.shower_layers import (
    BatchSpread,
    CalibratedLayers,
    CellEnergies,
    CorrelatedNoise,
    Development,
    EnergyTerms,
    ExpectedCells,
    HitShift,
    LateralModes,
    LogEnergy,
    ShowerSummaries,
    ShowerVariables,
)
from gan3d.models.shower_statistics import fit_shower_statistics

IMAGE_SHAPE = (25, 25, 25)
SHOWER_NOISE = 40
"""Normal draws for the whole shower: 28 for its variables, one for hits, the rest for modes."""
LATENT_DIM = SHOWER_NOISE + 25 * 25 * 25
"""One more normal draw for every cell."""
MODES = 8
RANK = 8
"""Lateral modes, and the lateral shapes that they are made of."""


def build_generator(settings: Model) -> keras.Model:
    """Generator: [latent (B, LATENT_DIM), energy (B, 1)] -> images (B, 25, 25, 25, 1) in GeV.

    Nothing in `settings` concerns it. In float32 whatever the precision policy.
    """
    del settings
    x, y, z = IMAGE_SHAPE
    latent_bz = keras.Input((LATENT_DIM,), name="latent")
    energy_b1 = keras.Input((1,), name="energy")
    shower_bz = latent_bz[:, :SHOWER_NOISE]
    noise = layers.Reshape((x, y, z, 1), dtype="float32", name="cell_noise")(
        latent_bz[:, SHOWER_NOISE:]
    )
    terms_bt = EnergyTerms(name="energy_terms")(energy_b1)

    scores_bv, layers_bz, displacement_b2 = ShowerVariables(z, name="shower_variables")(
        [shower_bz[:, : z + 3], energy_b1, terms_bt]
    )
    development_bz = Development(name="development")(layers_bz)
    hits_bz = HitShift(z, name="hit_shift")(
        [scores_bv, terms_bt, development_bz, shower_bz[:, z + 3 : z + 4]]
    )
    log_expected = ExpectedCells(IMAGE_SHAPE, name="expected_cells")(
        [layers_bz, displacement_b2, energy_b1, development_bz]
    )
    maps = LateralModes(IMAGE_SHAPE, MODES, RANK, name="lateral_modes")(
        [shower_bz[:, z + 4 : z + 4 + MODES], terms_bt]
    )
    scores = CorrelatedNoise(name="correlated_noise")([noise, log_expected])
    log_expected = layers.Add(dtype="float32", name="log_expected")([log_expected, maps])
    images_bxyzc = CellEnergies(IMAGE_SHAPE, name="images")(
        [scores, log_expected, layers_bz, hits_bz]
    )
    return keras.Model([latent_bz, energy_b1], images_bxyzc, name="generator")


def build_discriminator(settings: Model) -> keras.Model:
    """Discriminator: [images (B, 25, 25, 25, 1) in GeV, energy (B, 1)] -> the three outputs."""

    def activation(inputs: Any) -> Any:
        return layers.LeakyReLU(settings.leaky_slope)(inputs)

    images_bxyzc = keras.Input((*IMAGE_SHAPE, 1), name="images")
    energy_b1 = keras.Input((1,), name="energy")
    terms_bt = EnergyTerms(name="energy_terms")(energy_b1)
    summaries_bs = ShowerSummaries(IMAGE_SHAPE, name="summaries")([images_bxyzc, terms_bt])

    cells = LogEnergy(name="log_energy")(images_bxyzc)
    for index, filters in enumerate((16, 32, 48), start=1):
        cells = layers.Conv3D(filters, 3, strides=2, padding="same", name=f"conv_{index}")(cells)
        cells = activation(cells)
    cells = layers.Flatten()(cells)
    cells = activation(layers.Dense(64, name="cells")(cells))
    physics = activation(layers.Dense(96, name="physics")(summaries_bs))
    narrow = layers.Dense(16, name="spread_features")(layers.Concatenate()([cells, physics]))
    spread = BatchSpread(name="batch_spread")(narrow)
    head = layers.Concatenate()([cells, physics, spread, terms_bt])
    if settings.dropout > 0:
        head = layers.Dropout(settings.dropout)(head)
    head = activation(layers.Dense(64, name="head")(head))
    calibrated_bz = CalibratedLayers(IMAGE_SHAPE, name="calibrated_layers")(images_bxyzc)
    return keras.Model(
        [images_bxyzc, energy_b1],
        {
            "generation": layers.Dense(1, activation="sigmoid", dtype="float32", name="generation")(
                head
            ),
            "auxiliary": layers.Dense(
                1, use_bias=False, kernel_initializer="ones", dtype="float32", name="auxiliary"
            )(calibrated_bz),
            "ecal": EcalSum(name="ecal")(images_bxyzc),
        },
        name="discriminator",
    )


def adapt(
    generator: keras.Model,
    discriminator: keras.Model,
    images_nxyz: NDArray[np.float32],
    energy_n1: NDArray[np.float32],
) -> None:
    """Put statistics of training showers (GeV, scaled energies) into non-trainable weights."""
    found = fit_shower_statistics(images_nxyz, np.asarray(energy_n1, dtype=np.float64))
    for name in ("shower_variables", "expected_cells", "development", "hit_shift", "images"):
        generator.get_layer(name).adapt(found)
    for name in ("summaries", "calibrated_layers"):
        discriminator.get_layer(name).adapt(images_nxyz, energy_n1)


ARCHITECTURE = Architecture(
    name="ecal25-compact",
    latent_dim=LATENT_DIM,
    image_shape=IMAGE_SHAPE,
    build_generator=build_generator,
    build_discriminator=build_discriminator,
    discriminator_sees_energy=True,
    adapt=adapt,
)

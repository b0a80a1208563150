"""What is measured on training showers, and on which grid of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DISPLACEMENT_TERMS = 5
"""First and second powers of a displacement in two dimensions."""
ENERGY_KNOTS = (0.05, 0.35, 0.95)
"""Quantiles of the incident energies at which distributions and correlations are described."""
SCORE_KNOTS = np.linspace(-3.0, 3.0, 25)
"""Standard normal scores at which the quantile functions of layer energies are tabulated."""
LOGIT_KNOTS = np.linspace(-6.0, 8.0, 57)
"""Logits of the probability at which quantile functions of hit energies are tabulated."""
EXPECTED_KNOTS = 64
"""Expected cell energies, evenly spaced in the logarithm, at which spectra are tabulated."""
FURTHER_HIT_TERMS = 3
"""The scores of the layer's and of the total energy, the development, after `condition_terms`."""
LAYER_GROUPS = 5
"""Groups of layers in which the effect of a displacement is fitted."""
SHARE_TERMS = 2
"""The shower's development and ln(Ep), before what labels add."""
SHARE_CLASSES = 8
"""Classes of cells from core to halo; cells of one class share the shape of their spectra."""
DEVELOPMENT_FLOOR = 1e-4
"""The deposited fraction is kept this far from 0 and 1 where its logit is taken."""
CHUNK = 100
"""Showers whose expected cells are in memory at a time."""


@dataclass(frozen=True)
class ShowerStatistics:
    """What `fit_shower_statistics` finds.

    The V = layers + 3 variables of a shower are its layer energies, their total, and its
    displacement along x and y.
    """

    log_mean_et: Array
    """Coefficients of `condition_terms` in ln(mean energy / Ep); for the layers and their total."""
    log_spread_vt: Array
    """The same for ln(standard deviation): relative for energies, in cells for the displacement."""
    log_energy_k: Array
    """ln(Ep) between which the next two are interpolated."""
    quantiles_kvq: Array
    """Standardised residuals at `SCORE_KNOTS`, of each category and energy."""
    copula_kvv: Array
    """Lower Cholesky factors of the correlation matrices of the variables' normal scores."""
    share_xyz: Array
    """Mean share of a cell in the energy of its layer; sums to 1 over (x, y)."""
    share_class_xyz: NDArray[np.int32]
    """Class of each cell, 0 (halo) to SHARE_CLASSES - 1 (core)."""
    share_slope_zks: Array
    """d ln(share) / d(share terms) of each layer and class."""
    displacement_xyzd: Array
    """Coefficients of `displacement_terms` in ln(share)."""
    share_mean_zs: Array
    """Energy-weighted means of development, ln(Ep) and labels in each layer."""
    log_expected_range: Array
    """Natural logarithms of the first and last knot of the expected cell energy (GeV)."""
    log_hit_energy: float
    """ln of the median energy of a hit (GeV)."""
    logit_hit_ke: Array
    """Logit of the probability of a hit per class and knot."""
    log_energy_kel: Array
    """ln(energy/GeV) of a hit per class, knot and `LOGIT_KNOTS`."""
    hit_terms_zh: Array
    """Coefficients of `hit_terms` in what is added to the logit of the probability of a hit."""
    hit_spread_zt: Array
    """Standard deviation of the shower-wide fluctuation added likewise: coefficients of
    `condition_terms`."""
    number_centre_m: Array
    """Mean of each label that is a number."""
    number_width_m: Array
    """Standard deviation of each label that is a number."""

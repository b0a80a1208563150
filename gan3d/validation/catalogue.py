"""What each metric is called, what kind of number it is, and what a good one looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gan3d.config import Validation
from gan3d.validation.features import features


@dataclass(frozen=True)
class Kind:
    """What a number means, and how it depends on the sizes of the samples."""

    name: str
    noise_power: float
    """The mean of the noise goes with this power of 1/N + 1/M, N and M being the sizes."""
    spread_power: float
    """The same of its standard deviation."""
    best: float = 0.0
    """What a perfect generator has with endless statistics."""
    worse: int = 1
    """1: larger is worse; -1: smaller is; 0: either."""
    has_close: bool = True
    """Whether a small value beyond the noise may be called close."""
    percent: bool = False
    """Whether it is written in per cent."""


RELATIVE_ERROR = Kind("relative error", 0.5, 0.5, percent=True)
SEPARATION = Kind("separation power", 1.0, 1.0)
KS = Kind("Kolmogorov-Smirnov distance", 0.5, 0.5)
WASSERSTEIN = Kind("Wasserstein distance over the spread", 0.5, 0.5)
CHI2 = Kind("chi2 per degree of freedom", 0.0, 0.0, best=1.0, has_close=False)
CORRELATION = Kind("rms difference of correlations", 0.5, 0.5)
# Without bias, so the mean of their noise is 0; degenerate for equal samples, so it falls with N.
UNBIASED = Kind("distance in all features", 1.0, 1.0, has_close=False)
# Below 0.5 by more than chance, too, something is wrong: showers and near copies of them on both
# sides teach a classifier the opposite of what it is tested on.
AUC = Kind("area under the ROC curve", 0.0, 0.5, best=0.5, worse=0)
SHARE = Kind("share of showers", 0.0, 0.5, best=1.0, worse=-1)
DENSITY = Kind("density", 0.0, 0.5, best=1.0, worse=0)
COPIES = Kind("share of showers", 0.0, 0.0, has_close=False, percent=True)


@dataclass(frozen=True)
class Metric:
    """One named metric."""

    title: str
    """What it compares, for a reader."""
    kind: Kind
    """What kind of number it is."""


METRICS: Mapping[str, Metric] = {
    "sampling_fraction.rel_error": Metric("Sampling fraction ECAL/Ep", RELATIVE_ERROR),
    "profile.longitudinal.rel_error": Metric("Longitudinal profile", RELATIVE_ERROR),
    "profile.transverse_x.rel_error": Metric("Transverse profile in x", RELATIVE_ERROR),
    "profile.transverse_y.rel_error": Metric("Transverse profile in y", RELATIVE_ERROR),
    "moments.rel_error": Metric("Moments in x, y and layer", RELATIVE_ERROR),
    "occupancy.rel_error": Metric("Occupancy of the layers", RELATIVE_ERROR),
    "total_energy.separation": Metric("Distribution of ECAL/Ep", SEPARATION),
    "hits.separation": Metric("Number of hits at given Ep", SEPARATION),
    "cell_energy.separation": Metric("Spectrum of cell energies", SEPARATION),
    "optimisation_metric": Metric("3DGAN's optimisation metric", RELATIVE_ERROR),
}
"""Of means and main distributions: quick, and in every energy bin as well."""

WHOLE_METRICS: Mapping[str, Metric] = {
    "correlation.layers": Metric("Correlations between layers", CORRELATION),
    "correlation.features": Metric("Correlations between features", CORRELATION),
    "correlation.cells": Metric("Correlations between cells", CORRELATION),
    "classifier.high_level.auc": Metric("Classifier told high-level features", AUC),
    "classifier.low_level.auc": Metric("Classifier told cells", AUC),
    "frechet_physics_distance": Metric("Fréchet physics distance", UNBIASED),
    "kernel_physics_distance": Metric("Kernel physics distance", UNBIASED),
    "precision": Metric("Precision", SHARE),
    "recall": Metric("Recall", SHARE),
    "density": Metric("Density", DENSITY),
    "coverage": Metric("Coverage", SHARE),
    "copies.within": Metric("Copies among the showers", COPIES),
    "copies.of_reference": Metric("Copies of reference showers", COPIES),
}
"""Of whole showers, over all energies."""

_DISTANCES = {"separation": SEPARATION, "ks": KS, "wasserstein": WASSERSTEIN, "chi2": CHI2}


def feature_metrics(settings: Validation) -> Mapping[str, Metric]:
    """The distances of the distributions of all features, without what is in `METRICS`."""
    return {
        name: Metric(feature.title, kind)
        for feature_name, feature in features(settings).items()
        for distance, kind in _DISTANCES.items()
        if (name := f"{feature_name}.{distance}") not in METRICS
    }


def all_metrics(settings: Validation) -> Mapping[str, Metric]:
    """Every inclusive metric by its name in `metrics.json`."""
    return {**METRICS, **WHOLE_METRICS, **feature_metrics(settings)}

"""What each metric is called, what kind of number it is, and what a good one looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gan3d.config import FIRST_IMAGE, Geometry, Validation
from gan3d.validation.features import features
from gan3d.validation.layers import LAYER_QUANTITIES


@dataclass(frozen=True)
class Kind:
    """What a number means."""

    name: str
    tolerance: str | None = None
    """Which of `validation.tolerances` says what is close; None: nothing is."""
    best: float | None = 0.0
    """What a perfect generator has with endless statistics; None: not known beforehand."""
    worse: int = 1
    """1: larger is worse; -1: smaller is; 0: either."""
    alike: int = 0
    """-1 or 1: what is too small, or too large, means showers too alike, not too different."""
    percent: bool = False
    """Whether it is written in per cent."""
    per_shower: bool = False
    """Whether its excess grows with the sizes N and M, and is to be times 1/N + 1/M to be a
    measure of the fault."""


RELATIVE_ERROR = Kind("relative error", "relative_error", percent=True)
SEPARATION = Kind("separation power", "separation")
KS = Kind("Kolmogorov-Smirnov distance", "ks")
WASSERSTEIN = Kind("Wasserstein distance over the spread", "wasserstein")
PULL = Kind("standard deviations")
CHI2 = Kind("chi2 per degree of freedom", "chi2", best=1.0, per_shower=True)
CORRELATION = Kind("rms difference of correlations", "correlation")
UNBIASED = Kind("distance in all features")
# Below 0.5 by more than chance, too, something is wrong: showers and near copies of them on both
# sides teach a classifier the opposite of what it is tested on.
AUC = Kind("area under the ROC curve", "auc", best=0.5, worse=0, alike=-1)
SHARE = Kind("share of showers", "share", best=None, worse=-1)
DENSITY = Kind("density", "density", best=None, worse=0)
NEIGHBOUR = Kind("share of showers", "share", best=None, worse=0, alike=1)
COPIES = Kind("share of showers", percent=True)
OUTLIERS = Kind("share of showers", percent=True)


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
    "resolution.rel_error": Metric("Resolution, width of ECAL/Ep", RELATIVE_ERROR),
    "fluctuations.rel_error": Metric("Fluctuations of ECAL/Ep at given Ep", RELATIVE_ERROR),
    "profile.longitudinal.chi2": Metric("Longitudinal profile, with covariance", CHI2),
    "profile.transverse_x.chi2": Metric("Transverse profile in x, with covariance", CHI2),
    "profile.transverse_y.chi2": Metric("Transverse profile in y, with covariance", CHI2),
    "occupancy.chi2": Metric("Occupancy of the layers, with covariance", CHI2),
    "total_energy.separation": Metric("Distribution of ECAL/Ep", SEPARATION),
    "hits.separation": Metric("Number of hits at given Ep", SEPARATION),
    "cell_energy.separation": Metric("Spectrum of cell energies", SEPARATION),
    "cell_energy.chi2": Metric("Spectrum of cell energies, with covariance", CHI2),
    "optimisation_metric": Metric("3DGAN's optimisation metric", RELATIVE_ERROR),
}
"""Of means and main distributions: quick, and in every energy bin as well."""

LAYER_METRICS: Mapping[str, Metric] = {
    f"layers.{name}.separation": Metric(f"{quantity.title} of each layer", SEPARATION)
    for name, quantity in LAYER_QUANTITIES.items()
}
"""Of the distributions in each layer, the mean over layers."""

WHOLE_METRICS: Mapping[str, Metric] = {
    "correlation.layers": Metric("Correlations between layers", CORRELATION),
    "correlation.features": Metric("Correlations between features", CORRELATION),
    "correlation.cells": Metric("Correlations between cells", CORRELATION),
    "cells.pull": Metric("Cell whose occupancy is farthest off", PULL),
    "classifier.high_level.auc": Metric("Classifier told high-level features", AUC),
    "classifier.low_level.auc": Metric("Classifier told cells", AUC),
    "classifier.texture.auc": Metric("Classifier told the texture of cells", AUC),
    "classifier.discriminator.auc": Metric("The run's own discriminator", AUC),
    "frechet_physics_distance": Metric("Fréchet physics distance", UNBIASED),
    "kernel_physics_distance": Metric("Kernel physics distance", UNBIASED),
    "precision": Metric("Precision", SHARE),
    "recall": Metric("Recall", SHARE),
    "density": Metric("Density", DENSITY),
    "coverage": Metric("Coverage", SHARE),
    "nearest.other": Metric("Nearest neighbours from the other sample", NEIGHBOUR),
    "closest.other": Metric("Nearest neighbours, of the closest tenth", NEIGHBOUR),
    "copies.within": Metric("Copies among the showers", COPIES),
    "copies.of_reference": Metric("Copies of reference showers", COPIES),
    "near_copies.within": Metric("Near copies among the showers", COPIES),
    "near_copies.of_reference": Metric("Near copies of reference showers", COPIES),
    "outliers": Metric("Showers beyond all of the reference", OUTLIERS),
}
"""Of whole showers, over all energies."""

_DISTANCES = {"separation": SEPARATION, "ks": KS, "wasserstein": WASSERSTEIN, "chi2": CHI2}


IMAGES_METRICS: Mapping[str, Metric] = {
    "correlation.images": Metric("Correlations between the images' energies", CORRELATION),
    "images.share.separation": Metric("Share of the images in the energy", SEPARATION),
    "images.energy.separation": Metric("Energy of all images over Ep", SEPARATION),
}
"""Of all images of a shower together, where there are several; with those of the first."""


def feature_metrics(
    settings: Validation, image: str = FIRST_IMAGE, others: Sequence[str] = ()
) -> Mapping[str, Metric]:
    """The distances of the distributions of all features, without what is in `METRICS`."""
    return {
        name: Metric(feature.title, kind)
        for feature_name, feature in features(settings, image, others).items()
        for distance, kind in _DISTANCES.items()
        if (name := f"{feature_name}.{distance}") not in {**METRICS, **IMAGES_METRICS}
    }


def main_metrics(
    geometry: Geometry, image: str = FIRST_IMAGE, others: Sequence[str] = ()
) -> Mapping[str, Metric]:
    """What has a line of its own in a report, with axes and image called as they are; names stay.

    And `IMAGES_METRICS`, where `others` are further images of the same showers.
    """
    found = {**METRICS, **LAYER_METRICS, **WHOLE_METRICS, **(IMAGES_METRICS if others else {})}
    if image != FIRST_IMAGE:
        for name, metric in found.items():
            found[name] = replace(metric, title=metric.title.replace(FIRST_IMAGE, image))
    if not geometry.is_cylinder:
        return found
    titles = {
        "Transverse profile in x": "Profile in angle",
        "Transverse profile in y": "Profile in radius",
    }
    for name, metric in found.items():
        for said, meant in titles.items():
            if metric.title.startswith(said):
                found[name] = replace(metric, title=metric.title.replace(said, meant))
    return found


def all_metrics(
    settings: Validation,
    geometry: Geometry,
    image: str = FIRST_IMAGE,
    others: Sequence[str] = (),
) -> Mapping[str, Metric]:
    """Every inclusive metric by its name in `metrics.json`."""
    of_features = feature_metrics(settings, image, others)
    return {**main_metrics(geometry, image, others), **of_features}


def metrics_of_images(
    settings: Validation, geometries: Mapping[str, Geometry]
) -> Mapping[str, Metric]:
    """As `all_metrics`, of all images of the showers, whose grids are `geometries` by name.

    Those of the first have their own names, those of others its name before theirs, but for what is
    looked for in whole showers.
    """
    first, *others = geometries
    found = dict(all_metrics(settings, geometries[first], first, others))
    for name in others:
        for metric, each in all_metrics(settings, geometries[name], name).items():
            if metric.partition(".")[0] not in _OF_WHOLE_SHOWERS:
                found[f"{name}.{metric}"] = each
    return found


_OF_WHOLE_SHOWERS = ("copies", "near_copies", "outliers")

"""Showers of several images, such as an ECAL's and an HCAL's: each is judged, and both together.

Images of a shower come as one list of cells (`gan3d.config.images`) and are taken apart here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gan3d.config import Geometry, Images, Validation
from gan3d.data import Showers
from gan3d.validation.judgement import compare_showers


def take_apart(showers: Showers, geometries: Mapping[str, Geometry]) -> dict[str, Showers]:
    """Showers of each image, by its name."""
    images = Images({name: each.shape for name, each in geometries.items()})
    return {
        name: replace(showers, images_nxyz=images_nxyz)
        for name, images_nxyz in images.split(showers.images_nxyz).items()
    }


def compare_images(
    generated: Showers,
    reference: Showers,
    geometries: Mapping[str, Geometry],
    settings: Validation,
) -> dict[str, float]:
    """As `compare_showers`, of all images of the showers, whose grids are `geometries` by name.

    Of several images the metrics of each have its name before theirs, those of the first have their
    own names, too, and `optimisation_metric` is the mean of the images'.

    Raises:
        DataError: as `gan3d.validation.observe`.

    """
    if len(geometries) == 1:
        (geometry,) = geometries.values()
        return compare_showers(generated, reference, geometry, settings)
    ours, theirs = (take_apart(each, geometries) for each in (generated, reference))
    found = {
        name: compare_showers(ours[name], theirs[name], geometry, settings)
        for name, geometry in geometries.items()
    }
    metrics = dict(next(iter(found.values())))
    for name, each in found.items():
        metrics |= {f"{name}.{metric}": value for metric, value in each.items()}
    if metrics:
        metrics["optimisation_metric"] = float(
            np.mean([each["optimisation_metric"] for each in found.values()])
        )
    return metrics

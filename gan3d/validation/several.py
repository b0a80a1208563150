"""Showers of several images, such as an ECAL's and an HCAL's: each is judged, and both together.

Images of a shower come as one list of cells (`gan3d.config.images`) and are taken apart here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from gan3d.config import FIRST_IMAGE, Geometry, Images, Validation
from gan3d.data import Showers
from gan3d.errors import DataError
from gan3d.validation.judgement import Judgement, compare_showers, judge
from gan3d.validation.measures import Float
from gan3d.validation.observables import Observables, check_chunk, concatenate, observe
from gan3d.validation.sample import Sample, Summary, summarise


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


def observe_images(
    blocks: Iterable[Showers],
    geometries: Mapping[str, Geometry],
    settings: Validation,
    *,
    label: str = "showers",
) -> dict[str, Observables]:
    """As `gan3d.validation.observe`, of each image of the showers, by the names of `geometries`.

    Raises:
        DataError: as `gan3d.validation.observe`, with the name of the image.

    """
    if len(geometries) == 1:
        ((name, geometry),) = geometries.items()
        return {name: observe(blocks, geometry, settings, label=label)}
    found: dict[str, list[Observables]] = {name: [] for name in geometries}
    done = 0
    for block in blocks:
        for name, showers in take_apart(block, geometries).items():
            check_chunk(showers, geometries[name], f"{label}, {name}", done)
            found[name].append(observe(showers, geometries[name], settings, label=label))
        done += len(block)
    if not done:
        raise DataError(f"{label}: no showers")
    return {name: concatenate(parts) for name, parts in found.items()}


def summarise_images(
    blocks: Iterable[Showers],
    geometries: Mapping[str, Geometry],
    settings: Validation,
    *,
    label: str = "showers",
) -> Sample:
    """As `gan3d.validation.summarise`, of all images of the showers, by the names of `geometries`.

    The sample is that of the first image, and knows the others (`Sample.further`) and their
    energies (`Observables.others`).

    Raises:
        DataError: as `gan3d.validation.observe`, with the name of the image.

    """
    if len(geometries) == 1:
        (geometry,) = geometries.values()
        return summarise(blocks, geometry, settings, label=label)
    summaries = {name: Summary(each, settings, label) for name, each in geometries.items()}
    done = 0
    for block in blocks:
        for name, showers in take_apart(block, geometries).items():
            check_chunk(showers, geometries[name], f"{label}, {name}", done)
            summaries[name].offer(showers)
        done += len(block)
    samples = {name: _named(each.sample(), name) for name, each in summaries.items()}
    first, *others = samples.values()
    energy_no = np.stack([each.observables.total_energy_n for each in others], axis=1)
    seen = replace(first.observables, others=tuple(samples)[1:], others_energy_no=energy_no)
    return replace(first, observables=seen, further=dict(list(samples.items())[1:]))


def _named(sample: Sample, image: str) -> Sample:
    return replace(sample, observables=replace(sample.observables, image=image))


def judge_images(
    generated: Sample,
    reference: Sample,
    geometries: Mapping[str, Geometry],
    settings: Validation,
    *,
    scores: tuple[Float, Float] | None = None,
) -> Judgement:
    """As `gan3d.validation.judge`, of all images of the showers: `Judgement.further`.

    The judgement of the first image has what is said of all together, too: their shares and their
    energy, how they are correlated, and what classifiers see that are told all. In its metrics
    those of the others have their names before theirs.

    Raises:
        DataError: as `gan3d.validation.judge`, with the name of the image.

    """
    first = geometries[reference.observables.image if reference.further else FIRST_IMAGE]
    judgement = judge(generated, reference, first, settings, scores=scores)
    further = {}
    for name, theirs in reference.further.items():
        try:
            ours = generated.further[name]
            further[name] = judge(ours, theirs, geometries[name], settings, part=True)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
    metrics = dict(judgement.metrics)
    for name, each in further.items():
        metrics |= {f"{name}.{metric}": value for metric, value in each.metrics.items()}
    return replace(judgement, metrics=metrics, further=further)

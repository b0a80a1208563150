"""Which metric sees which fault, at which number of showers of Geant4 and of generated ones.

What is not in a row of the table does not see the fault at that size; the bundled sample is all
that there is, so nothing is said of more showers than it has.
"""

import numpy as np
import pytest

from gan3d.config import Validation
from gan3d.data import Showers, read_showers
from gan3d.samples import sample_files
from gan3d.validation import judge

pytestmark = pytest.mark.slow


def of_images(change):
    return lambda showers, rng: Showers(
        change(showers.images_nxyz, rng).astype(np.float32), showers.energy_n
    )


def with_copies(showers, rng):
    count = len(showers) // 20
    rows = np.r_[np.arange(len(showers) - count), np.arange(count)]
    return Showers(showers.images_nxyz[rows], showers.energy_n[rows])


def with_near_copies(showers, rng):
    """With 0.1 % of noise on every cell: a generator hardly ever repeats all bits."""
    copied = with_copies(showers, rng)
    noise = rng.normal(1.0, 1e-3, copied.images_nxyz.shape).astype(np.float32)
    return Showers(copied.images_nxyz * noise, copied.energy_n)


def with_outliers(images, rng):
    return images * np.where(np.arange(len(images)) % 50 == 0, 4 / 3, 1)[:, None, None, None]


def noisy(images, rng):
    """Cells between 1 and 10 keV, below the hit threshold, in 0.2 % of the empty cells."""
    new = (images == 0) & (rng.random(images.shape) < 0.002)
    return np.where(new, rng.uniform(1e-6, 1e-5, images.shape), images)


def with_small_fluctuations(showers, rng):
    """ECAL/Ep a fifth nearer to its mean at the shower's incident energy."""
    logarithm_n = np.log(showers.energy_n)
    fraction_n = showers.images_nxyz.sum(axis=(1, 2, 3)) / showers.energy_n
    mean_n = np.polyval(np.polyfit(logarithm_n, fraction_n, 2), logarithm_n)
    factor_n = (mean_n + 0.8 * (fraction_n - mean_n)) / fraction_n
    images = showers.images_nxyz * factor_n[:, None, None, None]
    return Showers(images.astype(np.float32), showers.energy_n)


def with_hot_cell(images, rng):
    """200 keV in one cell far from the axis, in three showers of ten."""
    images = images.copy()
    images[np.arange(len(images)) % 10 < 3, 2, 3, 5] = 2e-4
    return images


FAULTS = {
    "none": lambda showers, rng: showers,
    "response 3 % too high": of_images(lambda images, rng: images * 1.03),
    "profile one layer too deep": of_images(lambda images, rng: np.roll(images, 1, axis=3)),
    "cells smeared by 30 %": of_images(
        lambda images, rng: images * rng.gamma(1 / 0.3**2, 0.3**2, images.shape)
    ),
    "5 % of showers are copies": with_copies,
    "5 % of showers are near copies": with_near_copies,
    "2 % of showers have a third too much energy": of_images(with_outliers),
    "noise below the threshold": of_images(noisy),
    "fluctuations of the response 20 % too small": with_small_fluctuations,
    "one hot cell in 30 % of showers": of_images(with_hot_cell),
}

LOW = "cell_energy.separation"
SEEN = {
    # By fault, 300 generated against 300 of Geant4, and 700 against 700.
    "none": (set(), set()),
    "response 3 % too high": (
        {
            "sampling_fraction.rel_error",
            "profile.longitudinal.chi2",
            "total_energy.separation",
            "hits_1000kev.ks",
            "classifier.high_level.auc",
            "frechet_physics_distance",
            LOW,
        },
        {"occupancy.chi2"},
    ),
    "profile one layer too deep": (
        {
            "profile.longitudinal.rel_error",
            "occupancy.rel_error",
            "optimisation_metric",
            "profile.longitudinal.chi2",
            "correlation.layers",
            "classifier.high_level.auc",
            "classifier.low_level.auc",
            "frechet_physics_distance",
            "kernel_physics_distance",
            "coverage",
            "recall",
            "nearest.other",
            "start.ks",
            "barycentre_layer.wasserstein",
        },
        {"moments.rel_error", "classifier.texture.auc"},
    ),
    "cells smeared by 30 %": (
        {
            LOW,
            "resolution.rel_error",
            "total_energy.separation",
            "classifier.high_level.auc",
            "classifier.low_level.auc",
            "correlation.cells",
            "occupancy.chi2",
        },
        {"hits_100kev.ks", "classifier.texture.auc"},
    ),
    "5 % of showers are copies": ({"copies.within", "near_copies.within"}, set()),
    "5 % of showers are near copies": ({"near_copies.within"}, set()),
    "2 % of showers have a third too much energy": ({"outliers"}, set()),
    "noise below the threshold": ({LOW, "cell_energy.chi2"}, {"classifier.texture.auc"}),
    "fluctuations of the response 20 % too small": (set(), {"fluctuations.rel_error"}),
    "one hot cell in 30 % of showers": ({"cells.pull"}, set()),
}

UNSEEN = {
    # What must not cry wolf: the metric looks at something that the fault leaves as it is.
    "response 3 % too high": {"moments.rel_error", "start.ks", "copies.within"},
    "profile one layer too deep": {
        "sampling_fraction.rel_error",
        "total_energy.separation",
        "profile.transverse_x.rel_error",
        "radius_90.ks",
    },
    "cells smeared by 30 %": {"sampling_fraction.rel_error", "moments.rel_error", "copies.within"},
    "5 % of showers are copies": {"sampling_fraction.rel_error", "hits.separation", LOW},
    "5 % of showers are near copies": {"sampling_fraction.rel_error", "copies.within", LOW},
    "2 % of showers have a third too much energy": {"near_copies.within", "start.ks", LOW},
    "noise below the threshold": {"hits.separation", "total_energy.separation"},
    "fluctuations of the response 20 % too small": {"sampling_fraction.rel_error", "hits.ks", LOW},
    "one hot cell in 30 % of showers": {"sampling_fraction.rel_error", "start.ks"},
}


@pytest.fixture(scope="module")
def halves():
    """The held-out showers of the bundled sample, and as many of those to train with."""
    files = sample_files()
    return [
        read_showers([path], threshold_gev=1e-6, limit=700) for path in (files.heldout, files.train)
    ]


@pytest.mark.parametrize("count", [300, 700])
@pytest.mark.parametrize("fault", FAULTS)
def test_which_metric_sees_which_fault(fault, count, halves, geometry):
    generated, reference = (half.take(slice(count)) for half in halves)
    settings = Validation(
        energy_bins_gev=[(10, 100)],
        bootstrap_replicas=2,
        noise_replicas=10,
        classifier_cells=400,
    )
    distorted = FAULTS[fault](generated, np.random.default_rng(1))
    judgement = judge(distorted, reference, geometry, settings)
    verdicts = {v.name: v for v in (*judgement.verdicts, *judgement.feature_verdicts)}
    seen = {name for name, verdict in verdicts.items() if verdict.faulty}
    first, more = SEEN[fault]
    wanted = first if count == 300 else first | more
    assert wanted <= seen, {name: verdicts[name] for name in wanted - seen}
    not_wanted = set(verdicts) if fault == "none" else UNSEEN[fault]
    assert not seen & not_wanted, {name: verdicts[name] for name in seen & not_wanted}
    if fault == "none":
        auc = verdicts["classifier.high_level.auc"].estimate
        assert abs(auc.value - 0.5) < 4 * auc.error
